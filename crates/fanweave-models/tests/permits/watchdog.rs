//! Ends a run that hangs, even if it blocks its thread.

use std::fmt::Debug;
use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Time without progress after which a run counts as hung. Permits that are given up cost up to 100 ms each.
const SILENCE: Duration = Duration::from_secs(10);

/// Maximum time of a run that keeps sending requests.
const TOTAL: Duration = Duration::from_secs(110);

/// Runs `work` on a separate thread.
///
/// # Panics
/// If `work` panics. Also, with `what` and the last state returned by `progress`, if that state stays the
/// same for too long or the run takes too long.
pub(crate) fn watched<P: PartialEq + Debug>(
    what: &str,
    progress: impl Fn() -> P,
    work: impl FnOnce() + Send + 'static,
) {
    let (ended, end) = channel::<()>();
    let run = thread::spawn(move || {
        let _ended = ended;
        work();
    });
    let began = Instant::now();
    let mut last = (progress(), began);
    while end.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout) {
        let now = progress();
        if now != last.0 {
            last = (now, Instant::now());
        }
        let hangs = last.1.elapsed() > SILENCE || began.elapsed() > TOTAL;
        assert!(!hangs, "hangs after {:?}: {:?} in {what}", began.elapsed(), last.0);
    }
    if let Err(panic) = run.join() {
        eprintln!("failed: {what}");
        resume_unwind(panic);
    }
}

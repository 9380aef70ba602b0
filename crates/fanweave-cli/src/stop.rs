//! Requests to stop: Ctrl-C and SIGTERM of a process of its own, or calls of a program that runs this one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use fanweave::context::CancellationToken;

use crate::exit::Exit;

/// Stops a run of the program. Clones stop the same run.
///
/// ```
/// use fanweave_cli::{Exit, Stop, run_until};
///
/// let stop = Stop::new();
/// stop.request();
/// // Requested before the run began: it ends at once.
/// assert_eq!(run_until(["sim", "--port", "0"], &stop), Exit::Interrupted);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Set once a stop was requested and the run can stop gracefully.
    stopping: CancellationToken,
    /// Set once the run has to end at once.
    ended: CancellationToken,
    exit: OnceLock<Exit>,
    /// Parts of the run that stop gracefully.
    listeners: AtomicUsize,
    /// Makes a request one step.
    requests: Mutex<()>,
    /// Set if signals of the process are requests.
    on_signals: bool,
    /// The registration of signal handlers, once a part of the run listens.
    handlers: OnceLock<()>,
}

impl Stop {
    /// Without a request.
    pub fn new() -> Self {
        Self::default()
    }

    /// Requests a stop, as Ctrl-C does: the first request stops gracefully, the second one ends the run at
    /// once. A run that cannot stop gracefully at this time, such as one that only reads its files, ends at
    /// the first.
    pub fn request(&self) {
        let _one_step = self.0.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if self.0.listeners.load(Ordering::Acquire) > 0 && !self.0.stopping.is_cancelled() {
            self.0.stopping.cancel();
        } else {
            self.end(Exit::Interrupted);
        }
    }

    /// Requests by Ctrl-C and SIGTERM. Handlers are installed when a part of the run first listens: until
    /// then, a signal ends the process as usual.
    pub(crate) fn on_signals() -> Self {
        Self(Arc::new(Inner { on_signals: true, ..Inner::default() }))
    }

    /// Returns true if the process belongs to this program, with its signals and its terminal.
    pub(crate) fn is_on_signals(&self) -> bool {
        self.0.on_signals
    }

    /// Ends the run at once.
    pub(crate) fn end(&self, exit: Exit) {
        let _ = self.0.exit.set(exit);
        self.0.ended.cancel();
    }

    /// Waits until the run has to end at once, and returns its exit code.
    pub(crate) async fn ended(&self) -> Exit {
        self.0.ended.cancelled().await;
        self.0.exit.get().copied().unwrap_or(Exit::Interrupted)
    }

    /// Makes the first request a graceful stop until the returned value is dropped.
    pub(crate) fn listen(&self) -> Listening {
        if self.0.on_signals {
            self.0.handlers.get_or_init(|| handle_signals(self));
        }
        self.0.listeners.fetch_add(1, Ordering::AcqRel);
        Listening(self.clone())
    }

    /// Waits for a first request that comes after this call.
    pub(crate) async fn requested(&self) {
        let listening = self.listen();
        if listening.token().is_cancelled() {
            // The next request ends the run.
            std::future::pending::<()>().await;
        }
        listening.token().cancelled().await;
    }
}

/// A part of a run that stops gracefully.
pub(crate) struct Listening(Stop);

impl Listening {
    /// The token that the first request cancels.
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.0.0.stopping
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.0.listeners.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Turns signals into requests until the process ends. The handlers are in place when it returns.
///
/// On a thread of its own: a second signal must end the program also while every worker of the runtime
/// computes.
fn handle_signals(stop: &Stop) {
    let stop = stop.clone();
    let (ready, in_place) = std::sync::mpsc::channel();
    let thread = std::thread::Builder::new().name("signals".into()).spawn(move || {
        // Without handlers, a signal ends the process as usual.
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
        runtime.block_on(requests(&stop, ready));
    });
    if thread.is_ok() {
        // An error means that the thread has ended without handlers.
        let _ = in_place.recv();
    }
}

/// Requests a stop at each signal. Sends `ready` once the handlers are in place.
async fn requests(stop: &Stop, ready: std::sync::mpsc::Sender<()>) {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
        let _ = ready.send(());
        let each = async |signals: std::io::Result<tokio::signal::unix::Signal>| {
            let Ok(mut signals) = signals else { return };
            while signals.recv().await.is_some() {
                stop.request();
            }
        };
        tokio::join!(each(interrupt), each(terminate));
    }
    #[cfg(not(unix))]
    {
        let _ = ready.send(());
        while tokio::signal::ctrl_c().await.is_ok() {
            stop.request();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_run_that_cannot_stop_gracefully_ends_at_the_first_request() {
        let stop = Stop::new();
        assert_eq!(stop.ended().now_or_never(), None);
        drop(stop.listen());
        stop.request();
        assert_eq!(stop.ended().now_or_never(), Some(Exit::Interrupted));
    }

    #[test]
    fn the_second_request_ends_a_run_that_is_stopping() {
        let stop = Stop::new();
        let listening = stop.listen();
        stop.clone().request();
        assert!(listening.token().is_cancelled());
        assert_eq!(stop.ended().now_or_never(), None);
        // The first request ends nothing that listens after it, such as the end of the history.
        assert_eq!(stop.requested().now_or_never(), None);
        stop.request();
        assert_eq!(stop.ended().now_or_never(), Some(Exit::Interrupted));
    }

    #[cfg(unix)]
    #[test]
    fn signals_arrive_while_every_worker_computes() {
        use nix::sys::signal::{Signal, raise};
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let stop = Stop::on_signals();
        let (computed, compute) = std::sync::mpsc::channel::<()>();
        let (started, start) = std::sync::mpsc::channel();
        runtime.spawn(async move {
            started.send(()).unwrap();
            // As a computation that no await interrupts.
            let _ = compute.recv();
        });
        start.recv().unwrap();
        let patience = std::time::Duration::from_secs(30);
        runtime.block_on(async {
            let listening = stop.listen();
            raise(Signal::SIGINT).unwrap();
            tokio::time::timeout(patience, listening.token().cancelled()).await.unwrap();
            raise(Signal::SIGTERM).unwrap();
            assert_eq!(tokio::time::timeout(patience, stop.ended()).await.unwrap(), Exit::Interrupted);
        });
        drop(computed);
        runtime.shutdown_background();
    }
}

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

/// Turns signals into requests until the runtime ends. The handlers are in place when it returns.
fn handle_signals(stop: &Stop) {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
            let stop = stop.clone();
            // Without handlers, a signal ends the process as usual.
            let Ok(mut signals) = signal(kind) else { continue };
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    stop.request();
                }
            });
        }
    }
    #[cfg(not(unix))]
    {
        let stop = stop.clone();
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                stop.request();
            }
        });
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
}

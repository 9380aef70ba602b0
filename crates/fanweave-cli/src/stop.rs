//! Ctrl-C and SIGTERM: the first asks to stop, the second ends the program.

use tokio_util::sync::CancellationToken;

use crate::exit::Exit;

/// A token that the first Ctrl-C or SIGTERM cancels. The second one exits at once with 130.
pub(crate) fn on_signals() -> CancellationToken {
    let stop = CancellationToken::new();
    let first = stop.clone();
    tokio::spawn(async move {
        signal().await;
        first.cancel();
        signal().await;
        crate::keys::restore();
        std::process::exit(Exit::Interrupted as i32);
    });
    stop
}

/// Waits for a signal that asks the program to end.
pub(crate) async fn signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}

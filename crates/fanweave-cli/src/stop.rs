//! Ctrl-C and SIGTERM: the first signal stops gracefully, the second exits.

use tokio_util::sync::CancellationToken;

use crate::exit::Exit;

/// Returns a token that the first Ctrl-C or SIGTERM cancels. The second one exits immediately with 130.
pub(crate) fn on_signals() -> CancellationToken {
    let stop = CancellationToken::new();
    let first = stop.clone();
    tokio::spawn(async move {
        signal().await;
        first.cancel();
        signal().await;
        crate::keyboard::restore();
        std::process::exit(Exit::Interrupted as i32);
    });
    stop
}

/// Waits for Ctrl-C or SIGTERM.
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

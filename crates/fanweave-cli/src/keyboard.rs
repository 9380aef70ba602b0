//! Key presses from the terminal while a panel is shown. Terminal modes are restored whenever the program
//! ends or stops.

#[cfg(unix)]
pub(crate) use unix::{Keys, remember, restore};

#[cfg(not(unix))]
pub(crate) use other::{Keys, remember, restore};

#[cfg(unix)]
mod unix {
    use std::io::{IsTerminal, stdin};
    use std::sync::{Mutex, PoisonError};

    use nix::sys::signal::{Signal, raise};
    use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};
    use nix::unistd::{getpgrp, read, tcgetpgrp};
    use tokio::signal::unix::{SignalKind, signal};

    /// The original terminal modes, while they are changed.
    static ORIGINAL: Mutex<Option<Termios>> = Mutex::new(None);

    /// Saves the terminal modes for [`restore`], before other code changes them.
    pub(crate) fn remember() {
        *ORIGINAL.lock().unwrap_or_else(PoisonError::into_inner) = tcgetattr(stdin()).ok();
    }

    /// Restores the terminal modes. Must be called before the process exits.
    pub(crate) fn restore() {
        let original = ORIGINAL.lock().unwrap_or_else(PoisonError::into_inner).take();
        // In the background this would stop the process; the shell has restored its own modes by then.
        if let Some(original) = original.filter(|_| in_foreground()) {
            let _ = tcsetattr(stdin(), SetArg::TCSANOW, &original);
        }
    }

    fn in_foreground() -> bool {
        // A terminal of another session does not stop the process.
        !tcgetpgrp(stdin()).is_ok_and(|group| group != getpgrp())
    }

    /// Reads key presses. Restores the terminal modes when dropped.
    pub(crate) struct Keys {
        wanted: bool,
    }

    impl Keys {
        /// Reads nothing unless `wanted` is set and standard input is a terminal.
        pub(crate) fn new(wanted: bool) -> Self {
            Self { wanted: wanted && stdin().is_terminal() }
        }

        /// Keys pressed since the last call.
        pub(crate) fn pressed(&self) -> Vec<u8> {
            // Reading or changing modes in the background stops the process.
            if !self.wanted || !in_foreground() || !prepare() {
                return Vec::new();
            }
            let mut keys = [0; 64];
            let n = read(stdin(), &mut keys).unwrap_or(0);
            keys[..n].to_vec()
        }

        /// Restores the terminal before the process stops (Ctrl-Z) or quits (Ctrl-\\). Never returns.
        pub(crate) async fn stops(&self) {
            let signals = (signal(SignalKind::from_raw(Signal::SIGTSTP as i32)), signal(SignalKind::quit()));
            let (true, (Ok(mut stops), Ok(mut quits))) = (self.wanted, signals) else {
                return std::future::pending().await;
            };
            loop {
                tokio::select! {
                    _ = stops.recv() => {
                        restore();
                        // Continues here after SIGCONT.
                        let _ = raise(Signal::SIGSTOP);
                    }
                    _ = quits.recv() => {
                        restore();
                        // The exit code of a shell for a program killed by this signal.
                        std::process::exit(128 + Signal::SIGQUIT as i32);
                    }
                }
            }
        }
    }

    impl Drop for Keys {
        fn drop(&mut self) {
            restore();
        }
    }

    /// Switches to unbuffered, non-blocking input without echo. Returns `false` if that fails.
    fn prepare() -> bool {
        let mut original = ORIGINAL.lock().unwrap_or_else(PoisonError::into_inner);
        if original.is_some() {
            return true;
        }
        let Ok(before) = tcgetattr(stdin()) else { return false };
        let mut modes = before.clone();
        // Ctrl-C and similar keys still send signals.
        modes.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
        modes.control_chars[SpecialCharacterIndices::VMIN as usize] = 0;
        modes.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
        let done = tcsetattr(stdin(), SetArg::TCSANOW, &modes).is_ok();
        if done {
            *original = Some(before);
        }
        done
    }
}

#[cfg(not(unix))]
mod other {
    /// Does nothing: terminal modes are not changed on this platform.
    pub(crate) fn remember() {}

    /// Does nothing.
    pub(crate) fn restore() {}

    /// Stub without keys.
    pub(crate) struct Keys;

    impl Keys {
        pub(crate) fn new(_wanted: bool) -> Self {
            Self
        }

        pub(crate) fn pressed(&self) -> Vec<u8> {
            Vec::new()
        }

        pub(crate) async fn stops(&self) {
            std::future::pending().await
        }
    }
}

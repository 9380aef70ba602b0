//! Key presses from the terminal while a panel is shown. Terminal modes are restored whenever the program
//! ends or stops.

#[cfg(unix)]
pub(crate) use unix::{Keys, Terminal};

#[cfg(not(unix))]
pub(crate) use other::{Keys, Terminal};

#[cfg(unix)]
mod unix {
    use std::io::{IsTerminal, stdin};
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

    use nix::sys::signal::{Signal, raise};
    use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};
    use nix::unistd::{getpgrp, read, tcgetpgrp};
    use tokio::signal::unix::{SignalKind, signal};

    use crate::exit::Exit;
    use crate::stop::Stop;

    /// The terminal of standard input, with its original modes while they are changed. Clones are the same.
    #[derive(Clone, Default)]
    pub(crate) struct Terminal(Arc<Mutex<Option<Termios>>>);

    impl Terminal {
        /// Saves the modes for [`Terminal::restore`], before other code changes them.
        pub(crate) fn remember(&self) {
            *self.original() = tcgetattr(stdin()).ok();
        }

        /// Restores the modes. Must be called before the process exits.
        pub(crate) fn restore(&self) {
            let original = self.original().take();
            // In the background this would stop the process; the shell has restored its own modes by then.
            if let Some(original) = original.filter(|_| in_foreground()) {
                let _ = tcsetattr(stdin(), SetArg::TCSANOW, &original);
            }
        }

        /// Switches to unbuffered, non-blocking input without echo. Returns `false` if that fails.
        fn prepare(&self) -> bool {
            let mut original = self.original();
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

        fn original(&self) -> MutexGuard<'_, Option<Termios>> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    fn in_foreground() -> bool {
        // A terminal of another session does not stop the process.
        !tcgetpgrp(stdin()).is_ok_and(|group| group != getpgrp())
    }

    /// Reads key presses. Restores the terminal modes when dropped.
    pub(crate) struct Keys {
        wanted: bool,
        terminal: Terminal,
    }

    impl Keys {
        /// Reads nothing unless `wanted` is set and standard input is a terminal.
        pub(crate) fn new(wanted: bool, terminal: &Terminal) -> Self {
            Self { wanted: wanted && stdin().is_terminal(), terminal: terminal.clone() }
        }

        /// Keys pressed since the last call.
        pub(crate) fn pressed(&self) -> Vec<u8> {
            // Reading or changing modes in the background stops the process.
            if !self.wanted || !in_foreground() || !self.terminal.prepare() {
                return Vec::new();
            }
            let mut keys = [0; 64];
            let n = read(stdin(), &mut keys).unwrap_or(0);
            keys[..n].to_vec()
        }

        /// Restores the terminal before the process stops (Ctrl-Z). Ends the run before it quits (Ctrl-\\).
        pub(crate) async fn stops(&self, stop: &Stop) {
            let signals = (signal(SignalKind::from_raw(Signal::SIGTSTP as i32)), signal(SignalKind::quit()));
            let (true, (Ok(mut stops), Ok(mut quits))) = (self.wanted, signals) else {
                return std::future::pending().await;
            };
            loop {
                tokio::select! {
                    _ = stops.recv() => {
                        self.terminal.restore();
                        // Continues here after SIGCONT.
                        let _ = raise(Signal::SIGSTOP);
                    }
                    _ = quits.recv() => stop.end(Exit::Quit),
                }
            }
        }
    }

    impl Drop for Keys {
        fn drop(&mut self) {
            self.terminal.restore();
        }
    }
}

#[cfg(not(unix))]
mod other {
    use crate::stop::Stop;

    /// Stub: terminal modes are not changed on this platform.
    #[derive(Clone, Default)]
    pub(crate) struct Terminal;

    impl Terminal {
        pub(crate) fn remember(&self) {}

        pub(crate) fn restore(&self) {}
    }

    /// Stub without keys.
    pub(crate) struct Keys;

    impl Keys {
        pub(crate) fn new(_wanted: bool, _terminal: &Terminal) -> Self {
            Self
        }

        pub(crate) fn pressed(&self) -> Vec<u8> {
            Vec::new()
        }

        pub(crate) async fn stops(&self, _stop: &Stop) {
            std::future::pending().await
        }
    }
}

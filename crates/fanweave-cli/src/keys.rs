//! Single keys from the terminal, while a panel is shown. Its modes are put back however the program ends or stops.

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

    /// The terminal's modes as they were, while they are others.
    static ORIGINAL: Mutex<Option<Termios>> = Mutex::new(None);

    /// Notes the terminal's modes, for [`restore`], before somebody else changes them.
    pub(crate) fn remember() {
        *ORIGINAL.lock().unwrap_or_else(PoisonError::into_inner) = tcgetattr(stdin()).ok();
    }

    /// Puts the terminal's modes back. Whoever ends the process calls it before.
    pub(crate) fn restore() {
        let original = ORIGINAL.lock().unwrap_or_else(PoisonError::into_inner).take();
        // From the background it would stop this process; the shell has put its own modes back by then.
        if let Some(original) = original.filter(|_| in_foreground()) {
            let _ = tcsetattr(stdin(), SetArg::TCSANOW, &original);
        }
    }

    fn in_foreground() -> bool {
        // A terminal that is not this session's own stops nobody.
        !tcgetpgrp(stdin()).is_ok_and(|group| group != getpgrp())
    }

    /// Keys as they are pressed. Puts the terminal's modes back when dropped.
    pub(crate) struct Keys {
        wanted: bool,
    }

    impl Keys {
        /// Nothing is read where it is not `wanted`, or where standard input is no terminal.
        pub(crate) fn new(wanted: bool) -> Self {
            Self { wanted: wanted && stdin().is_terminal() }
        }

        /// What was pressed since the last time.
        pub(crate) fn pressed(&self) -> Vec<u8> {
            // To read or to change modes from the background stops a process.
            if !self.wanted || !in_foreground() || !prepare() {
                return Vec::new();
            }
            let mut keys = [0; 64];
            let n = read(stdin(), &mut keys).unwrap_or(0);
            keys[..n].to_vec()
        }

        /// Gives the terminal back before the process stops (Ctrl-Z) or quits (Ctrl-\\). Never ends.
        pub(crate) async fn stops(&self) {
            let signals = (signal(SignalKind::from_raw(Signal::SIGTSTP as i32)), signal(SignalKind::quit()));
            let (true, (Ok(mut stops), Ok(mut quits))) = (self.wanted, signals) else {
                return std::future::pending().await;
            };
            loop {
                tokio::select! {
                    _ = stops.recv() => {
                        restore();
                        // Goes on from here once somebody continues it.
                        let _ = raise(Signal::SIGSTOP);
                    }
                    _ = quits.recv() => {
                        restore();
                        // What a shell says of a program that was ended by this signal.
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

    /// Has keys come one by one and unseen, without a wait. `false` where the terminal cannot.
    fn prepare() -> bool {
        let mut original = ORIGINAL.lock().unwrap_or_else(PoisonError::into_inner);
        if original.is_some() {
            return true;
        }
        let Ok(before) = tcgetattr(stdin()) else { return false };
        let mut modes = before.clone();
        // Ctrl-C and its like stay signals.
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
    /// Nothing is changed here.
    pub(crate) fn remember() {}

    /// Nothing was changed.
    pub(crate) fn restore() {}

    /// No keys.
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

//! A few lines at the bottom of a terminal that are drawn again in place.

use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use console::Term;

/// A few lines at the bottom of a terminal.
///
/// The cursor rests at the beginning of the line below them, so that the `^C` which a terminal echoes neither wraps
/// nor moves them.
pub(crate) struct Panel {
    term: Term,
    /// Lines on the screen now.
    lines: Mutex<usize>,
}

impl Panel {
    pub(crate) fn new() -> Self {
        Self { term: Term::stderr(), lines: Mutex::new(0) }
    }

    /// Puts `text`, which is made for the width that it is given, in the place of what was there.
    pub(crate) fn draw(&self, text: impl FnOnce(usize) -> String) {
        // One column less: some terminals wrap at the last one.
        let width = usize::from(self.term.size().1).saturating_sub(1);
        self.put(&text(width));
    }

    /// Leaves the terminal as if nothing had been there.
    pub(crate) fn clear(&self) {
        self.put("");
    }

    fn put(&self, text: &str) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        // One write for the whole frame: no reader sees half of it.
        let mut frame = String::new();
        if *lines > 0 {
            let _ = write!(frame, "\x1b[{lines}A");
        }
        // From the beginning of the line to the end of the screen.
        frame.push_str("\r\x1b[J");
        for line in text.lines() {
            frame.push_str(line);
            frame.push('\n');
        }
        *lines = text.lines().count();
        // A terminal that has gone is not worth an error.
        let _ = self.term.write_str(&frame);
    }
}

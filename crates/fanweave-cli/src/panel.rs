//! A few lines at the bottom of a terminal that are redrawn in place.

use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use console::Term;

/// A few lines at the bottom of a terminal.
///
/// The cursor rests at the beginning of the line below them, so that the `^C` which a terminal echoes neither
/// wraps nor moves them.
pub(crate) struct Panel {
    term: Term,
}

/// Widths of the lines on the screen, in columns. A process shows one panel at a time.
static LINES: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// Removes the panel for the lines that `print` writes. The next frame draws it below them.
pub(crate) fn above(print: impl FnOnce()) {
    let mut lines = lock();
    if !lines.is_empty() {
        Panel::new().put(&mut lines, "");
    }
    print();
}

fn lock() -> MutexGuard<'static, Vec<usize>> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Panel {
    pub(crate) fn new() -> Self {
        Self { term: Term::stderr() }
    }

    /// Replaces the lines with `text`, which gets the usable width.
    pub(crate) fn draw(&self, text: impl FnOnce(usize) -> String) {
        // One column less: some terminals wrap at the last one.
        let text = text(self.columns().saturating_sub(1));
        self.put(&mut lock(), &text);
    }

    /// Removes the lines.
    pub(crate) fn clear(&self) {
        self.put(&mut lock(), "");
    }

    fn columns(&self) -> usize {
        usize::from(self.term.size().1)
    }

    fn put(&self, lines: &mut Vec<usize>, text: &str) {
        // One write for the whole frame: no reader sees half of it.
        let mut frame = String::new();
        let up = rows(lines, self.columns());
        if up > 0 {
            let _ = write!(frame, "\x1b[{up}A");
        }
        // From the beginning of the line to the end of the screen.
        frame.push_str("\r\x1b[J");
        for line in text.lines() {
            frame.push_str(line);
            frame.push('\n');
        }
        *lines = text.lines().map(console::measure_text_width).collect();
        // A closed terminal is not an error.
        let _ = self.term.write_str(&frame);
    }
}

/// Number of terminal rows for lines of these widths. A terminal that became narrower has wrapped them.
fn rows(widths: &[usize], columns: usize) -> usize {
    widths.iter().map(|width| width.div_ceil(columns.max(1)).max(1)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_wrapped_by_a_narrower_terminal_are_overwritten() {
        assert_eq!(rows(&[], 80), 0);
        assert_eq!(rows(&[79, 0, 12], 80), 3);
        assert_eq!(rows(&[79, 0, 12], 40), 4);
        assert_eq!(rows(&[79, 20, 12], 20), 6);
        assert_eq!(rows(&[3], 0), 3);
    }
}

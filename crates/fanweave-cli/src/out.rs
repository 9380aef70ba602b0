//! What goes to a person and is no result of a call.

use std::borrow::Cow;
use std::io::{ErrorKind, IsTerminal, Write};

use crate::exit::{Exit, Failure};

/// Prints text. A reader that has seen enough is no failure.
pub(crate) fn print(text: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    written(out.write_all(text).and_then(|()| out.flush())).map(|_| ())
}

/// How to go on after a write: not at all where the reader has gone.
pub(crate) fn written(result: std::io::Result<()>) -> Result<Option<Exit>, Failure> {
    match result {
        Ok(()) => Ok(None),
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(Some(Exit::Ok)),
        Err(e) => Err(Failure::new(format!("cannot write to standard output: {e}"))),
    }
}

/// The text without what terminals take for commands: what a model or a server wrote must not move the cursor, rename the
/// window or write to the clipboard.
pub(crate) fn escape_controls(text: &str) -> Cow<'_, str> {
    let is_command = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains(is_command) { text.replace(is_command, "").into() } else { text.into() }
}

/// As [`escape_controls`] where a terminal shows it; other readers get the text as it is.
pub(crate) fn answer(text: &str) -> Cow<'_, str> {
    if std::io::stdout().is_terminal() { escape_controls(text) } else { text.into() }
}

/// Says something on standard error, as a terminal may show it. Where it cannot be written, nobody is there to be told so, and the work goes on.
macro_rules! tell {
    ($($text:tt)*) => {{
        let said = format!("{}\n", format_args!($($text)*));
        let line = $crate::out::escape_controls(&said);
        let _ = ::std::io::Write::write_all(&mut anstream::stderr(), line.as_bytes());
    }};
}
pub(crate) use tell;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_terminals_are_left_out_and_lines_stay() {
        assert_eq!(escape_controls("tides\tturn\n"), "tides\tturn\n");
        assert_eq!(escape_controls("a\x1b]0;title\x07\x1b[31mred\u{9b}2J\r\x08"), "a]0;title[31mred2J");
    }
}

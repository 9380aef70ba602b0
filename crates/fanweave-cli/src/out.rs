//! Output to standard output and standard error.

use std::borrow::Cow;
use std::io::{ErrorKind, IsTerminal, Write};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};

use crate::args::Color;
use crate::exit::{Exit, Failure};

/// Prints text. A closed pipe is not an error.
pub(crate) fn print(text: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    written(out.write_all(text).and_then(|()| out.flush())).map(|_| ())
}

/// Checks the result of a write. Returns an exit code if the pipe was closed.
pub(crate) fn written(result: std::io::Result<()>) -> Result<Option<Exit>, Failure> {
    match result {
        Ok(()) => Ok(None),
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(Some(Exit::Ok)),
        Err(e) => Err(Failure::new(format!("cannot write to standard output: {e}"))),
    }
}

/// Removes control characters except line breaks and tabs: text of a model or server must not move the
/// cursor, rename the window or write to the clipboard.
pub(crate) fn escape_controls(text: &str) -> Cow<'_, str> {
    let is_control = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains(is_control) { text.replace(is_control, "").into() } else { text.into() }
}

/// Like [`escape_controls`] if stdout is a terminal; otherwise returns the text unchanged.
pub(crate) fn answer(text: &str) -> Cow<'_, str> {
    if std::io::stdout().is_terminal() { escape_controls(text) } else { text.into() }
}

/// Prints a line on standard error, without control characters. Write errors are ignored.
macro_rules! tell {
    ($($text:tt)*) => {{
        let text = format!("{}\n", format_args!($($text)*));
        let line = $crate::out::escape_controls(&text);
        let _ = ::std::io::Write::write_all(&mut anstream::stderr(), line.as_bytes());
    }};
}
pub(crate) use tell;

/// Prints the error on stderr and returns the exit code.
pub(crate) fn report(failure: &Failure, color: Color) -> Exit {
    let choice = match color.choice() {
        clap::ColorChoice::Auto => ColorChoice::Auto,
        clap::ColorChoice::Always => ColorChoice::Always,
        clap::ColorChoice::Never => ColorChoice::Never,
    };
    let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
    let _ = write!(AutoStream::new(std::io::stderr(), choice), "{red}error:{red:#} ");
    tell!("{}", failure.message());
    if let Some(hint) = failure.hint() {
        tell!("  {hint}");
    }
    failure.exit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_removed_except_line_breaks_and_tabs() {
        assert_eq!(escape_controls("tides\tturn\n"), "tides\tturn\n");
        assert_eq!(escape_controls("a\x1b]0;title\x07\x1b[31mred\u{9b}2J\r\x08"), "a]0;title[31mred2J");
    }
}

//! Output to standard output and standard error.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use fanweave::__private::{alters_display, is_separator};

use crate::args::Color;
use crate::exit::{Exit, Failure};
use crate::panel::above;

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

/// Removes control characters except line breaks and tabs, and characters that change the direction of text
/// or are invisible: text of a model or server must not move the cursor, rename the window, write to the
/// clipboard, or read differently from what it is.
///
/// Joiners between letters or emoji stay, since several scripts need them.
pub(crate) fn escape_controls(text: &str) -> Cow<'_, str> {
    // Fast path: nearly all texts.
    if !text.contains(|c: char| alters_display(c) || is_separator(c) || is_joiner(c)) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len());
    let mut before = None;
    let mut all = text.chars().peekable();
    while let Some(c) = all.next() {
        let joins = |c: char| !c.is_ascii() && !alters_display(c) && !is_joiner(c) && !c.is_whitespace();
        // A part of a stream may begin or end with a joiner.
        let is_joined = match (before, all.peek()) {
            (Some(before), Some(after)) => joins(before) && joins(*after),
            (Some(before), None) => joins(before),
            (None, Some(after)) => joins(*after),
            (None, None) => false,
        };
        match c {
            c if is_separator(c) => shown.push('\n'),
            c if is_joiner(c) && !is_joined => continue,
            c if alters_display(c) => continue,
            c => shown.push(c),
        }
        before = Some(c).filter(|c| !is_joiner(*c));
    }
    shown.into()
}

/// JSON for standard output. On a terminal, characters that [`escape_controls`] removes are escaped.
pub(crate) fn shown_json(value: &serde_json::Value) -> impl Display {
    let is_terminal = std::io::stdout().is_terminal();
    // Elsewhere without a copy: an answer may be long.
    std::fmt::from_fn(
        move |f| if is_terminal { f.write_str(&escape_json(&value.to_string())) } else { value.fmt(f) },
    )
}

fn escape_json(json: &str) -> String {
    // JSON contains these characters only in texts.
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        if alters_display(c) || is_separator(c) {
            let mut units = [0; 2];
            shown.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Zero-width joiner and non-joiner.
fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

/// Like [`escape_controls`] if stdout is a terminal; otherwise returns the text unchanged.
pub(crate) fn answer(text: &str) -> Cow<'_, str> {
    if std::io::stdout().is_terminal() { escape_controls(text) } else { text.into() }
}

/// Prints a line on standard error, above the panel if one is shown.
pub(crate) fn tell_line(line: &str) {
    above(|| _ = anstream::stderr().write_all(line.as_bytes()));
}

/// Prints a line on standard error, without control characters. Write errors are ignored.
macro_rules! tell {
    ($($text:tt)*) => {{
        let text = format!("{}\n", format_args!($($text)*));
        $crate::out::tell_line(&$crate::out::escape_controls(&text));
    }};
}
pub(crate) use tell;

/// Prints a note, unless the command is quiet.
pub(crate) fn note(note: Option<String>, is_quiet: bool) {
    if let Some(note) = note.filter(|_| !is_quiet) {
        tell!("{note}");
    }
}

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
        let plain = "nothing to remove";
        assert!(matches!(escape_controls(plain), Cow::Borrowed(text) if text == plain));
        assert_eq!(escape_controls("a\x1b]0;title\x07\x1b[31mred\u{9b}2J\r\x08"), "a]0;title[31mred2J");
    }

    #[test]
    fn text_cannot_read_differently_from_what_it_is() {
        for (text, shown) in [
            ("access\u{202e}txt.exe\u{202c}", "accesstxt.exe"),
            ("a\u{2066}b\u{2069}\u{200e}\u{200f}\u{61c}", "ab"),
            ("pass\u{200b}word\u{2060}\u{feff}\u{ad}", "password"),
            ("one\u{2028}two\u{2029}", "one\ntwo\n"),
            ("hi\u{e0041}\u{e007f}\u{fff9}\u{85}", "hi"),
            // Joiners only where they join.
            ("pass\u{200d}word", "password"),
            ("می\u{200c}خواهم", "می\u{200c}خواهم"),
            ("👩\u{200d}👧", "👩\u{200d}👧"),
            ("👩\u{200d}\u{202e}👧\u{200d}", "👩👧\u{200d}"),
            ("\u{200d}👧", "\u{200d}👧"),
            ("word\u{200d}", "word"),
            ("👩\u{200d}\u{200d}\u{200d}👧", "👩\u{200d}👧"),
        ] {
            assert_eq!(escape_controls(text), shown, "{text:?}");
        }
    }
}

//! Output that a person sees on a terminal.

use std::io::{self, Write};

use fanweave_core::__private::{alters_display, is_separator};

/// Removes characters that control a terminal, or that make a text read differently from what it is: text of
/// a model must not move the cursor, write to the clipboard or change its direction. Files and pipes get the
/// text as it is.
pub(super) struct Shown<W> {
    inner: W,
    /// The beginning of a character whose end has not been written yet.
    begun: Vec<u8>,
}

impl<W: Write> Shown<W> {
    pub(super) fn new(inner: W) -> Self {
        Self { inner, begun: Vec::new() }
    }
}

impl<W: Write> Write for Shown<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begun.extend_from_slice(bytes);
        let end = match str::from_utf8(&self.begun) {
            Ok(text) => text.len(),
            Err(e) if e.error_len().is_none() => e.valid_up_to(),
            Err(_) => self.begun.len(),
        };
        let rest = self.begun.split_off(end);
        let text = String::from_utf8_lossy(&self.begun).replace(is_removed, "");
        self.begun = rest;
        self.inner.write_all(text.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn is_removed(c: char) -> bool {
    c != '\r' && (alters_display(c) || is_separator(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_removed_wherever_the_text_is_split() {
        let text = "a\u{1b}]52;c;x\u{7}b\u{202e}c\u{9b}d\u{200b}, Grüße 東京 🌊\r\n\t";
        for at in 0..text.len() {
            let mut shown = Shown::new(Vec::new());
            shown.write_all(&text.as_bytes()[..at]).unwrap();
            shown.write_all(&text.as_bytes()[at..]).unwrap();
            assert_eq!(String::from_utf8(shown.inner).unwrap(), "a]52;c;xbcd, Grüße 東京 🌊\r\n\t");
        }
    }
}

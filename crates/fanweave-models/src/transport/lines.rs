//! Newline-delimited JSON: bytes in, lines out.
//!
//! Work is linear in the bytes, however they are split, and memory is bounded by the length of one line. A
//! line that arrives in one chunk is passed on as a slice of that chunk.

use fanweave_core::{Error, ErrorKind, Result};
use memchr::memchr;

use super::sse::{SseEvent, utf8, without_mark};

/// An incremental decoder for one stream.
#[derive(Debug)]
pub(crate) struct LineDecoder {
    /// Maximum bytes of one line.
    max_bytes: usize,
    /// The beginning of a line whose end has not arrived. Already searched: it contains no line end.
    line: Vec<u8>,
}

impl LineDecoder {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, line: Vec::new() }
    }

    /// Reads the next bytes of the stream and passes every completed line to `each`, as an event without a
    /// name. Blank lines are skipped. An incomplete last line is never passed on.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] if a line is too long, and the first error of `each`.
    pub(crate) fn feed(
        &mut self,
        chunk: &[u8],
        mut each: impl FnMut(SseEvent<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut rest = chunk;
        while let Some(end) = memchr(b'\n', rest) {
            let head = &rest[..end];
            rest = &rest[end + 1..];
            if self.line.is_empty() {
                self.check(head.len())?;
                emit(head, &mut each)?;
            } else {
                self.extend(head)?;
                let whole = std::mem::take(&mut self.line);
                emit(&whole, &mut each)?;
                // Reuse the allocation for the next incomplete line.
                self.line = whole;
                self.line.clear();
            }
        }
        self.extend(rest)
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<()> {
        self.check(bytes.len())?;
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn check(&self, more: usize) -> Result<()> {
        if self.line.len() + more <= self.max_bytes {
            return Ok(());
        }
        let message = format!("a line of the stream is longer than {} bytes", self.max_bytes);
        // Retrying would fail in the same way and be billed again.
        Err(Error::new(ErrorKind::Decode, message).with_retryable(false))
    }
}

fn emit(line: &[u8], each: &mut impl FnMut(SseEvent<'_>) -> Result<()>) -> Result<()> {
    let line = without_mark(line).trim_ascii();
    if line.is_empty() {
        return Ok(());
    }
    each(SseEvent { name: "", data: &utf8(line) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(max_bytes: usize, chunks: &[&[u8]]) -> Result<Vec<String>> {
        let mut decoder = LineDecoder::new(max_bytes);
        let mut lines = Vec::new();
        for chunk in chunks {
            decoder.feed(chunk, |event| {
                lines.push(event.data.to_owned());
                Ok(())
            })?;
        }
        Ok(lines)
    }

    #[test]
    fn a_line_ends_with_its_line_end_and_blank_ones_are_skipped() {
        assert_eq!(decode(99, &[b"{}\r\n\n[1]\n", b"cut"]).unwrap(), ["{}", "[1]"]);
    }

    #[test]
    fn a_line_longer_than_the_limit_is_rejected_before_it_is_buffered() {
        for chunks in [&[&b"xxxxxx"[..], b"xxxxxx"][..], &[b"xxxxxxxxxxxx\n"]] {
            let error = decode(10, chunks).unwrap_err();
            assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Decode, false));
        }
        assert_eq!(decode(10, &[b"xxxxxxxxxx\nyyyyyyyyyy\n"]).unwrap().len(), 2);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_marked() {
        assert_eq!(decode(10, &[b"a\xFF\n"]).unwrap(), ["a\u{FFFD}"]);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_lines(
            lines in prop::collection::vec("[a-zé😀 ]{0,8}", 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let wire = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
            let wire = wire.as_bytes();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
            cuts.extend([0, wire.len()]);
            cuts.sort_unstable();
            let chunks: Vec<_> = cuts.windows(2).map(|w| &wire[w[0]..w[1]]).collect();
            prop_assert_eq!(decode(99, &chunks).unwrap(), decode(99, &[wire]).unwrap());
        }
    }
}

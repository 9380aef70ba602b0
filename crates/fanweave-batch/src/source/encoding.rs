//! Encodings of texts: detection by the first bytes, and conversion to UTF-8. What is not UTF-8 and has no
//! known encoding is rejected: otherwise rows would be sent with wrong characters, and billed.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::str::FromStr;

use crate::{Error, Result};

/// Byte order marks of UTF-32. They are checked first: that of UTF-16 is a prefix of one of them.
const UTF_32: [&[u8]; 2] = [b"\xFF\xFE\0\0", b"\0\0\xFE\xFF"];
const UTF_16: [&[u8]; 2] = [b"\xFF\xFE", b"\xFE\xFF"];

/// End of the message for a field or a line that is not text.
pub(super) const NOT_UTF8: &str = "is not valid UTF-8";

/// Number of leading bytes that are checked.
const BLOCK: usize = 1 << 16;

/// Maximum bytes that are converted at once.
const CHUNK: usize = 1 << 14;

/// Encoding of a text, by a name of the [WHATWG Encoding Standard](https://encoding.spec.whatwg.org/), which
/// browsers use: `utf-8`, `utf-16`, `windows-1252`, `latin1`, `shift_jis`, ..
///
/// ```
/// use fanweave::batch::Encoding;
///
/// let encoding: Encoding = "Latin-1".parse()?;
/// assert_eq!(encoding.name(), "windows-1252");
/// # Ok::<_, fanweave::batch::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding(&'static encoding_rs::Encoding);

impl Encoding {
    /// UTF-8.
    pub const UTF_8: Self = Self(encoding_rs::UTF_8);

    /// Its standard name. Latin-1 is read as windows-1252, which contains it.
    pub fn name(&self) -> &'static str {
        self.0.name()
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Encoding {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let squeezed = name.replace(['-', '_', ' '], "");
        let spelled = name.replace('_', "-");
        let found = [name, &spelled, &squeezed].into_iter().find_map(|label| {
            // An encoding that stands for others, which cannot be read.
            let known = encoding_rs::Encoding::for_label(label.as_bytes())?;
            (known != encoding_rs::REPLACEMENT).then_some(known)
        });
        found.map(Self).ok_or_else(|| {
            let known = "utf-8, utf-16, windows-1252, latin-1, shift_jis, gb18030, euc-kr";
            Error::usage(format!("`{name}` is not a known encoding. Some valid encodings: {known}"))
        })
    }
}

/// Encoding of a text that begins with these bytes, if they tell.
pub(super) fn detect(begin: &[u8]) -> Option<Encoding> {
    let is_marked = |marks: &[&[u8]]| marks.iter().any(|mark| begin.starts_with(mark));
    // The converter reads the byte order from the mark.
    (!is_marked(&UTF_32) && is_marked(&UTF_16)).then_some(Encoding(encoding_rs::UTF_16LE))
}

/// Applies [`encoding_error`] to the bytes that are buffered or arrive next, without waiting for more than
/// the first line.
pub(super) fn look_ahead(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    loop {
        match reader.fill_buf() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            block => return block.map(encoding_error),
        }
    }
}

/// Error message if an input that begins with these bytes is not UTF-8 text. `None` if it may be.
pub(super) fn encoding_error(begin: &[u8]) -> Option<String> {
    if UTF_32.iter().any(|mark| begin.starts_with(mark)) {
        return Some(
            "expected UTF-8, but the input is UTF-32; convert it with `iconv -f UTF-32 -t UTF-8`".to_owned(),
        );
    }
    let block = &begin[..begin.len().min(BLOCK)];
    block.contains(&0).then(|| {
        "expected UTF-8 text, but the input contains zero bytes; if it is UTF-16, \
         convert it with `iconv -f UTF-16LE -t UTF-8`"
            .to_owned()
    })
}

/// The number of the first line in these leading bytes that is not UTF-8.
pub(super) fn invalid_line(begin: &[u8]) -> Option<usize> {
    let error = str::from_utf8(begin).err()?;
    // A character may be cut at the end.
    error.error_len()?;
    Some(begin[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1)
}

/// Converts a text to UTF-8.
pub(super) struct Decoded<R> {
    reader: R,
    encoding: Encoding,
    decoder: encoding_rs::Decoder,
    text: Vec<u8>,
    /// Bytes of `text` that were read.
    at: usize,
    is_ended: bool,
}

impl<R: BufRead> Decoded<R> {
    pub(super) fn new(reader: R, encoding: Encoding) -> Self {
        let (decoder, text) = (encoding.0.new_decoder(), Vec::new());
        Self { reader, encoding, decoder, text, at: 0, is_ended: false }
    }
}

impl<R: BufRead> Read for Decoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.text.len() {
            if self.is_ended {
                return Ok(0);
            }
            let block = self.reader.fill_buf()?;
            let chunk = &block[..block.len().min(CHUNK)];
            let max = self.decoder.max_utf8_buffer_length_without_replacement(chunk.len());
            self.text.resize(max.expect("a chunk is small"), 0);
            let is_last = chunk.is_empty();
            let (result, read, written) =
                self.decoder.decode_to_utf8_without_replacement(chunk, &mut self.text, is_last);
            self.reader.consume(read);
            self.text.truncate(written);
            self.at = 0;
            self.is_ended = is_last;
            if let encoding_rs::DecoderResult::Malformed(..) = result {
                self.is_ended = true;
                let message = format!("the text is not valid {}", self.encoding);
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
        }
        let n = buffer.len().min(self.text.len() - self.at);
        buffer[..n].copy_from_slice(&self.text[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8], encoding: &str) -> io::Result<String> {
        let mut text = String::new();
        // Small blocks cut characters.
        let reader = io::BufReader::with_capacity(3, bytes);
        Decoded::new(reader, encoding.parse().unwrap()).read_to_string(&mut text).map(|_| text)
    }

    #[test]
    fn texts_of_known_encodings_are_converted() {
        assert_eq!(decode(b"\xc9t\xe9 \x80", "latin-1").unwrap(), "Été €");
        assert_eq!(decode(b"\x83\x65\x83\x58\x83\x67", "Shift-JIS").unwrap(), "テスト");
        for bytes in [u16::to_le_bytes, u16::to_be_bytes] {
            let wide: Vec<u8> = "\u{feff}Grüße 🌧".encode_utf16().flat_map(bytes).collect();
            assert_eq!(decode(&wide, "utf-16").unwrap(), "Grüße 🌧");
        }
    }

    #[test]
    fn a_text_that_is_not_of_its_encoding_is_an_error() {
        let error = decode(b"ab\xff\xff", "shift_jis").unwrap_err();
        assert_eq!(error.to_string(), "the text is not valid Shift_JIS");
        assert!(decode(b"\xff\xfea", "utf-16").is_err(), "half a character at the end");
    }

    #[test]
    fn an_unknown_encoding_is_an_error_with_examples() {
        for name in ["klingon", "", "iso-2022-kr"] {
            let error = name.parse::<Encoding>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{name}` is not a known encoding")), "{error}");
        }
    }
}

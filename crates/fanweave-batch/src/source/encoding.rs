//! Encodings of texts: detection by the first bytes, and conversion to UTF-8. What is not UTF-8 and has no
//! known encoding is rejected: otherwise rows would be sent with wrong characters, and billed.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::str::FromStr;

use memchr::memchr;

use crate::{Advice, Error, Result};

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
pub(super) fn look_ahead(reader: &mut impl BufRead) -> io::Result<Option<NotText>> {
    loop {
        match reader.fill_buf() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            block => return block.map(encoding_error),
        }
    }
}

/// The reason why an input is not UTF-8 text, with advice if there is some.
#[derive(Debug, PartialEq)]
pub(super) struct NotText {
    pub(super) message: String,
    pub(super) advice: Option<Advice>,
}

impl NotText {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), advice: None }
    }
}

/// First bytes of files of other programs, and what they are. Whatever their names, they are not text.
const OTHER_FILES: [(&[u8], &str); 11] = [
    (b"ARROW1", "an Arrow or Feather file"),
    (b"FEA1", "a Feather file"),
    // The first bytes of a stream of Arrow, as data sets of Hugging Face are stored.
    (b"\xFF\xFF\xFF\xFF", "a stream of Arrow"),
    (b"SQLite format 3\0", "a database of SQLite"),
    (b"Obj\x01", "an Avro file"),
    (b"ORC", "an ORC file"),
    (b"\x93NUMPY", "an array of NumPy"),
    (b"\x89HDF", "an HDF5 file"),
    (b"%PDF-", "a PDF document"),
    (b"BZh", "compressed with bzip2"),
    (b"\xFD7zXZ\0", "compressed with xz"),
];

/// The reason why an input that begins with these bytes is not UTF-8 text. `None` if it may be.
pub(super) fn encoding_error(begin: &[u8]) -> Option<NotText> {
    if UTF_32.iter().any(|mark| begin.starts_with(mark)) {
        return Some(NotText::new(
            "expected UTF-8, but the input is UTF-32; convert it with `iconv -f UTF-32 -t UTF-8`",
        ));
    }
    let block = &begin[..begin.len().min(BLOCK)];
    let other = OTHER_FILES.iter().find(|(magic, _)| begin.starts_with(magic));
    // These bytes may also begin a text.
    let is_other = |magic: &[u8]| {
        !magic.is_ascii() || magic == b"%PDF-" || str::from_utf8(block).is_err() || block.contains(&0)
    };
    if let Some((_, kind)) = other.filter(|(magic, _)| is_other(magic)) {
        let instead = match kind.starts_with("compressed") {
            true => "decompress it first, or compress it with gzip or zstd",
            false => "save its rows as Parquet, CSV or JSON Lines",
        };
        return Some(NotText::new(format!("expected text, but the input is {kind}; {instead}")));
    }
    let first_zero = memchr(0, block)?;
    let zeros = |parity: usize| block.iter().skip(parity).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    // Text has letters of the first 256, or at least delimiters and line ends: some, or all of a short text.
    let is_frequent = |zeros: usize| zeros * 16 >= block.len() && (zeros >= 3 || zeros * 2 >= block.len());
    let name = match (even, odd) {
        (0, odd) if is_frequent(odd) => Some("utf-16le"),
        (even, 0) if is_frequent(even) => Some("utf-16be"),
        _ => None,
    };
    let Some(name) = name else {
        let line = block[..first_zero].iter().filter(|byte| **byte == b'\n').count() + 1;
        let message = format!(
            "expected UTF-8 text, but line {line} contains a zero byte: remove it, or convert the file"
        );
        return Some(NotText::new(message));
    };
    let message = "expected UTF-8 text, but the input contains zero bytes, as UTF-16 does";
    Some(NotText { message: message.to_owned(), advice: Some(Advice::SetEncodingTo { name }) })
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
    fn files_of_other_programs_are_named_and_texts_that_begin_alike_are_not() {
        let why = |bytes: &[u8]| encoding_error(bytes).map(|why| why.message).unwrap_or_default();
        assert!(
            why(b"ARROW1\0\0\xff\xff\xff\xff").contains("an Arrow or Feather file; save its rows as Parquet")
        );
        assert!(why(b"\xff\xff\xff\xff\x10\x01\0\0").contains("a stream of Arrow"));
        assert!(why(b"SQLite format 3\0").contains("a database of SQLite"));
        assert!(why(b"BZh91AY&SY\xde").contains("decompress it first"));
        for text in [&b"ORC armies,1\n"[..], b"BZhou\n", b"FEA1\n", b"ARROW1,2", b"", b"a"] {
            assert_eq!(why(text), "", "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn zero_bytes_tell_the_order_of_utf_16() {
        let advice = |bytes: &[u8]| encoding_error(bytes).unwrap().advice;
        let wide =
            |bytes: fn(u16) -> [u8; 2]| "r,東京\n1,é\n".encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        assert_eq!(advice(&wide(u16::to_le_bytes)), Some(Advice::SetEncodingTo { name: "utf-16le" }));
        assert_eq!(advice(&wide(u16::to_be_bytes)), Some(Advice::SetEncodingTo { name: "utf-16be" }));
        let one = encoding_error(b"a,b\n1,x\0y\n").unwrap();
        assert_eq!(one.advice, None);
        assert!(one.message.contains("line 2 contains a zero byte"), "{}", one.message);
    }

    #[test]
    fn an_unknown_encoding_is_an_error_with_examples() {
        for name in ["klingon", "", "iso-2022-kr"] {
            let error = name.parse::<Encoding>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{name}` is not a known encoding")), "{error}");
        }
    }
}

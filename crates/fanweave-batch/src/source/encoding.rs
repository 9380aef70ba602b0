//! Rejects inputs that are not UTF-8, by their first bytes: otherwise rows would be sent with zero bytes in
//! them, and billed.

use std::io::{self, BufRead};

/// Byte order marks of other encodings. Longer marks come first, because that of UTF-16 is a prefix of one of
/// UTF-32.
const MARKS: [(&[u8], &str); 4] = [
    (b"\xFF\xFE\0\0", "UTF-32"),
    (b"\0\0\xFE\xFF", "UTF-32"),
    (b"\xFF\xFE", "UTF-16"),
    (b"\xFE\xFF", "UTF-16"),
];

/// Number of leading bytes that are checked.
const BLOCK: usize = 1 << 16;

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
    if let Some((_, name)) = MARKS.iter().find(|(mark, _)| begin.starts_with(mark)) {
        return Some(format!(
            "expected UTF-8, but the input is {name}; convert it with `iconv -f {name} -t UTF-8`"
        ));
    }
    let block = &begin[..begin.len().min(BLOCK)];
    block.contains(&0).then(|| {
        "expected UTF-8 text, but the input contains zero bytes; if it is UTF-16, \
         convert it with `iconv -f UTF-16LE -t UTF-8`"
            .to_owned()
    })
}

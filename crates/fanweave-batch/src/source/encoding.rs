//! Inputs that are not in UTF-8, told by their first bytes: their rows would be sent with zero bytes in them, and paid for.

use std::io::{self, BufRead};

/// What inputs in other encodings begin with. The longer marks come first: that of UTF-16 is the beginning of one of UTF-32.
const MARKS: [(&[u8], &str); 4] = [
    (b"\xFF\xFE\0\0", "UTF-32"),
    (b"\0\0\xFE\xFF", "UTF-32"),
    (b"\xFF\xFE", "UTF-16"),
    (b"\xFE\xFF", "UTF-16"),
];

/// Bytes of the beginning that are looked at.
const BLOCK: usize = 1 << 16;

/// What [`refusal`] says of the bytes that are there already, or come next: as far as an input can be known without waiting for
/// more than its first line.
pub(super) fn look_ahead(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    loop {
        match reader.fill_buf() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            block => return block.map(refusal),
        }
    }
}

/// Why an input that begins with these bytes is no text in UTF-8, and what to do. `None` where nothing speaks against it.
pub(super) fn refusal(begin: &[u8]) -> Option<String> {
    if let Some((_, name)) = MARKS.iter().find(|(mark, _)| begin.starts_with(mark)) {
        return Some(format!(
            "the input is in {name}, and UTF-8 is expected; `iconv -f {name} -t UTF-8` converts it"
        ));
    }
    let block = &begin[..begin.len().min(BLOCK)];
    block.contains(&0).then(|| {
        "the input has zero bytes, and text in UTF-8 is expected; if it is text in UTF-16, \
         `iconv -f UTF-16LE -t UTF-8` converts it"
            .to_owned()
    })
}

//! Texts of flags that may be in a file.

use std::io::{Error, ErrorKind, Read};

use crate::exit::Failure;

/// Maximum bytes of a file that a flag names. Also pipes are read, such as `<(command)`, and may never end.
const MAX_BYTES: u64 = 64 << 20;

/// Resolves an argument: `@FILE` reads a file, `@@text` is the literal `@text`.
pub(crate) fn text_or_file(flag: &str, text: &str) -> Result<String, Failure> {
    let Some(path) = text.strip_prefix('@') else { return Ok(text.to_owned()) };
    if path.starts_with('@') {
        return Ok(path.to_owned());
    }
    read_text(flag, path)
}

/// Reads the file that a flag names.
pub(crate) fn read_text(flag: &str, path: &str) -> Result<String, Failure> {
    let text = read(path).map_err(|e| Failure::usage(format!("{flag}: cannot read {path}: {e}")))?;
    // Some editors start a file with a byte order mark.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

fn read(path: &str) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(Error::new(ErrorKind::InvalidInput, format!("larger than {} MiB", MAX_BYTES >> 20)));
    }
    Ok(text)
}

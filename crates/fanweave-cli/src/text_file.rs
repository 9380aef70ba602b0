//! Texts of flags that may be in a file.

use crate::exit::Failure;

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
    let text = std::fs::read_to_string(path)
        .map_err(|e| Failure::usage(format!("{flag}: cannot read {path}: {e}")))?;
    // Some editors start a file with a byte order mark.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

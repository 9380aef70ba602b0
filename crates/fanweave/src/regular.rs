//! Files of settings.

use std::path::Path;

/// Reads a file of settings as text. Does not block at a pipe or a device: these are errors.
pub(crate) fn read(path: &Path) -> std::io::Result<String> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a regular file"));
    }
    std::fs::read_to_string(path)
}

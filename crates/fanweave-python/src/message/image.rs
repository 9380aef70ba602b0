//! Images for messages, from URLs, files and bytes.

use std::path::PathBuf;

use fanweave::messages::Media;
use fanweave::{Error, ErrorKind};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::raise;

/// The image of a URL, a path or bytes.
pub(super) fn media_of(image: &Bound<'_, PyAny>, media_type: Option<&str>) -> PyResult<Media> {
    let py = image.py();
    if let Ok(bytes) = image.cast::<PyBytes>() {
        return inline(py, bytes, media_type);
    }
    if let Ok(text) = image.extract::<String>()
        && ["http://", "https://", "data:", "gs://", "s3://"].iter().any(|scheme| text.starts_with(scheme))
    {
        return Ok(Media::Url(text));
    }
    let path: PathBuf = image.extract()?;
    // Read by Python: its error names the file.
    let bytes = py.import("pathlib")?.call_method1("Path", (path,))?.call_method0("read_bytes")?;
    inline(py, bytes.cast::<PyBytes>()?, media_type)
}

fn inline(py: Python<'_>, bytes: &Bound<'_, PyBytes>, media_type: Option<&str>) -> PyResult<Media> {
    let Some(media_type) = media_type.or_else(|| type_of(bytes.as_bytes())) else {
        let message = "the image is not PNG, JPEG, GIF or WebP: give its media_type, such as image/avif";
        return Err(raise(py, &Error::new(ErrorKind::Input, message)));
    };
    let base64: Bound<'_, PyBytes> =
        py.import("base64")?.call_method1("b64encode", (bytes,))?.cast_into::<PyBytes>()?;
    let base64 = String::from_utf8_lossy(base64.as_bytes()).into_owned();
    Ok(Media::Inline { media_type: media_type.to_owned(), base64 })
}

/// The type that the first bytes of a file tell.
fn type_of(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

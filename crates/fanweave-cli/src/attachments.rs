//! Files that are attached to a prompt.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fanweave::Message;
use fanweave::messages::{Media, Part};

use crate::exit::Failure;

/// Maximum size of a file. Source: the 20 MiB that providers accept for a request with images.
const MAX_BYTES: u64 = 20 << 20;

/// Media types of files that are sent as they are, by their extensions.
const MEDIA: [(&str, &str); 8] = [
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("wav", "audio/wav"),
    ("mp3", "audio/mp3"),
    ("pdf", "application/pdf"),
];

/// Appends files and the URLs of images to a message.
pub(crate) fn attach(mut message: Message, files: &[String]) -> Result<Message, Failure> {
    for file in files {
        message = message.with_part(part(file)?);
    }
    Ok(message)
}

/// An image, a sound or a PDF file as it is, and any other file as text.
fn part(file: &str) -> Result<Part, Failure> {
    if file.starts_with("https://") || file.starts_with("http://") {
        return Ok(Part::image_url(file));
    }
    let failed = |why: &dyn std::fmt::Display| Failure::usage(format!("--attach: cannot read {file}: {why}"));
    let mut bytes = Vec::new();
    let opened = File::open(file).map_err(|e| failed(&e))?;
    opened.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|e| failed(&e))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(failed(&format!("it is larger than {} MiB", MAX_BYTES >> 20)));
    }
    let path = Path::new(file);
    let extension =
        path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase).unwrap_or_default();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if let Some((_, media_type)) = MEDIA.iter().find(|(known, _)| *known == extension) {
        let media = Media::Inline { media_type: (*media_type).to_owned(), base64: STANDARD.encode(&bytes) };
        return Ok(match media_type.split('/').next() {
            Some("image") => Part::Image(media),
            Some("audio") => Part::Audio(media),
            _ => Part::File(media.with_name(&name)),
        });
    }
    // Texts of this size are checked in no time, and NUL is a character of UTF-8.
    let text = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0')).ok_or_else(|| {
        failed(&"it is neither text in UTF-8 nor an image, a sound or a PDF file").with_hint(
            "name an image .png, .jpg, .gif or .webp, a sound .wav or .mp3, and a PDF file .pdf; \
             `iconv` converts text of another encoding",
        )
    })?;
    Ok(Part::text(format!("\n\nFile {name}:\n\n{}\n", text.trim_end())))
}

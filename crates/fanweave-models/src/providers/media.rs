//! Images, audio and documents, in the form shared by several dialects.

use std::borrow::Cow;

use fanweave_core::Media;

/// Media type and base64 of inline media.
pub(super) fn inline(media: &Media) -> Option<(&str, &str)> {
    match media {
        Media::Inline { base64, .. } => Some((media.media_type()?, base64)),
        Media::Url(url) => url.strip_prefix("data:")?.split_once(";base64,"),
    }
}

/// The URL; a `data:` URL for inline media.
pub(super) fn url(media: &Media) -> Cow<'_, str> {
    match media {
        Media::Url(url) => Cow::Borrowed(url),
        Media::Inline { base64, .. } => {
            Cow::Owned(format!("data:{};base64,{base64}", media.media_type().unwrap_or_default()))
        }
    }
}

/// Short name of an audio format: `mp3`, `wav`, ..
pub(super) fn audio_format(media_type: &str) -> &str {
    match media_type {
        "audio/mpeg" => "mp3",
        "audio/x-wav" | "audio/wave" => "wav",
        other => other.strip_prefix("audio/").unwrap_or(other),
    }
}

/// The name of a document, or a default one, because some servers require it.
pub(super) fn file_name(media: &Media) -> String {
    if let Some(name) = media.name() {
        return name;
    }
    let extension = inline(media).and_then(|(kind, _)| kind.rsplit(['/', '+']).next()).unwrap_or("bin");
    format!("file.{extension}")
}

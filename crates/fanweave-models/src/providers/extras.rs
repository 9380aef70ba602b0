//! Contents of an answer beside its text: the sources that it cites, and images and audio.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fanweave_core::{Citation, Delta, Media, Part};
use serde_json::Value;
use serde_json::value::RawValue;

use super::json::{self, is_empty, list, some_text};
use crate::transport::caps::CITATIONS;

/// Fields that wrap a citation.
const WRAPPERS: [&str; 5] = ["url_citation", "file_citation", "web", "retrievedContext", "maps"];

/// Fields with the contents of a citation, in the order in which they are preferred.
const URLS: [&str; 4] = ["url", "uri", "source", "link"];
const TITLES: [&str; 4] = ["title", "document_title", "filename", "file_id"];
const QUOTES: [&str; 5] = ["cited_text", "quote", "snippet", "text", "content"];

/// Reads a citation in the form of any vendor: a URL, or an object. `None` if it names no source.
fn citation(value: &Value) -> Option<Citation> {
    if let Value::String(url) = value {
        return (!url.is_empty()).then(|| Citation::new().url(url.as_str()));
    }
    let inner = WRAPPERS.iter().map(|name| &value[*name]).find(|inner| inner.is_object()).unwrap_or(value);
    let first = |names: &[&str]| names.iter().find_map(|name| some_text(&inner[*name]));
    let mut citation = Citation::new().source(value.clone());
    citation.url = first(&URLS);
    citation.title = first(&TITLES);
    citation.quote = first(&QUOTES);
    (citation.url.is_some() || citation.title.is_some()).then_some(citation)
}

/// The citations of one answer, without repeats: servers state them in several events.
#[derive(Debug, Default)]
pub(super) struct Citations {
    all: Vec<Citation>,
    /// Number of citations that are deltas.
    emitted: usize,
    /// JSON that was read last.
    last: String,
}

/// Maximum citations of one answer. 1,024: far above any real answer. It bounds the search for repeats.
const MAX_CITATIONS: usize = 1 << 10;

impl Citations {
    /// Adds a citation, or the citations of a list.
    pub(super) fn add(&mut self, value: &Value) {
        let one = value.is_object().then_some(value);
        let several = value.as_array().into_iter().flatten();
        for citation in one.into_iter().chain(several).filter_map(citation) {
            // A bare URL of a source that is known says nothing new.
            let is_known = |known: &Citation| {
                *known == citation || (citation.source.is_null() && known.url == citation.url)
            };
            if self.all.len() < MAX_CITATIONS && !self.all.iter().any(is_known) {
                self.all.push(citation);
            }
        }
    }

    /// Adds citations whose JSON has not been parsed. A list that is longer than any answer has is skipped.
    pub(super) fn add_raw(&mut self, json: Option<&RawValue>) {
        let Some(json) = json.map(RawValue::get).filter(|json| json.len() > 2 && *json != "null") else {
            return;
        };
        if json != self.last {
            self.add(&json::read_list(json.as_bytes(), CITATIONS).unwrap_or_default());
            json.clone_into(&mut self.last);
        }
    }

    /// Emits what was added since the last call.
    pub(super) fn emit(&mut self, deltas: &mut Vec<Delta>) {
        let new = self.all[self.emitted..].iter().cloned();
        deltas.extend(new.map(|citation| Delta::Citation(Box::new(citation))));
        self.emitted = self.all.len();
    }

    pub(super) fn into_vec(self) -> Vec<Citation> {
        self.all
    }
}

/// Images, audio and documents of a list. Other elements are kept as they came.
pub(super) fn media_raw(json: Option<&RawValue>) -> Vec<Part> {
    let json = json.and_then(|json| json::read(json.get().as_bytes()).ok()).unwrap_or_default();
    list(&json)
        .filter(|value| !is_empty(value))
        .map(|value| media(value).unwrap_or_else(|| Part::Other(value.clone())))
        .collect()
}

/// Reads an image, audio or a document in the form of any vendor.
pub(super) fn media(value: &Value) -> Option<Part> {
    for name in ["image_url", "image", "output_image", "audio_url", "file_url", "video_url"] {
        let inner = &value[name];
        if let Some(url) = some_text(&inner["url"]).or_else(|| inner.is_string().then(|| some_text(inner))?) {
            let is_audio = name == "audio_url";
            let kind = if is_audio {
                "audio/"
            } else if name.contains("image") {
                "image/"
            } else {
                ""
            };
            return Some(of_url(url, kind));
        }
    }
    for name in ["inlineData", "inline_data"] {
        let inner = &value[name];
        let media_type = some_text(&inner["mimeType"]).or_else(|| some_text(&inner["mime_type"]));
        if let (Some(media_type), Some(base64)) = (media_type, some_text(&inner["data"])) {
            return Some(of_type(&media_type.clone(), Media::Inline { media_type, base64 }));
        }
    }
    for name in ["fileData", "file_data"] {
        let inner = &value[name];
        let media_type = some_text(&inner["mimeType"]).or_else(|| some_text(&inner["mime_type"]));
        if let Some(url) = some_text(&inner["fileUri"]).or_else(|| some_text(&inner["file_uri"])) {
            return Some(of_type(&media_type.unwrap_or_default(), Media::Url(url)));
        }
    }
    if let Some(base64) = some_text(&value["b64_json"]) {
        return Some(of_type(
            "image/",
            Media::Inline { media_type: media_type(&base64, "image/png").into(), base64 },
        ));
    }
    None
}

fn of_url(url: String, kind: &str) -> Part {
    match url.strip_prefix("data:").and_then(|data| data.split_once(";base64,")) {
        Some((media_type, base64)) => {
            let media = Media::Inline { media_type: media_type.to_owned(), base64: base64.to_owned() };
            of_type(media_type, media)
        }
        None => of_type(kind, Media::Url(url)),
    }
}

fn of_type(media_type: &str, media: Media) -> Part {
    match media_type.split('/').next() {
        Some("image") => Part::Image(media),
        Some("audio") => Part::Audio(media),
        _ => Part::File(media),
    }
}

/// The media type of base64, by the first bytes of its contents.
fn media_type<'a>(base64: &str, otherwise: &'a str) -> &'a str {
    const STARTS: [(&str, &str); 9] = [
        ("UklGR", "audio/wav"),
        ("SUQz", "audio/mpeg"),
        ("//u", "audio/mpeg"),
        ("//M", "audio/mpeg"),
        ("T2dn", "audio/ogg"),
        ("ZkxhQ", "audio/flac"),
        ("iVBOR", "image/png"),
        ("/9j/", "image/jpeg"),
        ("R0lG", "image/gif"),
    ];
    STARTS.iter().find(|(start, _)| base64.starts_with(start)).map_or(otherwise, |(_, media_type)| media_type)
}

/// Audio of one answer: base64 that arrives in pieces.
#[derive(Debug, Default)]
pub(super) struct Audio {
    base64: String,
    /// The bytes of pieces that end with padding.
    bytes: Vec<u8>,
}

impl Audio {
    /// Adds the next piece. Returns its transcript.
    pub(super) fn add(&mut self, json: Option<&RawValue>) -> Option<String> {
        let value = json::read(json?.get().as_bytes()).ok()?;
        if let Some(piece) = value["data"].as_str() {
            self.base64.push_str(piece);
            if self.base64.ends_with('=') {
                self.bytes.extend(STANDARD.decode(&self.base64).unwrap_or_default());
                self.base64.clear();
            }
        }
        some_text(&value["transcript"])
    }

    /// The whole audio, once it is complete. Its media type is that of its first bytes, or else raw samples.
    pub(super) fn take(&mut self) -> Option<Part> {
        let Self { base64, mut bytes } = std::mem::take(self);
        let base64 = if bytes.is_empty() {
            base64
        } else {
            bytes.extend(STANDARD.decode(&base64).unwrap_or_default());
            STANDARD.encode(&bytes)
        };
        (!base64.is_empty()).then(|| {
            let media_type = media_type(&base64, "audio/pcm").to_owned();
            Part::Audio(Media::Inline { media_type, base64 })
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn citations_of_all_vendors_have_a_url_a_title_and_a_quote() {
        let mut citations = Citations::default();
        for value in [
            json!({ "type": "url_citation", "url_citation": { "url": "u1", "title": "t1", "start_index": 3 } }),
            json!({ "type": "url_citation", "url": "u2", "title": "t2", "start_index": 3, "end_index": 4 }),
            json!({ "type": "file_citation", "file_id": "f", "filename": "t3", "index": 1 }),
            json!({ "type": "char_location", "cited_text": "q4", "document_title": "t4", "document_index": 0 }),
            json!({ "web": { "uri": "u5", "title": "t5" } }),
            json!({ "title": "t6", "url": "u6", "snippet": "q6", "date": "2026-01-01" }),
            json!(["u6", "u7"]),
            json!({ "type": "unknown" }),
        ] {
            citations.add(&value);
            citations.add(&value);
        }
        let all: Vec<_> = citations
            .into_vec()
            .into_iter()
            .map(|c| [c.url, c.title, c.quote].map(Option::unwrap_or_default))
            .collect();
        let expected = [
            ["u1", "t1", ""],
            ["u2", "t2", ""],
            ["", "t3", ""],
            ["", "t4", "q4"],
            ["u5", "t5", ""],
            ["u6", "t6", "q6"],
            ["u7", "", ""],
        ];
        assert_eq!(all, expected.map(|citation| citation.map(str::to_owned)));
    }

    #[test]
    fn audio_in_pieces_is_one_recording() {
        let (whole, pieces) = (STANDARD.encode(b"RIFF and more"), [&b"RIFF"[..], b" and ", b"more"]);
        let raw = |value: Value| serde_json::value::to_raw_value(&value).unwrap();
        for padded in [false, true] {
            let mut audio = Audio::default();
            let cut = |at: usize| {
                if padded {
                    STANDARD.encode(pieces[at])
                } else {
                    whole[at * 4..][..if at == 2 { whole.len() - 8 } else { 4 }].to_owned()
                }
            };
            for at in 0..3 {
                let piece = raw(json!({ "id": "a", "data": cut(at), "transcript": "x" }));
                assert_eq!(audio.add(Some(&piece)).as_deref(), Some("x"));
            }
            let expected = Media::Inline { media_type: "audio/wav".into(), base64: whole.clone() };
            assert_eq!(audio.take(), Some(Part::Audio(expected)), "{padded}");
            assert_eq!(audio.take(), None);
        }
    }
}

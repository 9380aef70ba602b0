//! Content: a text, or a list of blocks in the form of any provider.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{At, Reader, required, text, wrong};
use crate::Result;
use crate::message::{Media, Part, ToolResult};

impl Reader {
    /// Reads the content of a message or of a tool result.
    pub(super) fn content(&mut self, value: &Value, at: &At<'_>) -> Result<Vec<Part>> {
        let blocks = match value {
            Value::Null => return Ok(Vec::new()),
            Value::String(text) if text.is_empty() => return Ok(Vec::new()),
            Value::String(text) => return Ok(vec![Part::text(text)]),
            Value::Array(blocks) => blocks,
            other => return Err(wrong(at, "a string or a list of parts", other)),
        };
        let mut parts = Vec::with_capacity(blocks.len());
        for (i, block) in blocks.iter().enumerate() {
            let at = At::Index(at, i);
            match block {
                Value::String(text) => parts.push(Part::text(text)),
                Value::Object(map) => self.block(map, block, &at, &mut parts)?,
                other => return Err(wrong(&at, "a part", other)),
            }
        }
        Ok(parts)
    }

    /// Reads the output of a tool. One without content is an empty text: a result has a part.
    pub(super) fn output(&mut self, value: &Value, at: &At<'_>) -> Result<Vec<Part>> {
        let parts = self.content(value, at)?;
        Ok(if parts.is_empty() { vec![Part::text("")] } else { parts })
    }

    fn block(
        &mut self,
        map: &Map<String, Value>,
        whole: &Value,
        at: &At<'_>,
        parts: &mut Vec<Part>,
    ) -> Result<()> {
        let Some(kind) = text(map, "type", at)? else { return self.untyped(map, whole, at, parts) };
        parts.push(match kind.as_str() {
            "text" | "input_text" | "output_text" | "summary_text" => {
                self.check(map, &["text", "citations", "extras", "logprobs"], at);
                Part::Text(required(map, "text", at)?)
            }
            "refusal" => {
                self.check(map, &["refusal"], at);
                Part::Text(required(map, "refusal", at)?)
            }
            "thinking" => {
                self.check(map, &["thinking", "signature"], at);
                Part::Reasoning {
                    text: required(map, "thinking", at)?,
                    signature: text(map, "signature", at)?,
                }
            }
            "reasoning" if map.contains_key("reasoning") => {
                self.check(map, &["reasoning", "extras"], at);
                let signature = map.get("extras").and_then(|extras| extras.get("signature")?.as_str());
                Part::Reasoning {
                    text: required(map, "reasoning", at)?,
                    signature: signature.map(str::to_owned),
                }
            }
            "reasoning" => self.reasoning_item(map, at),
            "tool_use" | "tool_call" | "invalid_tool_call" | "function_call" => self.call_of(map, at)?,
            "tool_result" => {
                self.check(map, &["tool_use_id", "content", "is_error"], at);
                let id = self.result_id(text(map, "tool_use_id", at)?, None, at)?;
                let content = map.get("content").unwrap_or(&Value::Null);
                let parts = self.output(content, &At::Key(at, "content"))?;
                let is_error = map.get("is_error") == Some(&Value::Bool(true));
                Part::ToolResult(ToolResult { id, parts, is_error })
            }
            "non_standard" => Part::Other(map.get("value").cloned().unwrap_or_default()),
            kind => media(kind, map).unwrap_or_else(|| Part::Other(whole.clone())),
        });
        Ok(())
    }

    /// Parts without a type: those of fanweave and of Gemini.
    fn untyped(
        &mut self,
        map: &Map<String, Value>,
        whole: &Value,
        at: &At<'_>,
        parts: &mut Vec<Part>,
    ) -> Result<()> {
        let key = |camel: &'static str, snake: &'static str| map.get(camel).or_else(|| map.get(snake));
        let signature =
            key("thoughtSignature", "thought_signature").and_then(Value::as_str).map(str::to_owned);
        if map.get("thought") == Some(&Value::Bool(true)) {
            let text = text(map, "text", at)?.unwrap_or_default();
            parts.push(Part::Reasoning { text, signature });
            return Ok(());
        }
        let of_gemini = signature.is_some() || map.contains_key("thought");
        if !of_gemini && let Ok(part) = Part::deserialize(whole) {
            self.note(&part);
            parts.push(part);
            return Ok(());
        }
        if signature.is_some() {
            parts.push(Part::Reasoning { text: String::new(), signature });
        }
        let known = ["thought", "thoughtSignature", "thought_signature"];
        if let Some(call @ Value::Object(_)) = key("functionCall", "function_call") {
            self.check(map, &[known.as_slice(), &["functionCall", "function_call"]].concat(), at);
            let call = self.call(call, &At::Key(at, "functionCall"))?;
            parts.push(call);
        } else if let Some(Value::Object(response)) = key("functionResponse", "function_response") {
            self.check(map, &[known.as_slice(), &["functionResponse", "function_response"]].concat(), at);
            let here = At::Key(at, "functionResponse");
            self.check(response, &["name", "response"], &here);
            let name = text(response, "name", &here)?;
            let id = self.result_id(text(response, "id", &here)?, name.as_deref(), at)?;
            let (text, is_error) = response_text(response.get("response").unwrap_or(&Value::Null));
            parts.push(Part::ToolResult(ToolResult { id, parts: vec![Part::Text(text)], is_error }));
        } else if let Some(data) = key("inlineData", "inline_data") {
            let of = |camel: &str, snake: &str| data.get(camel).or_else(|| data.get(snake))?.as_str();
            let inline = Media::Inline {
                media_type: of("mimeType", "mime_type").unwrap_or_default().to_owned(),
                base64: of("data", "data").unwrap_or_default().to_owned(),
            };
            parts.push(by_type(inline));
        } else if let Some(Value::String(text)) = map.get("text") {
            self.check(map, &[known.as_slice(), &["text"]].concat(), at);
            if !text.is_empty() {
                parts.push(Part::text(text));
            }
        } else if map.is_empty() {
            return Err(wrong(at, "a part", whole));
        } else {
            parts.push(Part::Other(whole.clone()));
        }
        Ok(())
    }

    /// Notes the calls and results of fanweave's own form.
    fn note(&mut self, part: &Part) {
        match part {
            Part::ToolCall(call) => self.opened(call),
            Part::ToolResult(result) => self.open.retain(|open| open.id != result.id),
            _ => {}
        }
    }
}

/// Reads an image, audio or a document. `None` if something would be lost, such as a `detail` or a file id.
fn media(kind: &str, map: &Map<String, Value>) -> Option<Part> {
    let has_only = |map: &Map<String, Value>, known: &[&str]| {
        map.iter().all(|(key, value)| value.is_null() || known.contains(&key.as_str()))
    };
    let string = |map: &Map<String, Value>, key: &str| map.get(key)?.as_str().map(str::to_owned);
    let inner = |key: &str| map.get(key)?.as_object();
    const HINTS: [&str; 4] = ["type", "id", "index", "cache_control"];
    let only = |known: &[&str]| has_only(map, &[HINTS.as_slice(), known].concat());
    let wrap: fn(Media) -> Part = match kind {
        "image" | "image_url" | "input_image" => Part::Image,
        "audio" | "input_audio" => Part::Audio,
        "file" | "input_file" | "document" => Part::File,
        _ => return None,
    };
    // OpenAI: `{"image_url": {"url": ".."}}`, or the URL itself.
    if let Some(image) = map.get("image_url") {
        let detail = |map: &Map<String, Value>| map.get("detail").is_none_or(|detail| detail == "auto");
        let url = match image {
            Value::String(url) => url.clone(),
            Value::Object(image) if has_only(image, &["url", "detail"]) && detail(image) => {
                string(image, "url")?
            }
            _ => return None,
        };
        return (only(&["image_url", "detail"]) && detail(map)).then(|| wrap(Media::Url(url)));
    }
    if let Some(audio) = inner("input_audio") {
        let (data, format) = (string(audio, "data")?, string(audio, "format")?);
        let media_type = if format == "mp3" { "audio/mpeg".to_owned() } else { format!("audio/{format}") };
        let is_whole = only(&["input_audio"]) && has_only(audio, &["data", "format"]);
        return is_whole.then_some(wrap(Media::Inline { media_type, base64: data }));
    }
    if let Some(file) = inner("file") {
        let is_whole = only(&["file"]) && has_only(file, &["file_data"]);
        return is_whole.then(|| string(file, "file_data").map(Media::Url).map(wrap))?;
    }
    if kind == "input_file" {
        let key = if map.contains_key("file_data") { "file_data" } else { "file_url" };
        return only(&[key]).then(|| string(map, key).map(Media::Url).map(wrap))?;
    }
    // Anthropic: `{"source": {"type": "base64", ..}}`.
    if let Some(source) = inner("source") {
        if !only(&["source"]) {
            return None;
        }
        return Some(wrap(match source.get("type")?.as_str()? {
            "base64" if has_only(source, &["type", "media_type", "data"]) => {
                Media::Inline { media_type: string(source, "media_type")?, base64: string(source, "data")? }
            }
            "url" if has_only(source, &["type", "url"]) => Media::Url(string(source, "url")?),
            _ => return None,
        }));
    }
    // LangChain, with and without `source_type`.
    if !only(&["source_type", "url", "data", "base64", "mime_type"]) {
        return None;
    }
    match (string(map, "base64").or(string(map, "data")), string(map, "mime_type")) {
        (Some(base64), Some(media_type)) => Some(wrap(Media::Inline { media_type, base64 })),
        (None, _) => string(map, "url").map(Media::Url).map(wrap),
        _ => None,
    }
}

/// An inline part by its media type.
fn by_type(media: Media) -> Part {
    match &media {
        Media::Inline { media_type, .. } if media_type.starts_with("image/") => Part::Image(media),
        Media::Inline { media_type, .. } if media_type.starts_with("audio/") => Part::Audio(media),
        _ => Part::File(media),
    }
}

/// The text of Gemini's response of a function, and whether it is an error.
fn response_text(response: &Value) -> (String, bool) {
    let only = |key: &str| match response.as_object() {
        Some(map) if map.len() == 1 => map.get(key)?.as_str().map(str::to_owned),
        _ => None,
    };
    match (only("output").or_else(|| only("result")), only("error"), response) {
        (Some(text), _, _) => (text, false),
        (_, Some(error), _) => (error, true),
        (_, _, Value::String(text)) => (text.clone(), false),
        (_, _, other) => (other.to_string(), false),
    }
}

/// OpenRouter's reasoning: a text with a signature, a summary, or encrypted data.
pub(super) fn reasoning_detail(detail: &Value) -> Part {
    let of = |key: &str| detail.get(key).and_then(Value::as_str).map(str::to_owned);
    Part::Reasoning {
        text: of("text").or_else(|| of("summary")).unwrap_or_default(),
        signature: of("signature").or_else(|| of("data")),
    }
}

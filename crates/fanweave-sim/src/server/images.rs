//! Rules for images in requests: the fields that each dialect has, and no others. A server that ignores
//! unknown fields would hide that an image was written in the form of another dialect.

use serde_json::{Map, Value};

use super::problem::Problem;

type Checked = Result<(), Problem>;

/// Images of Anthropic's messages, in `body` if it has some.
pub(super) fn anthropic(body: &[u8]) -> Checked {
    let has_images = body.windows(7).any(|bytes| bytes == b"\"image\"");
    let Some(request) = has_images.then(|| serde_json::from_slice::<Value>(body).ok()).flatten() else {
        return Ok(());
    };
    for (at, block) in parts(&request["messages"], "messages", "content") {
        if block["type"] != "image" {
            continue;
        }
        let (at, source) = (format!("{at}.image"), &block["source"]);
        only(&block, &["type", "source", "cache_control"], &at)?;
        let at = format!("{at}.source");
        match source["type"].as_str() {
            Some("base64") => {
                only(source, &["type", "media_type", "data"], &at)?;
                media_type(&source["media_type"], &format!("{at}.base64.media_type"))?;
                base64(&source["data"], &format!("{at}.base64.data"))?;
            }
            Some("url") => {
                only(source, &["type", "url"], &at)?;
                url(&source["url"], &format!("{at}.url"))?;
            }
            Some("file") => only(source, &["type", "file_id"], &at)?,
            _ => return Err(invalid(&at, "must be of the type base64, url or file")),
        }
    }
    Ok(())
}

/// Media of Gemini's contents, whose names are in camel case.
pub(super) fn gemini(request: &Value) -> Checked {
    const PART: [&str; 12] = [
        "text",
        "thought",
        "thoughtSignature",
        "inlineData",
        "fileData",
        "functionCall",
        "functionResponse",
        "executableCode",
        "codeExecutionResult",
        "videoMetadata",
        "mediaResolution",
        "partMetadata",
    ];
    for (at, part) in parts(&request["contents"], "contents", "parts") {
        only(&part, &PART, &at)?;
        if let Some(data) = part.get("inlineData") {
            only(data, &["mimeType", "data", "displayName"], &format!("{at}.inlineData"))?;
            let kind = data["mimeType"].as_str().unwrap_or_default();
            if !kind.contains('/') {
                return Err(invalid(&format!("{at}.inlineData.mimeType"), "is not a media type"));
            }
            base64(&data["data"], &format!("{at}.inlineData.data"))?;
        }
        if let Some(file) = part.get("fileData") {
            only(file, &["mimeType", "fileUri", "displayName"], &format!("{at}.fileData"))?;
            url(&file["fileUri"], &format!("{at}.fileData.fileUri"))?;
        }
    }
    Ok(())
}

/// Images in the input of OpenAI's responses.
pub(super) fn responses(request: &Value) -> Checked {
    for (at, part) in parts(&request["input"], "input", "content") {
        if part["type"] == "image_url" || part["type"] == "image" {
            return Err(invalid(
                &at,
                "has an invalid type: supported values are input_text, input_image and input_file",
            ));
        }
        if part["type"] != "input_image" {
            continue;
        }
        only(&part, &["type", "image_url", "file_id", "detail"], &at)?;
        if part.get("file_id").is_none() {
            url(&part["image_url"], &format!("{at}.image_url"))?;
        }
        match part.get("detail").map(|detail| detail.as_str().unwrap_or_default()) {
            None | Some("low" | "high" | "auto" | "original") => {}
            Some(_) => return Err(invalid(&format!("{at}.detail"), "must be low, high, auto or original")),
        }
    }
    Ok(())
}

/// Images of Ollama's messages.
pub(super) fn ollama(request: &Value) -> Checked {
    let messages = request["messages"].as_array().into_iter().flatten().enumerate();
    for (i, message) in messages {
        if !message["content"].is_null() && !message["content"].is_string() {
            return Err(invalid(&format!("messages[{i}].content"), "must be a string"));
        }
        for (n, image) in message["images"].as_array().into_iter().flatten().enumerate() {
            base64(image, &format!("messages[{i}].images[{n}]"))?;
        }
    }
    Ok(())
}

/// The parts of all messages, with their paths.
fn parts(messages: &Value, name: &str, field: &str) -> Vec<(String, Value)> {
    let messages = messages.as_array().into_iter().flatten().enumerate();
    let of = |(i, message): (usize, &Value)| {
        let parts = message[field].as_array().into_iter().flatten().enumerate();
        parts.map(|(n, part)| (format!("{name}.{i}.{field}.{n}"), part.clone())).collect::<Vec<_>>()
    };
    messages.flat_map(of).collect()
}

fn only(object: &Value, known: &[&str], at: &str) -> Checked {
    let empty = Map::new();
    let mut names = object.as_object().unwrap_or(&empty).keys();
    match names.find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(invalid(&format!("{at}.{name}"), "extra inputs are not permitted")),
    }
}

fn media_type(value: &Value, at: &str) -> Checked {
    match value.as_str() {
        Some("image/jpeg" | "image/png" | "image/gif" | "image/webp") => Ok(()),
        _ => Err(invalid(at, "must be image/jpeg, image/png, image/gif or image/webp")),
    }
}

fn base64(value: &Value, at: &str) -> Checked {
    let is_digit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    match value.as_str() {
        Some(text) if !text.is_empty() && text.len().is_multiple_of(4) && text.chars().all(is_digit) => {
            Ok(())
        }
        _ => Err(invalid(at, "is not valid base64")),
    }
}

fn url(value: &Value, at: &str) -> Checked {
    let schemes = ["https://", "http://", "data:", "gs://"];
    match value.as_str() {
        Some(text) if schemes.iter().any(|scheme| text.starts_with(scheme)) => Ok(()),
        _ => Err(invalid(at, "is not a valid URL")),
    }
}

fn invalid(at: &str, why: &str) -> Problem {
    Problem::invalid(format!("{at}: {why}"), None)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn images_have_the_fields_of_their_dialect_and_no_others() {
        let anthropic = |block: Value| {
            super::anthropic(&serde_json::to_vec(&json!({"messages": [{"content": [block]}]})).unwrap())
                .is_ok()
        };
        let source = json!({"type": "base64", "media_type": "image/png", "data": "AAAA"});
        assert!(anthropic(json!({"type": "image", "source": source})));
        assert!(!anthropic(json!({"type": "image", "source": source, "detail": "low"})));
        assert!(!anthropic(
            json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "data:,"}})
        ));
        let gemini = |part: Value| super::gemini(&json!({"contents": [{"parts": [part]}]})).is_ok();
        assert!(gemini(json!({"inlineData": {"mimeType": "image/png", "data": "AAAA"}})));
        assert!(!gemini(json!({"inlineData": {"mimeType": "image/png", "data": "AAAA", "detail": "low"}})));
        assert!(!gemini(json!({"type": "image_url"})));
        let responses = |part: Value| super::responses(&json!({"input": [{"content": [part]}]})).is_ok();
        assert!(responses(
            json!({"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"})
        ));
        assert!(!responses(json!({"type": "image_url", "image_url": {"url": "https://x"}})));
        assert!(!responses(json!({"type": "input_image", "image_url": "https://x", "detail": "tiny"})));
        let ollama =
            |images: Value| super::ollama(&json!({"messages": [{"content": "a", "images": images}]})).is_ok();
        assert!(ollama(json!(["AAAA"])) && !ollama(json!(["data:image/png;base64,AAAA"])));
        assert!(super::ollama(&json!({"messages": [{"content": [{"type": "image_url"}]}]})).is_err());
    }
}

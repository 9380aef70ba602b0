//! Encoding of requests.

use fanweave_core::Result;
use serde_json::{Value, json};

use super::Dialect;
use crate::providers::json;

pub(super) fn request(
    dialect: Dialect,
    model: &str,
    texts: &[String],
    dimensions: Option<u32>,
) -> Result<Vec<u8>> {
    let mut body = match dialect {
        Dialect::OpenAi => json!({ "model": model, "input": texts }),
        // Return an error for text that is too long instead of truncating it.
        Dialect::Ollama => json!({ "model": model, "input": texts, "truncate": false }),
        Dialect::Gemini => {
            let name = if model.contains('/') { model.to_owned() } else { format!("models/{model}") };
            let request = |text: &String| {
                let mut request = json!({ "model": name, "content": { "parts": [{ "text": text }] } });
                if let Some(dimensions) = dimensions {
                    request["outputDimensionality"] = dimensions.into();
                }
                request
            };
            return json::write(&json!({ "requests": texts.iter().map(request).collect::<Value>() }));
        }
    };
    if let Some(dimensions) = dimensions {
        body["dimensions"] = dimensions.into();
    }
    json::write(&body)
}

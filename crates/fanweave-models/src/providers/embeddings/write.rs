//! Encoding of requests.

use fanweave_core::Result;
use serde_json::{Value, json};

use super::{Dialect, VectorParameters};
use crate::providers::json;

pub(super) fn request(
    dialect: Dialect,
    model: &str,
    texts: &[String],
    parameters: &VectorParameters,
) -> Result<Vec<u8>> {
    let mut body = match dialect {
        Dialect::OpenAi => json!({ "model": model, "input": texts }),
        // Return an error for text that is too long instead of truncating it.
        Dialect::Ollama => json!({ "model": model, "input": texts, "truncate": false }),
        Dialect::Gemini => {
            let name = if model.contains('/') { model.to_owned() } else { format!("models/{model}") };
            let request = |text: &String| {
                let mut request = json!({ "model": name, "content": { "parts": [{ "text": text }] } });
                if let Some(dimensions) = parameters.dimensions {
                    request["outputDimensionality"] = dimensions.into();
                }
                add_extra(&mut request, parameters);
                request
            };
            return json::write(&json!({ "requests": texts.iter().map(request).collect::<Value>() }));
        }
    };
    if let Some(dimensions) = parameters.dimensions {
        body["dimensions"] = dimensions.into();
    }
    add_extra(&mut body, parameters);
    json::write(&body)
}

fn add_extra(request: &mut Value, parameters: &VectorParameters) {
    for (name, value) in &parameters.extra {
        request[name.as_str()] = value.clone();
    }
}

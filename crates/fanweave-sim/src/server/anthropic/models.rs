//! `GET /v1/models` and `/v1/models/{id}`, in Anthropic's format.

use serde_json::{Value, json};

use crate::server::openai;

/// All models on one page, or examples without a configured list.
pub(in crate::server) fn models(names: &[String]) -> Vec<u8> {
    let data: Vec<Value> = match names {
        [] => openai::EXAMPLES.iter().map(|name| object(name)).collect(),
        names => names.iter().map(|name| object(name)).collect(),
    };
    let id = |model: Option<&Value>| model.map(|model| model["id"].clone());
    let (first_id, last_id) = (id(data.first()), id(data.last()));
    json!({ "data": data, "has_more": false, "first_id": first_id, "last_id": last_id })
        .to_string()
        .into_bytes()
}

/// One model.
pub(in crate::server) fn model(name: &str) -> Vec<u8> {
    object(name).to_string().into_bytes()
}

fn object(name: &str) -> Value {
    json!({ "type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z" })
}

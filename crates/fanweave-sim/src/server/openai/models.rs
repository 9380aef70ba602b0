//! `GET /v1/models` and `/v1/models/{id}`.

use serde_json::{Value, json};

/// Names listed if every name is a model.
pub(in crate::server) const EXAMPLES: [&str; 2] = ["writer", "echo"];

/// Creation time of the models: 2026-01-01.
const CREATED: u64 = 1_767_225_600;

/// All models, or examples without a configured list.
pub(in crate::server) fn models(names: &[String]) -> Vec<u8> {
    let data: Vec<Value> = match names {
        [] => EXAMPLES.iter().map(|name| object(name)).collect(),
        names => names.iter().map(|name| object(name)).collect(),
    };
    json!({ "object": "list", "data": data }).to_string().into_bytes()
}

/// One model.
pub(in crate::server) fn model(name: &str) -> Vec<u8> {
    object(name).to_string().into_bytes()
}

fn object(name: &str) -> Value {
    json!({ "id": name, "object": "model", "created": CREATED, "owned_by": "fanweave-sim" })
}

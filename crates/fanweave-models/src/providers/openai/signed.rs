//! Fields that servers of this dialect want back with a message or a call: reasoning with
//! signatures.
//!
//! It is kept as the signature of a reasoning part, as JSON: `{"reasoning_details":[..]}` for a message, and
//! `{"tool_call_id":"..","extra_content":{..}}` for a call. Signatures of other dialects are not objects, or
//! have other fields.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::providers::json;

pub(super) const DETAILS: &str = "reasoning_details";
pub(super) const BLOCKS: &str = "thinking_blocks";
const EXTRA: &str = "extra_content";
const SPECIFIC: &str = "provider_specific_fields";
const CALL: &str = "tool_call_id";

/// The fields of one message, collected from its chunks.
#[derive(Debug, Default)]
pub(super) struct Signed(Map<String, Value>);

impl Signed {
    /// Adds the elements of a list. Pieces of one element are joined.
    pub(super) fn add(&mut self, field: &str, list: Option<&RawValue>) {
        let Some(list) = list else { return };
        let Ok(Value::Array(new)) = json::read(list.get().as_bytes()) else { return };
        if new.is_empty() {
            return;
        }
        let known = self.0.entry(field).or_insert_with(|| Value::Array(Vec::new()));
        let Value::Array(known) = known else { return };
        for element in new {
            match known.iter_mut().rev().find(|known| continues(known, &element)) {
                Some(known) => join(known, element),
                None => known.push(element),
            }
        }
    }

    /// The text of the reasoning, for servers that send it nowhere else.
    pub(super) fn text(&self) -> String {
        let lists = [DETAILS, BLOCKS].into_iter().filter_map(|field| self.0.get(field)?.as_array());
        // Both have the same texts.
        let list = lists.into_iter().next().into_iter().flatten();
        let texts = list.filter_map(|element| {
            ["text", "summary", "thinking"].iter().find_map(|field| element.get(field)?.as_str())
        });
        texts.collect()
    }

    /// The signature of the message. `None` without such fields.
    pub(super) fn signature(&self) -> Option<String> {
        (!self.0.is_empty()).then(|| Value::Object(self.0.clone()).to_string())
    }
}

/// Returns true if `next` is the next piece of `element`.
fn continues(element: &Value, next: &Value) -> bool {
    let is_equal = |field: &str| element.get(field) == next.get(field);
    let is_text = next.get("text").or(next.get("summary")).or(next.get("thinking")).is_some();
    let has_index = next.get("index").is_some_and(|index| !index.is_null());
    let is_ended = element.get("signature").is_some_and(Value::is_string);
    is_equal("type") && is_equal("index") && (has_index || (is_text && !is_ended))
}

/// Appends the texts of a piece. Its other fields replace those before, unless they are null.
fn join(element: &mut Value, next: Value) {
    let (Some(element), Value::Object(next)) = (element.as_object_mut(), next) else { return };
    for (name, value) in next {
        match (element.get_mut(&name), &value) {
            (_, Value::Null) => {}
            (Some(Value::String(all)), Value::String(more))
                if matches!(&*name, "text" | "summary" | "thinking" | "data") =>
            {
                all.push_str(more);
            }
            _ => {
                element.insert(name, value);
            }
        }
    }
}

/// The signature of a call with these fields.
pub(super) fn of_call(id: &str, extra: Option<&RawValue>, specific: Option<&RawValue>) -> Option<String> {
    let fields = [(EXTRA, extra), (SPECIFIC, specific)].into_iter().filter_map(|(name, json)| {
        let value = json::read(json?.get().as_bytes()).ok()?;
        (!json::is_empty(&value)).then(|| (name.to_owned(), value))
    });
    let mut fields: Map<_, _> = fields.collect();
    if fields.is_empty() {
        return None;
    }
    if !id.is_empty() {
        fields.insert(CALL.to_owned(), id.into());
    }
    Some(Value::Object(fields).to_string())
}

/// A signature of this dialect.
pub(super) enum Written {
    /// The fields of a message.
    Message { details: Option<Value>, blocks: Option<Value> },
    /// The fields of a call: the one with this id, or else the next one.
    Call { id: Option<String>, extra: Option<Value>, specific: Option<Value> },
}

/// Reads a signature. `None` for one of another dialect.
pub(super) fn written(signature: &str) -> Option<Written> {
    if !signature.starts_with('{') {
        return None;
    }
    let mut fields: Map<String, Value> = serde_json::from_str(signature).ok()?;
    let mut take = |name: &str| fields.remove(name);
    let (extra, specific) = (take(EXTRA), take(SPECIFIC));
    if extra.is_some() || specific.is_some() {
        let id = take(CALL).and_then(|id| id.as_str().map(str::to_owned));
        return Some(Written::Call { id, extra, specific });
    }
    let (details, blocks) = (take(DETAILS), take(BLOCKS));
    (details.is_some() || blocks.is_some()).then_some(Written::Message { details, blocks })
}

/// Returns true for a signature that is an object: of this dialect, or of OpenAI's responses. No other server
/// understands it.
pub(crate) fn is_foreign_object(signature: &str) -> bool {
    signature.starts_with('{')
}

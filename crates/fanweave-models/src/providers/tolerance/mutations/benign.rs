//! Oddities that cost nothing.

use std::collections::BTreeSet;

use fastrand::Rng;
use serde_json::{Map, Value, json};

use super::super::events::KEEP_ALIVES;
use super::super::streams::Event;
use super::{Case, finish};

/// An oddity after which the answer is the original.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Oddity {
    /// Keep-alives of any form.
    KeepAlive,
    /// Keys that are repeated, with the same value or null.
    RepeatedKeys,
    /// The end marker of another dialect at the end.
    ForeignMarker,
    /// No end marker after the finish reason.
    NoMarker,
    /// Usage in another event, or under another name.
    MovedUsage,
    /// Usage that is repeated with zeros at the end.
    Zeros,
    /// Events that state a call are repeated.
    RepeatedCalls,
    /// Empty values for fields that the dialect does not have.
    EmptyValues,
    /// Literals and characters that JSON forbids.
    OddLiterals,
    /// No index in any event.
    NoIndex,
    /// No ids of calls.
    NoIds,
    /// No names of events, or other ones.
    OtherNames,
    /// Events and fields that are not in the dialect.
    Unknown,
    /// The event with the finish reason is repeated.
    TwoFinishes,
    /// Two events in one, with nothing between them or as a list.
    Glued,
    /// Counts as texts or fractions.
    TextCounts,
}

const MARKERS: [&str; 6] =
    ["[DONE]", "[done]", "\"[DONE]\"", "DONE", r#"{"type":"message_stop"}"#, r#"{"done": true}"#];

impl Oddity {
    pub(super) const ALL: [Self; 16] = [
        Self::KeepAlive,
        Self::RepeatedKeys,
        Self::ForeignMarker,
        Self::NoMarker,
        Self::MovedUsage,
        Self::Zeros,
        Self::RepeatedCalls,
        Self::EmptyValues,
        Self::OddLiterals,
        Self::NoIndex,
        Self::NoIds,
        Self::OtherNames,
        Self::Unknown,
        Self::TwoFinishes,
        Self::Glued,
        Self::TextCounts,
    ];

    /// Returns true if it is benign after `before` too.
    pub(super) fn fits(self, before: &BTreeSet<Self>) -> bool {
        use Oddity::*;
        // Equal calls without ids are two calls. JSON that is odd cannot be changed any more.
        let excluded: &[Self] = match self {
            RepeatedCalls => &[NoIds, OddLiterals, Glued, RepeatedKeys, NoIndex],
            NoIds => &[RepeatedCalls, OddLiterals, Glued, RepeatedKeys],
            // Values that are not empty any more say something.
            EmptyValues => &[Unknown, OddLiterals, Glued, RepeatedKeys],
            Unknown => &[EmptyValues, OddLiterals, Glued, RepeatedKeys],
            _ => &[OddLiterals, RepeatedKeys, Glued],
        };
        if self == MovedUsage && (before.contains(&Zeros) || before.contains(&ForeignMarker)) {
            return false;
        }
        !before.contains(&self)
            && (matches!(self, KeepAlive | ForeignMarker) || excluded.iter().all(|one| !before.contains(one)))
    }

    /// Changes the events. Returns false if the dialect or answer has nothing to change.
    pub(super) fn apply(self, case: &mut Case, random: &mut Rng) -> bool {
        let Case { dialect, original, events, benign, .. } = case;
        let dialect = *dialect;
        // Without ids and indices, an empty object and another one of the same name are one call.
        let is_blurred = benign.contains(&Self::NoIds) || benign.contains(&Self::NoIndex);
        if is_blurred
            && matches!(self, Self::NoIds | Self::NoIndex)
            && original.calls.iter().any(|call| call.2 == ["{}"])
        {
            return false;
        }
        match self {
            Self::KeepAlive => {
                for _ in 0..random.usize(1..4) {
                    let data = KEEP_ALIVES[random.usize(..KEEP_ALIVES.len())];
                    let name = ["", "ping", "keep-alive", "tool.progress"][random.usize(..4)];
                    let at = random.usize(..=events.len());
                    events.insert(at, Event { name, data: data.to_owned() });
                }
            }
            Self::RepeatedKeys => {
                let how: fn(&str, &str) -> String = match random.u8(..3) {
                    0 => |name, value| format!("\"{name}\":{value},\"{name}\":null"),
                    1 => |name, value| format!("\"{name}\":null,\"{name}\":{value}"),
                    _ => |name, value| format!("\"{name}\":{value},\"{name}\":{value}"),
                };
                for event in events.iter_mut().filter(|_| random.bool()) {
                    event.data = super::super::json::with_fields(&event.data, how);
                }
            }
            Self::ForeignMarker => {
                // The last one is Ollama's own.
                let foreign = MARKERS.len() - usize::from(dialect == "ollama");
                let data = MARKERS[random.usize(..foreign)].to_owned();
                events.push(Event { name: "", data });
            }
            Self::NoMarker => {
                let before = events.len();
                events.retain(|event| event.data != "[DONE]" && event.name != "message_stop");
                return events.len() < before;
            }
            Self::MovedUsage => return moved_usage(dialect, events, random),
            Self::Zeros => {
                let data = match dialect {
                    "openai" | "openai-completions" => {
                        r#"{"id":"c1","choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0}}"#
                    }
                    "anthropic" => {
                        r#"{"type":"message_delta","delta":{},"usage":{"input_tokens":0,"output_tokens":0}}"#
                    }
                    "gemini" => r#"{"usageMetadata":{"promptTokenCount":0,"candidatesTokenCount":0}}"#,
                    _ => return false,
                };
                let at = finish(dialect, events) + 1;
                events.insert(at, Event { name: "", data: data.to_owned() });
            }
            Self::RepeatedCalls => {
                let before = events.len();
                let states_call = |event: &Event| match dialect {
                    "openai" => event.data.contains("\"function\":{\"name\""),
                    "gemini" => event.data.contains("functionCall") && !event.data.contains("finishReason"),
                    "ollama" => event.data.contains("\"tool_calls\":[{"),
                    "anthropic" => event.data.contains("\"content_block\":{\"type\":\"tool_use\""),
                    _ => {
                        event.data.contains("\"type\":\"function_call\"")
                            && !event.data.contains("\"type\":\"response.completed\"")
                    }
                };
                *events = std::mem::take(events)
                    .into_iter()
                    .flat_map(|event| {
                        let count = if states_call(&event) { 2 } else { 1 };
                        std::iter::repeat_n(event, count)
                    })
                    .collect();
                return events.len() > before;
            }
            Self::EmptyValues => {
                const FIELDS: [&str; 12] = [
                    "error",
                    "refusal",
                    "tool_calls",
                    "function_call",
                    "content",
                    "usage",
                    "annotations",
                    "logprobs",
                    "reasoning_content",
                    "system_fingerprint",
                    "message",
                    "audio",
                ];
                let odd = [json!(null), json!(""), json!({}), json!([]), json!(false)];
                each_object(events, &mut |object| {
                    let field = FIELDS[random.usize(..FIELDS.len())];
                    if random.u8(..3) == 0 {
                        object.entry(field).or_insert_with(|| odd[random.usize(..odd.len())].clone());
                    }
                });
            }
            Self::OddLiterals => {
                let odd =
                    ["NaN", "-Infinity", "undefined", "None", "\"a\tb\x01\"", "\"\\ud83d\"", "[1,]", "True"];
                for event in events.iter_mut() {
                    let odd = odd[random.usize(..odd.len())];
                    event.data = match event.data.strip_prefix('{') {
                        Some("}") => format!("{{\"odd\":{odd}}}"),
                        Some(rest) => format!("{{\"odd\":{odd},{rest}"),
                        None => continue,
                    };
                }
            }
            Self::NoIndex => {
                let value = [None, Some(json!(null)), Some(json!(0)), Some(json!("0"))];
                let value = value[random.usize(..value.len())].clone();
                each_object(events, &mut |object| {
                    for field in ["index", "output_index"] {
                        if object.contains_key(field) {
                            match &value {
                                Some(value) => _ = object.insert(field.to_owned(), value.clone()),
                                None => _ = object.shift_remove(field),
                            }
                        }
                    }
                });
            }
            Self::NoIds => {
                let ids: Vec<_> = original.calls.iter().map(|call| call.0).collect();
                let is_null = random.bool();
                each_object(events, &mut |object| {
                    for field in ["id", "call_id"] {
                        if object.get(field).and_then(Value::as_str).is_some_and(|id| ids.contains(&id)) {
                            match is_null {
                                true => _ = object.insert(field.to_owned(), Value::Null),
                                false => _ = object.shift_remove(field),
                            }
                        }
                    }
                });
                return !ids.is_empty();
            }
            Self::OtherNames => {
                let name = ["", "message", "completion.chunk", "data"][random.usize(..4)];
                events.iter_mut().for_each(|event| event.name = name);
            }
            Self::Unknown => {
                let at = random.usize(..=events.len());
                let data = [
                    r#"{"type":"x.progress","n":1}"#,
                    r#"{"provider":"x","citations":["https://x.test"]}"#,
                    r#"{"object":"chat.completion.chunk","queue":{"position":3}}"#,
                ];
                let data = data[random.usize(..data.len())].to_owned();
                events.insert(at, Event { name: "", data });
                each_object(events, &mut |object| {
                    _ = object.insert("x_unknown".to_owned(), json!({ "list": [1, "two", null] }));
                });
            }
            Self::TwoFinishes => {
                let at = finish(dialect, events);
                let mut repeat = events[at].clone();
                // Gemini's has a part of the answer.
                if dialect == "gemini" {
                    let mut json: Value = serde_json::from_str(&repeat.data).expect("JSON");
                    json["candidates"][0]["content"]["parts"] = json!([]);
                    repeat.data = json.to_string();
                }
                events.insert(at + 1, repeat);
            }
            Self::Glued => {
                let is_object = |event: &Event| event.data.starts_with('{');
                let is_json = |event: &Event| serde_json::from_str::<Value>(&event.data).is_ok();
                let pairs: Vec<_> = (1..events.len())
                    .filter(|at| events[at - 1..=*at].iter().any(is_object))
                    .filter(|at| events[at - 1..=*at].iter().all(is_json))
                    .collect();
                let Some(at) = random.choice(pairs) else { return false };
                let both_objects = events[at - 1..=at].iter().all(is_object);
                let second = events.remove(at).data;
                let first = &mut events[at - 1];
                first.data = match random.u8(..3) {
                    0 if both_objects => format!("{}{second}", first.data),
                    1 if both_objects => format!("{} {second}", first.data),
                    _ => format!("[{},{second}]", first.data),
                };
            }
            Self::TextCounts => {
                each_object(events, &mut |object| {
                    for (name, value) in object.iter_mut() {
                        let is_count = name.contains("token") || name.ends_with("eval_count");
                        if let (true, Some(n)) = (is_count, value.as_u64()) {
                            *value = [json!(n.to_string()), json!(n as f64), json!(format!("{n}.0"))]
                                [random.usize(..3)]
                            .clone();
                        }
                    }
                });
            }
        }
        true
    }
}

/// Moves the usage of an answer to another event.
fn moved_usage(dialect: &str, events: &mut Vec<Event>, random: &mut Rng) -> bool {
    let position = |part: &str| events.iter().position(|event| event.data.contains(part));
    match dialect {
        "openai" | "openai-completions" => {
            let Some(at) = position("\"usage\":{\"prompt_tokens\":11") else { return false };
            let mut json: Value = serde_json::from_str(&events[at].data).expect("JSON");
            let usage = json["usage"].take();
            match random.bool() {
                true => _ = events.remove(at),
                false => events[at].data = json.to_string(),
            }
            let chunks: Vec<_> =
                (0..events.len()).filter(|at| events[*at].data.contains("\"choices\":[{")).collect();
            let Some(to) = random.choice(chunks) else { return false };
            let mut json: Value = serde_json::from_str(&events[to].data).expect("JSON");
            match random.u8(..3) {
                0 if dialect == "openai" => json["x_groq"] = json!({ "id": "req_1", "usage": usage }),
                1 if dialect == "openai" => json["choices"][0]["usage"] = usage,
                _ => json["usage"] = usage,
            }
            events[to].data = json.to_string();
        }
        "anthropic" => {
            let at = finish(dialect, events);
            let mut json: Value = serde_json::from_str(&events[at].data).expect("JSON");
            let usage = json["usage"].take();
            events[at].data = json.to_string();
            let late = json!({ "type": "message_delta", "delta": {}, "usage": usage });
            events.insert(at + 1, Event { name: "message_delta", data: late.to_string() });
        }
        "gemini" => {
            let mut usage = Value::Null;
            each_object(events, &mut |object| {
                usage = object.shift_remove("usageMetadata").unwrap_or_else(|| usage.take());
            });
            let at = if random.bool() { events.len() } else { 0 };
            events.insert(at, Event { name: "", data: json!({ "usageMetadata": usage }).to_string() });
        }
        _ => return false,
    }
    true
}

/// Changes each object of the events, except in the arguments of calls, which are the model's.
fn each_object(events: &mut [Event], change: &mut impl FnMut(&mut Map<String, Value>)) {
    fn walk(value: &mut Value, change: &mut impl FnMut(&mut Map<String, Value>)) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields.iter_mut() {
                    if !matches!(&**name, "args" | "input" | "arguments" | "error") {
                        walk(value, change);
                    }
                }
                change(fields);
            }
            Value::Array(list) => list.iter_mut().for_each(|value| walk(value, change)),
            _ => {}
        }
    }
    let is_own = |event: &&mut Event| event.data.starts_with('{') && !KEEP_ALIVES.contains(&&*event.data);
    for event in events.iter_mut().filter(is_own) {
        let mut json = serde_json::from_str(&event.data).expect("JSON");
        walk(&mut json, change);
        event.data = json.to_string();
    }
}

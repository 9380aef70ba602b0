//! Parsing of error bodies: the message, the names and the waits, in the fields of all vendors.

use std::time::Duration;

use fanweave_core::excerpt;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value};

use crate::providers::json::{self, is_empty};
use crate::transport::hints;

/// Maximum bytes of a message that is not a sentence.
const PLAIN_MESSAGE_BYTES: usize = 300;

/// Maximum nesting depth that is read. Source: gateways that embed another server's body in their own.
const DEPTH: u8 = 6;

/// Fields that hold the message.
const SENTENCES: [&str; 12] = [
    "message",
    "detail",
    "msg",
    "Message",
    "error_msg",
    "error_message",
    "errorMessage",
    "errmsg",
    "status_msg",
    "status_message",
    "faultstring",
    "error_description",
];

/// Fields that hold the message if none of [`SENTENCES`] does.
const SPARE_SENTENCES: [&str; 4] = ["description", "title", "reason", "exception"];

/// Fields that hold a name or a number.
const CODES: [&str; 7] =
    ["code", "error_code", "errorCode", "err_code", "errcode", "errorcode", "statusCode"];

/// Fields that hold a coarse name.
const TYPES: [&str; 3] = ["type", "error_type", "__type"];

/// Fields that hold a wait, and its unit in seconds. Hugging Face reports when a model will be loaded.
const WAITS: [(&str, f64); 8] = [
    ("retry_after", 1.0),
    ("retryAfter", 1.0),
    ("retry_after_seconds", 1.0),
    ("retryAfterSeconds", 1.0),
    ("estimated_time", 1.0),
    ("retryDelay", 1.0),
    ("retry_after_ms", 1e-3),
    ("retryAfterMs", 1e-3),
];

/// Fields that wrap an error.
const WRAPPERS: [&str; 4] = ["error", "errors", "fault", "Output"];

/// Kind of field that holds a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Deserialize), serde(rename_all = "snake_case"))]
pub(super) enum Field {
    Code,
    Type,
    /// Google's `status`: `RESOURCE_EXHAUSTED`.
    Status,
    /// A name in the details: Google's reasons and quotas, Azure's inner error.
    Reason,
    /// MiniMax's `base_resp`.
    BaseResp,
    /// An element of `errors`, as Cloudflare sends them.
    Listed,
}

/// Contents of an error body.
#[derive(Debug, Default)]
pub(crate) struct ProviderError {
    /// The server's message. Default: empty.
    pub(super) message: String,
    /// Set if the message is a list of invalid fields, which may quote the request.
    pub(super) is_listed: bool,
    /// Message of the upstream provider, as a router quotes it.
    pub(super) upstream: String,
    pub(super) names: Vec<(Field, String)>,
    /// The status in the body.
    pub(super) status: Option<u16>,
    /// Wait named by a field of the body.
    pub(super) wait: Option<Duration>,
    /// Headers that the body quotes, as OpenRouter's does.
    pub(super) headers: HeaderMap,
    /// The beginning of a body without a sentence.
    beginning: String,
}

impl ProviderError {
    /// Reads a body, or the error object inside one. Never fails.
    pub(crate) fn read(body: &str) -> Self {
        match json::read(body.as_bytes()) {
            Ok(json) => Self::of(&json),
            Err(_) if body.trim_start().starts_with('<') => {
                Self { message: excerpt(&markup(body), PLAIN_MESSAGE_BYTES), ..Self::default() }
            }
            Err(_) => Self { message: excerpt(body.trim(), PLAIN_MESSAGE_BYTES), ..Self::default() },
        }
    }

    /// Reads a parsed body.
    pub(crate) fn of(json: &Value) -> Self {
        let mut read = Self::default();
        // Gemini wraps the error in a list.
        match json.as_array().and_then(|list| list.first()) {
            Some(first @ Value::Object(_)) => read.add(first, Field::Code, DEPTH),
            _ => read.add(json, Field::Code, DEPTH),
        }
        if read.message.is_empty() && !is_empty(json) {
            read.beginning = excerpt(&json.to_string(), PLAIN_MESSAGE_BYTES);
        }
        read
    }

    /// The message, or the beginning of a body without one.
    pub(crate) fn words(self) -> String {
        if self.message.is_empty() { self.beginning } else { self.message }
    }

    /// The most specific name, for users.
    pub(super) fn code(&self) -> Option<&str> {
        use Field::*;
        let first = |origins: &[Field]| self.names.iter().find(|(origin, _)| origins.contains(origin));
        let found = first(&[Status]).or_else(|| first(&[Code, BaseResp, Listed])).or_else(|| first(&[Type]));
        found.map(|(_, name)| &**name)
    }

    /// The message for users: the server's message, or the reason of the status and the beginning of the
    /// body.
    pub(super) fn sentence(&self, status: Option<u16>) -> String {
        if !self.message.is_empty() {
            let said = self.message.contains(&self.upstream);
            return if said { self.message.clone() } else { format!("{}: {}", self.message, self.upstream) };
        }
        let status = status.and_then(|status| StatusCode::from_u16(status).ok());
        let reason = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).canonical_reason();
        match (reason, &*self.beginning) {
            (None, "") => "the provider gives no reason".to_owned(),
            (Some(reason), "") => reason.to_owned(),
            (None, body) => body.to_owned(),
            (Some(reason), body) => format!("{reason}: {body}"),
        }
    }

    fn add(&mut self, json: &Value, origin: Field, depth: u8) {
        if depth == 0 {
            return;
        }
        match json {
            Value::String(text) => self.add_text(text.trim(), origin, depth),
            Value::Array(list) => {
                list.iter().take(5).for_each(|element| self.add(element, origin, depth - 1));
            }
            Value::Object(fields) => self.add_fields(fields, origin, depth),
            _ => {}
        }
    }

    /// A message, or JSON embedded in a string.
    fn add_text(&mut self, text: &str, origin: Field, depth: u8) {
        if text.starts_with(['{', '['])
            && let Ok(inner @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(text)
        {
            let before = self.message.len();
            self.add(&inner, origin, depth - 1);
            if self.message.len() > before {
                return;
            }
        }
        self.say(text);
    }

    fn say(&mut self, text: &str) {
        if text.is_empty() || self.message.contains(text) {
            return;
        }
        if !self.message.is_empty() {
            self.message.push_str(": ");
        }
        self.message.push_str(text);
    }

    fn add_fields(&mut self, fields: &Map<String, Value>, origin: Field, depth: u8) {
        for name in WRAPPERS {
            let origin = if name == "errors" { Field::Listed } else { origin };
            fields.get(name).into_iter().for_each(|inner| self.add(inner, origin, depth - 1));
        }
        if let Some(base) = fields.get("base_resp").filter(|base| base_failed(base)) {
            self.name(Field::BaseResp, &base["status_code"]);
            self.add(&base["status_msg"], origin, depth - 1);
        }
        for name in CODES {
            fields.get(name).into_iter().for_each(|code| self.name(origin, code));
        }
        for name in TYPES {
            fields.get(name).into_iter().for_each(|name| self.name(Field::Type, name));
        }
        match fields.get("status") {
            Some(Value::String(name)) => self.name(Field::Status, &Value::String(name.clone())),
            Some(status) => self.status = self.status.or_else(|| error_status(status)),
            None => {}
        }
        self.add_sentences(fields, origin, depth);
        self.add_details(fields);
    }

    fn add_sentences(&mut self, fields: &Map<String, Value>, origin: Field, depth: u8) {
        for field in SENTENCES.into_iter().filter_map(|name| fields.get(name)) {
            match field {
                Value::String(_) => self.add(field, origin, depth - 1),
                Value::Object(inner) if has_message(inner) => self.add(field, origin, depth - 1),
                _ => {}
            }
        }
        // FastAPI and Mistral list the problem of each field.
        let listed = || ["message", "detail", "msg"].into_iter().filter_map(|name| fields.get(name));
        if self.message.is_empty()
            && let Some(listed) = listed().find(|listed| !listed.is_string() && !is_empty(listed))
        {
            self.message = excerpt(&listed.to_string(), PLAIN_MESSAGE_BYTES);
            self.is_listed = true;
        }
        if self.message.is_empty() {
            let spare = SPARE_SENTENCES.into_iter().filter_map(|name| fields.get(name)?.as_str());
            spare.into_iter().take(1).for_each(|text| self.say(text.trim()));
        }
    }

    /// Reads details next to the message: reasons, quotas, waits, and the upstream error quoted by a router.
    fn add_details(&mut self, fields: &Map<String, Value>) {
        fields.get("reason").into_iter().for_each(|reason| self.name(Field::Reason, reason));
        for inner in ["innererror", "inner_error", "detail"].into_iter().filter_map(|name| fields.get(name)) {
            self.name(Field::Reason, &inner["code"]);
            self.name(Field::Reason, &inner["errorcode"]);
        }
        for detail in fields.get("details").and_then(Value::as_array).into_iter().flatten() {
            self.name(Field::Reason, &detail["reason"]);
            self.wait = self.wait.or_else(|| wait(&detail["retryDelay"], 1.0));
            for violation in detail["violations"].as_array().into_iter().flatten() {
                self.name(Field::Reason, &violation["quotaId"]);
            }
        }
        self.add_waits(fields);
        for inner in ["parameters", "details"].into_iter().filter_map(|name| fields.get(name)?.as_object()) {
            self.add_waits(inner);
        }
        let Some(metadata) = fields.get("metadata") else { return };
        for (name, value) in metadata["headers"].as_object().into_iter().flatten() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                self.headers.insert(name, value);
            }
        }
        let raw = match &metadata["raw"] {
            Value::Null => return,
            Value::String(raw) => Self::read(raw),
            raw => Self::of(raw),
        };
        self.upstream = excerpt(&raw.words(), PLAIN_MESSAGE_BYTES);
    }

    fn add_waits(&mut self, fields: &Map<String, Value>) {
        for (name, unit) in WAITS {
            self.wait = self.wait.or_else(|| wait(fields.get(name)?, unit));
        }
    }

    /// Adds a name. Some servers send it as a number.
    fn name(&mut self, origin: Field, value: &Value) {
        self.status = self.status.or_else(|| error_status(value));
        let name = match value {
            Value::String(name) => name.trim().to_owned(),
            Value::Number(number) => number.to_string(),
            _ => return,
        };
        // AWS writes the namespace before the name.
        let name = name.rsplit('#').next().unwrap_or_default().to_owned();
        let is_nothing = matches!(&*name, "" | "error" | "failed" | "fail");
        if !is_nothing && !self.names.iter().any(|(_, known)| *known == name) {
            self.names.push((origin, name));
        }
    }
}

/// Returns true if a body represents a failure, whatever else it contains. An `error` that is null, empty or
/// false does not count.
pub(super) fn is_failure(body: &Value) -> bool {
    // Gemini wraps the error in a list.
    let body = body.as_array().and_then(|list| list.first()).unwrap_or(body);
    let Some(fields) = body.as_object() else { return false };
    let is = |name: &str| fields.get(name).is_some_and(|value| value == "error");
    fields.get("error").is_some_and(|error| !says_nothing(error))
        || is("object")
        || is("type")
        || fields.get("base_resp").is_some_and(base_failed)
}

/// Returns true if a body without an answer looks like a failure.
pub(super) fn resembles_failure(body: &Value) -> bool {
    let body = body.as_array().and_then(|list| list.first()).unwrap_or(body);
    let Some(fields) = body.as_object() else { return false };
    let has = |name: &&str| fields.get(*name).is_some_and(|value| !is_empty(value));
    let names = [
        "errors",
        "fault",
        "error_msg",
        "error_message",
        "error_code",
        "errorCode",
        "errorMessage",
        "__type",
    ];
    is_failure(body)
        || names.iter().any(has)
        || ["message", "Message", "msg", "detail"]
            .iter()
            .any(|name| fields.get(*name).is_some_and(|text| text.is_string() && !is_empty(text)))
        || fields.get("success") == Some(&Value::Bool(false))
}

fn base_failed(base: &Value) -> bool {
    !says_nothing(&base["status_code"])
}

/// Returns true if an object has a message that is a string rather than a list.
fn has_message(fields: &Map<String, Value>) -> bool {
    let is_text = |name: &str| fields.get(name).is_some_and(Value::is_string);
    SENTENCES.into_iter().any(is_text)
        || is_text("error")
        || fields.get("error").is_some_and(Value::is_object)
}

/// Texts that some servers write for the absence of an error, and codes of a success.
const NOTHING: [&str; 8] = ["0", "200", "none", "null", "nil", "ok", "success", "no error"];

/// Returns true for an error whose fields are all empty, zero, or those of a success.
fn says_nothing(error: &Value) -> bool {
    match error {
        Value::Object(fields) => fields.values().all(says_nothing),
        Value::Array(list) => list.iter().all(says_nothing),
        Value::String(text) => {
            let text = text.trim();
            text.is_empty() || NOTHING.iter().any(|nothing| nothing.eq_ignore_ascii_case(text))
        }
        other => is_empty(other) || *other == 0 || *other == 200,
    }
}

/// Parses a number that is an error status.
fn error_status(value: &Value) -> Option<u16> {
    let number = match value {
        Value::String(digits) => digits.trim().parse().ok()?,
        other => u16::try_from(other.as_u64()?).ok()?,
    };
    (400..600).contains(&number).then_some(number)
}

/// Parses a wait: a number, also as text or with a unit (`45.8s`, `300ms`), or the seconds and nanoseconds of
/// Google's durations.
fn wait(written: &Value, unit: f64) -> Option<Duration> {
    let number = |value: &Value| value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    match written {
        Value::Object(fields) => {
            let nanos = fields.get("nanos").and_then(number).unwrap_or_default();
            Duration::try_from_secs_f64(number(fields.get("seconds")?)? + nanos * 1e-9).ok()
        }
        other => match number(other) {
            Some(number) => Duration::try_from_secs_f64(number * unit).ok(),
            None => hints::span(other.as_str()?),
        },
    }
}

/// The title of an HTML page or an XML document, else its message, else all of its text.
fn markup(page: &str) -> String {
    // Positions in it are those in the page: ASCII letters alone change.
    let lower = page.to_ascii_lowercase();
    let element = |name: &str| {
        let start = lower.find(&format!("<{name}>"))? + name.len() + 2;
        let end = page[start..].find('<').map_or(page.len(), |length| start + length);
        let text = text_of(&page[start..end], &lower[start..end]);
        (!text.is_empty()).then_some(text)
    };
    ["title", "message"].into_iter().find_map(element).unwrap_or_else(|| {
        let start = lower.find("<body").unwrap_or_default();
        text_of(&page[start..], &lower[start..])
    })
}

/// The words between the tags of a page, without its scripts and styles. `lower` is the page in lower case.
fn text_of(page: &str, lower: &str) -> String {
    let mut text = String::new();
    let mut at = 0;
    while text.len() <= PLAIN_MESSAGE_BYTES {
        let end = page[at..].find('<').map(|length| at + length);
        for word in page[at..end.unwrap_or(page.len())].split_whitespace() {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(word);
        }
        let Some(tag) = end.map(|end| end + 1) else { break };
        let hidden = ["script", "style"].into_iter().find(|name| lower[tag..].starts_with(name));
        let length = match hidden {
            Some(name) => lower[tag..].find(&format!("</{name}")),
            None => page[tag..].find('>').map(|length| length + 1),
        };
        match length {
            Some(length) => at = tag + length,
            None => break,
        }
    }
    text
}

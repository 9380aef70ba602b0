//! Requests as their files have them, kept beside the prompts that they are read as.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Prompt;
use crate::{Error, ErrorKind, Message, Parameters, Result};

/// Endpoint that a [`RequestBody`] is for: its path, without the part that differs between servers.
///
/// ```
/// use fanweave::prompts::Endpoint;
///
/// let azure = "/openai/deployments/x/chat/completions?api-version=2024-10-21";
/// assert_eq!(Endpoint::of_url(azure), Some(Endpoint::ChatCompletions));
/// assert_eq!(Endpoint::of_url("/v1/images/edits"), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Endpoint {
    /// OpenAI's chat completions.
    #[serde(rename = "/chat/completions")]
    ChatCompletions,
    /// OpenAI's responses.
    #[serde(rename = "/responses")]
    Responses,
    /// OpenAI's completions.
    #[serde(rename = "/completions")]
    Completions,
    /// OpenAI's embeddings.
    #[serde(rename = "/embeddings")]
    Embeddings,
    /// Anthropic's messages.
    #[serde(rename = "/messages")]
    Messages,
    /// Gemini's `generateContent`.
    #[serde(rename = ":generateContent")]
    GenerateContent,
}

impl Endpoint {
    /// The endpoints of OpenAI. A path that ends like two of them is the first.
    const OPENAI: [Self; 4] = [Self::ChatCompletions, Self::Responses, Self::Completions, Self::Embeddings];

    /// Path after the base URL of a server, such as `/chat/completions`, or the end of the path.
    pub fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/chat/completions",
            Self::Responses => "/responses",
            Self::Completions => "/completions",
            Self::Embeddings => "/embeddings",
            Self::Messages => "/messages",
            Self::GenerateContent => ":generateContent",
        }
    }

    /// The endpoint of OpenAI with this URL or path, by the end of the path: servers differ in what is before
    /// it. `None` for all others.
    pub fn of_url(url: &str) -> Option<Self> {
        let path = url.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
        Self::OPENAI.into_iter().find(|endpoint| path.ends_with(endpoint.path()))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path())
    }
}

/// A request as its file has it, beside the [`Prompt`] that it was read as.
///
/// A provider of the same dialect gets it unchanged: fields that a prompt does not represent, numbers as they
/// are written, and the order of fields. Only what differs from the prompt as it was read is replaced, such
/// as a parameter that a step sets, or a message that a step adds. Providers of other dialects get the
/// prompt.
///
/// ```
/// use fanweave::Prompt;
/// use fanweave::prompts::{Endpoint, RequestBody};
///
/// let json = r#"{"messages": [{"role": "user", "name": "ann", "content": "Hi"}], "seed": 100.0}"#;
/// let body = RequestBody::new(Endpoint::ChatCompletions, json)?;
/// let prompt = Prompt::from("Hi").with_body(body);
/// assert_eq!(prompt.body.expect("it was set").json(), json);
/// # Ok::<_, fanweave::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct RequestBody {
    endpoint: Endpoint,
    json: Box<RawValue>,
    unmapped: Vec<String>,
    /// Parameters of the prompt when it was read.
    parameters: Parameters,
    /// Number and hash of the messages of the prompt when it was read.
    messages: usize,
    hash: u64,
}

impl RequestBody {
    /// A request for `endpoint`, as JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Input`] if `json` is not a JSON object.
    pub fn new(endpoint: Endpoint, json: impl Into<String>) -> Result<Self> {
        let mut json = json.into();
        // In JSON, line ends are only between tokens. Files of batches have one request a line.
        if json.contains(['\n', '\r']) {
            json = json.replace(['\n', '\r'], " ");
        }
        let object = json.trim_ascii_start().starts_with('{');
        let json = RawValue::from_string(json).ok().filter(|_| object);
        let json = json.ok_or_else(|| Error::new(ErrorKind::Input, "the request is not a JSON object"))?;
        let (parameters, hash) = (Parameters::default(), hash(&[]));
        Ok(Self { endpoint, json, unmapped: Vec::new(), parameters, messages: 0, hash })
    }

    /// Names fields that the prompt does not represent, by their paths: `messages[2].function_call`. They
    /// cannot be translated into another dialect.
    #[must_use]
    pub fn with_unmapped(self, unmapped: impl IntoIterator<Item = String>) -> Self {
        Self { unmapped: unmapped.into_iter().collect(), ..self }
    }

    /// Endpoint that the request is for.
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// The request, as it was given.
    pub fn json(&self) -> &str {
        self.json.get()
    }

    /// Paths of the fields that the prompt does not represent, apart from those in
    /// [`extra`](Parameters::extra).
    pub fn unmapped(&self) -> &[String] {
        &self.unmapped
    }

    /// Parameters of the prompt as it was read.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The request without its last message. `None` if it has no list of messages.
    #[must_use]
    pub fn without_last_message(&self) -> Option<Self> {
        let name = if self.endpoint == Endpoint::GenerateContent { "contents" } else { "messages" };
        let mut fields: BTreeMap<&str, &RawValue> = serde_json::from_str(self.json()).ok()?;
        let mut messages: Vec<&RawValue> = serde_json::from_str(fields.get(name)?.get()).ok()?;
        messages.pop()?;
        let list = serde_json::value::to_raw_value(&messages).ok()?;
        fields.insert(name, &list);
        let json = serde_json::to_string(&fields).ok()?;
        let last = format!("{name}[{}]", messages.len());
        let unmapped = self.unmapped.iter().filter(|path| !path.starts_with(&last)).cloned();
        Some(Self::new(self.endpoint, json).ok()?.with_unmapped(unmapped))
    }

    /// Positions of the messages of the request in `messages`, to which others may have been added before or
    /// after. `None` if messages were changed or removed.
    pub fn messages_in(&self, messages: &[Message]) -> Option<std::ops::Range<usize>> {
        let added = messages.len().checked_sub(self.messages)?;
        let at = |from: usize| from..from + self.messages;
        // A system message may be first.
        (0..=added.min(1)).map(at).find(|range| hash(&messages[range.clone()]) == self.hash)
    }

    /// Returns true if `prompt` is still as it was read from this request.
    pub fn is_read_as(&self, prompt: &Prompt) -> bool {
        let len = prompt.messages.len();
        self.messages_in(&prompt.messages) == Some(0..len) && self.parameters == prompt.parameters
    }

    /// The request in a canonical form, equal for requests that mean the same: without whitespace, with
    /// fields in order, and with numbers as they are written.
    pub fn canonical(&self) -> String {
        let mut text = String::with_capacity(self.json().len());
        write_canonical(self.json(), &mut text);
        text
    }
}

impl PartialEq for RequestBody {
    fn eq(&self, other: &Self) -> bool {
        self.endpoint == other.endpoint && self.json() == other.json()
    }
}

impl Prompt {
    /// Adds the request that this prompt was read from. Everything that is changed later replaces the field
    /// of the request.
    #[must_use]
    pub fn with_body(mut self, mut body: RequestBody) -> Self {
        body.parameters = self.parameters.clone();
        body.messages = self.messages.len();
        body.hash = hash(&self.messages);
        self.body = Some(Arc::new(body));
        self
    }
}

/// Hash of messages, within one process.
fn hash(messages: &[Message]) -> u64 {
    struct Hashed(DefaultHasher);
    impl io::Write for Hashed {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut hashed = Hashed(DefaultHasher::new());
    serde_json::to_writer(&mut hashed, messages).expect("messages have string keys");
    hashed.0.finish()
}

/// Writes a JSON text with sorted fields and without whitespace. Of equal names, the last one counts.
fn write_canonical(json: &str, text: &mut String) {
    let json = json.trim_ascii();
    let plain = |text: &mut String| text.push_str(json);
    match json.as_bytes().first() {
        Some(b'{') => {
            let Ok(fields) = serde_json::from_str::<BTreeMap<String, &RawValue>>(json) else {
                return plain(text);
            };
            text.push('{');
            for (i, (name, value)) in fields.iter().enumerate() {
                text.push_str(if i > 0 { "," } else { "" });
                text.push_str(&serde_json::Value::from(name.as_str()).to_string());
                text.push(':');
                write_canonical(value.get(), text);
            }
            text.push('}');
        }
        Some(b'[') => {
            let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(json) else { return plain(text) };
            text.push('[');
            for (i, item) in items.iter().enumerate() {
                text.push_str(if i > 0 { "," } else { "" });
                write_canonical(item.get(), text);
            }
            text.push(']');
        }
        Some(b'"') => match serde_json::from_str::<Cow<'_, str>>(json) {
            Ok(string) => text.push_str(&serde_json::Value::from(string).to_string()),
            Err(_) => plain(text),
        },
        _ => plain(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canonical_request_has_sorted_fields_and_numbers_as_written() {
        let canonical = |json: &str| RequestBody::new(Endpoint::Responses, json).unwrap().canonical();
        let json = "{\"b\" : [ 1.0, 12345678901234567890123, {\"y\":1e-07,\n\"x\":\"\\u00e9\\/\"}], \"a\":null, \"b\\u0062\": true}";
        assert_eq!(
            canonical(json),
            "{\"a\":null,\"b\":[1.0,12345678901234567890123,{\"x\":\"é/\",\"y\":1e-07}],\"bb\":true}"
        );
        assert_eq!(canonical(r#"{"a":1,"a":2}"#), r#"{"a":2}"#, "the last one counts");
    }

    #[test]
    fn a_request_without_its_last_message_keeps_the_rest_as_it_is() {
        let json = r#"{"messages":[{"role":"user","x":1.0},{"role":"assistant"}],"n":1e-07}"#;
        let body = RequestBody::new(Endpoint::ChatCompletions, json).unwrap();
        let lost = ["messages[0].x", "messages[1].y", "z"].map(str::to_owned);
        let shorter = body.with_unmapped(lost).without_last_message().unwrap();
        assert_eq!(shorter.json(), r#"{"messages":[{"role":"user","x":1.0}],"n":1e-07}"#);
        assert_eq!(shorter.unmapped(), ["messages[0].x", "z"]);
        assert!(RequestBody::new(Endpoint::ChatCompletions, "{}").unwrap().without_last_message().is_none());
    }

    #[test]
    fn a_request_is_one_json_object() {
        for json in ["", "[1]", "7", "{} {}", "{\"a\":}"] {
            assert!(RequestBody::new(Endpoint::Completions, json).is_err(), "{json}");
        }
    }

    #[test]
    fn messages_are_found_unless_they_were_changed() {
        let body = RequestBody::new(Endpoint::ChatCompletions, "{}").unwrap();
        let prompt = Prompt::new([Message::user("a"), Message::assistant("b")]).with_body(body);
        let range = |prompt: &Prompt| prompt.body.as_ref().unwrap().messages_in(&prompt.messages);
        assert_eq!(range(&prompt), Some(0..2));
        let mut longer = prompt.clone().with_system("Be brief.");
        longer.messages.push(Message::user("c"));
        assert_eq!(range(&longer), Some(1..3));
        let mut changed = prompt.clone();
        changed.messages[0] = Message::user("A");
        assert_eq!(range(&changed), None);
        let mut shorter = prompt;
        shorter.messages.pop();
        assert_eq!(range(&shorter), None);
    }
}

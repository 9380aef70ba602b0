//! Lenient decoding of responses: small deviations from OpenAI's format must not fail a call.
//!
//! Unknown fields are skipped, null counts as missing, and numbers and strings are interchangeable. Strings
//! are borrowed from the body if JSON allows it.

use std::borrow::Cow;
use std::fmt;

use fanweave_core::{Error, ErrorKind, Part, Result, Usage};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::providers::failure;
use crate::providers::json::parse;

/// A complete answer, or one chunk of a streamed one.
#[derive(Deserialize)]
pub(super) struct Completion<'a> {
    #[serde(borrow, default)]
    pub(super) id: Text<'a>,
    #[serde(borrow, default)]
    pub(super) model: Text<'a>,
    #[serde(borrow, default)]
    pub(super) choices: Option<Vec<Choice<'a>>>,
    #[serde(default, deserialize_with = "or_nothing")]
    pub(super) usage: Option<WireUsage>,
    /// Some servers wrap a failure into a success.
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    /// MiniMax reports failures here.
    #[serde(borrow, default)]
    base_resp: Option<&'a RawValue>,
    /// Some servers send an unwrapped failure, marked as such here.
    #[serde(borrow, default)]
    object: Text<'a>,
}

impl<'a> Completion<'a> {
    pub(super) fn parse(json: &'a [u8]) -> Result<Self> {
        serde_json::from_slice(json).map_err(|e| no_completion(&e))
    }

    /// Parses one chunk, which is known to be valid UTF-8, so that its strings are not checked again.
    pub(super) fn parse_chunk(json: &'a str) -> Result<Self> {
        serde_json::from_str(json).map_err(|e| no_completion(&e))
    }

    /// The failure sent instead of an answer. `json` is the source of this value.
    pub(super) fn failure(&self, json: &[u8], vendor: &str) -> Option<Error> {
        let says_so = self.error.is_some() || self.base_resp.is_some() || self.object.as_str() == "error";
        // Gemini's compatible endpoint wraps failures into a list.
        let is_nothing =
            json.starts_with(b"[") || (self.choices.is_none() && self.usage.is_none() && self.id.is_empty());
        if !says_so && !is_nothing {
            return None;
        }
        let body = parse(json, "failure").ok()?;
        if is_nothing {
            return Some(failure::instead(&body, vendor, ""))
                .filter(|error| error.kind() != ErrorKind::Decode);
        }
        failure::inside(&body, vendor)
    }
}

/// Reads an invalid value as `None`: the answer has been paid for, so it must not fail the call.
fn or_nothing<'de, D: Deserializer<'de>, T: DeserializeOwned>(json: D) -> Result<Option<T>, D::Error> {
    let json = Option::<&RawValue>::deserialize(json)?;
    Ok(json.and_then(|json| serde_json::from_str(json.get()).ok()))
}

fn no_completion(error: &serde_json::Error) -> Error {
    // The parser's error may quote the body, including keys: it is redacted as text, and not kept as source.
    Error::new(ErrorKind::Decode, format!("the response is not a valid chat completion: {error}"))
}

#[derive(Deserialize)]
pub(super) struct Choice<'a> {
    #[serde(default)]
    pub(super) index: Count,
    /// In a complete answer.
    #[serde(borrow, default)]
    pub(super) message: Option<Said<'a>>,
    /// In a chunk.
    #[serde(borrow, default)]
    pub(super) delta: Option<Said<'a>>,
    #[serde(borrow, default)]
    pub(super) finish_reason: Text<'a>,
    /// OpenRouter, if a provider fails in the middle of an answer.
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

impl Choice<'_> {
    /// The failure that ended this choice.
    pub(super) fn failure(&self, vendor: &str) -> Option<Error> {
        let error = serde_json::from_str::<Value>(self.error?.get()).ok()?;
        failure::inside(&serde_json::json!({ "error": error }), vendor)
    }
}

/// The model's message, or the next part of it.
#[derive(Deserialize, Default)]
pub(super) struct Said<'a> {
    #[serde(borrow, default)]
    pub(super) content: Content<'a>,
    /// DeepSeek, vLLM, llama.cpp.
    #[serde(borrow, default)]
    reasoning_content: Text<'a>,
    /// OpenRouter, Groq, newer vLLM.
    #[serde(borrow, default)]
    reasoning: Text<'a>,
    #[serde(borrow, default)]
    pub(super) refusal: Text<'a>,
    #[serde(borrow, default)]
    pub(super) tool_calls: Option<Vec<WireToolCall<'a>>>,
}

impl<'a> Said<'a> {
    /// The reasoning, under either name. Servers in transition send both.
    pub(super) fn reasoning(&self) -> Text<'a> {
        if self.reasoning_content.is_empty() {
            self.reasoning.clone()
        } else {
            self.reasoning_content.clone()
        }
    }
}

#[derive(Deserialize)]
pub(super) struct WireToolCall<'a> {
    #[serde(default)]
    pub(super) index: Option<Count>,
    #[serde(borrow, default)]
    pub(super) id: Text<'a>,
    #[serde(borrow, default)]
    pub(super) function: Option<Function<'a>>,
}

#[derive(Deserialize, Default)]
pub(super) struct Function<'a> {
    #[serde(borrow, default)]
    pub(super) name: Text<'a>,
    /// JSON in a string. Some servers send plain JSON.
    #[serde(borrow, default)]
    pub(super) arguments: Text<'a>,
}

#[derive(Deserialize)]
pub(super) struct WireUsage {
    #[serde(default)]
    prompt_tokens: Count,
    #[serde(default)]
    completion_tokens: Count,
    #[serde(default, deserialize_with = "or_nothing")]
    prompt_tokens_details: Option<Details>,
    #[serde(default, deserialize_with = "or_nothing")]
    completion_tokens_details: Option<Details>,
    /// DeepSeek's name for the cached tokens.
    #[serde(default)]
    prompt_cache_hit_tokens: Count,
}

#[derive(Deserialize, Default)]
struct Details {
    #[serde(default)]
    cached_tokens: Count,
    #[serde(default)]
    reasoning_tokens: Count,
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Self {
        let cached = wire.prompt_tokens_details.unwrap_or_default().cached_tokens.0;
        Usage {
            input_tokens: wire.prompt_tokens.0,
            output_tokens: wire.completion_tokens.0,
            cached_tokens: cached.max(wire.prompt_cache_hit_tokens.0),
            reasoning_tokens: wire.completion_tokens_details.unwrap_or_default().reasoning_tokens.0,
        }
    }
}

/// One part of a content list.
pub(super) fn part(value: Value) -> Part {
    match (value["type"].as_str(), &value["text"], &value["thinking"]) {
        (Some("text" | "output_text"), Value::String(text), _) => Part::Text(text.clone()),
        (Some("thinking"), _, thinking) => {
            let texts = thinking.as_array().into_iter().flatten().filter_map(|part| part["text"].as_str());
            Part::Reasoning { text: texts.collect(), signature: None }
        }
        _ => Part::Other(value),
    }
}

/// A string. Null and missing are empty, a number is formatted, and a list or object is written as JSON.
#[derive(Debug, Clone, Default)]
pub(super) struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_string(self) -> String {
        self.0.into_owned()
    }

    pub(super) fn into_option(self) -> Option<String> {
        (!self.0.is_empty()).then(|| self.0.into_owned())
    }
}

/// Content: a string, or a list of parts.
pub(super) enum Content<'a> {
    Text(Text<'a>),
    Parts(Vec<Value>),
}

impl Default for Content<'_> {
    fn default() -> Self {
        Content::Text(Text::default())
    }
}

/// A count. Null, negative numbers and other values are 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count(pub(super) u64);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        match json.deserialize_any(Lenient)? {
            Scalar::Text(text) => Ok(Text(text)),
            Scalar::Number(n) => Ok(Text(n.to_string().into())),
            Scalar::Json(value) => Ok(Text(value.to_string().into())),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        match json.deserialize_any(Lenient)? {
            Scalar::Text(text) => Ok(Content::Text(Text(text))),
            Scalar::Number(n) => Ok(Content::Text(Text(n.to_string().into()))),
            Scalar::Json(Value::Array(parts)) => Ok(Content::Parts(parts)),
            Scalar::Json(other) => Ok(Content::Parts(vec![other])),
        }
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let number = match json.deserialize_any(Lenient)? {
            Scalar::Number(n) => n,
            Scalar::Text(text) => text.parse().unwrap_or_default(),
            Scalar::Json(_) => 0.0,
        };
        // The cast saturates: below zero is 0.
        Ok(Count(number as u64))
    }
}

/// Any value in the position of a string or a number.
enum Scalar<'a> {
    Text(Cow<'a, str>),
    /// Exact up to 2^53, far above any count of tokens.
    Number(f64),
    Json(Value),
}

struct Lenient;

impl<'de> Visitor<'de> for Lenient {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed("")))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Json(Value::Bool(value)))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(n as f64))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(n as f64))
    }

    fn visit_f64<E>(self, n: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(n))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        Value::deserialize(SeqAccessDeserializer::new(seq)).map(Scalar::Json)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Value::deserialize(MapAccessDeserializer::new(map)).map(Scalar::Json)
    }
}

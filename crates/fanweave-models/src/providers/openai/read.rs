//! Lenient decoding of responses: small deviations from OpenAI's format must not fail a call.
//!
//! Unknown fields are skipped, null and empty values of another type count as missing, and numbers and
//! strings are interchangeable. Strings are borrowed from the body if JSON allows it. A body that this reader
//! rejects, for example for a repeated key, is normalised by [`json`] and read once more.

use fanweave_core::{Error, ErrorKind, Part, Result, Usage};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::signed::{self, Signed};
use super::values::{Arguments, Content, Count, Counted, Index, Many, Maybe, Text};
use crate::providers::json;
use crate::providers::triage::largest;
use crate::providers::{extras, failure, usage as counts};
use crate::transport::caps::{CALLS, CHOICES, Cap};

/// A complete answer, or one chunk of a streamed one.
#[derive(Deserialize)]
pub(super) struct Completion<'a> {
    #[serde(borrow, default)]
    pub(super) id: Text<'a>,
    #[serde(borrow, default)]
    pub(super) model: Text<'a>,
    #[serde(borrow, default)]
    pub(super) choices: Many<Choice<'a>>,
    /// A list of several is read too, of which the largest counts.
    #[serde(default)]
    usage: Many<WireUsage>,
    /// Cohere reports the usage here.
    #[serde(default)]
    meta: Maybe<Box<Metered>>,
    /// Groq reports the usage of a stream here, and why one was stopped early.
    #[serde(borrow, default)]
    x_groq: Maybe<Wrapped<'a>>,
    /// Perplexity: the sources of the answer.
    #[serde(borrow, default)]
    pub(super) citations: Option<&'a RawValue>,
    /// Perplexity: the same sources with their titles.
    #[serde(borrow, default)]
    pub(super) search_results: Option<&'a RawValue>,
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
    /// Parses a body. `space` holds the text of one that has to be normalised first.
    pub(super) fn parse(json: &'a [u8], space: &'a mut String) -> Result<Self> {
        match std::str::from_utf8(json) {
            Ok(text) => Self::parse_chunk(text, space),
            // Fields that are not read may have invalid bytes.
            Err(_) => serde_json::from_slice(json).or_else(|error| Self::normalised(json, space, &error)),
        }
    }

    /// Parses valid UTF-8, so that its strings are not checked one by one.
    pub(super) fn parse_chunk(json: &'a str, space: &'a mut String) -> Result<Self> {
        serde_json::from_str(json).or_else(|error| Self::normalised(json.as_bytes(), space, &error))
    }

    #[cold]
    fn normalised(json: &[u8], space: &'a mut String, error: &serde_json::Error) -> Result<Self> {
        const WHAT: &str = "chat completion";
        let value = json::read(json).map_err(|e| json::invalid(&e, WHAT))?;
        *space = value.to_string();
        serde_json::from_str(space).map_err(|_| json::invalid(error, WHAT))
    }

    /// Takes the usage, from any of the fields in use.
    pub(super) fn take_usage(&mut self) -> Option<Usage> {
        let choices = self.choices.0.iter_mut().flatten().filter_map(|choice| choice.usage.0.take());
        let wrapped = self.x_groq.0.take().and_then(|wrapped| wrapped.usage.0);
        let metered = self.meta.0.take().and_then(|meta| meta.tokens.0);
        let own = self.usage.0.take().into_iter().flatten();
        let all = own.chain(wrapped).chain(metered).chain(choices);
        all.map(Usage::from).reduce(largest)
    }

    /// The failure in a chunk. `json` is the source of this value.
    pub(super) fn failure(&self, json: &[u8], vendor: &str) -> Option<Error> {
        if let Some(error) = self.x_groq.0.as_ref().and_then(|wrapped| failure_in(wrapped.error?, vendor)) {
            return Some(error);
        }
        let says_so = self.error.is_some() || self.base_resp.is_some() || self.object.as_str() == "error";
        if !says_so { None } else { failure::inside(&json::read(json).ok()?, vendor) }
    }

    /// The failure sent instead of an answer. `json` is the source of this value.
    pub(super) fn failure_instead(&self, json: &[u8], vendor: &str) -> Option<Error> {
        // Gemini's compatible endpoint wraps failures into a list.
        let is_nothing = json.starts_with(b"[")
            || (self.choices.0.is_none() && self.usage.0.is_none() && self.id.is_empty());
        if !is_nothing {
            return self.failure(json, vendor);
        }
        let error = failure::instead(&json::read(json).ok()?, vendor, "");
        Some(error).filter(|error| error.kind() != ErrorKind::Decode)
    }
}

#[derive(Deserialize)]
pub(super) struct Choice<'a> {
    #[serde(default)]
    pub(super) index: Count,
    /// In a complete answer.
    #[serde(borrow, default)]
    pub(super) message: Maybe<Said<'a>>,
    /// In a chunk.
    #[serde(borrow, default)]
    pub(super) delta: Maybe<Said<'a>>,
    /// Of servers that send the choices of the completions API.
    #[serde(borrow, default)]
    pub(super) text: Text<'a>,
    #[serde(borrow, default)]
    pub(super) finish_reason: Text<'a>,
    #[serde(default)]
    usage: Maybe<WireUsage>,
    /// OpenRouter, if a provider fails in the middle of an answer.
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

impl Choice<'_> {
    /// The failure that ended this choice.
    pub(super) fn failure(&self, vendor: &str) -> Option<Error> {
        failure_in(self.error?, vendor)
    }
}

/// The failure in an `error` that is not that of the whole body.
fn failure_in(error: &RawValue, vendor: &str) -> Option<Error> {
    let error = json::read(error.get().as_bytes()).ok()?;
    failure::inside(&serde_json::json!({ "error": error }), vendor)
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
    pub(super) tool_calls: Many<WireToolCall<'a>>,
    /// OpenRouter: reasoning of all vendors, with their signatures.
    #[serde(borrow, default)]
    reasoning_details: Option<&'a RawValue>,
    /// LiteLLM: Anthropic's blocks, with their signatures.
    #[serde(borrow, default)]
    thinking_blocks: Option<&'a RawValue>,
    /// The only call, in the form that preceded `tool_calls`.
    #[serde(borrow, default)]
    pub(super) function_call: Maybe<Function<'a>>,
    /// The sources of the message.
    #[serde(borrow, default)]
    pub(super) annotations: Option<&'a RawValue>,
    /// OpenRouter: images of the model.
    #[serde(borrow, default)]
    pub(super) images: Option<&'a RawValue>,
    /// The message as audio, with its transcript.
    #[serde(borrow, default)]
    pub(super) audio: Option<&'a RawValue>,
}

impl<'a> Said<'a> {
    /// Returns true if the message says nothing.
    pub(super) fn is_empty(&self) -> bool {
        let is_empty = |calls: &[WireToolCall<'_>]| calls.iter().all(WireToolCall::is_empty);
        self.content.is_empty()
            && self.reasoning_content.is_empty()
            && self.reasoning.is_empty()
            && self.refusal.is_empty()
            && self.reasoning_details.is_none()
            && self.thinking_blocks.is_none()
            && self.annotations.is_none()
            && self.images.is_none()
            && self.audio.is_none()
            && self.tool_calls.0.as_deref().is_none_or(is_empty)
            && self.function_call.0.as_ref().is_none_or(Function::is_empty)
    }

    /// Drops the reasoning.
    pub(super) fn without_reasoning(&mut self) {
        self.reasoning_content = Text::default();
        self.reasoning = Text::default();
        self.reasoning_details = None;
        self.thinking_blocks = None;
    }

    /// Adds what the server wants back to `signed`.
    pub(super) fn sign(&self, signed: &mut Signed) {
        signed.add(signed::DETAILS, self.reasoning_details);
        signed.add(signed::BLOCKS, self.thinking_blocks);
    }

    /// Returns true if the server wants more back than the text.
    pub(super) fn is_signed(&self) -> bool {
        self.reasoning_details.is_some() || self.thinking_blocks.is_some()
    }

    /// The reasoning, under either name. Servers in transition send both.
    pub(super) fn reasoning(&self) -> Text<'a> {
        if self.reasoning_content.is_empty() {
            self.reasoning.clone()
        } else {
            self.reasoning_content.clone()
        }
    }

    /// Takes `text` as the content of a message without any.
    pub(super) fn or_text(&mut self, text: Text<'a>) {
        if !text.is_empty() && matches!(&self.content, Content::Text(content) if content.is_empty()) {
            self.content = Content::Text(text);
        }
    }

    /// Takes the tool calls, in either form. Empty ones are dropped.
    pub(super) fn take_calls(&mut self) -> Vec<WireToolCall<'a>> {
        let mut calls = std::mem::take(&mut self.tool_calls).into_vec();
        calls.iter_mut().for_each(WireToolCall::wrap);
        calls.retain(|call| !call.is_empty());
        if calls.is_empty()
            && let Some(function) = self.function_call.0.take().filter(|function| !function.is_empty())
        {
            calls.push(WireToolCall { function: Maybe(Some(function)), ..WireToolCall::default() });
        }
        calls
    }
}

#[derive(Deserialize, Default)]
pub(super) struct WireToolCall<'a> {
    #[serde(default)]
    pub(super) index: Index,
    #[serde(borrow, default)]
    pub(super) id: Text<'a>,
    #[serde(borrow, default)]
    pub(super) function: Maybe<Function<'a>>,
    /// The name and the arguments, of servers that send no function around them.
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow, default)]
    arguments: Arguments<'a>,
    /// Gemini's compatible API: the signature of its thinking.
    #[serde(borrow, default)]
    extra_content: Option<&'a RawValue>,
    /// The same from LiteLLM.
    #[serde(borrow, default)]
    provider_specific_fields: Option<&'a RawValue>,
}

impl WireToolCall<'_> {
    /// Moves a name and arguments without a function into one.
    fn wrap(&mut self) {
        if self.function.0.is_none() && !(self.name.is_empty() && self.arguments.0.is_empty()) {
            let (name, arguments) = (std::mem::take(&mut self.name), std::mem::take(&mut self.arguments));
            self.function = Maybe(Some(Function { name, arguments }));
        }
    }

    /// The fields that the server wants back with the call.
    pub(super) fn signature(&self) -> Option<String> {
        signed::of_call(self.id.as_str(), self.extra_content, self.provider_specific_fields)
    }

    fn is_empty(&self) -> bool {
        let is_signed = self.extra_content.is_some() || self.provider_specific_fields.is_some();
        let is_flat = !self.name.is_empty() || !self.arguments.0.is_empty();
        self.id.is_empty()
            && !is_signed
            && !is_flat
            && self.function.0.as_ref().is_none_or(Function::is_empty)
    }
}

#[derive(Deserialize, Default)]
pub(super) struct Function<'a> {
    #[serde(borrow, default)]
    pub(super) name: Text<'a>,
    /// JSON in a string. Some servers send plain JSON.
    #[serde(borrow, default)]
    pub(super) arguments: Arguments<'a>,
}

impl Function<'_> {
    fn is_empty(&self) -> bool {
        self.name.is_empty() && self.arguments.0.is_empty()
    }
}

/// An object that has the usage or a failure in it.
#[derive(Deserialize)]
struct Wrapped<'a> {
    #[serde(default)]
    usage: Maybe<WireUsage>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// An object that has the counts in it.
#[derive(Deserialize)]
struct Metered {
    #[serde(default)]
    tokens: Maybe<WireUsage>,
}

/// The usage in a field. `None` if it cannot be read apart from its chunk.
pub(super) fn usage(json: &str) -> Option<Usage> {
    serde_json::from_str::<WireUsage>(json).ok().map(Usage::from)
}

/// The usage, under the names of either API.
#[derive(Deserialize)]
struct WireUsage {
    #[serde(default)]
    prompt_tokens: Count,
    #[serde(default)]
    completion_tokens: Count,
    #[serde(default)]
    input_tokens: Count,
    #[serde(default)]
    output_tokens: Count,
    #[serde(default)]
    total_tokens: Count,
    #[serde(default)]
    prompt_tokens_details: Maybe<Details>,
    #[serde(default)]
    completion_tokens_details: Maybe<Details>,
    /// DeepSeek's name for the cached tokens.
    #[serde(default)]
    prompt_cache_hit_tokens: Count,
    /// Gateways that write every name so.
    #[serde(default, rename = "promptTokens")]
    prompt_camel: Count,
    #[serde(default, rename = "completionTokens")]
    completion_camel: Count,
    #[serde(default, rename = "inputTokens")]
    input_camel: Count,
    #[serde(default, rename = "outputTokens")]
    output_camel: Count,
    #[serde(default, rename = "totalTokens")]
    total_camel: Count,
    /// Cohere wraps the counts.
    #[serde(default)]
    tokens: Maybe<Box<WireUsage>>,
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
        let cached = wire.prompt_tokens_details.0.unwrap_or_default().cached_tokens.0;
        let tokens = |snake: [Count; 2], camel: [Count; 2]| {
            snake.into_iter().chain(camel).map(|count| count.0).max().unwrap_or_default()
        };
        let input = tokens([wire.prompt_tokens, wire.input_tokens], [wire.prompt_camel, wire.input_camel]);
        let output =
            tokens([wire.completion_tokens, wire.output_tokens], [wire.completion_camel, wire.output_camel]);
        let total = wire.total_tokens.0.max(wire.total_camel.0);
        let own = counts::with_total(input, output, total)
            .cached_tokens(cached.max(wire.prompt_cache_hit_tokens.0))
            .reasoning_tokens(wire.completion_tokens_details.0.unwrap_or_default().reasoning_tokens.0);
        match wire.tokens.0 {
            Some(inner) => largest(own, Usage::from(*inner)),
            None => own,
        }
    }
}

/// One part of a content list.
pub(super) fn part(value: Value) -> Part {
    match (value["type"].as_str(), &value["text"], &value["thinking"]) {
        (None, _, _) if value.is_string() || value.is_number() => Part::Text(json::text(&value)),
        (Some("text" | "output_text") | None, Value::String(text), _) => Part::Text(text.clone()),
        (Some("thinking"), _, thinking) => {
            let texts = json::list(thinking).filter_map(|part| part["text"].as_str());
            Part::Reasoning { text: texts.collect(), signature: None }
        }
        (kind, ..) => match extras::media(&value) {
            Some(media) => media,
            // An answer of the model as JSON, instead of JSON in a string.
            None if kind.is_none() && value.is_object() => Part::Text(value.to_string()),
            None => Part::Other(value),
        },
    }
}

impl Counted for Choice<'_> {
    const CAP: Cap = CHOICES;
}

impl Counted for WireUsage {
    const CAP: Cap = CHOICES;
}

impl Counted for WireToolCall<'_> {
    const CAP: Cap = CALLS;
}

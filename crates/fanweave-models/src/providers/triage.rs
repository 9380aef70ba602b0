//! Events of a stream before any dialect: keep-alives, end markers and failures of any server.
//!
//! A dialect whose events are JSON objects wraps its decoder in [`Triage`], which passes on the objects only.
//!
//! | event | meaning |
//! |---|---|
//! | name contains `error`, or ends in `failed` | failure, whatever the data |
//! | a JSON object | passed to the dialect |
//! | several objects with nothing between them | passed on one by one |
//! | a JSON list | its elements one by one |
//! | `[DONE]` in any spelling, an end marker of another dialect | end marker |
//! | empty, `null`, a number | keep-alive |
//! | any other text | keep-alive; the failure if no answer comes |

use fanweave_core::{Delta, Error, ErrorKind, FinishReason, Result, Usage};
use memchr::memmem;
use serde_json::Value;

use super::failure::{self, ProviderError};
use super::repeated::{Repeated, Repetition};
use super::{finish, json};
use crate::protocol::{SseEvent, StreamDecoder, StreamEnd};
use crate::transport::values;

/// Maximum bytes kept of an event that may turn out to be a failure.
const MAX_WORDS_BYTES: usize = 2 << 10;

/// The decoder of a dialect, as far as more than its events is needed.
pub(super) trait DialectDecoder: StreamDecoder {
    /// Returns true if another event like the last one, whose only delta was a piece of text or reasoning,
    /// changes only this text.
    fn may_repeat(&self) -> bool {
        true
    }

    /// Notes the delta of an event that was like the last one.
    fn repeat(&mut self, _: &Delta) {}

    /// The counts in a field with the usage so far. `None` if it cannot be read apart from its event.
    fn usage(&self, _: &str) -> Option<Usage> {
        None
    }

    /// The sentence beside the finish reason. Default: none.
    fn finish_words(&self) -> &str {
        ""
    }
}

/// The decoder of a dialect whose events are JSON objects.
pub(super) struct Triage<D> {
    decoder: D,
    /// Name of the vendor, for its errors.
    vendor: &'static str,
    /// Set if the end marker alone completes an answer.
    no_finish_reason: bool,
    is_marked: bool,
    has_content: bool,
    finished: Option<FinishReason>,
    usage: Usage,
    /// The first event that is part of no answer and resembles a failure, or the first text.
    words: Option<String>,
    /// The event before.
    last: Repeated,
}

impl<D: DialectDecoder> Triage<D> {
    pub(super) fn new(vendor: &'static str, decoder: D) -> Self {
        Self {
            decoder,
            vendor,
            no_finish_reason: false,
            is_marked: false,
            has_content: false,
            finished: None,
            usage: Usage::default(),
            words: None,
            last: Repeated::default(),
        }
    }

    /// Accepts an end marker without a finish reason.
    pub(super) fn no_finish_reason(self, no_finish_reason: bool) -> Self {
        Self { no_finish_reason, ..self }
    }

    /// Passes an object to the dialect.
    fn object(&mut self, event: &SseEvent<'_>, deltas: &mut Vec<Delta>) -> Result<()> {
        let before = deltas.len();
        self.last.forget();
        if let Err(error) = self.decoder.event(event, deltas) {
            // Some servers send nothing between two events.
            return match values::glued(event.data) {
                Some(values) if error.kind() == ErrorKind::Decode && deltas.len() == before => {
                    self.each(values, deltas)
                }
                _ => Err(error),
            };
        }
        let says_nothing = |delta: &Delta| matches!(delta, Delta::Started { .. } | Delta::Usage(_));
        if deltas[before..].iter().all(says_nothing) {
            self.without_content(event)?;
        }
        deltas[before..].iter_mut().for_each(|delta| self.add(delta));
        if self.decoder.may_repeat() {
            self.last.remember(event, &deltas[before..], |usage| self.decoder.usage(usage));
        }
        Ok(())
    }

    /// Adds the deltas of an event that is like the last one.
    fn repeat(&mut self, repetition: Repetition<'_>, deltas: &mut Vec<Delta>) {
        self.decoder.repeat(&repetition.delta);
        deltas.push(repetition.delta);
        if let Some(usage) = repetition.usage.and_then(|usage| self.decoder.usage(usage)) {
            let mut usage = Delta::Usage(usage);
            self.add(&mut usage);
            deltas.push(usage);
        }
    }

    /// Passes on the values of one event, up to the end marker. It is unknown which one has the event's name.
    fn each(&mut self, values: Vec<&str>, deltas: &mut Vec<Delta>) -> Result<()> {
        values.into_iter().try_for_each(|data| {
            if self.is_done() { Ok(()) } else { self.event(&SseEvent { name: "", data }, deltas) }
        })
    }

    fn add(&mut self, delta: &mut Delta) {
        match delta {
            Delta::Text { text, .. } => self.has_content |= !text.is_empty(),
            Delta::ToolCall { .. } | Delta::Other { .. } | Delta::Part { .. } => self.has_content = true,
            Delta::Finished(reason) => self.finished = Some(reason.clone()),
            Delta::Usage(usage) => {
                // Servers repeat the usage with zeros, or without some of its fields.
                self.usage = largest(self.usage, *usage);
                *usage = self.usage;
            }
            _ => {}
        }
    }

    /// Handles an object that added nothing to the answer but its id, model and usage: an end marker of
    /// another dialect, a keep-alive, or a failure without the fields of one.
    ///
    /// # Errors
    /// The failures in a list, which has no other meaning.
    fn without_content(&mut self, event: &SseEvent<'_>) -> Result<()> {
        if event.data.len() > MAX_WORDS_BYTES || self.is_done() {
            return Ok(());
        }
        if self.finished.is_some() {
            self.is_marked = is_foreign_marker(event);
        } else if ["\"message\"", "\"detail\"", "\"msg\"", "error", "\"success\""]
            .iter()
            .any(|name| memmem::find(event.data.as_bytes(), name.as_bytes()).is_some())
            && let Ok(json) = json::read(event.data.as_bytes())
            && failure::resembles(&json)
        {
            let is_list = json["errors"].as_array().is_some_and(|errors| errors.iter().any(Value::is_object));
            if is_list || says_that_it_failed(&json) {
                return Err(ProviderError::of(&json).into_error(self.vendor));
            }
            if self.words.as_ref().is_none_or(|words| !words.starts_with('{')) {
                self.words = Some(event.data.to_owned());
            }
        }
        Ok(())
    }

    /// Handles data that is not an object. `data` is trimmed.
    #[cold]
    fn odd(&mut self, name: &str, data: &str, deltas: &mut Vec<Delta>) -> Result<()> {
        let unquoted = data.trim_matches('"').trim();
        if ["[done]", "done"].iter().any(|marker| unquoted.eq_ignore_ascii_case(marker)) {
            self.is_marked = true;
            return Ok(());
        }
        if let Some(data) = data.strip_prefix("data:") {
            return self.event(&SseEvent { name, data }, deltas);
        }
        match json::read(data.as_bytes()) {
            Ok(Value::Array(list)) => list.iter().try_for_each(|element| {
                if self.is_done() {
                    return Ok(());
                }
                self.event(&SseEvent { name, data: &element.to_string() }, deltas)
            }),
            Ok(Value::String(text)) => {
                self.remember(&text);
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(_) => match values::glued(data) {
                Some(values) => self.each(values, deltas),
                None => {
                    self.remember(data);
                    Ok(())
                }
            },
        }
    }

    fn remember(&mut self, text: &str) {
        if self.words.is_none() && !text.is_empty() {
            self.words = Some(fanweave_core::excerpt(text, MAX_WORDS_BYTES));
        }
    }

    /// The error of a stream that ended without a finish reason.
    fn incomplete(&self, how: StreamEnd) -> Error {
        let how = match how {
            StreamEnd::Marker => "the stream ended without a finish reason",
            StreamEnd::Closed => "the stream ended before its end marker",
        };
        let Some(words) = &self.words else { return Error::new(ErrorKind::StreamIncomplete, how) };
        let is_json = words.starts_with('{');
        if self.has_content && !is_json {
            return Error::new(ErrorKind::StreamIncomplete, how);
        }
        let error = ProviderError::read(words).into_error(self.vendor);
        if is_json || error.kind() != ErrorKind::Server {
            return error;
        }
        let message = format!("the stream ended without an answer: {}", error.message());
        Error::new(ErrorKind::StreamIncomplete, message)
    }
}

impl<D: DialectDecoder> StreamDecoder for Triage<D> {
    fn event(&mut self, event: &SseEvent<'_>, deltas: &mut Vec<Delta>) -> Result<()> {
        let data = event.data.trim_ascii();
        if let Some(repetition) = self.last.read(&SseEvent { name: event.name, data }) {
            self.repeat(repetition, deltas);
            return Ok(());
        }
        // Some servers name the event and send the error without an object around it, or as text.
        if is_failure_name(event.name) {
            return Err(named_failure(data).into_error(self.vendor));
        }
        match data.as_bytes().first() {
            Some(b'{') => self.object(&SseEvent { name: event.name, data }, deltas),
            None => Ok(()),
            Some(_) => self.odd(event.name, data, deltas),
        }
    }

    fn is_done(&self) -> bool {
        self.is_marked || self.decoder.is_done()
    }

    fn end(&mut self, how: StreamEnd) -> Result<()> {
        match &self.finished {
            Some(reason) => match finish::failure(reason, self.has_content) {
                Some(error) => Err(finish::saying(error, self.decoder.finish_words())),
                // The dialect checks that all it began is complete.
                None => self.decoder.end(StreamEnd::Marker),
            },
            None if self.no_finish_reason && how == StreamEnd::Marker && self.has_content => Ok(()),
            None => Err(self.incomplete(how)),
        }
    }
}

/// The larger value of each count.
pub(super) fn largest(one: Usage, other: Usage) -> Usage {
    Usage::new(one.input_tokens.max(other.input_tokens), one.output_tokens.max(other.output_tokens))
        .cached_tokens(one.cached_tokens.max(other.cached_tokens))
        .cache_write_tokens(one.cache_write_tokens.max(other.cache_write_tokens))
        .reasoning_tokens(one.reasoning_tokens.max(other.reasoning_tokens))
}

fn is_failure_name(name: &str) -> bool {
    let contains =
        |word: &[u8]| name.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
    !name.is_empty()
        && (contains(b"error")
            || contains(b"exception")
            || (is_failed(name.rsplit(['.', '_', '-', ' ']).next().unwrap_or_default())
                && !contains(b"call")
                && !contains(b"tool")))
}

/// Returns true for the word of a failure. One of a tool's call is the model's to handle.
fn is_failed(word: &str) -> bool {
    ["fail", "failed", "failure", "fatal"].iter().any(|failed| word.eq_ignore_ascii_case(failed))
}

/// The failure in an event whose name says that it is one. Its error may be that of a response in it.
fn named_failure(data: &str) -> ProviderError {
    match json::read(data.as_bytes()) {
        Ok(json) if json["response"].is_object() => ProviderError::of(&json["response"]),
        _ => ProviderError::read(data),
    }
}

/// Returns true for an object that says that it is a failure, rather than only resembles one.
fn says_that_it_failed(json: &Value) -> bool {
    let is_error = |name: &str| (400..600).contains(&json::count(&json[name]));
    json["success"] == false
        || ["code", "status", "statusCode", "status_code"].into_iter().any(is_error)
        || json["status"].as_str().is_some_and(|status| status == "error" || is_failed(status))
}

/// Returns true for an end marker of a dialect whose marker is an object.
fn is_foreign_marker(event: &SseEvent<'_>) -> bool {
    const MAX_BYTES: usize = 64;
    if event.name == "message_stop" {
        return true;
    }
    let squeezed = || event.data.split_ascii_whitespace().collect::<String>();
    event.data.len() <= MAX_BYTES && matches!(&*squeezed(), r#"{"type":"message_stop"}"# | r#"{"done":true}"#)
}

//! Oddities that cost the answer, each with the kinds of its error.

use fanweave_core::ErrorKind;
use fastrand::Rng;
use serde_json::{Value, json};

use super::super::streams::Event;
use super::benign::Oddity;
use super::{Case, finish, is_finish};

/// An oddity that costs the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Harm {
    /// The stream is cut before its finish reason.
    Cut,
    /// The finish reason is missing.
    NoFinish,
    /// The server reports a failure.
    Failure,
    /// The finish reason is a failure.
    FailureReason,
    /// A choice reports a failure.
    ChoiceFailure,
    /// An event's JSON is cut.
    Garbled,
    /// A byte that is not UTF-8, instead of one of JSON's own.
    NoUtf8,
    /// The arguments of a call are cut.
    CutArguments,
    /// Keep-alives and an end marker.
    Nothing,
    /// A page of a proxy.
    Page,
}

/// Effect of a harm.
pub(super) struct Harmed {
    pub(super) kinds: &'static [ErrorKind],
    /// Position of the first event that is harmed.
    pub(super) at: usize,
}

const INCOMPLETE: &[ErrorKind] = &[ErrorKind::StreamIncomplete];
const UNREADABLE: &[ErrorKind] = &[ErrorKind::StreamIncomplete, ErrorKind::Decode];

const FAILURES: [(&str, &[ErrorKind]); 16] = [
    (
        r#"{"error":{"message":"Rate limit reached","type":"rate_limit_error","code":"rate_limit_exceeded"}}"#,
        &[ErrorKind::RateLimited],
    ),
    (
        r#"{"type":"error","error":{"type":"rate_limit_error","message":"too many"}}"#,
        &[ErrorKind::RateLimited],
    ),
    (
        r#"{"error":{"code":429,"message":"try again in 2s","status":"RESOURCE_EXHAUSTED"}}"#,
        &[ErrorKind::RateLimited],
    ),
    (r#"{"type":"error","error":{"type":"overloaded_error","message":"busy"}}"#, &[ErrorKind::Overloaded]),
    (r#"{"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}"#, &[ErrorKind::Overloaded]),
    (
        r#"{"error":{"message":"maximum context length is 8192 tokens","code":"context_length_exceeded"}}"#,
        &[ErrorKind::ContextLength],
    ),
    (
        r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}"#,
        &[ErrorKind::QuotaExhausted],
    ),
    (
        r#"{"error":{"message":"Incorrect API key provided","code":"invalid_api_key"}}"#,
        &[ErrorKind::Authentication],
    ),
    (
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"messages: too few"}}"#,
        &[ErrorKind::BadRequest],
    ),
    (r#"{"error":{"message":"the provider failed","code":502}}"#, &[ErrorKind::Server]),
    (r#"{"error":{"message":"boom","type":"server_error","param":null,"code":null}}"#, &[ErrorKind::Server]),
    (r#"{"error":"the model crashed"}"#, &[ErrorKind::Server]),
    (r#"{"error":{"message":"flagged","code":"content_filter"}}"#, &[ErrorKind::ContentFilter]),
    (r#"{"errors":[{"message":"the model crashed"}]}"#, &[ErrorKind::Server]),
    (r#"{"object":"error","message":"no such model","code":404}"#, &[ErrorKind::NotFound]),
    (r#"[{"error":{"code":500,"message":"internal","status":"INTERNAL"}}]"#, &[ErrorKind::Server]),
];

impl Harm {
    pub(super) const ALL: [Self; 10] = [
        Self::Cut,
        Self::NoFinish,
        Self::Failure,
        Self::FailureReason,
        Self::ChoiceFailure,
        Self::Garbled,
        Self::NoUtf8,
        Self::CutArguments,
        Self::Nothing,
        Self::Page,
    ];

    /// Changes the events. `None` if the dialect or answer has nothing to change.
    pub(super) fn apply(self, case: &mut Case, random: &mut Rng) -> Option<Harmed> {
        let Case { dialect, original, events, benign, .. } = case;
        let dialect = *dialect;
        let at = finish(dialect, events);
        let harmed = |kinds| Some(Harmed { kinds, at });
        // A cut between two events in one cannot be noticed.
        if benign.contains(&Oddity::Glued) && matches!(self, Self::Garbled | Self::NoUtf8 | Self::Cut) {
            return None;
        }
        match self {
            // The caller cuts the bytes.
            Self::Cut => harmed(INCOMPLETE),
            Self::NoUtf8 => {
                let has_keys = |at: &usize| events[*at].data.starts_with("{\"");
                let at = random.choice((0..=at).filter(has_keys).collect::<Vec<_>>())?;
                Some(Harmed { kinds: UNREADABLE, at })
            }
            Self::NoFinish => {
                events.retain(|event| !is_finish(dialect, event));
                harmed(INCOMPLETE)
            }
            Self::Failure => {
                let (data, kinds) = FAILURES[random.usize(..FAILURES.len())];
                let at = random.usize(..=at);
                let name = if random.bool() { "error" } else { "" };
                events.insert(at, Event { name, data: data.to_owned() });
                if random.bool() {
                    events.truncate(at + 1);
                }
                Some(Harmed { kinds, at })
            }
            Self::FailureReason => {
                let (from, to) = match dialect {
                    "openai" | "openai-completions" => ("\"finish_reason\":\"", "\"finish_reason\":\"error"),
                    "anthropic" => ("\"stop_reason\":\"", "\"stop_reason\":\"error"),
                    "gemini" => ("\"finishReason\":\"", "\"finishReason\":\"ERROR"),
                    "ollama" => ("\"done_reason\":\"", "\"done_reason\":\"error"),
                    _ => return None,
                };
                for event in events.iter_mut().filter(|event| event.data.contains(from)) {
                    for reason in ["stop", "tool_calls", "end_turn", "tool_use", "STOP"] {
                        event.data = event.data.replace(&format!("{from}{reason}\""), &format!("{to}\""));
                    }
                }
                harmed(&[ErrorKind::Server])
            }
            Self::ChoiceFailure => {
                if dialect != "openai" {
                    return None;
                }
                let error = json!({ "code": 502, "message": "the provider failed" });
                let choice = json!({ "index": 0, "delta": { "content": "" }, "finish_reason": "error", "error": error });
                let data = json!({ "id": "c1", "choices": [choice] }).to_string();
                let at = random.usize(..=at);
                events.insert(at, Event { name: "", data });
                if random.bool() {
                    events.truncate(at + 1);
                }
                Some(Harmed { kinds: &[ErrorKind::Server], at })
            }
            Self::Garbled => {
                let has_keys = |at: &usize| events[*at].data.starts_with("{\"");
                let at = random.choice((0..=at).filter(has_keys).collect::<Vec<_>>())?;
                let data = &mut events[at].data;
                let mut end = random.usize(2..data.len());
                while !data.is_char_boundary(end) {
                    end -= 1;
                }
                data.truncate(end);
                Some(Harmed { kinds: UNREADABLE, at })
            }
            Self::CutArguments => {
                let arguments: Vec<_> = original
                    .calls
                    .iter()
                    .map(|call| &call.2)
                    .filter(|fragments| fragments.len() > 1)
                    .collect();
                let fragments = random.choice(arguments)?;
                let (last, before) = fragments.split_last()?;
                // The last fragment alone: equal fragments of other calls are cut too.
                let quoted = |text: &str| Value::from(text).to_string();
                let delta = match dialect {
                    "openai" => format!("\"arguments\":{}", quoted(last)),
                    "anthropic" => format!("\"partial_json\":{}", quoted(last)),
                    "openai-responses" => format!("\"delta\":{}", quoted(last)),
                    _ => return None,
                };
                let empty = format!("{}\"\"", &delta[..=delta.find(':')?]);
                let (whole, cut) = (quoted(&fragments.concat()), quoted(&before.concat()));
                let at = events.iter().position(|event| event.data.contains(&delta))?;
                for event in events.iter_mut() {
                    event.data = event.data.replace(&delta, &empty);
                    if dialect == "openai-responses" {
                        event.data = event.data.replace(&whole, &cut);
                    }
                }
                Some(Harmed { kinds: INCOMPLETE, at })
            }
            Self::Nothing => {
                *events = ["", "{}", "[DONE]"][random.usize(..3)..]
                    .iter()
                    .map(|data| Event { name: "", data: (*data).to_owned() })
                    .collect();
                Some(Harmed { kinds: INCOMPLETE, at: 0 })
            }
            Self::Page => {
                let pages = ["<html><body>502 Bad Gateway</body></html>", "upstream connect error"];
                let data = pages[random.usize(..pages.len())].to_owned();
                *events = vec![Event { name: "", data }];
                Some(Harmed {
                    kinds: &[
                        ErrorKind::StreamIncomplete,
                        ErrorKind::Decode,
                        ErrorKind::Server,
                        ErrorKind::Overloaded,
                        ErrorKind::Connection,
                    ],
                    at: 0,
                })
            }
        }
    }
}

//! Finish reasons: their names in all dialects, those that mean a failure, and the check of whole answers.

use fanweave_core::{Error, ErrorKind, FinishReason, Message, Part, Result};
use serde::de::IgnoredAny;
use serde_json::Value;

/// Names of an answer that the model has ended, in lower case: gateways send those of one dialect in another.
static NAMES: [(&str, FinishReason); 10] = [
    ("stop", FinishReason::Stop),
    ("eos", FinishReason::Stop),
    ("eos_token", FinishReason::Stop),
    ("end_turn", FinishReason::Stop),
    ("stop_sequence", FinishReason::Stop),
    ("tool_calls", FinishReason::ToolCalls),
    ("tool_call", FinishReason::ToolCalls),
    ("tool_use", FinishReason::ToolCalls),
    ("function_call", FinishReason::ToolCalls),
    ("refused", FinishReason::Refusal),
];

/// The finish reason with this name, in any dialect and case. Unknown ones are kept as they are, such as
/// `pause_turn`, and also those of a full context, which a larger limit of tokens does not fix. `None` for a
/// name that says that the answer is not finished.
pub(super) fn reason(name: &str) -> Option<FinishReason> {
    let name = name.trim_ascii();
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    if ["", "null", "none", "finish_reason_unspecified", "unspecified"].into_iter().any(is) {
        return None;
    }
    if let Some((_, reason)) = NAMES.iter().find(|(known, _)| is(known)) {
        return Some(reason.clone());
    }
    Some(match FinishReason::cut_by(name) {
        Some(reason) if reason != FinishReason::Length || !is_of_context(name) => reason,
        _ => FinishReason::Other(name.to_owned()),
    })
}

/// Returns true for the name of a full context: Mistral's is `model_length`.
fn is_of_context(name: &str) -> bool {
    name.eq_ignore_ascii_case("model_length") || name.to_ascii_lowercase().contains("context")
}

/// The finish reason in a field. `None` for a value that is not a string.
pub(super) fn reason_in(field: &Value) -> Option<FinishReason> {
    reason(field.as_str()?)
}

/// Parts of names that mean a failure of the provider, whatever else is in the name. The first one decides.
const FAILURES: [(&[&str], ErrorKind, &str); 3] = [
    (&["timeout", "timed_out", "network"], ErrorKind::Timeout, "the provider timed out while it answered"),
    (
        &["overload", "unavailable", "insufficient_system_resource", "busy"],
        ErrorKind::Overloaded,
        "the provider is overloaded",
    ),
    (
        &["error", "fail", "exception", "abort", "cancel"],
        ErrorKind::Server,
        "the provider failed while it answered",
    ),
];

/// The failure that a finish reason stands for. `has_content` is true if the answer has text or tool calls.
pub(super) fn failure(reason: &FinishReason, has_content: bool) -> Option<Error> {
    let FinishReason::Other(reason) = reason else { return None };
    let fails = |kind, how: &str| Some(Error::new(kind, format!("{how} (finish reason {reason})")));
    let name = reason.to_ascii_lowercase();
    let is_in_name = |part: &&str| name.contains(part);
    // The model's failure to call a tool is not that of the provider.
    let is_of_tool = name.contains("tool") || name.contains("function") || name == "no_error";
    let found = FAILURES.iter().find(|(parts, ..)| parts.iter().any(is_in_name));
    if let Some((_, kind, how)) = found.filter(|_| !is_of_tool) {
        return fails(*kind, how);
    }
    match &*name {
        "in_progress" | "queued" => {
            fails(ErrorKind::StreamIncomplete, "the provider has not finished the answer")
        }
        _ if has_content => None,
        "malformed_function_call"
        | "unexpected_tool_call"
        | "too_many_tool_calls"
        | "tool_use_failed"
        | "malformed_response"
        | "no_image"
        | "other" => fails(ErrorKind::Decode, "the model gave no usable answer"),
        "missing_thought_signature" => fails(ErrorKind::Decode, "the provider rejected the conversation")
            .map(|error| error.with_retryable(false)),
        _ => None,
    }
}

/// The error with the sentence that a server sent beside its finish reason.
pub(super) fn saying(error: Error, words: &str) -> Error {
    if words.is_empty() || error.message().contains(words) {
        return error;
    }
    let message = format!("{}: {words}", error.message());
    error.with_message(message)
}

/// Checks an answer that was not streamed.
///
/// # Errors
/// The failure that its finish reason stands for, with the answer as partial, and [`ErrorKind::Decode`] for
/// an empty answer without a finish reason, or with truncated arguments of a tool call.
pub(super) fn checked(message: Message) -> Result<Message> {
    let has_content = message.parts.iter().any(|part| !matches!(part, Part::Reasoning { .. }));
    let reply = message.reply.as_deref();
    match reply.and_then(|reply| reply.finish_reason.as_ref()) {
        Some(reason) => {
            if let Some(error) = failure(reason, has_content) {
                return Err(if message.parts.is_empty() { error } else { error.with_partial(message) });
            }
        }
        None if !has_content => {
            let is_billed = message.usage().output_tokens > 0;
            let error = Error::new(ErrorKind::Decode, "the answer is empty and has no finish reason");
            return Err(if is_billed { error.with_retryable(false) } else { error });
        }
        None => {}
    }
    match broken_call(&message) {
        Some(what) => Err(Error::new(ErrorKind::Decode, what).with_partial(message)),
        None => Ok(message),
    }
}

/// Checks an answer that is one chunk of a stream, or says that it is not done: without a finish reason, it
/// is the beginning of a stream that was cut.
///
/// # Errors
/// Those of [`checked`], and [`ErrorKind::StreamIncomplete`].
pub(super) fn checked_chunk(message: Message) -> Result<Message> {
    let message = checked(message)?;
    if message.reply.as_deref().is_some_and(|reply| reply.finish_reason.is_some()) {
        return Ok(message);
    }
    Err(unfinished("the stream ended without a finish reason", message))
}

/// The error of an answer that is not finished, with the answer as partial.
pub(super) fn unfinished(how: impl Into<String>, message: Message) -> Error {
    let error = Error::new(ErrorKind::StreamIncomplete, how);
    if message.parts.is_empty() { error } else { error.with_partial(message) }
}

/// Describes a tool call without a name, or whose arguments were truncated or are several values. `None` if
/// there is no such call, or if the answer was cut by a limit or filter.
///
/// Other invalid JSON was written by the model, and is reported to it by the tool.
pub(crate) fn broken_call(message: &Message) -> Option<String> {
    let mut calls = message.tool_calls().peekable();
    calls.peek()?;
    let reason = message.reply.as_deref().and_then(|reply| reply.finish_reason.as_ref());
    if matches!(reason, Some(FinishReason::Length | FinishReason::ContentFilter)) {
        return None;
    }
    calls.find_map(|call| {
        if call.name.is_empty() {
            return Some("the answer has a tool call without a name".to_owned());
        }
        let error = serde_json::from_str::<IgnoredAny>(&call.arguments).err()?;
        let how = match () {
            () if call.arguments.trim().is_empty() => return None,
            () if error.is_eof() => "were truncated",
            () if error.to_string().starts_with("trailing characters") => "are more than one value",
            () => return None,
        };
        Some(format!("the arguments of the tool call {} {how}", call.name))
    })
}

#[cfg(test)]
mod tests {
    use fanweave_core::{Reply, Role, ToolCall};

    use super::*;

    fn with_call(arguments: &str, reason: FinishReason) -> Message {
        let call = ToolCall { id: "1".into(), name: "f".into(), arguments: arguments.into() };
        let reply = Reply::new().finish_reason(reason);
        Message::from_parts(Role::Assistant, vec![Part::ToolCall(call)]).with_reply(reply)
    }

    #[test]
    fn truncated_arguments_are_not_an_answer_and_those_of_the_model_are() {
        for complete in ["", " ", "{}", "{\"a\":1}", "{oops", "{\"a\":1,}", "null"] {
            assert_eq!(broken_call(&with_call(complete, FinishReason::ToolCalls)), None, "{complete}");
        }
        for broken in ["{", "{\"a\":", "{\"a\":\"x", "{}{}", "{\"a\":1}{\"a\":1}"] {
            assert!(broken_call(&with_call(broken, FinishReason::ToolCalls)).is_some(), "{broken}");
            assert_eq!(broken_call(&with_call(broken, FinishReason::Length)), None, "{broken}");
        }
    }

    #[test]
    fn names_of_any_dialect_are_known_and_those_that_say_nothing_are_skipped() {
        for name in ["", " ", "null", "None", "FINISH_REASON_UNSPECIFIED"] {
            assert_eq!(reason(name), None, "{name}");
        }
        assert_eq!(reason("MAX_TOKENS"), Some(FinishReason::Length));
        assert_eq!(reason("end_turn"), Some(FinishReason::Stop));
        assert_eq!(reason("SAFETY"), Some(FinishReason::ContentFilter));
        assert_eq!(reason("language"), Some(FinishReason::ContentFilter));
        for other in ["Odd", "pause_turn", "model_length", "model_context_window_exceeded"] {
            assert_eq!(reason(other), Some(FinishReason::Other(other.into())));
        }
        assert!(NAMES.iter().all(|(name, _)| *name == name.to_ascii_lowercase()));
    }

    #[test]
    fn reasons_that_mean_a_failure_are_errors() {
        let other = |reason: &str| FinishReason::Other(reason.to_owned());
        let kind = |reason: &str, content| failure(&other(reason), content).map(|error| error.kind());
        assert_eq!(kind("ERROR", true), Some(ErrorKind::Server));
        assert_eq!(kind("insufficient_system_resource", true), Some(ErrorKind::Overloaded));
        assert_eq!(kind("MALFORMED_FUNCTION_CALL", false), Some(ErrorKind::Decode));
        assert_eq!(kind("MALFORMED_FUNCTION_CALL", true), None);
        assert_eq!(kind("pause_turn", false), None);
        assert_eq!(kind("tool_use_failed", true), None);
        for (names, expected) in [
            ("overloaded engine_overloaded overloaded_error server_unavailable", ErrorKind::Overloaded),
            ("request_timeout TIMED_OUT network_error", ErrorKind::Timeout),
            ("internal_server_error unknown_error api_error exception request_aborted", ErrorKind::Server),
        ] {
            for name in names.split(' ') {
                assert_eq!(kind(name, true), Some(expected), "{name}");
            }
        }
        assert!(!failure(&other("MISSING_THOUGHT_SIGNATURE"), false).unwrap().is_retryable());
        assert!(failure(&FinishReason::Stop, false).is_none());
    }
}

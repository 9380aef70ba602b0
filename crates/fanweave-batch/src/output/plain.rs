//! JSON objects, one per result: the default format unless the input is an OpenAI batch.

use fanweave_core::{ReplyBody, ToolCall, Usage};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::answer::Content;
use crate::cost::rounded_usd;
use crate::journal::{Outcome, Record};

#[derive(Serialize)]
struct Row<'a> {
    index: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sample: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<&'a Map<String, Value>>,
    answer: Option<&'a Content>,
    finish_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tool_calls: &'a [ToolCall],
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    choices: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outputs: Option<&'a Map<String, Value>>,
    usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_usd: Option<f64>,
    model: Option<&'a str>,
    latency_ms: u64,
    attempts: u32,
    error: Option<Error<'a>>,
}

#[derive(Serialize)]
struct Error<'a> {
    kind: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'a str>,
    status: Option<u16>,
    code: Option<&'a str>,
    request_id: Option<&'a str>,
    line: u64,
}

/// Appends the result of the row at `index`, or of one of its samples.
pub(super) fn write(
    record: &Record,
    (index, sample): (u64, Option<u64>),
    own: Option<&Map<String, Value>>,
    line: &mut Vec<u8>,
) {
    let mut row = Row {
        index,
        sample,
        custom_id: record.id.as_deref(),
        input: own,
        answer: None,
        finish_reason: None,
        tool_calls: &[],
        reasoning: None,
        choices: None,
        outputs: None,
        usage: None,
        cost_usd: record.cost_usd.map(rounded_usd),
        model: None,
        latency_ms: record.latency_ms,
        attempts: 0,
        error: None,
    };
    match &record.result {
        Outcome::Answer(answer) => {
            row.answer = Some(&answer.content);
            row.finish_reason = answer.finish_reason.as_deref();
            row.tool_calls = &answer.tool_calls;
            row.reasoning = answer.reasoning.as_deref();
            row.choices = answer.raw.as_ref().and_then(choices);
            row.usage = Some(answer.usage);
            row.model = answer.model.as_deref();
            row.attempts = answer.attempts;
        }
        Outcome::Error(failure) => {
            row.attempts = failure.attempts;
            row.usage = failure.usage;
            row.outputs = failure.outputs.as_ref();
            row.error = Some(Error {
                kind: &failure.kind,
                message: &failure.message,
                step: failure.step.as_deref(),
                status: failure.status,
                code: failure.code.as_deref(),
                request_id: failure.request_id.as_deref(),
                line: record.line,
            });
        }
    }
    serde_json::to_writer(line, &row).expect("rows have string keys, and writing to a Vec cannot fail");
}

/// The choices of a chat completion, or the candidates of Gemini, as the server wrote them, if they say more
/// than the answer: several, or with the probabilities of tokens.
fn choices(body: &ReplyBody) -> Option<Box<RawValue>> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(alias = "candidates")]
        choices: Box<RawValue>,
        prompt_logprobs: Option<IgnoredAny>,
    }
    #[derive(Deserialize)]
    struct Choice {
        #[serde(alias = "logprobsResult")]
        logprobs: Option<IgnoredAny>,
        prompt_logprobs: Option<IgnoredAny>,
    }
    // A list would be read as the fields in their order.
    let body: Body = body.is_object().then(|| body.json())?.ok()?;
    let all: Vec<Choice> = serde_json::from_str(body.choices.get()).ok()?;
    let has_more = all.len() > 1
        || body.prompt_logprobs.is_some()
        || all.iter().any(|choice| choice.logprobs.is_some() || choice.prompt_logprobs.is_some());
    // In JSON, line ends are only between tokens. A result is one line.
    let is_one_line = !body.choices.get().contains(['\n', '\r']);
    match has_more {
        true if is_one_line => Some(body.choices),
        true => RawValue::from_string(body.choices.get().replace(['\n', '\r'], " ")).ok(),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_shown_if_they_say_more_than_the_answer() {
        let of = |body: &str| choices(&ReplyBody::new(body)).map(|choices| choices.get().to_owned());
        let two = r#"[{"index":0,"x":1.50},{"index":1}]"#;
        assert_eq!(of(&format!(r#"{{"choices":{two}}}"#)).as_deref(), Some(two));
        let one = r#"[{"index":0,"logprobs":{"content":[]}}]"#;
        assert_eq!(of(&format!(r#"{{"choices":{one}}}"#)).as_deref(), Some(one));
        assert_eq!(of("{\"choices\":[{},\r\n{}]}").as_deref(), Some("[{},  {}]"));
        assert_eq!(
            of(r#"{"candidates":[{"index":0},{"index":1}]}"#).as_deref(),
            Some(r#"[{"index":0},{"index":1}]"#)
        );
        for nothing in
            [r#"{"choices":[{"logprobs":null}]}"#, r#"{"object":"response"}"#, "[[{},{}]]", "data: {}"]
        {
            assert_eq!(of(nothing), None, "{nothing}");
        }
    }
}

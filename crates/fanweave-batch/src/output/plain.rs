//! JSON objects, one per result: the default format unless the input is an OpenAI batch.

use fanweave_core::{ToolCall, Usage};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::answer::Content;
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
        usage: None,
        cost_usd: record.cost_usd,
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
            row.usage = Some(answer.usage);
            row.model = answer.model.as_deref();
            row.attempts = answer.attempts;
        }
        Outcome::Error(failure) => {
            row.attempts = failure.attempts;
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

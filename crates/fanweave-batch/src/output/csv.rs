//! A result as a record of CSV, for spreadsheets.

use serde_json::Value;

use super::Form;
use crate::answer::Content;
use crate::journal::{Outcome, Record};

/// The columns, in order.
const COLUMNS: [&str; 13] = [
    "index",
    "custom_id",
    "answer",
    "finish_reason",
    "tool_calls",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "model",
    "latency_ms",
    "attempts",
    "error_kind",
    "error",
];

/// Writes records with a header in front. A field that has no value is empty.
pub(super) struct Table;

impl Form for Table {
    fn begin(&mut self, bytes: &mut Vec<u8>) {
        write(&COLUMNS.map(str::to_owned), bytes);
    }

    fn row(&mut self, record: &Record, bytes: &mut Vec<u8>) {
        let mut answer = None;
        let mut error = None;
        match &record.result {
            Outcome::Answer(given) => answer = Some(given),
            Outcome::Error(failure) => error = Some(failure),
        }
        let content = answer.map(|answer| match &answer.content {
            Content::Text(text) => text.clone(),
            Content::Json(value) => value.to_string(),
        });
        let tools = answer.filter(|answer| !answer.tool_calls.is_empty()).map(|answer| {
            let calls = serde_json::to_value(&answer.tool_calls);
            calls.as_ref().map_or_else(|_| String::new(), Value::to_string)
        });
        let tokens = |n: fn(&fanweave_core::Usage) -> u64| answer.map(|answer| n(&answer.usage).to_string());
        let attempts = answer.map(|answer| answer.attempts).or(error.map(|error| error.attempts));
        let fields = [
            Some(record.index.to_string()),
            record.id.clone(),
            content,
            answer.and_then(|answer| answer.finish_reason.clone()),
            tools,
            tokens(|usage| usage.input_tokens),
            tokens(|usage| usage.output_tokens),
            record.cost_usd.map(|cost| cost.to_string()),
            answer.and_then(|answer| answer.model.clone()),
            Some(record.latency_ms.to_string()),
            attempts.map(|n| n.to_string()),
            error.map(|error| error.kind.clone()),
            error.map(|error| error.message.clone()),
        ];
        write(&fields.map(Option::unwrap_or_default), bytes);
    }
}

fn write(fields: &[String], bytes: &mut Vec<u8>) {
    let mut writer = csv::Writer::from_writer(bytes);
    // Into memory, and every record as long as it is: neither can fail.
    let written = writer.write_record(fields).and_then(|()| writer.flush().map_err(Into::into));
    written.expect("a Vec takes every write");
}

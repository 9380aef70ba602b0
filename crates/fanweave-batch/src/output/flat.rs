//! Results as rows of columns, for spreadsheets and tables.

use serde_json::Value;

use crate::answer::Content;
use crate::cost::rounded_usd;
use crate::journal::{Outcome, Record};

/// Type of a column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum ColumnType {
    Text,
    Whole,
    Number,
    Bool,
    /// A date, or a date and a time, in the form of ISO 8601. Its cells are texts; dates in a workbook.
    Date,
    /// A list in Parquet. Its cells are texts: the items as JSON.
    List(ItemType),
}

/// Type of the items of a list.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum ItemType {
    Text,
    Whole,
    Number,
    Bool,
    /// A number of 32 bits, which is never null.
    Float,
}

/// The columns, in order.
pub(super) const COLUMNS: [(&str, ColumnType); 15] = [
    ("index", ColumnType::Whole),
    ("custom_id", ColumnType::Text),
    ("answer", ColumnType::Text),
    ("finish_reason", ColumnType::Text),
    ("tool_calls", ColumnType::Text),
    ("input_tokens", ColumnType::Whole),
    ("output_tokens", ColumnType::Whole),
    ("cached_tokens", ColumnType::Whole),
    ("reasoning_tokens", ColumnType::Whole),
    ("cost_usd", ColumnType::Number),
    ("model", ColumnType::Text),
    ("latency_ms", ColumnType::Whole),
    ("attempts", ColumnType::Whole),
    ("error_kind", ColumnType::Text),
    ("error", ColumnType::Text),
];

/// Value of a column in one row. `None` if it has no value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Text(Option<String>),
    Whole(Option<i64>),
    Number(Option<f64>),
    Bool(Option<bool>),
}

/// The cells of a result, in the order of [`COLUMNS`].
pub(super) fn cells(record: &Record) -> [Cell; 15] {
    let (answer, error) = match &record.result {
        Outcome::Answer(answer) => (Some(answer), None),
        Outcome::Error(failure) => (None, Some(failure)),
    };
    let content = answer.map(|answer| match &answer.content {
        Content::Text(text) => text.clone(),
        Content::Json(value) => value.to_string(),
    });
    let tools = answer.filter(|answer| !answer.tool_calls.is_empty()).map(|answer| {
        let calls = serde_json::to_value(&answer.tool_calls);
        calls.as_ref().map_or_else(|_| String::new(), Value::to_string)
    });
    let usage = answer.map(|answer| answer.usage).or(error.and_then(|error| error.usage));
    let tokens = |n: fn(&fanweave_core::Usage) -> u64| whole(usage.as_ref().map(n));
    let attempts = answer.map(|answer| answer.attempts).or(error.map(|error| error.attempts));
    [
        whole(Some(record.index)),
        Cell::Text(record.id.clone()),
        Cell::Text(content),
        Cell::Text(answer.and_then(|answer| answer.finish_reason.clone())),
        Cell::Text(tools),
        tokens(|usage| usage.input_tokens),
        tokens(|usage| usage.output_tokens),
        tokens(|usage| usage.cached_tokens),
        tokens(|usage| usage.reasoning_tokens),
        Cell::Number(record.cost_usd.map(rounded_usd)),
        Cell::Text(answer.and_then(|answer| answer.model.clone())),
        whole(Some(record.latency_ms)),
        Cell::Whole(attempts.map(i64::from)),
        Cell::Text(error.map(|error| error.kind.clone())),
        Cell::Text(error.map(|error| error.message.clone())),
    ]
}

fn whole(n: Option<u64>) -> Cell {
    Cell::Whole(n.map(|n| i64::try_from(n).unwrap_or(i64::MAX)))
}

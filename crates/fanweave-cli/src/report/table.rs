//! Rows of a run as CSV.

use fanweave::batch::RunRecord;

/// Appends a record. Texts that begin like a formula have an apostrophe before them, as in outputs.
pub(super) fn record(fields: &[String], bytes: &mut Vec<u8>) {
    fanweave::batch::__private::csv_record(fields, bytes);
}

/// The rows of a run.
pub(super) fn csv(run: &RunRecord) -> Vec<u8> {
    let mut bytes = Vec::new();
    let header = [
        "index",
        "line",
        "custom_id",
        "answer",
        "model",
        "input_tokens",
        "output_tokens",
        "cached_tokens",
        "reasoning_tokens",
        "cost_usd",
        "latency_ms",
        "attempts",
        "error_kind",
        "error",
        "error_step",
    ];
    record(&header.map(str::to_owned), &mut bytes);
    for row in &run.rows {
        let (kind, message) = row.error.clone().unwrap_or_default();
        record(
            &[
                row.index.to_string(),
                row.line.to_string(),
                row.id.clone().unwrap_or_default(),
                row.answer.clone(),
                row.model.clone().unwrap_or_default(),
                row.usage.input_tokens.to_string(),
                row.usage.output_tokens.to_string(),
                row.usage.cached_tokens.to_string(),
                row.usage.reasoning_tokens.to_string(),
                row.cost_usd.map(|usd| usd.to_string()).unwrap_or_default(),
                row.latency_ms.to_string(),
                row.attempts.to_string(),
                kind,
                message,
                row.failed_step.clone().unwrap_or_default(),
            ],
            &mut bytes,
        );
    }
    bytes
}

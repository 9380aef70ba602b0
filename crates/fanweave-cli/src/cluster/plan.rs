//! Estimates for a run at workers: shards, data at the broker, and the time that the broker takes.

use std::fmt::Write;

use fanweave::Usage;
use fanweave::workers::rows_per_shard;

/// Rows per second that a broker takes on one core, with results collected at the same time. Source:
/// `tests/cluster/figures.sh`, 35 us of CPU for each row, with each message on disk before it is answered.
const ROWS_PER_SECOND: u64 = 25_000;

/// Bytes of a row at the broker, and of a result, apart from their texts.
const ROW_BYTES: u64 = 100;
const RESULT_BYTES: u64 = 400;

/// Bytes of a token.
const TOKEN_BYTES: u64 = 4;

/// Maximum number of results in a record.
const RECORD_ROWS: u64 = 64;

/// The estimates for `rows` rows with this usage, as lines.
pub(crate) fn text(rows: u64, usage: Usage) -> String {
    let mut text = String::new();
    let shards = rows.div_ceil(rows_per_shard(Some(rows)));
    let input = rows * ROW_BYTES + usage.input_tokens * TOKEN_BYTES;
    let output = rows * RESULT_BYTES + usage.output_tokens * TOKEN_BYTES;
    let _ = writeln!(
        text,
        "at workers: {shards} shards, and at most {} records of results",
        rows.div_ceil(RECORD_ROWS) + 2 * shards
    );
    let _ = writeln!(
        text,
        "data at the broker: {} for each copy, {} of it results",
        size(input + output),
        size(output)
    );
    let seconds = rows.div_ceil(ROWS_PER_SECOND);
    let _ = writeln!(
        text,
        "broker: {seconds} s at {ROWS_PER_SECOND} rows/s; the provider is slower unless it takes more requests"
    );
    text.push_str("time at workers: the larger of rows x latency / (workers x --concurrency) and rows / limit, and one shard\n");
    text
}

/// A number of bytes, such as `100 GB`.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1_000)),
        1_000_000..1_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{} GB", bytes / 1_000_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_million_rows_are_estimated() {
        let text = text(100_000_000, Usage::new(5_000_000_000, 7_500_000_000));
        assert!(text.contains("100000 shards"), "{text}");
        assert!(text.contains("100 GB for each copy, 70 GB of it results"), "{text}");
        assert!(text.contains("broker: 4000 s"), "{text}");
        assert_eq!((size(10), size(2_500_000)), ("1 kB".to_owned(), "2 MB".to_owned()));
    }
}

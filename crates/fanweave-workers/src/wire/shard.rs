//! Shards: the rows of a run in pieces, each of which one worker runs at a time.

use std::fmt;

use fanweave_batch::{Input, InputRow, RowKey};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Maximum size of a shard in bytes. A broker accepts messages of 1 MiB.
pub const MAX_SHARD_BYTES: usize = 512 << 10;

/// Number of rows of a shard in a run of `rows` rows: the rows of one shard are run by one worker, so few
/// rows need small shards.
pub fn rows_per_shard(rows: Option<u64>) -> u64 {
    match rows {
        Some(..=10_000) => 50,
        Some(..=1_000_000) => 200,
        _ => 1_000,
    }
}

/// A shard of a run.
///
/// ```
/// use fanweave::workers::{ShardId, rows_per_shard};
///
/// let shard = ShardId { run: "cities-1".into(), number: 0 };
/// assert!(shard < ShardId { number: 1, ..shard.clone() });
/// assert_eq!((rows_per_shard(Some(400)), rows_per_shard(None)), (50, 1_000));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId {
    /// Name of the run.
    pub run: String,
    /// Number of the shard, from 0.
    pub number: u64,
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard {} of {}", self.number, self.run)
    }
}

/// A row of a shard.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its key, which differs from those of all other rows of the run.
    pub key: RowKey,
    /// The row.
    pub row: InputRow,
}

/// A row as a line of JSON.
#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(rename = "i")]
    index: u64,
    #[serde(rename = "l")]
    line: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(rename = "k")]
    key: RowKey,
    #[serde(rename = "in", default, skip_serializing_if = "Option::is_none")]
    input: Option<Input>,
    /// Reason for which the row cannot be run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bad: Option<fanweave_core::Error>,
}

/// Appends a row to the body of a shard.
pub fn encode_row(row: Row, body: &mut Vec<u8>) {
    let Row { key, row: InputRow { index, line, id, input, .. } } = row;
    let (input, bad) = match input {
        Ok(input) => (Some(input), None),
        Err(error) => (None, Some(error)),
    };
    let line = Line { index, line, id, key, input, bad };
    serde_json::to_writer(&mut *body, &line).expect("a row has string keys");
    body.push(b'\n');
}

/// Reads the body of a shard.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) if a line is not a row.
pub fn decode_rows(body: &[u8]) -> Result<Vec<Row>> {
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(decode_row).collect()
}

fn decode_row(line: &[u8]) -> Result<Row> {
    let invalid = |why: String| Error::invalid(format!("a shard has a line that is not a row: {why}"));
    let Line { index, line, id, key, input, bad } =
        serde_json::from_slice(line).map_err(|e| invalid(e.to_string()))?;
    let mut row = match (input, bad) {
        (Some(input), None) => InputRow::new(input),
        (None, Some(error)) => {
            let mut row = InputRow::invalid("");
            row.input = Err(error);
            row
        }
        _ => return Err(invalid("it must have either `in` or `bad`".to_owned())),
    };
    (row.index, row.line, row.id) = (index, line, id);
    Ok(Row { key, row })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_invalid_rows_are_read_as_they_were_written() {
        let key = RowKey::of(&1).unwrap();
        let mut body = Vec::new();
        let good = InputRow::new(Input::from("a\nb")).with_id("x").with_line(7);
        encode_row(Row { key, row: good }, &mut body);
        encode_row(Row { key, row: InputRow::invalid("f.jsonl line 8: not JSON").with_line(8) }, &mut body);
        let rows = decode_rows(&body).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].row.id.as_deref(), rows[0].row.line), (Some("x"), 7));
        assert_eq!(rows[0].row.input.as_ref().unwrap(), &Input::from("a\nb"));
        let error = rows[1].row.input.as_ref().unwrap_err();
        assert_eq!(error.message(), "f.jsonl line 8: not JSON");
        assert_eq!(error.kind(), fanweave_core::ErrorKind::Input);
        assert!(decode_rows(b"{\"i\":0,\"l\":1,\"k\":\"00\"}\n").is_err());
    }
}

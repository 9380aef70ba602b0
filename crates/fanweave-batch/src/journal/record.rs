//! Lines of a journal: JSON that starts with a checksum.
//!
//! Format: `{"crc":"1b2c3d4e","row":{..}}`. The checksum covers the bytes of the value after it. It is at a
//! fixed offset, so that a line can be verified before it is parsed.

use std::collections::BTreeMap;
use std::time::Duration;

use fanweave_core::{Message, Usage};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::answer::Answer;
use crate::key::Key;
use crate::tally::{Calls, Tally};
use crate::timeline::{Timeline, milliseconds};

/// One finished row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) key: Key,
    pub(crate) index: u64,
    pub(crate) line: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    pub(crate) latency_ms: u64,
    /// Cost of its calls in US dollars, if their prices are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cost_usd: Option<f64>,
    /// Cost in US dollars of the input of requests whose responses were incomplete: the provider may bill
    /// them. Not part of `cost_usd`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) maybe_billed_usd: Option<f64>,
    /// Timeline of its calls. `None` in journals of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) time: Option<Timeline>,
    pub(crate) result: Outcome,
}

impl Record {
    /// The record of a row that ended with `result` and made the calls of `tally`.
    pub(crate) fn of(
        tally: &Tally,
        key: Key,
        index: u64,
        line: u64,
        id: Option<String>,
        latency: Duration,
        mut result: Outcome,
    ) -> Self {
        if let Outcome::Error(failure) = &mut result {
            tally.add_to_failure(&mut failure.attempts, &mut failure.usage);
        }
        let (cost_usd, maybe_billed_usd) = (tally.cost(), tally.maybe_billed());
        let (latency_ms, time) = (milliseconds(latency), Some(tally.timeline()));
        Self { key, index, line, id, latency_ms, cost_usd, maybe_billed_usd, time, result }
    }

    /// Moves the row to another line of the input, also in the error message of an unreadable row.
    pub(crate) fn move_to(&mut self, line: u64) {
        if let Outcome::Error(failure) = &mut self.result
            && failure.kind == fanweave_core::ErrorKind::Input.as_str()
        {
            let (was, is) = (format!(" line {}: ", self.line), format!(" line {line}: "));
            failure.message = failure.message.replacen(&was, &is, 1);
        }
        self.line = line;
    }
}

/// Result of a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Answer(Box<Answer>),
    Error(Box<Failure>),
}

impl Outcome {
    /// Clears usage and attempts, for a follower that shares another row's result.
    pub(crate) fn without_effort(&mut self) {
        match self {
            Outcome::Answer(answer) => {
                answer.usage = Usage::default();
                answer.attempts = 0;
            }
            Outcome::Error(failure) => (failure.attempts, failure.usage) = (0, None),
        }
    }

    pub(crate) fn is_ok(&self) -> bool {
        matches!(self, Outcome::Answer(_))
    }
}

/// Error of a failed row, in the form that is journalled.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Failure {
    pub(crate) kind: String,
    pub(crate) message: String,
    /// Names of the enclosing steps, outermost first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) step: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request_id: Option<String>,
    pub(crate) attempts: u32,
    /// Tokens of its answered calls. `None` if no call was answered, and in journals of earlier versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<Usage>,
    /// Beginning of the provider's response body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<String>,
    /// Outputs of the steps that had ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) outputs: Option<Map<String, Value>>,
}

impl From<&fanweave_core::Error> for Failure {
    fn from(error: &fanweave_core::Error) -> Self {
        let path: Vec<_> = error.path().collect();
        Self {
            kind: error.kind().as_str().to_owned(),
            message: error.message().to_owned(),
            step: (!path.is_empty()).then(|| path.join(" > ")),
            status: error.status(),
            code: error.code().map(str::to_owned),
            request_id: error.request_id().map(str::to_owned),
            attempts: error.attempts(),
            usage: None,
            body: error.body().map(str::to_owned),
            outputs: error.outputs().cloned(),
        }
    }
}

/// One part of a run through a provider's batch API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Name of the part, here and at the provider.
    pub(crate) tag: String,
    #[serde(flatten)]
    pub(crate) state: PartState,
}

/// Progress of a part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PartState {
    /// About to be submitted with these rows.
    Intended { keys: Vec<Key> },
    /// Submitted; the provider's id of its batch.
    Submitted { batch: String },
    /// It did not arrive, or the provider rejected all of it.
    Dropped,
    /// All of its rows have results.
    Collected,
}

/// One answered call of a row of several calls, written before the row ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CallRecord {
    /// Key of the row.
    pub(crate) row: Key,
    /// Key of the call: of the model, the prompt and the branch.
    pub(crate) call: Key,
    /// Names of the steps that made the call, outermost first. `None` in journals of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) step: Option<String>,
    /// Its cost in US dollars, if its price is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cost_usd: Option<f64>,
    pub(crate) answer: Message,
}

impl CallRecord {
    /// Totals of the call.
    pub(crate) fn totals(&self) -> Calls {
        let attempts = self.answer.reply.as_deref().map_or(0, |reply| reply.attempts);
        Calls::of(self.answer.usage(), attempts, self.cost_usd)
    }
}

/// Returns true if a row that failed with this kind of error got no answer from its last call, and may get
/// one for the same prompt. Other errors come from the answers of its calls, such as one that does not parse:
/// with the same answers, the row would fail in the same way.
pub(super) fn is_of_unanswered_call(kind: &str) -> bool {
    use fanweave_core::ErrorKind as Kind;
    let kinds = [
        Kind::Authentication,
        Kind::Permission,
        Kind::NotFound,
        Kind::RateLimited,
        Kind::QuotaExhausted,
        Kind::Overloaded,
        Kind::Server,
        Kind::Timeout,
        Kind::Connection,
        Kind::Unavailable,
        Kind::Decode,
        Kind::StreamIncomplete,
    ];
    kinds.iter().any(|unanswered| unanswered.as_str() == kind)
}

/// Kind of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineKind {
    Manifest,
    Row,
    Part,
    Call,
}

impl LineKind {
    fn opening(self) -> &'static [u8] {
        match self {
            LineKind::Manifest => br#"","manifest":"#,
            LineKind::Row => br#"","row":"#,
            LineKind::Part => br#"","part":"#,
            LineKind::Call => br#"","call":"#,
        }
    }
}

/// Beginning of every line; the eight hex digits of the checksum follow.
pub(super) const OPENING: &[u8] = br#"{"crc":""#;
const DIGITS: usize = 8;

/// Replaces the contents of `buffer` with the line of `value`, including the newline.
pub(super) fn encode(kind: LineKind, value: &impl Serialize, buffer: &mut Vec<u8>) {
    buffer.clear();
    encode_next(kind, value, buffer);
}

/// Adds the line of `value` to those in `buffer`. Returns its length in bytes.
pub(super) fn encode_next(kind: LineKind, value: &impl Serialize, buffer: &mut Vec<u8>) -> usize {
    let begin = buffer.len();
    let crc_at = begin + OPENING.len();
    buffer.extend_from_slice(OPENING);
    buffer.extend_from_slice(&[b'0'; DIGITS]);
    buffer.extend_from_slice(kind.opening());
    let body = buffer.len();
    serde_json::to_writer(&mut *buffer, value)
        .expect("records have string keys, and writing to a Vec cannot fail");
    let crc = format!("{:08x}", crc32fast::hash(&buffer[body..]));
    buffer[crc_at..crc_at + DIGITS].copy_from_slice(crc.as_bytes());
    buffer.extend_from_slice(b"}\n");
    buffer.len() - begin
}

/// JSON value of a line. `None` if the checksum is wrong.
pub(super) fn decode(kind: LineKind, line: &[u8]) -> Option<&[u8]> {
    let (crc, rest) = line.strip_prefix(OPENING)?.split_at_checked(DIGITS)?;
    let body = rest.strip_prefix(kind.opening())?.trim_ascii_end().strip_suffix(b"}")?;
    let crc = u32::from_str_radix(str::from_utf8(crc).ok()?, 16).ok()?;
    (crc32fast::hash(body) == crc).then_some(body)
}

/// Parses the value returned by [`decode`].
pub(super) fn parse(body: &[u8]) -> Option<Record> {
    serde_json::from_slice(body).ok().or_else(|| parse_deep(body))
}

/// Some fields of an object, as raw JSON.
type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// Parses a record whose answer is nested almost as deeply as the parser allows, so that the record around it
/// exceeds the limit. Slow and rare: a model can be prompted to answer like this, and it must not end the
/// run.
fn parse_deep(body: &[u8]) -> Option<Record> {
    let mut record: Fields<'_> = serde_json::from_slice(body).ok()?;
    let mut result: Fields<'_> = serde_json::from_str(record.get("result")?.get()).ok()?;
    let mut answer: Fields<'_> = serde_json::from_str(result.remove("answer")?.get()).ok()?;
    let (content, raw) = (answer.remove("content"), answer.remove("raw"));
    let answer = serde_json::to_string(&answer).ok()?;
    let mut answer: Answer = serde_json::from_str(&answer).ok()?;
    answer.content = serde_json::from_str(content?.get()).ok()?;
    answer.raw = raw.map(|raw| serde_json::from_str(raw.get())).transpose().ok()?;
    let nothing = serde_json::value::to_raw_value(&Outcome::Answer(Box::default())).ok()?;
    record.insert("result".to_owned(), &nothing);
    let record: Record = serde_json::from_str(&serde_json::to_string(&record).ok()?).ok()?;
    Some(Record { result: Outcome::Answer(Box::new(answer)), ..record })
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn record() -> Record {
        let result = Outcome::Answer(Box::default());
        Record {
            key: Key::of(&[b"x"]),
            index: 3,
            line: 4,
            id: Some("a".into()),
            latency_ms: 12,
            cost_usd: Some(0.25),
            maybe_billed_usd: Some(0.125),
            time: None,
            result,
        }
    }

    #[test]
    fn a_record_survives_its_line() {
        let mut line = Vec::new();
        encode(LineKind::Row, &record(), &mut line);
        assert!(line.ends_with(b"}\n"));
        serde_json::from_slice::<serde::de::IgnoredAny>(&line).expect("a line is valid JSON");
        let body = decode(LineKind::Row, &line).expect("the checksum is correct");
        assert_eq!(serde_json::from_slice::<Record>(body).unwrap(), record());
        assert_eq!(decode(LineKind::Manifest, &line), None);
    }

    #[test]
    fn a_change_of_any_byte_is_noticed() {
        let mut line = Vec::new();
        encode(LineKind::Row, &record(), &mut line);
        for at in 0..line.len() - 1 {
            let mut bad = line.clone();
            bad[at] ^= 1;
            assert_eq!(decode(LineKind::Row, &bad), None, "byte {at}");
        }
    }
}

//! A row that has ended, as records and sinks get it.

use std::time::Duration;

use fanweave_core::{Error, ErrorKind, FinishReason};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::answer::{Answer, Content};
use crate::journal::{Failure, Outcome, Record};
use crate::location::RowLocation;
use crate::rows::RowKey;
use crate::timeline::CallTimes;

/// A row that has ended, with its answer or its error.
///
/// Serialises as one JSON object, as in a journal: [`Records`](crate::Records) of other crates can store that
/// and read it back. The source of an error and its [payload](Error::payload) are not stored.
///
/// ```
/// use fanweave::batch::{BatchJob, Output, Render, Result, FinishedRow, RowSink, Source};
/// use fanweave::{chain, testing::Fake};
///
/// struct Print;
///
/// impl RowSink for Print {
///     fn write(&mut self, row: FinishedRow) -> Result<()> {
///         match row.answer() {
///             Some(answer) => println!("{}: {:?}", row.index(), answer.content),
///             None => println!("{}: {}", row.index(), row.error().unwrap()),
///         }
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<()> { fanweave::blocking::wait(async {
/// # let folder = std::env::temp_dir().join(module_path!().replace("::", "-"));
/// # std::fs::create_dir_all(&folder).unwrap();
/// # let journal = folder.join("cities.journal");
/// let source = Source::rows("cities", ["Oslo", "Rome"]);
/// let job = BatchJob::new(source, Render::default(), chain(Fake::echo()), Output::sink(journal, Print));
/// assert_eq!(job.run().await?.ok, 2);
/// # Ok(())
/// # }) }
/// ```
#[derive(Debug, Clone)]
pub struct FinishedRow {
    pub(crate) record: Box<Record>,
    /// The error of a row that failed in this run.
    pub(crate) error: Option<Error>,
}

impl FinishedRow {
    pub(crate) fn new(record: Record, error: Option<Error>) -> Self {
        Self { record: Box::new(record), error }
    }

    /// The key by which a later run recognises the row.
    pub fn key(&self) -> RowKey {
        RowKey(self.record.key)
    }

    /// Index of the row, from 0.
    pub fn index(&self) -> u64 {
        self.record.index
    }

    /// Line of the input on which the row begins, from 1.
    pub fn line(&self) -> u64 {
        self.record.line
    }

    /// Its `custom_id`, or otherwise its `id`.
    pub fn id(&self) -> Option<&str> {
        self.record.id.as_deref()
    }

    /// Time from the start of the row to its end. In steps of a millisecond.
    pub fn latency(&self) -> Duration {
        Duration::from_millis(self.record.latency_ms)
    }

    /// Cost of its calls in US dollars, if their prices are known.
    pub fn cost_usd(&self) -> Option<f64> {
        self.record.cost_usd
    }

    /// Cost in US dollars of the input of requests whose responses were incomplete: the provider may bill
    /// them. Not included in [`cost_usd`](Self::cost_usd).
    pub fn maybe_billed_usd(&self) -> Option<f64> {
        self.record.maybe_billed_usd
    }

    /// Its calls, in the order in which they ended.
    pub fn calls(&self) -> &[CallTimes] {
        self.record.time.as_ref().map_or(&[], |time| &time.calls)
    }

    /// Replaces the result by an error.
    pub(crate) fn fail(&mut self, error: Error) {
        self.record.result = Outcome::Error(Box::new((&error).into()));
        self.error = Some(error);
    }

    /// Its location in [`Records`](crate::Records) of another crate.
    pub fn at(&self, position: u64) -> RowLocation {
        RowLocation::new(position, self.is_ok())
    }

    /// Returns true for an answer without text and without tool calls.
    pub fn is_empty(&self) -> bool {
        match &self.record.result {
            Outcome::Answer(answer) => {
                let has_text = !matches!(&answer.content, Content::Text(text) if text.trim().is_empty());
                !has_text && answer.tool_calls.is_empty()
            }
            Outcome::Error(_) => false,
        }
    }

    /// Returns true for an answer that a limit, a filter, a refusal or a pause of the provider has ended.
    pub fn is_cut(&self) -> bool {
        match &self.record.result {
            Outcome::Answer(answer) => {
                answer.finish_reason.as_deref().is_some_and(|name| FinishReason::cut_by(name).is_some())
            }
            Outcome::Error(_) => false,
        }
    }

    /// Returns true if the row has an answer.
    pub fn is_ok(&self) -> bool {
        self.record.result.is_ok()
    }

    /// The answer, if the row has one.
    pub fn answer(&self) -> Option<&Answer> {
        match &self.record.result {
            Outcome::Answer(answer) => Some(answer),
            Outcome::Error(_) => None,
        }
    }

    /// Outputs of the steps of a dag or a chain file that had ended when the row failed, by name: see
    /// [`Error::outputs`].
    pub fn outputs(&self) -> Option<&Map<String, Value>> {
        match &self.record.result {
            Outcome::Answer(_) => None,
            Outcome::Error(failure) => failure.outputs.as_ref(),
        }
    }

    /// The error, if the row failed. The error of a row that was read back has no source and no payload.
    pub fn error(&self) -> Option<Error> {
        match &self.record.result {
            Outcome::Answer(_) => None,
            Outcome::Error(failure) => Some(self.error.clone().unwrap_or_else(|| failure.to_error())),
        }
    }

    /// The answer or the error.
    ///
    /// # Errors
    /// The row failed.
    pub fn into_result(self) -> fanweave_core::Result<Answer> {
        let error = self.error();
        match self.record.result {
            Outcome::Answer(answer) => Ok(*answer),
            Outcome::Error(failure) => Err(error.unwrap_or_else(|| failure.to_error())),
        }
    }
}

impl Serialize for FinishedRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.record.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FinishedRow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { record: Box::deserialize(deserializer)?, error: None })
    }
}

impl Failure {
    /// The error that was recorded, without its source and its payload.
    pub(crate) fn to_error(&self) -> Error {
        let kind: ErrorKind = serde_json::from_value(self.kind.as_str().into()).unwrap_or(ErrorKind::Step);
        let mut error = Error::new(kind, self.message.clone()).with_attempts(self.attempts);
        if let Some(status) = self.status {
            error = error.with_status(status);
        }
        if let Some(code) = &self.code {
            error = error.with_code(code.clone());
        }
        if let Some(id) = &self.request_id {
            error = error.with_request_id(id.clone());
        }
        if let Some(body) = &self.body {
            error = error.with_body(body);
        }
        if let Some(outputs) = &self.outputs {
            error = error.with_outputs(outputs.clone());
        }
        match &self.step {
            Some(step) => step.rsplit(" > ").fold(error, Error::with_step),
            None => error,
        }
    }
}

//! Sources of rows from outside: a trait to implement, its rows, and their keys in a journal.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use fanweave_core::ErrorKind as RowErrorKind;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::de::IntoDeserializer;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::input::Input;
use crate::key::Key;

/// A source of rows, such as a database or a queue. [`Source::new`](crate::Source::new) and
/// [`Source::blocking`](crate::Source::blocking) make it the source of a [`BatchJob`](crate::BatchJob).
///
/// Rows are numbered in the order in which they are returned, from 0. Results are journalled by the keys of
/// rows, so a source may return its rows in a different order when the job resumes.
///
/// ```
/// use fanweave::batch::{BatchJob, Input, InputRow, Output, Render, Result, RowSource, Source};
/// use fanweave::{chain, testing::Fake};
///
/// struct Countdown(u64);
///
/// impl RowSource for Countdown {
///     fn name(&self) -> &str {
///         "countdown"
///     }
///
///     async fn next(&mut self) -> Result<Option<InputRow>> {
///         let Some(n) = self.0.checked_sub(1) else { return Ok(None) };
///         self.0 = n;
///         Ok(Some(InputRow::new(Input::Text(format!("Is {n} prime?"))).with_id(n.to_string())))
///     }
/// }
///
/// # fn main() -> Result<()> { fanweave::blocking::wait(async {
/// let source = Source::new(Countdown(3));
/// let output = Output::Writer(Box::new(std::io::sink()));
/// let summary = BatchJob::new(source, Render::default(), chain(Fake::echo()), output).run().await?;
/// assert_eq!(summary.ok, 3);
/// # Ok(())
/// # }) }
/// ```
pub trait RowSource: Send + 'static {
    /// Name of the source in messages.
    fn name(&self) -> &str;

    /// The next row. `None` at the end, after which it is not called any more. Rows are read ahead of the
    /// calls, at most 64 of them.
    ///
    /// # Errors
    /// An error ends the run: make one with [`Error::external`](crate::Error::external). A row that is
    /// invalid by itself is a row: [`InputRow::invalid`].
    ///
    /// # Cancellation
    /// The future is dropped only when the run ends. Rows that have no result by then are read by the next
    /// run.
    fn next(&mut self) -> impl Future<Output = Result<Option<InputRow>>> + Send;

    /// Number of rows, if it is known. Called once, before the first row. Default: unknown.
    ///
    /// # Errors
    /// An error ends the run.
    fn total(&mut self) -> impl Future<Output = Result<Option<u64>>> + Send {
        async { Ok(None) }
    }

    /// Identity of all rows together, such as a version of a table. A run with a different identity is
    /// rejected unless [`Settings::changed_input`](crate::Settings::changed_input) is set. Default: `None`,
    /// rows are matched one by one.
    fn identity(&self) -> Option<RowKey> {
        None
    }
}

/// [`RowSource`] as a trait object.
pub(crate) trait DynRowSource: Send {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<InputRow>>>;
    fn total(&mut self) -> BoxFuture<'_, Result<Option<u64>>>;
    fn identity(&self) -> Option<RowKey>;
}

impl<S: RowSource> DynRowSource for S {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<InputRow>>> {
        RowSource::next(self).boxed()
    }

    fn total(&mut self) -> BoxFuture<'_, Result<Option<u64>>> {
        RowSource::total(self).boxed()
    }

    fn identity(&self) -> Option<RowKey> {
        RowSource::identity(self)
    }
}

/// Rows of an iterator.
pub(crate) struct Listed<I> {
    pub(crate) name: String,
    pub(crate) rows: I,
}

impl<T: Into<Input>, I: Iterator<Item = T> + Send + 'static> RowSource for Listed<I> {
    fn name(&self) -> &str {
        &self.name
    }

    async fn next(&mut self) -> Result<Option<InputRow>> {
        Ok(self.rows.next().map(|row| InputRow::new(row.into())))
    }

    async fn total(&mut self) -> Result<Option<u64>> {
        let (min, max) = self.rows.size_hint();
        Ok(max.filter(|max| *max == min).map(|rows| rows as u64))
    }
}

/// One row of a source.
///
/// ```
/// use fanweave::crates::serde_json;
/// use fanweave::batch::{Input, InputRow, Source};
///
/// let rows = Source::from_reader("example", r#"{"id": 7, "topic": "bears"}"#.as_bytes(), None)?;
/// let ids: Vec<_> = rows.map(|row| row.map(|row| row.id)).collect::<Result<_, _>>()?;
/// assert_eq!(ids, [Some("7".to_owned())]);
///
/// let row = InputRow::new(Input::Text("Name a bear.".into())).with_id("b1");
/// let json = serde_json::to_string(&row).unwrap();
/// let back: InputRow = serde_json::from_str(&json).unwrap();
/// assert_eq!((back.id.as_deref(), back.input.unwrap()), (Some("b1"), Input::Text("Name a bear.".into())));
/// # Ok::<_, fanweave::batch::Error>(())
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InputRow {
    /// Index of the row, from 0. Blank lines of files do not count. Rows of a [`RowSource`] are numbered by
    /// the run.
    pub index: u64,
    /// Line of the file on which the row begins, from 1. In other sources, the number of the row, from 1.
    pub line: u64,
    /// Its `custom_id`, or otherwise its `id`.
    pub id: Option<String>,
    /// Name of its file, if the source has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<Arc<str>>,
    /// Contents of the row, or the error that occurred while reading it.
    pub input: fanweave_core::Result<Input>,
    /// Its key in a journal, before equal rows are distinguished. `None` for an invalid row, whose key is its
    /// number.
    pub(crate) key: Option<RowKey>,
}

impl InputRow {
    /// A row. Its key is that of `input`, so a row with other contents is another row, and equal rows are
    /// distinguished by their order.
    pub fn new(input: Input) -> Self {
        let key = RowKey(input.key());
        Self::keyed(input, key)
    }

    /// A row with this key: see [`with_key`](Self::with_key). Its contents are not hashed.
    pub fn keyed(input: Input, key: RowKey) -> Self {
        Self { index: 0, line: 0, id: None, file: None, input: Ok(input), key: Some(key) }
    }

    /// A row that cannot be run: it fails with `why`.
    pub fn invalid(why: impl Into<String>) -> Self {
        let error = fanweave_core::Error::new(RowErrorKind::Input, why);
        Self { index: 0, line: 0, id: None, file: None, input: Err(error), key: None }
    }

    /// Sets the id of the row, which its result repeats. Default: none.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets the line that messages name. Default: the number of the row, from 1.
    #[must_use]
    pub fn with_line(mut self, line: u64) -> Self {
        self.line = line;
        self
    }

    /// Sets the key by which a resumed run recognises the row. Include everything that changes its answer:
    /// a row with a known key is not run. Default: the key of its contents.
    #[must_use]
    pub fn with_key(mut self, key: RowKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Name of its file, if the source has several.
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// Location of the row, for messages: `line 7`, or `line 7 of b.csv`.
    ///
    /// ```
    /// use fanweave::batch::{Input, InputRow};
    ///
    /// assert_eq!(InputRow::new(Input::from("Name a bear.")).with_line(7).location(), "line 7");
    /// ```
    pub fn location(&self) -> String {
        match &self.file {
            Some(file) => format!("line {} of {file}", self.line),
            None => format!("line {}", self.line),
        }
    }

    /// Numbers the row.
    pub(crate) fn numbered(mut self, index: u64) -> Self {
        self.index = index;
        if self.line == 0 {
            self.line = index + 1;
        }
        self
    }

    /// Its key, before equal rows are distinguished.
    pub(crate) fn content(&self) -> Key {
        self.key.map_or_else(|| Key::of(&[b"invalid row", &self.index.to_le_bytes()]), |key| key.0)
    }
}

/// Key of a row, or of all rows of a source, in a journal. 16 bytes.
///
/// ```
/// use fanweave::batch::RowKey;
///
/// let key = RowKey::of(&("users", 17))?;
/// assert_eq!(key, RowKey::of(&("users", 17))?);
/// assert_eq!(key.to_string().len(), 32);
/// assert_eq!(key.to_string().parse::<RowKey>()?, key);
/// assert_eq!(RowKey::from(255).to_string(), "000000000000000000000000000000ff");
/// # Ok::<_, fanweave::batch::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RowKey(pub(crate) Key);

impl RowKey {
    /// Key of a value: a hash of its JSON, in which the order of fields does not matter.
    ///
    /// # Errors
    /// [`Usage`](crate::ErrorKind::Usage) if the value does not serialise to JSON.
    pub fn of(value: &(impl Serialize + ?Sized)) -> Result<Self> {
        let value = serde_json::to_value(value)
            .map_err(|e| crate::Error::usage(format!("the key does not serialise to JSON: {e}")))?;
        Ok(Self(Key::of_value(&value)))
    }
}

/// A key that the source has itself, such as a number or a UUID.
impl From<u128> for RowKey {
    fn from(key: u128) -> Self {
        Self(Key::from_bytes(key.to_be_bytes()))
    }
}

impl FromStr for RowKey {
    type Err = crate::Error;

    /// Reads what [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self> {
        let key = Key::deserialize(text.into_deserializer());
        key.map(Self)
            .map_err(|e: serde::de::value::Error| crate::Error::usage(format!("not the key of a row: {e}")))
    }
}

impl fmt::Display for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

//! Checks and opens everything that a run needs before its first call. Blocks, so it runs on its own thread.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use fanweave_core::__private::park_until_done;
use tokio::sync::oneshot;

use crate::arranger::Arranger;
use crate::columns::{Columns, OwnColumns};
use crate::disk::Disk;
use crate::fingerprint::Fingerprint;
use crate::journal::{Journal, Manifest, PreviousRun};
use crate::key::Key;
use crate::output::{self, ColumnType, Layout, Output, OutputFormat, OwnKind, OwnOutput, Shape, Sink};
use crate::progress::Progress;
use crate::recorder::{Driver, Recording};
use crate::records::{EarlierRows, RowSink, RunIdentity};
use crate::settings::Settings;
use crate::source::{InputFormat, InputScan, Source};
use crate::store::RecordStore;
use crate::{Error, ErrorKind, Result};

/// Inputs for opening a run.
pub(crate) struct Open {
    pub(crate) output: Output,
    pub(crate) settings: Settings,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) progress: Arc<Progress>,
    pub(crate) disk: Disk,
}

/// A run that is open.
pub(crate) struct Opened {
    pub(crate) recording: Recording,
    pub(crate) driver: Driver,
    pub(crate) previous: PreviousRun,
    /// Set if calls of rows are journalled: the journal outlives the run.
    pub(crate) keeps_calls: bool,
    /// Keeps the columns of rows for the output.
    pub(crate) columns: Option<Arc<OwnColumns>>,
    /// Set if the output has only the text of an answer, or the value of one with a schema.
    pub(crate) has_one_choice: bool,
    /// Set if the input cannot be compared with that of the first run.
    is_unchecked: bool,
    /// Identity of the run, for records that are not open yet.
    waits: Option<RunIdentity>,
}

/// The form of an output before its columns are known.
struct View {
    format: OutputFormat,
    settings: Settings,
    /// Folder of the output file.
    folder: Option<PathBuf>,
}

impl View {
    /// The form with these columns of the input, and notes for the user. Journals of versions without columns
    /// have none.
    fn layout(
        &self,
        disk: &Disk,
        source: &Source,
        columns: Option<&Columns>,
        has_token_details: bool,
    ) -> Result<(Layout, Vec<String>)> {
        let names = columns.unwrap_or(&Columns::None).names(source, self.format)?;
        let settings = &self.settings;
        let own_names = names.as_ref().map(|columns| columns.names.as_slice()).unwrap_or_default();
        let mut kinds = source.column_types();
        match self.format {
            OutputFormat::Parquet => {}
            OutputFormat::Xlsx => kinds.retain(|_, kind| *kind == ColumnType::Date),
            // The text of a value is that of the input.
            _ => kinds.clear(),
        }
        let schema = settings.answer_schema.as_ref();
        let shape = Shape::new(own_names, &kinds, schema, settings.samples.get(), has_token_details);
        let own = match names {
            Some(names) => {
                let folder = self.folder.clone().unwrap_or_else(std::env::temp_dir);
                Some(Arc::new(OwnColumns::new(disk, &folder, names)?))
            }
            None => None,
        };
        let notes = if self.format.is_table() { shape.notes() } else { Vec::new() };
        Ok((Layout { format: self.format, keeps_formulas: self.settings.csv_formulas, shape, own }, notes))
    }
}

/// A thread that opens a run. Dropping this joins the thread, so that a dropped run leaves nothing locked.
struct Opening(Option<JoinHandle<()>>);

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // Its result was dropped or sent; a panic shows as a missing result.
            let _ = thread.join();
        }
    }
}

impl Open {
    /// Opens the run on its own thread, but records that wait in the task of the run. Returns the source.
    pub(crate) async fn run(self, source: Source) -> Result<(Opened, Source)> {
        let retry_failed = self.settings.retry_failed;
        let (sender, opened) = oneshot::channel();
        let work = move || {
            let opened = self.open(&source).map(|opened| (opened, source));
            // The receiver is gone if the run was dropped.
            let _ = sender.send(opened);
        };
        let thread = std::thread::Builder::new().name("fanweave-open".into()).spawn(work);
        let _opening =
            Opening(Some(thread.map_err(|e| Error::io("start the thread", "thread".as_ref(), e))?));
        // Records and sinks of other crates may panic.
        let panicked = |_| Err(Error::new(ErrorKind::Io, "opening the records of the run panicked"));
        let (mut opened, source) = opened.await.unwrap_or_else(panicked)?;
        if let (Some(identity), RecordStore::Own(records)) =
            (opened.waits.take(), &mut opened.recording.store)
        {
            opened.previous = records.open(&identity).await?.into();
        }
        let previous = &mut opened.previous;
        if opened.is_unchecked && !previous.done.is_empty() {
            previous.notes.push(format!(
                "cannot check that {} is the same input as in the first run; rows are matched one by one",
                source.name()
            ));
        }
        previous.resume(retry_failed);
        Ok((opened, source))
    }

    /// Scans the input, opens the records and the output, and reads the results of a previous run.
    fn open(self, source: &Source) -> Result<Opened> {
        let Self { output, settings, .. } = &self;
        if let Output::File(path) = output {
            output::check(path, source.paths(), settings.output_format.is_some(), settings.fresh)?;
        }
        let hash = self.scan(source)?.or(source.identity().map(|identity| identity.0));
        let fingerprint = with_input(&self.fingerprint, source);
        let mut manifest = Manifest::new(fingerprint, hash).of_file(source.path());
        let unordered = settings.unordered;
        let path = output.path();
        let format = self.format_of(source);
        if settings.samples.get() > 1 && (format == OutputFormat::OpenAi || settings.dedupe) {
            let message = match settings.dedupe {
                true => "several samples of a row cannot be merged as duplicates",
                false => {
                    "OpenAI batch results have one result per row: choose another output format for several samples"
                }
            };
            return Err(Error::usage(message));
        }
        let chosen = settings.columns.clone();
        let is_view = !matches!(output, Output::Own(_));
        if !is_view && chosen.as_ref().is_some_and(|columns| *columns != Columns::None) {
            return Err(Error::usage("columns: only files and writers have them beside the answers"));
        }
        manifest.chooses_columns = chosen.is_some();
        if is_view {
            manifest.has_token_details = true;
            manifest.columns = Some(chosen.unwrap_or_else(|| Columns::default_of(source, format)));
        }
        let view = View {
            format,
            settings: settings.clone(),
            folder: path.map(|path| output::folder_of(path).to_owned()),
        };
        let Settings { fresh, changed_input, dedupe, samples, .. } = *settings;
        let Self { output, progress, disk, .. } = self;
        let has_one_choice = (is_view && format.is_table()) || view.settings.answer_schema.is_some();
        let keeps_calls = output.has_journal();
        let mut opened = match output {
            Output::Own(OwnOutput(OwnKind::Records { records, driver })) => {
                let name = records.name().to_owned();
                if dedupe && !records.is_readable() {
                    return Err(Error::usage(format!(
                        "{name}: duplicate requests cannot be merged, because these records cannot be read"
                    )));
                }
                let identity = RunIdentity { manifest, name, starts_over: fresh, changed_input };
                Opened::new(RecordStore::Own(records), None, PreviousRun::default(), unordered, progress)
                    .waiting(identity, driver)?
            }
            Output::Own(OwnOutput(OwnKind::Sink { journal, mut sink })) => {
                let (journal, previous) = Journal::open(&disk, &journal, &manifest, fresh, changed_input)?;
                sink.begin()?;
                Opened::new(RecordStore::Journal(journal), Some(sink), previous, unordered, progress)
            }
            Output::File(path) => {
                let journal = output::journal_path(&path);
                let (journal, previous) = Journal::open(&disk, &journal, &manifest, fresh, changed_input)?;
                let (layout, notes) =
                    view.layout(&disk, source, previous.columns.as_ref(), previous.has_token_details)?;
                let own = layout.own.clone();
                let sink = Sink::file(&disk, path, layout)?;
                let mut opened = Opened::new(
                    RecordStore::Journal(journal),
                    Some(Box::new(sink)),
                    previous,
                    unordered,
                    progress,
                );
                opened.previous.notes.extend(notes);
                opened.columns = own;
                opened
            }
            Output::Own(OwnOutput(OwnKind::Direct(mut sink))) => {
                sink.begin()?;
                if unordered && !dedupe {
                    let mut opened = Opened::new(
                        RecordStore::Nothing,
                        Some(sink),
                        PreviousRun::default(),
                        unordered,
                        progress,
                    );
                    opened.driver = Driver::Task;
                    opened
                } else {
                    Opened::temporary(&disk, sink, unordered, progress)?
                }
            }
            Output::Own(OwnOutput(OwnKind::Rows(sink))) => {
                Opened::temporary(&disk, sink, unordered, progress)?
            }
            pipe @ (Output::Stdout | Output::Writer(_)) => {
                let (layout, notes) = view.layout(&disk, source, manifest.columns.as_ref(), true)?;
                let own = layout.own.clone();
                let sink = match pipe {
                    Output::Writer(writer) => Sink::writer(writer, layout)?,
                    _ => Sink::stdout(layout)?,
                };
                let mut opened = Opened::temporary(&disk, Box::new(sink), unordered, progress)?;
                opened.previous.notes.extend(notes);
                opened.columns = own;
                opened
            }
        };
        if let Some(indices) = source.sample_indices() {
            let samples = u64::from(samples.get());
            let indices = indices.iter().flat_map(|row| row * samples..(row + 1) * samples).collect();
            opened.recording.arranger.set_sample(indices);
        }
        opened.is_unchecked = hash.is_none();
        (opened.keeps_calls, opened.has_one_choice) = (keeps_calls, has_one_choice);
        Ok(opened)
    }

    /// Format of the output.
    fn format_of(&self, source: &Source) -> OutputFormat {
        let detect = || OutputFormat::detect(self.output.path(), source.format());
        self.settings.output_format.unwrap_or_else(detect)
    }

    /// Counts and hashes the rows of a file. Returns `None` for other sources: standard input, for example,
    /// can be read only once.
    fn scan(&self, source: &Source) -> Result<Option<Key>> {
        let limit = self.settings.limit.unwrap_or(u64::MAX);
        // Rows that will not run need not be readable.
        let strict = if self.settings.strict { limit } else { 0 };
        let encoded = if source.sample_indices().is_some() { 0 } else { limit };
        let Some(InputScan { rows, hash }) = InputScan::of(source, strict, encoded)? else { return Ok(None) };
        if rows == 0 {
            let why = match source.format() {
                Some(InputFormat::Jsonl | InputFormat::OpenAi) => "the list is empty: it has no rows",
                _ => "the file has a header but no rows",
            };
            return Err(Error::usage(format!("{}: {why}", source.name())));
        }
        let sampled = source.sample_indices().map(|all| all.partition_point(|index| *index < limit) as u64);
        let samples = u64::from(self.settings.samples.get());
        let total = sampled.unwrap_or(limit.min(rows)).saturating_mul(samples);
        #[cfg(feature = "xlsx")]
        if self.format_of(source) == OutputFormat::Xlsx && total > output::MAX_SHEET_ROWS {
            let message = format!(
                "{}: {total} results do not fit into a sheet, which has at most {} rows; write CSV or Parquet",
                source.name(),
                output::MAX_SHEET_ROWS
            );
            return Err(Error::usage(message));
        }
        self.progress.set_total(total);
        Ok(Some(hash))
    }
}

/// The fingerprint of a run, with the way in which its input is read.
pub(crate) fn with_input(fingerprint: &Fingerprint, source: &Source) -> Fingerprint {
    let format = source.format().map_or_else(|| "rows".to_owned(), |format| format.to_string());
    let options = source.options();
    let given = [
        ("delimiter", options.delimiter.map(String::from)),
        ("encoding", options.encoding.map(|encoding| encoding.to_string())),
        ("id column", options.id_column.clone()),
        ("sheet", options.sheet.clone()),
    ];
    given
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .fold(fingerprint.clone(), |to, (name, value)| to.set(name, value))
        .set("input format", format)
}

impl Opened {
    fn new(
        store: RecordStore,
        sink: Option<Box<dyn RowSink>>,
        previous: PreviousRun,
        unordered: bool,
        progress: Arc<Progress>,
    ) -> Self {
        let arranger = Arranger::new(sink, unordered, progress.clone());
        let recording = Recording { store, arranger, progress, dedupe: None };
        let driver = Driver::Thread;
        let columns = None;
        Self {
            recording,
            driver,
            previous,
            keeps_calls: false,
            columns,
            has_one_choice: false,
            is_unchecked: false,
            waits: None,
        }
    }

    /// A run without a journal that lasts.
    fn temporary(
        disk: &Disk,
        sink: Box<dyn RowSink>,
        unordered: bool,
        progress: Arc<Progress>,
    ) -> Result<Self> {
        let store = RecordStore::Journal(Journal::temporary(disk)?);
        Ok(Self::new(store, Some(sink), PreviousRun::default(), unordered, progress))
    }

    /// Opens records of another crate if they block, and leaves them to the task of the run if they wait.
    fn waiting(mut self, identity: RunIdentity, driver: Driver) -> Result<Self> {
        self.driver = driver;
        match (&mut self.recording.store, driver) {
            (RecordStore::Own(records), Driver::Thread) => {
                self.previous = park_until_done(records.open(&identity))?.into();
            }
            _ => self.waits = Some(identity),
        }
        Ok(self)
    }
}

impl From<EarlierRows> for PreviousRun {
    fn from(earlier: EarlierRows) -> Self {
        let EarlierRows { rows, spent_usd, unpriced, notes } = earlier;
        let done = rows.into_iter().map(|(key, location)| (key.0, location)).collect();
        Self { done, spent_usd, unpriced, notes, ..Self::default() }
    }
}

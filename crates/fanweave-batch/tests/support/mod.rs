//! Shared by the tests: directories, rows, and a model whose answers, failures and delays depend only on the
//! row.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fanweave_batch::{BatchJob, Encoding, InputOptions, Output, Render, Settings, Source};
use fanweave_core::{
    ChatModel, Context, Error, ErrorKind, FinishReason, Message, Model, Prompt, Reply, Usage,
};

/// A directory with the input and the output of a run.
pub(crate) struct TempRun {
    pub(crate) folder: tempfile::TempDir,
}

impl TempRun {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// `text` without the path of the directory.
    pub(crate) fn hide(&self, text: &impl ToString) -> String {
        text.to_string().replace(&format!("{}/", self.folder.path().display()), "")
    }
}

/// A model that answers `row N` with `answer N`, after a delay that depends on N. Every `failing`th row
/// fails. Counts its calls.
pub(crate) struct Rows {
    pub(crate) seed: u64,
    pub(crate) failing: u64,
    pub(crate) calls: Arc<AtomicUsize>,
}

impl Rows {
    pub(crate) fn new(seed: u64, failing: u64) -> Self {
        Self { seed, failing, calls: Arc::default() }
    }
}

impl ChatModel for Rows {
    fn name(&self) -> &str {
        "test/rows"
    }

    async fn generate(&self, prompt: Prompt, _: &Context) -> fanweave_core::Result<Message> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let text = prompt.last_user_text();
        let row: u64 = text.trim_start_matches("row ").parse().map_err(Error::step)?;
        let mixed = (row ^ self.seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        tokio::time::sleep(Duration::from_millis(mixed % 200)).await;
        if self.failing > 0 && mixed.is_multiple_of(self.failing) {
            return Err(Error::new(ErrorKind::Server, "overloaded").with_status(500).with_attempts(3));
        }
        let message = Message::assistant(format!("answer {row}"));
        let reply = Reply::new().model("rows-1").finish_reason(FinishReason::Stop);
        Ok(message.with_reply(reply.usage(Usage::new(2, 2)).attempts(1)))
    }
}

/// Lines `row 0`, `row 1`, ..
pub(crate) fn text_rows(n: u64) -> String {
    (0..n).map(|row| format!("row {row}\n")).collect()
}

pub(crate) fn settings(concurrency: usize) -> Settings {
    Settings::new().concurrency(concurrency)
}

pub(crate) fn job(input: &Path, output: &Path, model: impl ChatModel) -> BatchJob<Prompt, Message> {
    job_of(Source::open(input, None).unwrap(), output, model)
}

/// The rows of a file whose lines may be invalid UTF-8.
pub(crate) fn with_invalid_lines(input: &Path) -> Source {
    Source::open_with(input, InputOptions::new().encoding(Encoding::UTF_8)).unwrap()
}

pub(crate) fn job_of(source: Source, output: &Path, model: impl ChatModel) -> BatchJob<Prompt, Message> {
    let chain = fanweave_core::chain(Model::new(model));
    BatchJob::new(source, Render::default(), chain, Output::File(output.to_owned()))
        .fingerprint(BTreeMap::from([("model".to_owned(), "test/rows".to_owned())]))
}

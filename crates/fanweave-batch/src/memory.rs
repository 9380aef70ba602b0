//! Results of a batch to memory.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::{Stream, StreamExt};
use tokio::sync::mpsc;

use crate::finished::FinishedRow;
use crate::records::RowSink;
use crate::{Error, ErrorKind, Result};

/// Results of a batch as they are ready, made by [`Output::rows`](crate::Output::rows): in input order,
/// unless the run is [unordered](crate::Settings::unordered).
///
/// It ends when the run ends. Run the job on another task or thread: its future makes all progress.
///
/// ```
/// use fanweave::batch::{BatchJob, Output, Render, Source};
/// use fanweave::{chain, testing::Fake};
///
/// # fn main() -> fanweave::batch::Result<()> { fanweave::blocking::wait(async {
/// let (output, mut rows) = Output::rows(16);
/// let source = Source::rows("cities", ["Oslo", "Rome"]);
/// let job = BatchJob::new(source, Render::default(), chain(Fake::echo()), output);
/// let running = std::thread::spawn(move || fanweave::blocking::wait(job.run()));
/// let mut answers = Vec::new();
/// while let Some(row) = rows.next().await {
///     answers.push(row.into_result().map(|answer| answer.content.to_string()));
/// }
/// assert_eq!(running.join().unwrap()?.ok, 2);
/// assert_eq!(answers[1].as_deref().unwrap(), "Rome");
/// # Ok(())
/// # }) }
/// ```
///
/// # Cancellation
/// If it is dropped before the run ends, the run ends with an error of the kind
/// [`Io`](crate::ErrorKind::Io).
#[derive(Debug)]
pub struct RowStream(mpsc::Receiver<FinishedRow>);

impl RowStream {
    /// The next result. `None` once the run has ended.
    ///
    /// # Cancellation
    /// A dropped future loses no result.
    pub async fn next(&mut self) -> Option<FinishedRow> {
        StreamExt::next(self).await
    }
}

impl Stream for RowStream {
    type Item = FinishedRow;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<FinishedRow>> {
        self.0.poll_recv(task)
    }
}

/// The other end of a [`RowStream`].
struct Sender(mpsc::Sender<FinishedRow>);

/// A sink that holds at most `buffer` results, and its stream.
pub(crate) fn rows(buffer: usize) -> (Box<dyn RowSink>, RowStream) {
    let (sender, rows) = mpsc::channel(buffer.clamp(1, MAX_BUFFER));
    (Box::new(Sender(sender)), RowStream(rows))
}

/// Maximum results that a stream holds.
const MAX_BUFFER: usize = 1 << 16;

impl RowSink for Sender {
    fn write(&mut self, row: FinishedRow) -> Result<()> {
        let unread = |_| Error::new(ErrorKind::Io, "the results are not read any more");
        self.0.blocking_send(row).map_err(unread)
    }
}

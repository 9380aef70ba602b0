//! Runs any fanweave chain over the rows of a file or of any other source, with results in input order,
//! bounded memory, and resume after a crash.
//!
//! A [`BatchJob`] reads rows from a [`Source`], skips those that the journal already has, keeps at most
//! [`Settings::concurrency`] rows in flight, journals each result before reporting it, and writes the results
//! to an [`Output`] in input order. [`Progress`] counts while the job runs; a [`Summary`] holds the totals.
//!
//! ```text
//! Source -> minus journalled -> rows in flight -> recorder -> output in order
//! (feed)                        (window, tasks)   (a thread: journal, order, sink)
//! ```
//!
//! Batches of a program's own inputs, from memory and to memory, get a journal with [`JournalExt`].
//!
//! Because of the journal, no call is paid for twice. There is one exception: a call that the provider had
//! finished, but that was not yet journalled when the process was killed, is made a second time on resume.
//!
//! To read the code, start with `run`, then follow a row through `feed`, `window` and `recorder`.

mod advice;
mod answer;
mod cost;
mod dedupe;
mod disk;
mod error;
mod failing;
mod feed;
mod fingerprint;
mod histogram;
mod journal;
mod journalled;
mod key;
mod open;
mod order;
mod output;
mod progress;
mod queue;
mod recorded;
mod recorder;
mod refusals;
mod render;
mod row;
mod rows;
mod run;
mod run_map;
mod settings;
mod source;
mod summary;
mod tally;
mod timeline;
mod via;
mod window;

pub use advice::Advice;
pub use answer::{Answer, Content, IntoAnswer};
pub use cost::Costs;
pub use error::{Error, ErrorKind, Result};
pub use fingerprint::Fingerprint;
pub use journalled::{JournalExt, Journalled, Keyed};
pub use output::{Output, OutputFormat};
pub use progress::{InFlight, Progress, Snapshot};
pub use recorded::{CallTimes, RowRecord, RunRecord};
pub use render::Render;
pub use rows::{InputRow, RowKey, RowSource};
pub use run::BatchJob;
pub use settings::Settings;
pub use source::{Input, InputFormat, MAX_LINE, Source};
pub use summary::{FailureGroup, Summary};
pub use tokio_util::sync::CancellationToken;
pub use via::{BatchApi, BatchLimits, BatchState};

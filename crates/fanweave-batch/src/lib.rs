//! Runs any fanweave chain over the rows of a file: in order, with bounded memory, and losing nothing.
//!
//! A [`BatchJob`] takes rows from a [`Source`], leaves out those that the journal of an earlier run has, keeps
//! as many in flight as the [`Settings`] allow, journals each result before anybody hears of it, and writes
//! them to an [`Output`] in input order. [`Progress`] counts meanwhile, and a [`Summary`] says what it came to.
//!
//! ```text
//! Source -> minus journalled -> rows in flight -> recorder -> output in order
//! (reader, a thread)            (window, tasks)   (a thread: journal, order, sink)
//! ```
//!
//! A program's own rows, from memory and to memory, get a journal with [`JournalExt`].
//!
//! The journal holds the promise that no call is paid for twice. The one exception: a call that the provider
//! had finished, but that was not yet journalled when the process was killed, runs again.
//!
//! To read the code, begin with `run`, and follow a row through `reader`, `window` and `recorder`.

mod answer;
mod cost;
mod dedupe;
mod disk;
mod error;
mod failing;
mod histogram;
mod journal;
mod journalled;
mod key;
mod open;
mod order;
mod output;
mod progress;
mod queue;
mod reader;
mod recorded;
mod recorder;
mod refusals;
mod render;
mod row;
mod run;
mod settings;
mod source;
mod summary;
mod tally;
mod timeline;
mod via;
mod window;

pub use answer::{Answer, Content, IntoAnswer};
pub use cost::Costs;
pub use error::{Error, ErrorKind, Result};
pub use journalled::{JournalExt, Journalled, Keyed};
pub use output::{Output, OutputFormat};
pub use progress::{InFlight, Progress, Snapshot};
pub use recorded::{CallTimes, RowRecord, RunRecord};
pub use render::Render;
pub use run::BatchJob;
pub use settings::Settings;
pub use source::{Input, InputFormat, Item, MAX_LINE, Source};
pub use summary::{FailureGroup, Summary};
pub use tokio_util::sync::CancellationToken;
pub use via::{BatchApi, BatchLimits, BatchState};

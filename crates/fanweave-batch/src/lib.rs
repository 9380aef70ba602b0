//! Runs any fanweave chain over the rows of a file or of any other source, with results in input order,
//! bounded memory, and resume after a crash.
//!
//! A [`BatchJob`] reads rows from a [`Source`], skips those that the journal already has, keeps at most
//! [`Settings::concurrency`] rows in flight, journals each result before reporting it, and writes the results
//! to an [`Output`] in input order. [`Progress`] counts while the job runs; a [`Summary`] holds the totals.
//!
//! ```text
//! Source -> minus recorded -> rows in flight -> recorder --> store: journal or Records
//! (feed)                      (window, tasks)            \-> arranger -> RowSink: output in order
//! ```
//!
//! Other crates bring rows with [`RowSource`], keep results with [`Records`], and show them with [`RowSink`].
//!
//! Batches of a program's own inputs, from memory and to memory, get a journal with [`JournalExt`].
//!
//! Because of the journal, no call is paid for twice. There is one exception: a call that the provider had
//! finished, but that was not yet journalled when the process was killed, is made a second time on resume.
//!
//! To read the code, start with `run`, then follow a row through `feed`, `window` and `recorder`.

mod advice;
mod answer;
mod answers;
mod arranger;
mod budget;
mod coalesce;
mod collect;
mod columns;
mod cost;
mod dedupe;
mod disk;
mod error;
mod export;
mod failing;
mod feed;
mod field;
mod fingerprint;
mod finished;
mod histogram;
mod input;
mod journal;
mod journalled;
mod key;
mod leases;
mod location;
mod max_errors;
mod memory;
mod observed;
mod open;
mod order;
mod origin;
mod output;
mod planned;
mod preflight;
mod private;
mod progress;
mod queue;
mod recorded;
mod recorded_rows;
mod recorder;
mod records;
mod refusals;
mod render;
mod row;
mod rows;
mod run;
mod run_map;
mod settings;
mod snapshot;
mod source;
mod store;
mod summary;
mod tally;
mod timeline;
mod via;
mod window;

pub use advice::Advice;
pub use answer::{Answer, Content, IntoAnswer};
pub use columns::Columns;
pub use cost::Costs;
pub use error::{Error, ErrorKind, Result};
pub use export::ExportedRows;
pub use fanweave_core::context::CancellationToken;
pub use fingerprint::Fingerprint;
pub use finished::FinishedRow;
pub use input::Input;
pub use journalled::{JournalExt, Journalled, Keyed};
pub use location::RowLocation;
pub use max_errors::MaxErrors;
pub use memory::RowStream;
pub use output::{Output, OutputFormat, OwnOutput};
pub use planned::{PlannedRequests, PlannedRow, PlannedRows};
pub use progress::{InFlight, Progress, Snapshot};
pub use recorded::{CallAnswer, CallTimes, RowRecord, RunRecord};
pub use records::{EarlierRows, Records, RowPermit, RowSink, RunEnd, RunIdentity};
pub use render::Render;
pub use rows::{InputRow, RowKey, RowSource};
pub use run::BatchJob;
pub use settings::Settings;
pub use source::{Encoding, InputFormat, InputOptions, MAX_LINE, RequestFields, Source};
pub use summary::{FailureGroup, Summary};
pub use via::{BatchApi, BatchLimits, BatchState};

#[doc(hidden)]
pub mod __private {
    //! Items for crates of the workspace that run rows on several machines.
    pub use crate::arranger::Arranger;
    pub use crate::budget::{Allowance, RowBudget};
    pub use crate::collect::Collector;
    pub use crate::cost::rounded_usd;
    pub use crate::dedupe::Follower;
    pub use crate::feed::{Job, KeyedRows};
    pub use crate::leases::{Leases, Lessor};
    pub use crate::origin::Origin;
    pub use crate::output::Sink;
    pub use crate::private::{content_key, create_output, csv_record, decode_row, encode_row, resume_output};
    pub use crate::recorded_rows::RecordedRows;
    pub use crate::recorder::{Finished, RowRecorder};
    pub use crate::run::{JobParts, Rows};
    pub use crate::window::{Stopped, Window};
}

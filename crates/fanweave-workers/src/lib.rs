//! Runs the rows of a batch on any number of machines, with one result for each row.
//!
//! A submitter publishes the rows in shards, and a ticket for each shard. Workers take tickets, claim the
//! shard in its log, run its rows and append their results to the log. The collector reads the logs in input
//! order. All of them meet at a [`Broker`]: NATS JetStream, or memory in tests.
//!
//! ```text
//! submit -> shards, tickets -> worker -> log of each shard -> collect
//! ```
//!
//! The log decides which result of a row counts, never a clock: see [`log`](crate::ShardLog). Tickets only
//! schedule, so each of them may be lost or delivered twice.

mod activity;
mod append;
mod attached;
mod broker;
mod collect;
mod error;
mod in_hand;
mod jobs;
mod limit;
mod log;
mod manifests;
mod money;
mod patience;
mod pause;
mod rows;
mod shard;
mod shard_rows;
mod status;
mod submit;
mod wire;
mod worker;

pub use activity::{Activity, ActivityCounts};
pub use attached::Attached;
#[cfg(feature = "nats")]
pub use broker::{Access, Check, Finding, Nats, Terms, version};
pub use broker::{Appended, Broker, Faults, Held, Listening, Memory, Settle, Stored, Ticket};
pub use collect::Results;
pub use error::{Error, ErrorKind, Result};
pub use jobs::{RunStatus, cancel, remove, retry, runs, status_of};
pub use limit::SharedLimit;
pub use log::{Done, Refused, ShardLog};
pub use manifests::manifest_of;
pub use rows::{Feed, RunRows, Workload};
pub use shard_rows::ShardRows;
pub use status::{Refusal, WorkerStatus, workers_of};
pub use submit::{Submitted, run_name, submit, submit_rows};
pub use wire::{
    InputInfo, Kind, MAX_SHARD_BYTES, Manifest, Message, Rates, Record, Row, RowSettings, RunState, ShardId,
    VERSION, decode_rows, encode_row, rows_per_shard,
};
pub use worker::{Worker, worker_name};

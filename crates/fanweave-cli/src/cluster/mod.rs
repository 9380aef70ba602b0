//! Rows at workers: `--on` of `fanweave batch` and `fanweave run`, `fanweave worker`, `fanweave jobs` and
//! `fanweave broker`.

mod access;
mod attach;
mod broker;
mod chains;
mod config;
mod health;
mod jobs;
mod local;
pub(crate) mod plan;
mod refuse;
mod server;
mod worker;

pub(crate) use attach::{detached, run as batch, submission};
pub(crate) use broker::run as broker;
pub(crate) use chains::{refuse_run_flags, run as chain};
pub(crate) use jobs::run as jobs;
pub(crate) use refuse::refuse_flags;
pub(crate) use worker::{fill, run as worker};

/// Notice of a batch at the workers of a broker at the first Ctrl-C.
pub(crate) const STOPPING: &str =
    "the workers continue the run; end it with `fanweave jobs cancel`, or follow it with the same command";

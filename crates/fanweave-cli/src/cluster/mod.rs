//! Rows at workers: `fanweave batch --on`, and `fanweave worker`.

mod attach;
mod local;
mod refuse;
mod server;
mod worker;

pub(crate) use attach::run as batch;
pub(crate) use refuse::refuse_flags;
pub(crate) use worker::run as worker;

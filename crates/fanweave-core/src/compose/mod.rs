//! The combinators: one small file each, all with the same structure. [`then`] is a good one to read first.

pub mod assign;
pub mod branch;
pub mod configurable;
pub mod dag;
pub mod dynamic;
pub mod erased;
pub mod fallback;
pub mod generator;
pub mod hooks;
mod keep_input;
mod map;
pub mod named;
pub mod parallel;
pub mod parallel_map;
pub mod passthrough;
pub mod pick;
pub mod retry;
pub mod router;
pub mod scoped;
pub mod step;
pub mod then;
pub mod timeout;
mod values;

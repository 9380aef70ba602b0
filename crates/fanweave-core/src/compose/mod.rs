//! The combinators: one small file each, all of one shape. Read [`then`] and you have read them all.

pub mod assign;
pub mod branch;
pub mod configurable;
pub mod dynamic;
pub mod fallback;
pub mod generator;
pub mod hooks;
pub mod named;
pub mod parallel;
pub mod parallel_map;
pub mod retry;
pub mod router;
pub mod scoped;
pub mod step;
pub mod then;
pub mod timeout;

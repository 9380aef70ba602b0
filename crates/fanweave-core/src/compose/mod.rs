//! The combinators: one small file each, all of one shape. Read [`then`] and you have read them all.

pub mod fallback;
pub mod named;
pub mod parallel;
pub mod step;
pub mod then;
pub mod timeout;

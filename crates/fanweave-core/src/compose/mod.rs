//! The combinators: one small file each, all of one shape. Read [`then`] and you have read them all.

pub mod named;
pub mod step;
pub mod then;

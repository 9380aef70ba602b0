//! Parsers: steps that read a model's answer.

pub mod choice;
pub mod json;
pub mod lines;
pub mod list;
pub(crate) mod partial;
pub mod repair;
pub mod text;
pub mod tool_calls;

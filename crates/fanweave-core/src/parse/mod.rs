//! Parsers: steps that read a model's answer.

pub mod text;

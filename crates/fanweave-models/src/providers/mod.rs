//! The dialects that providers speak, one folder each, and the vendors that speak them.

pub(crate) mod compatible;
pub(crate) mod openai;

//! The dialects of providers, one directory each, and the table of vendors.

pub(crate) mod anthropic;
pub(crate) mod assemble;
#[cfg(feature = "bedrock")]
pub(crate) mod bedrock;
pub(crate) mod compatible;
pub(crate) mod completions;
pub(crate) mod dialect;
pub(crate) mod embeddings;
mod extras;
pub(crate) mod failure;
pub(crate) mod finish;
mod foreign;
pub(crate) mod gemini;
mod json;
mod media;
pub(crate) mod ollama;
pub(crate) mod openai;
mod own;
pub(crate) mod reasoning;
mod repeated;
pub(crate) mod responses;
mod schema;
pub(crate) mod splice;
#[cfg(test)]
mod testing;
pub(crate) mod think;
#[cfg(test)]
mod tolerance;
mod triage;
mod usage;

//! A simulated LLM provider, in process and as a server.
//!
//! Everything that runs many LLM calls needs something to run them against: something that is free, fast, deterministic,
//! and fails in the ways that real providers fail. This is it, in two layers:
//!
//! - [`answer`] is the model: a pure function from a request to readable text, conforming JSON or tool calls.
//! - [`Server`] is the provider around it: OpenAI's and Anthropic's wire formats, latency, rate limits, faults
//!   and outages.
//!
//! It shares no code with the clients that are tested against it, so that a misunderstanding of a wire format cannot hide
//! in code that both sides use.

pub mod answer;
mod draw;
mod faults;
mod latency;
mod limits;
mod server;
mod settings;
mod trouble;

pub use latency::{Latency, ParseLatencyError, parse_duration};
pub use server::{Server, Stats};
pub use settings::{Settings, SettingsError};
pub use trouble::{First429, Flake, Flaky, Outage, OutageKind, ParseFaultError};

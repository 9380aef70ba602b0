//! A simulated LLM provider, in process and as a server.
//!
//! Software that runs many LLM calls needs a provider to test against: free, fast, deterministic, and failing
//! in the ways of real providers. This crate has two layers:
//!
//! - [`answer`] is the model: a pure function from a request to readable text, conforming JSON or tool calls.
//! - [`Server`] is the provider around it: the wire formats of OpenAI, Anthropic, Gemini and Ollama, latency,
//!   rate limits, faults and outages.
//!
//! It shares no code with the clients that are tested against it. A wrong reading of a wire format can
//! therefore not hide in code used by both sides.

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

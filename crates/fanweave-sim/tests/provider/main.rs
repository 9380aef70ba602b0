//! The provider as observed by clients: over a socket, byte for byte.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, helpers of tests included")]

mod anthropic;
mod client;
mod errors;
mod faults;
mod limits;
mod openai;
mod others;
mod outages;
mod stats;

//! Chains over real sockets, against the simulated provider.
#![expect(clippy::unwrap_used, reason = "also in what the tests share")]

mod bodies;
mod calls;
mod dropping;
mod hard_cases;
mod provider;
mod ready_made;
mod runtimes;
mod tools;

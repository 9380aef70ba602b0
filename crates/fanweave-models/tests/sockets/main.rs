//! Models over real sockets, against a server whose responses are scripted byte for byte.
#![expect(clippy::unwrap_used, reason = "also in shared test code")]

mod adapt;
mod calls;
mod conformance;
mod descriptors;
mod faults;
mod limiter;
mod limits;
mod network;
mod own;
mod proxies;
mod raw;
mod server;
mod surplus;
mod tls;

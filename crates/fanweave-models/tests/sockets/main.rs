//! Models over real sockets, against a server that says byte for byte what a test tells it to.
#![expect(clippy::unwrap_used, reason = "also in what the tests share")]

mod calls;
mod conformance;
mod descriptors;
mod faults;
mod limits;
mod network;
mod own;
mod proxies;
mod server;
mod surplus;
mod tls;

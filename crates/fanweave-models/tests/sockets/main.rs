//! Models over real sockets, against a server that says byte for byte what a test tells it to.

mod calls;
mod faults;
mod server;

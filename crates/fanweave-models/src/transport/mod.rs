//! Everything between a dialect and the socket, the same for all providers.
//!
//! ```text
//! call      one call: its request and its answer
//!  ├ again     slot, admission, request, again if need be                      (the one retry loop)
//!  ├ limits    whose turn it is on the account, for all calls of the process
//!  ├ retry     whether and when to try again
//!  ├ hints     the waits that headers and sentences ask for
//!  ├ exchange  one request and its answer, under the timeouts of `watch`
//!  │   └ client   settings, and the way to the server:
//!  │       ├ pool     connections for the calls, as few as will do
//!  │       │   ├ connect       opening one: `proxy`, TLS, version of HTTP
//!  │       │   ├ descriptors   how many may be open
//!  │       │   └ wire, pace    connections that deliver more than was asked for
//!  │       └ own      or a transport that somebody brings
//!  ├ frames    the events of a streamed answer: `sse`, or `lines`
//!  └ secret    keys, and texts without them; `keys` that change
//! ```

pub(crate) mod again;
pub(crate) mod body;
pub(crate) mod call;
pub(crate) mod client;
mod connect;
pub(crate) mod descriptors;
pub(crate) mod endpoint;
pub(crate) mod exchange;
pub(crate) mod frames;
pub(crate) mod hints;
pub(crate) mod keys;
pub(crate) mod limits;
mod lines;
pub(crate) mod own;
mod pace;
mod pool;
mod proxy;
pub(crate) mod retry;
pub(crate) mod secret;
pub(crate) mod sse;
pub(crate) mod unsent;
mod watch;
mod wire;

/// By this a server can tell a request that is sent again from another one. The name that the official SDKs use.
const IDEMPOTENCY_KEY: http::HeaderName = http::HeaderName::from_static("idempotency-key");

//! The layers between a dialect and the socket, shared by all providers.
//!
//! ```text
//! call          one call: its request and its response
//!  ├ retry_loop   run permit, admission, request, retry                        (the only retry loop)
//!  ├ limits       the queue and the limits of an account, for all calls of the process
//!  ├ retry        decides whether and when to retry
//!  ├ hints        waits requested by headers and error messages
//!  ├ exchange     one request and its response, under the timeouts of `watch`
//!  │   ├ inflate     decompresses bodies
//!  │   └ client      settings and the transport:
//!  │       ├ pool     connections for the calls, as few as possible
//!  │       │   ├ connect       opens a connection: `proxy`, TLS, HTTP version
//!  │       │   ├ descriptors   limits the number of open connections
//!  │       │   └ wire, pace    detect surplus responses
//!  │       └ own      or a custom transport
//!  ├ reader       a streamed answer, from bytes to deltas, without I/O
//!  │   └ frames      the events of a streamed response: `sse`, `lines` or `values`
//!  └ secret       keys and their redaction; `keys` that change
//! ```

pub(crate) mod adapt;
#[cfg(feature = "vertex")]
pub(crate) mod adc;
#[cfg(feature = "bedrock")]
pub(crate) mod aws;
pub(crate) mod body;
pub(crate) mod call;
pub(crate) mod caps;
pub(crate) mod client;
mod connect;
mod descriptors;
pub(crate) mod endpoint;
#[cfg(feature = "bedrock")]
pub(crate) mod event_stream;
pub(crate) mod exchange;
pub(crate) mod extent;
mod failure;
pub(crate) mod frames;
pub(crate) mod hints;
pub(crate) mod inflate;
pub(crate) mod keys;
pub(crate) mod limits;
mod lines;
pub(crate) mod own;
mod pace;
#[cfg(any(feature = "bedrock", feature = "vertex"))]
pub(crate) mod percent;
mod pool;
mod proxy;
pub(crate) mod reader;
pub(crate) mod redact;
pub(crate) mod retry;
pub(crate) mod retry_loop;
pub(crate) mod secret;
#[cfg(feature = "bedrock")]
pub(crate) mod sign;
pub(crate) mod sse;
pub(crate) mod unsent;
pub(crate) mod values;
pub(crate) mod watch;
mod wire;

/// Lets a server recognise a retried request. The official SDKs use the same header.
const IDEMPOTENCY_KEY: http::HeaderName = http::HeaderName::from_static("idempotency-key");

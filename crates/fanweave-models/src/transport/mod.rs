//! Everything between a dialect and the socket, the same for all providers.
//!
//! ```text
//! call      one call: slot, admission, request, answer, again if need be       (the one retry loop)
//!  ├ limits    whose turn it is on the account, for all calls of the process
//!  ├ retry     whether and when to try again
//!  ├ exchange  one request and its answer, under the timeouts of `watch`
//!  │   └ client   settings of the connections, which `pool` keeps
//!  ├ sse       the events of a streamed answer
//!  └ secret    keys, and texts without them
//! ```

pub(crate) mod call;
pub(crate) mod client;
pub(crate) mod endpoint;
pub(crate) mod exchange;
pub(crate) mod limits;
mod pool;
pub(crate) mod retry;
pub(crate) mod secret;
pub(crate) mod sse;
mod watch;

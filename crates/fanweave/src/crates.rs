//! The crates whose types are part of fanweave's public signatures, in the versions that it uses.
//!
//! For programs without dependencies of their own on them; others may use either path.
//!
//! ```
//! use fanweave::Context;
//! use fanweave::crates::serde_json::json;
//!
//! let cx = Context::new().with_metadata("customer", json!({ "id": 7 }));
//! ```

/// Bytes of requests to an [`HttpTransport`](crate::models::HttpTransport).
pub use bytes;
/// Streams and futures: a [`Run`](crate::Run) is a stream.
pub use futures;
/// Requests and responses of an [`HttpTransport`](crate::models::HttpTransport).
pub use http;
/// Tracers and meters of [`Telemetry`](crate::telemetry::Telemetry).
#[cfg(feature = "telemetry")]
pub use opentelemetry;
/// Schemas of types: see [`structured`](crate::structured()).
#[cfg(feature = "structured")]
pub use schemars;
/// Serialisation of values, events and errors.
pub use serde;
/// JSON values, such as those of [`Vars`](crate::Vars).
pub use serde_json;
/// The async runtime: see [`runtime::handle`](crate::runtime::handle).
pub use tokio;

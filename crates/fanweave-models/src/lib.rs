//! Models behind HTTP: providers, and the transport that carries every call to them.
//!
//! A model is named `provider/model`, and finds key and base URL in the environment, under the names of the
//! provider's own SDK.
//!
//! ```no_run
//! use fanweave_core::{prompt, text, vars};
//! use fanweave_models::model;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> fanweave_core::Result<()> {
//! let joke = prompt("Tell a joke about {{ topic }}.") | &model("openai/gpt-5-mini")? | text();
//! println!("{}", joke.invoke(vars! { topic: "bears" }).await?);
//! # Ok(())
//! # }
//! ```
//!
//! [`vendors`] names the providers. For embeddings there is [`embedder`], for several prompts in one request
//! [`Completer`], for telling every call to a logging service [`log`], and for a sum of money that calls must not pass
//! [`Budget`].
//!
//! All calls of a process share one pool of connections ([`Client`]) and one limiter for each account
//! ([`RateLimits`]), whichever chain or batch they come from. A request that fails for a while is sent again by
//! one loop ([`RetryPolicy`]).
//!
//! To understand how a provider works, read `protocol.rs`, then `providers/openai/mod.rs`.

mod batch_api;
mod budget;
mod builder;
mod chroma;
mod completer;
mod embedder;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
pub mod log;
mod once;
mod prices;
mod protocol;
mod providers;
mod transport;

pub use batch_api::{BatchClient, BatchStatus};
pub use budget::Budget;
pub use builder::{ModelBuilder, model};
pub use chroma::Chroma;
pub use completer::Completer;
pub use embedder::embedder;
pub use fanweave_core::RetryPolicy;
pub use prices::{Price, Prices};
pub use providers::compatible::{key_variables, vendors};
pub use transport::body::Body;
pub use transport::client::{Client, ClientBuilder, Timeouts};
pub use transport::descriptors::connection_notice;
pub use transport::keys::KeyHeader;
pub use transport::limits::{AccountState, AccountStatus, RateLimits, account_states};
pub use transport::own::HttpTransport;

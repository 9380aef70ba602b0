//! Models behind HTTP: providers, and the transport that carries every call to them.
//!
//! Models are named `provider/model`. Key and base URL are read from the environment variables of the
//! provider's own SDK.
//!
//! ```no_run
//! use fanweave::{prompt, text, vars};
//! use fanweave::models::model;
//!
//! # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
//! let joke = prompt("Tell a joke about {{ topic }}.") | &model("openai/gpt-5-mini")? | text();
//! println!("{}", joke.invoke(vars! { topic: "bears" }).await?);
//! # Ok(())
//! # }) }
//! ```
//!
//! [`vendors`] lists the providers. Add others with [`register`], and dialects with a [`protocol`]. Use
//! [`embedder`] for embeddings, [`Completer`] for several prompts in one request, [`RawModel`] for requests
//! and answers as bytes, [`Spread`] for several keys or models, [`log`] to report every call to a logging
//! service, and [`Budget`] to limit spending.
//!
//! All calls of a process share one connection pool ([`Client`]) and one rate limiter per account
//! ([`RateLimits`]), whichever chain or batch they come from. Temporary failures are retried by a single loop
//! ([`RetryPolicy`]).
//!
//! To understand how a provider works, read `protocol.rs`, then `providers/openai/mod.rs`.

mod aliases;
mod batch_api;
#[cfg(feature = "prices")]
mod budget;
mod builder;
#[cfg(feature = "chroma")]
mod chroma;
mod completer;
mod embedder;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod limiter;
pub mod log;
mod once;
#[cfg(feature = "prices")]
mod prices;
pub mod protocol;
mod providers;
mod raw;
mod spread;
mod transport;
mod variable;
mod vendor;

pub use aliases::{alias, aliases};
pub use batch_api::{BatchClient, BatchStatus};
#[cfg(feature = "prices")]
pub use budget::Budget;
pub use builder::{ModelBuilder, embedder, model};
#[cfg(feature = "chroma")]
pub use chroma::Chroma;
pub use completer::Completer;
pub use fanweave_core::RetryPolicy;
pub use limiter::{LimitedRequest, Limiter, LimiterPermit, RequestOutcome};
#[cfg(feature = "prices")]
pub use prices::{CallPrices, Capabilities, Objection, Price, PriceTier, Prices};
pub use providers::dialect::Dialect;
pub use providers::openai::{Quirks, SendBack};
pub use providers::reasoning::ReasoningField;
pub use raw::{RawBody, RawModel, RawRequest, RawResponse};
pub use spread::{Lane, Spread, SpreadChange};
pub use transport::adapt::{Adaptation, adaptations, adaptations_since};
pub use transport::body::Body;
pub use transport::client::{Client, ClientBuilder, connection_notice};
pub use transport::keys::KeyHeader;
pub use transport::limits::{AccountState, AccountStatus, Accounts, RateLimits, account_states};
pub use transport::own::HttpTransport;
pub use transport::watch::Timeouts;
pub use vendor::{Vendor, key_variables, register, vendors};

#[doc(hidden)]
pub mod __private {
    //! Items that other crates of the workspace use.
    pub use crate::transport::secret::REDACTED;
}

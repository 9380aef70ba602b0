//! LLM calls as functions, with the attribute `#[fanweave::call]`.
//!
//! The function returns the prompt; the attribute names the model and its parameters. Calling the function
//! returns a [`Call`], which can be awaited, streamed, or modified before it runs. A type with the function's
//! name provides the call as a chain, for pipes and batches.
//!
//! ```
//! use fanweave::Result;
//!
//! #[fanweave::call(model = "sim/writer")]
//! async fn recommend_book(genre: &str) -> String {
//!     format!("Recommend a {genre} book.")
//! }
//!
//! # fn main() -> Result<()> { fanweave::blocking::wait(async {
//! let response = recommend_book("fantasy").await?;
//! println!("{response} ({} tokens)", response.usage().total_tokens());
//!
//! for answer in recommend_book::chain().batch(["crime", "poetry"].map(String::from)).collect().await {
//!     println!("{}", answer?);
//! }
//! # Ok(())
//! # }) }
//! ```

mod config;
mod function;
mod overrides;
mod response;

use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll};

use futures::future::BoxFuture;

pub use config::{Config, IntoConfig, IntoModel};
pub use function::Function;
pub use overrides::Overrides;
pub use response::Response;

#[doc(hidden)]
pub use function::{chain_of, model_through, models, shared_model, texts};
#[doc(hidden)]
pub use response::{respond, structured};

use function::{Bound, bound, of_bound};

use crate::models::Client;
use crate::tool::Tools;
use crate::{Chain, Context, EventRun, Parameters, Result, Run, blocking};

/// A call with its arguments that has not begun, as returned by a function with `#[fanweave::call]`. Await it
/// to run it.
///
/// ```
/// use fanweave::{Parameters, Result};
///
/// #[fanweave::call(model = "sim/writer")]
/// fn haiku(topic: &str) -> String {
///     format!("Write a haiku about {topic}.")
/// }
///
/// # fn main() -> Result<()> { fanweave::blocking::wait(async {
/// // The whole response.
/// let response = haiku("rain").await?;
///
/// // Deltas first, then the whole response.
/// let mut stream = haiku("snow").stream();
/// while let Some(delta) = stream.next().await {
///     print!("{}", delta?);
/// }
/// let response = stream.output().await?;
///
/// // With another model and parameters.
/// let short = Parameters::new().max_tokens(8);
/// let response = haiku("hail").with_model("sim/echo").with(short).await?;
/// # Ok(())
/// # }) }
/// ```
///
/// # Errors
/// Those of the function, of the model and of the parser. They contain the name of the function.
///
/// # Cancellation
/// Dropping the call, or its future, stream or events, cancels it. It does not begin before it is polled.
#[must_use = "a call does nothing until it is awaited, streamed or run"]
pub struct Call<T> {
    chain: Chain<Bound, T>,
    bound: Bound,
    /// Set after the first poll.
    running: Option<BoxFuture<'static, Result<T>>>,
}

impl<T: Send + 'static> Call<T> {
    /// The call of a function with these arguments.
    pub(crate) fn of<F: Function<Output = T>>(input: F::Input) -> Self {
        Self { chain: of_bound::<F>(), bound: bound::<F>(input), running: None }
    }

    /// Calls this model instead: a [`Model`](crate::Model), or the name of one.
    pub fn with_model(mut self, model: impl IntoModel) -> Self {
        self.bound.overrides = self.bound.overrides.model(model);
        self
    }

    /// Calls the model through this client, which sets base URL, headers, proxy, timeouts and transport.
    ///
    /// Fails with [`ErrorKind::Config`](crate::ErrorKind::Config) if the model is not given by name.
    pub fn with_client(mut self, client: Client) -> Self {
        self.bound.overrides = self.bound.overrides.client(client);
        self
    }

    /// Sets parameters. They take precedence over those of the function and of the attribute.
    pub fn with(mut self, parameters: Parameters) -> Self {
        self.bound.overrides = self.bound.overrides.parameters(parameters);
        self
    }

    /// Offers these tools instead of those of the function and of the attribute.
    pub fn with_tools(mut self, tools: Tools) -> Self {
        self.bound.overrides = self.bound.overrides.tools(tools);
        self
    }

    /// Streams the answer: deltas as they arrive, then the whole output.
    pub fn stream(self) -> Run<T> {
        self.chain.stream(self.bound)
    }

    /// Runs it and streams its events.
    pub fn events(self) -> EventRun<T> {
        self.chain.events(self.bound)
    }

    /// Runs as a part of the run of `cx`, with its deadline, concurrency and observers.
    ///
    /// # Errors
    /// Those of awaiting it.
    pub async fn invoke_in(self, cx: &Context) -> Result<T> {
        self.chain.invoke_in(self.bound, cx).await
    }

    /// Runs and blocks until it is done, for code that is not async.
    ///
    /// # Errors
    /// Those of awaiting it.
    pub fn blocking(self) -> Result<T> {
        blocking::wait(self)
    }
}

impl<T: Send + 'static> Future for Call<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Result<T>> {
        let Self { chain, bound, running } = self.get_mut();
        let run = running.get_or_insert_with(|| {
            let (chain, bound) = (chain.clone(), std::mem::replace(bound, Bound::begun()));
            Box::pin(async move { chain.invoke(bound).await })
        });
        run.as_mut().poll(cx)
    }
}

impl<T> std::fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("overrides", &self.bound.overrides).finish_non_exhaustive()
    }
}

#[doc(hidden)]
pub fn of<F: Function>(input: F::Input) -> Call<F::Output> {
    Call::of::<F>(input)
}

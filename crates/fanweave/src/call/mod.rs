//! Functions as calls: what `#[fanweave::call]` makes of a function.
//!
//! The function says what to ask. The attribute says whom, and how. What comes out is a [`Call`]: a value that is awaited,
//! streamed or changed before it runs, and beside it, under the function's own name, a chain for pipes and batches.
//!
//! ```
//! use fanweave::Result;
//!
//! #[fanweave::call(model = "sim/writer")]
//! async fn recommend_book(genre: &str) -> String {
//!     format!("Recommend a {genre} book.")
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<()> {
//! let response = recommend_book("fantasy").await?;
//! println!("{response} ({} tokens)", response.usage().total_tokens());
//!
//! for answer in recommend_book::chain().batch(["crime", "poetry"].map(String::from)).collect().await {
//!     println!("{}", answer?);
//! }
//! # Ok(())
//! # }
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
pub use function::{chain_of, kept, model_through, models, texts};
#[doc(hidden)]
pub use response::{respond, structured};

use function::{Bound, bound, of_bound};

use crate::models::Client;
use crate::tool::Tools;
use crate::{Chain, Context, EventRun, Parameters, Result, Run, blocking};

/// A call that has its arguments and has not begun: what a function with `#[fanweave::call]` returns. Awaiting it runs it.
///
/// ```
/// use fanweave::{Parameters, Result};
/// use futures::StreamExt;
///
/// #[fanweave::call(model = "sim/writer")]
/// fn haiku(topic: &str) -> String {
///     format!("Write a haiku about {topic}.")
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<()> {
/// // All at once.
/// let response = haiku("rain").await?;
///
/// // Piece by piece, and then the whole.
/// let mut stream = haiku("snow").stream();
/// while let Some(piece) = stream.next().await {
///     print!("{}", piece?);
/// }
/// let response = stream.output().await?;
///
/// // Changed for this one time.
/// let short = Parameters { max_tokens: Some(8), ..Parameters::default() };
/// let response = haiku("hail").with_model("sim/echo").with(short).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Those of the function itself, of the model and of what reads its answer. They name the function.
///
/// # Cancellation
/// Dropping it, or the future, stream or events that it became, ends the call. Nothing has begun before.
#[must_use = "a call does nothing until it is awaited, streamed or run"]
pub struct Call<T> {
    chain: Chain<Bound, T>,
    bound: Bound,
    /// Once it has been polled.
    running: Option<BoxFuture<'static, Result<T>>>,
}

impl<T: Send + 'static> Call<T> {
    /// The call of a function with these arguments.
    pub(crate) fn of<F: Function<Output = T>>(input: F::Input) -> Self {
        Self { chain: of_bound::<F>(), bound: bound::<F>(input), running: None }
    }

    /// Asks this model instead: a [`Model`](crate::Model), or the name of one.
    pub fn with_model(mut self, model: impl IntoModel) -> Self {
        self.bound.overrides = self.bound.overrides.model(model);
        self
    }

    /// Reaches the call's model through this client: own base URL, headers, proxy, timeouts or transport.
    ///
    /// A call whose model is not given by name fails with [`ErrorKind::Config`](crate::ErrorKind::Config).
    pub fn with_client(mut self, client: Client) -> Self {
        self.bound.overrides = self.bound.overrides.client(client);
        self
    }

    /// Sets parameters. They win over those of the function and of the attribute.
    pub fn with(mut self, parameters: Parameters) -> Self {
        self.bound.overrides = self.bound.overrides.parameters(parameters);
        self
    }

    /// Offers these tools, in place of those of the function and of the attribute.
    pub fn with_tools(mut self, tools: Tools) -> Self {
        self.bound.overrides = self.bound.overrides.tools(tools);
        self
    }

    /// The pieces of the answer as they arrive, and then the whole.
    pub fn stream(self) -> Run<T> {
        self.chain.stream(self.bound)
    }

    /// What happens while it runs.
    pub fn events(self) -> EventRun<T> {
        self.chain.events(self.bound)
    }

    /// Runs as a part of the run of `cx`: within its deadline and its concurrency, seen by its observers.
    ///
    /// # Errors
    /// As those of awaiting it.
    pub async fn invoke_in(self, cx: &Context) -> Result<T> {
        self.chain.invoke_in(self.bound, cx).await
    }

    /// Runs and waits, in code that is not async.
    ///
    /// # Errors
    /// As those of awaiting it.
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

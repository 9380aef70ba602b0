//! Many-valued chains: one input, a stream of items, each handed on as soon as it is complete.

mod both;
mod each;
mod items;
pub(crate) mod lines;
mod weave;

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;

use crate::runnable::Chain;
use crate::{Context, Result};

/// Items of one fan-out in work at once. Their calls obey the run's own concurrency beside this.
const AT_ONCE: usize = 64;

/// A chain whose answer is a stream of items: each is handed on while the rest is still being written.
///
/// Made from a chain of messages by [`Chain::lines`]; [`each`](Self::each) fans out over the items, and
/// [`join`](Many::join) or [`collect`](Self::collect) weave them back into a [`Chain`].
///
/// ```
/// use fanweave_core::{chain, model::fake::Fake, prompt, text, vars};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> fanweave_core::Result<()> {
/// let model = Fake::echo().model();
/// let article = (prompt("1. Tides\n2. Turbines") | &model)
///     .lines()
///     .each(prompt("All about {{ input }}.") | &model | text())
///     .join("\n\n");
/// assert_eq!(article.invoke(vars! {}).await?, "All about Tides.\n\nAll about Turbines.");
/// # Ok(())
/// # }
/// ```
pub struct Many<I, T>(Arc<Start<I, T>>);

type Start<I, T> = dyn Fn(I, Context) -> BoxStream<'static, Result<T>> + Send + Sync;

impl<I, T> Clone for Many<I, T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<I: Send + 'static, T: Send + 'static> Many<I, T> {
    pub(crate) fn new<S>(start: impl Fn(I, Context) -> S + Send + Sync + 'static) -> Self
    where
        S: futures::Stream<Item = Result<T>> + Send + 'static,
    {
        Self(Arc::new(move |input, cx| start(input, cx).boxed()))
    }

    /// The items for one input, as they become complete. An error is the last item.
    ///
    /// # Cancellation
    /// Dropping the stream ends the work and closes its sockets.
    pub fn stream(&self, input: impl Into<I>) -> BoxStream<'static, Result<T>> {
        self.stream_in(input.into(), Context::new())
    }

    /// As [`stream`](Self::stream), within `cx`.
    pub fn stream_in(&self, input: I, cx: Context) -> BoxStream<'static, Result<T>> {
        (self.0)(input, cx)
    }

    /// Hands every item to a function.
    #[must_use]
    pub fn map<U: Send + 'static>(self, f: impl Fn(T) -> U + Send + Sync + 'static) -> Many<I, U> {
        let f = Arc::new(f);
        Many::new(move |input, cx| {
            let f = f.clone();
            self.stream_in(input, cx).map(move |item| item.map(&*f))
        })
    }
}

impl<I: Send + 'static> Chain<I, crate::Message> {
    /// The lines of the answer, each as soon as it is complete, without numbering, bullets and empty lines.
    pub fn lines(self) -> Many<I, String> {
        lines::lines(self)
    }

    /// The items of a JSON array, each as soon as it is complete: of the array that the answer is, or of the first
    /// one in the object that it is, as in `{"items": [..]}`.
    ///
    /// # Errors
    /// The stream ends with [`Parse`](crate::ErrorKind::Parse) where the array does not end.
    pub fn items<T: serde::de::DeserializeOwned + Send + 'static>(self) -> Many<I, T> {
        items::items(self)
    }
}

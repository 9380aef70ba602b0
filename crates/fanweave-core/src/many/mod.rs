//! Many-valued chains: one input, a stream of items, each emitted as soon as it is complete.

mod collect;
mod each;
mod each_and_all;
mod items;
pub(crate) mod lines;
pub(crate) mod read_ahead;

use std::fmt;
use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt, stream};

pub use lines::LineFilter;

use crate::chain::{Chain, IntoInput};
use crate::{Context, Node, Result, Runnable};

/// `items` up to and including the first error; the remaining work is then dropped.
fn until_error<T>(items: impl Stream<Item = Result<T>>) -> impl Stream<Item = Result<T>> {
    stream::unfold(Some(Box::pin(items)), |items| async {
        let mut items = items?;
        let item = items.next().await?;
        let rest = item.is_ok().then_some(items);
        Some((item, rest))
    })
}

/// Maximum items of one fan-out that run concurrently. Their calls also obey the run's own concurrency.
const CONCURRENCY: usize = 64;

/// A chain whose answer is a stream of items: each is emitted while the rest is still being generated.
///
/// Made from a chain of messages by [`Chain::lines`]; [`each`](Self::each) fans out over the items, and
/// [`join`](Many::join) or [`collect`](Self::collect) combine them into a [`Chain`] again.
///
/// ```
/// use fanweave::{chain, prompt, testing::Fake, text, vars};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let model = Fake::echo().model();
/// let article = (prompt("1. Tides\n2. Turbines") | &model)
///     .lines()
///     .each(prompt("All about {{ input }}.") | &model | text())
///     .join("\n\n");
/// assert_eq!(article.invoke(vars! {}).await?, "All about Tides.\n\nAll about Turbines.");
/// # Ok(())
/// # }) }
/// ```
pub struct Many<I, T> {
    start: Arc<Start<I, T>>,
    /// The node of the source of the items in a diagram.
    node: Node,
}

type Start<I, T> = dyn Fn(I, Context) -> BoxStream<'static, Result<T>> + Send + Sync;

impl<I, T> Clone for Many<I, T> {
    fn clone(&self) -> Self {
        Self { start: self.start.clone(), node: self.node.clone() }
    }
}

impl<I, T> fmt::Debug for Many<I, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Many({})", self.node.title())
    }
}

impl<I: Send + 'static, T: Send + 'static> Many<I, T> {
    pub(crate) fn new<S>(node: Node, start: impl Fn(I, Context) -> S + Send + Sync + 'static) -> Self
    where
        S: futures::Stream<Item = Result<T>> + Send + 'static,
    {
        Self { start: Arc::new(move |input, cx| start(input, cx).boxed()), node }
    }

    /// The items for one input, as they become complete. An error is the last item.
    ///
    /// # Cancellation
    /// Dropping the stream ends the work and closes its sockets.
    pub fn stream(&self, input: impl IntoInput<I>) -> BoxStream<'static, Result<T>> {
        self.stream_in(input, &Context::new())
    }

    /// Like [`stream`](Self::stream), within `cx`.
    pub fn stream_in(&self, input: impl IntoInput<I>, cx: &Context) -> BoxStream<'static, Result<T>> {
        // Its reader decides when it is polled.
        (self.start)(input.into_input(), cx.clone().undriven())
    }

    /// The node of the source of the items in a diagram.
    pub(crate) fn describe(&self) -> Node {
        self.node.clone()
    }

    /// Maps every item with a function that may fail, which ends the items.
    pub(crate) fn try_map<U: Send + 'static>(
        self,
        f: impl Fn(T) -> Result<U> + Send + Sync + 'static,
    ) -> Many<I, U> {
        let f = Arc::new(f);
        Many::new(self.node.clone(), move |input, cx| {
            let f = f.clone();
            until_error(self.stream_in(input, &cx).map(move |item| item.and_then(&*f)))
        })
    }

    /// Maps every item with a function.
    #[must_use]
    pub fn map<U: Send + 'static>(self, f: impl Fn(T) -> U + Send + Sync + 'static) -> Many<I, U> {
        let f = Arc::new(f);
        Many::new(self.node.clone(), move |input, cx| {
            let f = f.clone();
            self.stream_in(input, &cx).map(move |item| item.map(&*f))
        })
    }
}

impl<I: Send + 'static, T: Send + 'static> Chain<I, Vec<T>> {
    /// The items of the list that the chain returns: `titles.many().each(section).collect()` runs `section`
    /// for all of them concurrently.
    ///
    /// ```
    /// use fanweave::{compose::passthrough, step};
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let double = step(|n: u32, _| async move { Ok(n * 2) });
    /// let all = passthrough::<Vec<u32>>().many().each(double).collect();
    /// assert_eq!(all.invoke([1, 2, 3]).await?, [2, 4, 6]);
    /// # Ok(())
    /// # }) }
    /// ```
    pub fn many(self) -> Many<I, T> {
        Many::new(self.describe(), move |input, cx| {
            let chain = self.clone();
            let list = async move { chain.run(input, &cx.without_deltas()).await };
            stream::once(list).flat_map(|list| match list {
                Ok(items) => stream::iter(items).map(Ok).left_stream(),
                Err(error) => stream::once(async { Err(error) }).right_stream(),
            })
        })
    }
}

impl<I: Send + 'static> Chain<I, crate::Message> {
    /// The lines of the answer, each as soon as it is complete, without numbering, bullets and empty lines.
    ///
    /// Prose around a list is dropped: see [`LineFilter::Auto`].
    pub fn lines(self) -> Many<I, String> {
        self.lines_with(LineFilter::Auto)
    }

    /// Like [`lines`](Self::lines), with another filter.
    ///
    /// ```
    /// use fanweave::{many::LineFilter, prompt, testing::Fake, vars};
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let answer = prompt("Two titles:\n1. Tides\n2. Costs") | Fake::echo().model();
    /// let titles = answer.clone().lines().collect().invoke(vars! {}).await?;
    /// assert_eq!(titles, ["Tides", "Costs"]);
    /// let all = answer.lines_with(LineFilter::All).collect().invoke(vars! {}).await?;
    /// assert_eq!(all, ["Two titles:", "Tides", "Costs"]);
    /// # Ok(())
    /// # }) }
    /// ```
    pub fn lines_with(self, filter: LineFilter) -> Many<I, String> {
        lines::lines(self, filter)
    }

    /// The items of a JSON array, each as soon as it is complete: the answer is the array, or an object that
    /// contains it, such as `{"items": [..]}`.
    ///
    /// # Errors
    /// The stream ends with [`Parse`](crate::ErrorKind::Parse) if the array is incomplete.
    pub fn items<T: serde::de::DeserializeOwned + Send + 'static>(self) -> Many<I, T> {
        items::items(self, None)
    }

    /// Like [`items`](Self::items), of the list with this name in the object that is the answer.
    ///
    /// ```
    /// use fanweave::{chain, testing::Fake};
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let answer = r#"{"pros": ["cheap", "quick"], "cons": ["loud"]}"#;
    /// let cons = chain(Fake::echo()).items_of::<String>("cons").collect().invoke(answer).await?;
    /// assert_eq!(cons, ["loud"]);
    /// # Ok(())
    /// # }) }
    /// ```
    ///
    /// # Errors
    /// The stream ends with [`Parse`](crate::ErrorKind::Parse) if the list is missing or incomplete.
    pub fn items_of<T>(self, field: impl Into<Arc<str>>) -> Many<I, T>
    where
        T: serde::de::DeserializeOwned + Send + 'static,
    {
        items::items(self, Some(field.into()))
    }
}

//! Runs one step for every item, many items concurrently.

use std::sync::Arc;

use futures::StreamExt;

use crate::chain::Chain;
use crate::many::read_ahead::read_ahead;
use crate::many::{CONCURRENCY, Many, until_error};
use crate::{IntoChain, Node, Result, Runnable};

impl<I: Send + 'static, T: Send + 'static> Many<I, T> {
    /// Runs `step` for every item as soon as the item is complete; results keep the items' order.
    ///
    /// At most 64 items run concurrently, and no more model calls than the run's concurrency allows. The
    /// source is read further meanwhile; items that arrive early are queued. The first item that fails ends
    /// the stream with its error.
    #[must_use]
    pub fn each<U, V, M>(self, step: impl IntoChain<U, V, M>) -> Many<I, V>
    where
        U: From<T> + Send + 'static,
        V: Send + 'static,
    {
        let step = Arc::new(step.into_step());
        let node = Node::sequence([self.node.clone(), Node::for_each(step.describe())]);
        Many::new(node, move |input, cx| {
            let step = step.clone();
            let without_deltas = cx.without_deltas();
            let mut index = 0;
            let results = read_ahead(self.stream_in(input, &cx), CONCURRENCY, move |item: Result<T>| {
                let (step, cx) = (step.clone(), without_deltas.fork(index));
                index += 1;
                async move { step.run(item?.into(), &cx).await }
            });
            until_error(results)
        })
    }

    /// Like [`each`](Self::each), but an item that fails does not end the others: each item is the result of
    /// its step. An error of the source still ends the items.
    ///
    /// ```
    /// use fanweave::{Error, ErrorKind, compose::passthrough, step};
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let half = step(|n: u32, _| async move {
    ///     if n % 2 == 0 { Ok(n / 2) } else { Err(Error::new(ErrorKind::Step, "odd")) }
    /// });
    /// let halves = passthrough::<Vec<u32>>().many().each_result(half).collect().invoke([2, 3, 4]).await?;
    /// assert_eq!(halves.iter().filter_map(|half| half.as_ref().ok()).collect::<Vec<_>>(), [&1, &2]);
    /// # Ok(())
    /// # }) }
    /// ```
    #[must_use]
    pub fn each_result<U, V, M>(self, step: impl IntoChain<U, V, M>) -> Many<I, Result<V>>
    where
        U: From<T> + Send + 'static,
        V: Send + 'static,
    {
        self.run_each(step.into_chain(), false).map(|(_, result)| result)
    }

    /// Like [`each_result`](Self::each_result), with the results as they complete: each with the index of its
    /// item.
    #[must_use]
    pub fn each_completed<U, V, M>(self, step: impl IntoChain<U, V, M>) -> Many<I, (usize, Result<V>)>
    where
        U: From<T> + Send + 'static,
        V: Send + 'static,
    {
        self.run_each(step.into_chain(), true)
    }

    fn run_each<U, V>(self, step: Chain<U, V>, as_completed: bool) -> Many<I, (usize, Result<V>)>
    where
        U: From<T> + Send + 'static,
        V: Send + 'static,
    {
        let node = Node::sequence([self.node.clone(), Node::for_each(step.describe())]);
        Many::new(node, move |input, cx| {
            let step = step.clone();
            let without_deltas = cx.without_deltas();
            let mut next = 0;
            let run = move |item: Result<T>| {
                let index = next;
                next += 1;
                let (step, cx) = (step.clone(), without_deltas.fork(index as u64));
                async move {
                    let item = item?.into();
                    Ok((index, step.run(item, &cx).await))
                }
            };
            let items = self.stream_in(input, &cx);
            let results = match as_completed {
                true => items.map(run).buffer_unordered(CONCURRENCY).left_stream(),
                false => read_ahead(items, CONCURRENCY, run).right_stream(),
            };
            until_error(results)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::TryStreamExt;

    use crate::many::collect::tests::BreaksOff;
    use crate::{Context, Error, ErrorKind, Model, chain, passthrough, step};

    #[tokio::test(start_paused = true)]
    async fn results_are_per_item_and_may_arrive_as_they_complete() {
        let wait = step(|seconds: u64, _: Context| async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            if seconds == 2 { Err(Error::new(ErrorKind::Step, "no")) } else { Ok(seconds) }
        });
        let all = passthrough::<Vec<u64>>().many();
        let ordered = all.clone().each_result(wait.clone()).collect().invoke([3, 2, 1]).await.unwrap();
        assert_eq!(ordered.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
        let completed: Vec<_> = all.each_completed(wait).stream([3, 2, 1]).try_collect().await.unwrap();
        assert_eq!(completed.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [2, 1, 0]);
        assert_eq!(completed[1].1.as_ref().unwrap_err().message(), "no");
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_of_the_source_ends_the_items() {
        let titles = step(|title: String, _: Context| async move { Ok(title) });
        let items = chain(Model::new(BreaksOff)).lines();
        let error = items.clone().each_result(titles.clone()).collect().invoke("x").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Server);
        let error = items.each_completed(titles).collect().invoke("x").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Server);
    }
}

//! Runs one step for every item, many items concurrently.

use std::sync::Arc;

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
}

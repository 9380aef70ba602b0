//! Runs work on items while their source is still being read.

use std::collections::VecDeque;
use std::future::Future;
use std::task::Poll;

use futures::stream::FuturesOrdered;
use futures::{Stream, StreamExt, stream};

/// The results of `work` for the items, in their order, with at most `window` running.
///
/// The source is read further even while `window` items are running, so that its request ends at its
/// own pace. Items that arrive early are queued; the queue is never longer than the answer.
pub(crate) fn read_ahead<S, F, W>(items: S, window: usize, mut work: F) -> impl Stream<Item = W::Output>
where
    S: Stream,
    F: FnMut(S::Item) -> W,
    W: Future,
{
    let mut items = Box::pin(items.fuse());
    let mut queued = VecDeque::new();
    let mut in_work = FuturesOrdered::new();
    stream::poll_fn(move |task| {
        while let Poll::Ready(Some(item)) = items.poll_next_unpin(task) {
            queued.push_back(item);
        }
        while in_work.len() < window
            && let Some(item) = queued.pop_front()
        {
            in_work.push_back(work(item));
        }
        match in_work.poll_next_unpin(task) {
            // More may still come.
            Poll::Ready(None) if !items.is_done() => Poll::Pending,
            done => done,
        }
    })
}

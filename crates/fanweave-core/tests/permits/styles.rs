//! The styles: ways for a user's code to run two things concurrently.

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};

use crate::verbs::{Items, drain};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Awaits the other one in the loop over the items.
    InTheLoop,
    /// Several in `buffered(2)`, which is not polled while the loop's body awaits the other one.
    Buffered,
    /// `select!` leaves one of them unfinished, and awaits the other one.
    Select,
    Join,
    /// Reads the other one's items in the loop over these.
    StreamInStream,
    /// Polls it once, keeps it while the other one runs, and then awaits it.
    PolledOnce,
    /// Reads an item, runs the other one, and drops the stream.
    DroppedHalfWay,
}

pub(crate) const STYLES: [Style; 7] = [
    Style::InTheLoop,
    Style::Buffered,
    Style::Select,
    Style::Join,
    Style::StreamInStream,
    Style::PolledOnce,
    Style::DroppedHalfWay,
];

/// Maximum items that the body of a loop reads: one of many shows the same as all.
const IN_THE_LOOP: usize = 2;

/// Runs `outer` and `inner` in that style. Each call of either starts a new one.
pub(crate) async fn run(style: Style, outer: impl Fn() -> Items, inner: impl Fn() -> BoxFuture<'static, ()>) {
    match style {
        Style::InTheLoop => {
            let mut items = outer();
            let mut read = 0;
            while items.next().await.is_some() {
                read += 1;
                if read <= IN_THE_LOOP {
                    inner().await;
                }
            }
        }
        Style::Buffered => {
            let works = [drain(outer()).boxed(), inner(), drain(outer()).boxed()];
            let mut done = stream::iter(works).buffered(2);
            while done.next().await.is_some() {
                inner().await;
            }
        }
        Style::Select => {
            let mut left = drain(outer()).boxed();
            let mut right = inner();
            let is_left = tokio::select! {
                () = &mut left => true,
                () = &mut right => false,
            };
            inner().await;
            if is_left { right.await } else { left.await }
        }
        Style::Join => {
            tokio::join!(drain(outer()), inner());
        }
        Style::StreamInStream => {
            let mut items = outer();
            let mut read = 0;
            while items.next().await.is_some() {
                read += 1;
                if read <= IN_THE_LOOP {
                    let mut others = outer();
                    others.next().await;
                    inner().await;
                    drain(others).await;
                }
            }
        }
        Style::PolledOnce => {
            let mut kept = drain(outer()).boxed();
            let is_done = futures::poll!(&mut kept).is_ready();
            inner().await;
            if !is_done {
                kept.await;
            }
        }
        Style::DroppedHalfWay => {
            let mut items = outer();
            items.next().await;
            inner().await;
            drop(items);
            inner().await;
        }
    }
}

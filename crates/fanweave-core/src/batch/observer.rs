//! Observers of the rows of a batch, for progress displays and metrics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::{Context, Error, Result};

/// Notified when rows of a [`Batch`](super::Batch) start and end. Set by
/// [`Batch::row_observer`](super::Batch::row_observer). One that panics fails no row.
///
/// `fanweave::batch::Progress` counts rows, tokens, waits and retries, and measures rates and latencies.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use fanweave::rows::{OnRowEnd, RowEnd, RowObserver};
/// use fanweave::{Context, step};
///
/// #[derive(Default)]
/// struct Failures(AtomicUsize);
///
/// impl RowObserver for Failures {
///     fn started(self: Arc<Self>, _index: usize, cx: Context) -> (Context, OnRowEnd) {
///         let on_end = move |end: RowEnd<'_>| {
///             if let RowEnd::Failed(_) = end {
///                 self.0.fetch_add(1, Ordering::Relaxed);
///             }
///         };
///         (cx, Box::new(on_end))
///     }
/// }
///
/// # fn main() { fanweave::blocking::wait(async {
/// let failures = Arc::new(Failures::default());
/// let even = step(|n: u32, _| async move {
///     if n % 2 == 0 { Ok(n) } else { Err(fanweave::Error::new(fanweave::ErrorKind::Step, "odd")) }
/// });
/// even.batch(0..10_u32).row_observer(failures.clone()).collect().await;
/// assert_eq!(failures.0.load(Ordering::Relaxed), 5);
/// # }) }
/// ```
pub trait RowObserver: Send + Sync + 'static {
    /// Called once, before the first row, with the number of inputs. Not called if their iterator does not
    /// know it: its `size_hint` is not exact.
    fn total(&self, rows: usize) {
        let _ = rows;
    }

    /// Called when the row with this index starts, in its task. Returns the context of the row, to which an
    /// observer of its events can be added, and the function to call when the row has ended.
    fn started(self: Arc<Self>, index: usize, cx: Context) -> (Context, OnRowEnd);
}

/// Called when a row has ended.
pub type OnRowEnd = Box<dyn FnOnce(RowEnd<'_>) + Send>;

/// The end of a row.
///
/// ```
/// use fanweave::rows::RowEnd;
///
/// fn sign(end: RowEnd<'_>) -> &'static str {
///     match end {
///         RowEnd::Ok => "done",
///         RowEnd::Dropped => "stopped",
///         _ => "failed",
///     }
/// }
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum RowEnd<'a> {
    /// The row has an output.
    Ok,
    /// The row has failed. A row that was cancelled by its context has the kind
    /// [`Cancelled`](crate::ErrorKind::Cancelled).
    Failed(&'a Error),
    /// A step of the row has panicked, which fails the row.
    Panicked,
    /// The row was stopped, because the results of the batch were dropped.
    Dropped,
}

/// A row that has started. Notifies the observer when it ends or is dropped.
pub(super) struct ObservedRow(Option<OnRowEnd>);

impl ObservedRow {
    /// Starts the row, and returns its context.
    pub(super) fn start(observer: Arc<dyn RowObserver>, index: usize, cx: Context) -> (Context, Self) {
        let started = catch_unwind(AssertUnwindSafe(|| observer.started(index, cx.clone())));
        match started {
            Ok((cx, on_end)) => (cx, Self(Some(on_end))),
            Err(_) => (cx, Self(None)),
        }
    }

    pub(super) fn ended<O>(mut self, result: &Result<O>) {
        self.notify(match result {
            Ok(_) => RowEnd::Ok,
            Err(error) => RowEnd::Failed(error),
        });
    }

    fn notify(&mut self, end: RowEnd<'_>) {
        if let Some(on_end) = self.0.take() {
            let _ = catch_unwind(AssertUnwindSafe(|| on_end(end)));
        }
    }
}

impl Drop for ObservedRow {
    fn drop(&mut self) {
        let end = if std::thread::panicking() { RowEnd::Panicked } else { RowEnd::Dropped };
        self.notify(end);
    }
}

//! Progress of a batch in memory, whose rows the core runs.

use std::sync::Arc;

use fanweave_core::batch::{OnRowEnd, RowEnd, RowObserver};
use fanweave_core::{Context, ErrorKind};
use tokio::time::Instant;

use crate::Costs;
use crate::progress::Progress;
use crate::tally::{Calls, Tally};

/// Counts the rows of a batch in memory, their tokens, waits and retries. Costs are not known to it.
impl RowObserver for Progress {
    fn total(&self, rows: usize) {
        self.set_total(rows as u64);
    }

    fn started(self: Arc<Self>, index: usize, cx: Context) -> (Context, OnRowEnd) {
        let index = index as u64;
        let tally = Arc::new(Tally::new(self.clone(), Costs::default(), Calls::default()));
        let cx = cx.with_observer(tally.clone());
        self.row_started(index, index + 1, None);
        let began = Instant::now();
        let on_end = move |end: RowEnd<'_>| {
            tally.close();
            match end {
                RowEnd::Dropped => self.row_cancelled(index),
                RowEnd::Failed(error) if error.kind() == ErrorKind::Cancelled => self.row_cancelled(index),
                end => self.row_finished(index, matches!(end, RowEnd::Ok), began.elapsed()),
            }
        };
        (cx, Box::new(on_end))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fanweave_core::model::fake::Fake;
    use fanweave_core::{Error, chain, step, text};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_batch_in_memory_counts_into_the_progress_of_files() {
        let progress = Arc::new(Progress::default());
        let echo = chain(Fake::echo().latency(Duration::from_secs(1))) | text();
        let checked = echo
            | step(|text: String, _| async move {
                if text == "row 3" { Err(Error::new(ErrorKind::Step, "three")) } else { Ok(text) }
            });
        let rows = (0..10).map(|n| fanweave_core::Prompt::from(format!("row {n}")));
        let mut rows = checked.batch(rows).concurrency(5).row_observer(progress.clone()).as_completed();
        rows.next().await;
        let now = progress.snapshot();
        assert_eq!((now.total, now.done, now.in_flight), (Some(10), 5, 0));
        while rows.next().await.is_some() {}
        let now = progress.snapshot();
        assert_eq!((now.ok, now.failed, now.in_flight), (9, 1, 0));
        assert!(now.usage.output_tokens > 0 && progress.flights().is_empty(), "{now:?}");
        assert_eq!(now.p50.map(|time| time.as_secs_f64().round()), Some(1.0));
    }

    #[tokio::test(start_paused = true)]
    async fn rows_of_a_dropped_batch_are_no_longer_in_flight() {
        let progress = Arc::new(Progress::default());
        let slow = chain(Fake::echo().latency(Duration::from_secs(600))) | text();
        let mut rows = slow.batch(["a", "b", "c"]).row_observer(progress.clone()).as_completed();
        let first = tokio::time::timeout(Duration::from_secs(1), rows.next()).await;
        assert!(first.is_err());
        assert_eq!(progress.snapshot().in_flight, 3);
        assert_eq!(progress.flights().len(), 3);
        drop(rows);
        tokio::task::yield_now().await;
        assert_eq!((progress.snapshot().in_flight, progress.snapshot().done), (0, 0));
    }
}

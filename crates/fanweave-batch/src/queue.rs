//! Queue of the rows that have not run yet: rows from the reader, skipped rows and requeued rows.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::time::timeout;

use crate::Result;
use crate::feed::Job;

/// Maximum number of skipped rows in the queue.
const MAX_SKIPPED: usize = 256;

/// Time limit for the reader to provide the next row to skip.
const SKIP_TIME: Duration = Duration::from_millis(250);

/// Queue of the rows that have not run yet.
///
/// Requeued rows run after those that the reader has ready. At most `max` of them are queued, so memory does
/// not grow with the input. [Skipped](Self::skip) rows alternate with rows from the reader, and fill at most
/// half of the window: they may be rows that the provider fails for, and would then hold their permits for a
/// long time.
pub(crate) struct Queue {
    jobs: mpsc::Receiver<Result<Job>>,
    requeued: VecDeque<Job>,
    max: usize,
    skipped: VecDeque<Job>,
    /// Rows to skip before the next one. `None` unless the next row must follow the skipped ones.
    to_skip: Option<usize>,
    /// Set when the last row was a skipped one.
    was_skipped: bool,
    /// Cloned by each skipped row in flight.
    skipped_in_flight: Arc<()>,
    has_ended: bool,
}

impl Queue {
    pub(crate) fn new(jobs: mpsc::Receiver<Result<Job>>, max: usize) -> Self {
        Self {
            jobs,
            requeued: VecDeque::new(),
            max,
            skipped: VecDeque::new(),
            to_skip: None,
            was_skipped: false,
            skipped_in_flight: Arc::default(),
            has_ended: false,
        }
    }

    /// Skips `rows` rows, which run later, and makes the row after them the next. Skips fewer if the reader
    /// has no more ready.
    pub(crate) fn skip(&mut self, rows: usize) {
        self.to_skip = Some(rows.min(MAX_SKIPPED.saturating_sub(self.skipped.len())));
    }

    /// The next row. `None` once the source has ended and no row is requeued.
    ///
    /// # Cancellation
    /// No row is lost.
    pub(crate) async fn next(&mut self) -> Option<Result<Job>> {
        if self.requeued.len() >= self.max {
            return self.requeued.pop_front().map(Ok);
        }
        while let Some(rows) = self.to_skip {
            match timeout(SKIP_TIME, self.jobs.recv()).await {
                Ok(Some(Ok(job))) if rows > 0 => {
                    self.skipped.push_back(job);
                    self.to_skip = Some(rows - 1);
                }
                Ok(Some(job)) => {
                    self.to_skip = None;
                    return Some(job);
                }
                ended => {
                    self.has_ended |= ended.is_ok();
                    self.to_skip = None;
                    if let Some(job) = self.skipped.pop_back() {
                        return Some(Ok(job));
                    }
                }
            }
        }
        let may_take_skipped =
            !self.was_skipped && Arc::strong_count(&self.skipped_in_flight) <= (self.max / 2).max(1);
        if (may_take_skipped || self.has_ended)
            && let Some(job) = self.skipped.pop_front()
        {
            self.was_skipped = true;
            return Some(Ok(job));
        }
        self.was_skipped = false;
        match self.jobs.try_recv() {
            Ok(job) => return Some(job),
            Err(TryRecvError::Disconnected) => self.has_ended = true,
            Err(TryRecvError::Empty) => {}
        }
        if let Some(job) = self.skipped.pop_front() {
            self.was_skipped = true;
            return Some(Ok(job));
        }
        if let Some(job) = self.requeued.pop_front() {
            return Some(Ok(job));
        }
        let job = self.jobs.recv().await;
        self.has_ended |= job.is_none();
        job
    }

    /// Guard that counts the row taken last as a skipped row in flight, if it is one.
    pub(crate) fn hold(&self) -> Option<Arc<()>> {
        self.was_skipped.then(|| self.skipped_in_flight.clone())
    }

    /// Requeues a row. It runs after those that are ready.
    pub(crate) fn requeue(&mut self, job: Job) {
        self.requeued.push_back(job);
    }

    /// Returns true if no rows remain, as far as is known.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.has_ended && self.requeued.is_empty() && self.skipped.is_empty()
    }

    /// Takes no more rows from the reader, which notices when it sends the next one, and drops all queued
    /// rows.
    pub(crate) fn close(&mut self) {
        self.jobs.close();
        self.requeued.clear();
        self.skipped.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;

    fn job(index: u64) -> Job {
        let error = fanweave_core::Error::new(fanweave_core::ErrorKind::Input, "no");
        Job(Box::new(crate::feed::JobFields {
            origin: crate::origin::Origin::default(),
            key: Key::of(&[b"row"]),
            index,
            line: 1,
            id: None,
            input: Err(error),
            requeues: 0,
            earlier: Default::default(),
            paid_before: Default::default(),
            answers: Vec::new(),
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn skipped_rows_alternate_with_later_rows_and_none_is_lost() {
        let (rows, inbox) = mpsc::channel(32);
        let mut queue = Queue::new(inbox, 2);
        for index in 0..12 {
            rows.send(Ok(job(index))).await.unwrap();
        }
        queue.skip(4);
        let mut order = vec![next(&mut queue).await];
        for _ in 0..4 {
            order.push(next(&mut queue).await);
        }
        assert_eq!(order, [4, 0, 5, 1, 6].map(Some));
        // The reader has fewer rows ready.
        queue.skip(100);
        assert_eq!(next(&mut queue).await, Some(11));
        drop(rows);
        let mut rest = Vec::new();
        while let Some(index) = next(&mut queue).await {
            rest.push(index);
        }
        assert_eq!(rest, [2, 3, 7, 8, 9, 10]);
        assert!(queue.is_exhausted());
    }

    async fn next(queue: &mut Queue) -> Option<u64> {
        queue.next().await.map(|job| job.unwrap().index)
    }

    #[tokio::test]
    async fn requeued_rows_run_after_those_that_are_ready_and_few_of_them_wait() {
        let (rows, inbox) = mpsc::channel(8);
        let mut queue = Queue::new(inbox, 2);
        for index in 0..4 {
            rows.send(Ok(job(index))).await.unwrap();
        }
        queue.requeue(job(10));
        assert_eq!(next(&mut queue).await, Some(0));
        queue.requeue(job(11));
        assert_eq!([next(&mut queue).await, next(&mut queue).await], [Some(10), Some(1)]);
        assert_eq!([next(&mut queue).await, next(&mut queue).await], [Some(2), Some(3)]);
        assert_eq!(next(&mut queue).await, Some(11), "the reader has no row ready");
        assert!(!queue.is_exhausted());
        drop(rows);
        queue.requeue(job(12));
        assert_eq!([next(&mut queue).await, next(&mut queue).await], [Some(12), None]);
        assert!(queue.is_exhausted());
    }
}

//! The rows that are still to be run: those of the reader, those that were skipped, and those that were put back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::time::timeout;

use crate::Result;
use crate::reader::Job;

/// Maximum number of rows that are skipped and wait.
const MAX_SKIPPED: usize = 256;

/// Time that the reader has for the next of the rows to skip.
const SKIP_TIME: Duration = Duration::from_millis(250);

/// The rows that are still to be run.
///
/// Rows that were put back run after those that the reader has ready. At most `max` of them wait: memory does not grow with
/// the input. Rows that were [skipped](Self::skip) take turns with those behind them, and fill at most half of the window: they
/// may be what a provider fails for, and then keep their places for long.
pub(crate) struct Queue {
    jobs: mpsc::Receiver<Result<Job>>,
    put_back: VecDeque<Job>,
    max: usize,
    skipped: VecDeque<Job>,
    /// Rows to skip before the next one. `None` unless the next one is to be from behind the skipped ones.
    to_skip: Option<usize>,
    /// Whether the last row was a skipped one.
    was_skipped: bool,
    /// Cloned by each skipped row in flight.
    skipped_in_flight: Arc<()>,
    has_ended: bool,
}

impl Queue {
    pub(crate) fn new(jobs: mpsc::Receiver<Result<Job>>, max: usize) -> Self {
        Self {
            jobs,
            put_back: VecDeque::new(),
            max,
            skipped: VecDeque::new(),
            to_skip: None,
            was_skipped: false,
            skipped_in_flight: Arc::default(),
            has_ended: false,
        }
    }

    /// Makes the next row one from behind `rows` others, which are skipped until later. Fewer where the reader has no more ready.
    pub(crate) fn skip(&mut self, rows: usize) {
        self.to_skip = Some(rows.min(MAX_SKIPPED.saturating_sub(self.skipped.len())));
    }

    /// The next row. `None` once the source has ended and no row is put back.
    ///
    /// # Cancellation
    /// No row is lost.
    pub(crate) async fn next(&mut self) -> Option<Result<Job>> {
        if self.put_back.len() >= self.max {
            return self.put_back.pop_front().map(Ok);
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
        let is_turn =
            !self.was_skipped && Arc::strong_count(&self.skipped_in_flight) <= (self.max / 2).max(1);
        if (is_turn || self.has_ended)
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
        if let Some(job) = self.put_back.pop_front() {
            return Some(Ok(job));
        }
        let job = self.jobs.recv().await;
        self.has_ended |= job.is_none();
        job
    }

    /// For the row that was taken last to hold while it is in flight, if it is a skipped one.
    pub(crate) fn hold(&self) -> Option<Arc<()>> {
        self.was_skipped.then(|| self.skipped_in_flight.clone())
    }

    /// Runs a row another time, after those that are ready.
    pub(crate) fn put_back(&mut self, job: Job) {
        self.put_back.push_back(job);
    }

    /// Whether no row is left, as far as is known.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.has_ended && self.put_back.is_empty() && self.skipped.is_empty()
    }

    /// Takes no more rows from the reader, which learns of it by its next row, and drops those that wait here.
    pub(crate) fn close(&mut self) {
        self.jobs.close();
        self.put_back.clear();
        self.skipped.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;

    fn job(index: u64) -> Job {
        let error = fanweave_core::Error::new(fanweave_core::ErrorKind::Input, "no");
        Job {
            key: Key::of(&[b"row"]),
            index,
            line: 1,
            id: None,
            input: Err(error),
            put_back: 0,
            earlier: Default::default(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn skipped_rows_take_turns_with_those_behind_them_and_none_is_lost() {
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
        // The reader has fewer ready.
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
    async fn rows_that_were_put_back_run_after_those_that_are_ready_and_few_of_them_wait() {
        let (rows, inbox) = mpsc::channel(8);
        let mut queue = Queue::new(inbox, 2);
        for index in 0..4 {
            rows.send(Ok(job(index))).await.unwrap();
        }
        queue.put_back(job(10));
        assert_eq!(next(&mut queue).await, Some(0));
        queue.put_back(job(11));
        assert_eq!([next(&mut queue).await, next(&mut queue).await], [Some(10), Some(1)]);
        assert_eq!([next(&mut queue).await, next(&mut queue).await], [Some(2), Some(3)]);
        assert_eq!(next(&mut queue).await, Some(11), "the reader has none for the moment");
        assert!(!queue.is_exhausted());
        drop(rows);
        queue.put_back(job(12));
        assert_eq!([next(&mut queue).await, next(&mut queue).await], [Some(12), None]);
        assert!(queue.is_exhausted());
    }
}

//! The rows that are still to be run: those of the reader, and those that were put back.

use std::collections::VecDeque;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

use crate::Result;
use crate::reader::Job;

/// The rows that are still to be run.
///
/// Rows that were put back run after those that the reader has ready. At most `max` of them wait: memory does not grow with
/// the input.
pub(crate) struct Queue {
    jobs: mpsc::Receiver<Result<Job>>,
    put_back: VecDeque<Job>,
    max: usize,
    has_ended: bool,
}

impl Queue {
    pub(crate) fn new(jobs: mpsc::Receiver<Result<Job>>, max: usize) -> Self {
        Self { jobs, put_back: VecDeque::new(), max, has_ended: false }
    }

    /// The next row. `None` once the source has ended and no row is put back.
    ///
    /// # Cancellation
    /// No row is lost.
    pub(crate) async fn next(&mut self) -> Option<Result<Job>> {
        if self.put_back.len() >= self.max {
            return self.put_back.pop_front().map(Ok);
        }
        match self.jobs.try_recv() {
            Ok(job) => return Some(job),
            Err(TryRecvError::Disconnected) => self.has_ended = true,
            Err(TryRecvError::Empty) => {}
        }
        if let Some(job) = self.put_back.pop_front() {
            return Some(Ok(job));
        }
        let job = self.jobs.recv().await;
        self.has_ended |= job.is_none();
        job
    }

    /// Runs a row another time, after those that are ready.
    pub(crate) fn put_back(&mut self, job: Job) {
        self.put_back.push_back(job);
    }

    /// Whether no row is left, as far as is known.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.has_ended && self.put_back.is_empty()
    }

    /// Takes no more rows from the reader, which learns of it by its next row, and drops those that were put back.
    pub(crate) fn close(&mut self) {
        self.jobs.close();
        self.put_back.clear();
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

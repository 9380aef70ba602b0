//! The timeouts of one request: no request can hang for ever.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Poll, ready};
use std::time::Duration;

use fanweave_core::{Error, ErrorKind, Result};
use tokio::time::{Instant, Sleep, sleep_until};

/// Longer than any wait, and short enough to be added to a time.
const FOREVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// Timeouts for the phases of one request. Each retry is a separate request with its own timeouts.
///
/// ```
/// use std::time::Duration;
/// use fanweave::models::{Client, Timeouts};
///
/// let patient = Timeouts::new().first_byte(Duration::from_secs(600));
/// let client = Client::builder().timeouts(patient).build()?;
/// # Ok::<_, fanweave::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// Maximum time to connect to one address. Name lookup, a proxy tunnel and the TLS handshake may take the
    /// same time again. Default 5 s.
    pub connect: Duration,
    /// Maximum time from sending the request to the response headers. A non-streaming response starts only
    /// when it is complete. Default 120 s.
    pub first_byte: Duration,
    /// Maximum time between two chunks of a response. Default 60 s.
    pub idle: Duration,
    /// Maximum time for one request and its response. Default 600 s, like the official SDKs.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(120),
            idle: Duration::from_secs(60),
            total: Duration::from_secs(600),
        }
    }
}

impl Timeouts {
    /// The default timeouts: each field says its value.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the maximum time to connect to one address.
    #[must_use]
    pub fn connect(self, connect: Duration) -> Self {
        Self { connect, ..self }
    }

    /// Sets the maximum time from sending the request to the response headers.
    #[must_use]
    pub fn first_byte(self, first_byte: Duration) -> Self {
        Self { first_byte, ..self }
    }

    /// Sets the maximum time between two chunks of a response.
    #[must_use]
    pub fn idle(self, idle: Duration) -> Self {
        Self { idle, ..self }
    }

    /// Sets the maximum time for one request and its response.
    #[must_use]
    pub fn total(self, total: Duration) -> Self {
        Self { total, ..self }
    }
}

/// Phase of a request that has its own timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Until the head of the response.
    FirstByte,
    /// Until the next chunk of the body.
    Body,
}

/// Applies the timeouts of one request.
///
/// The timer is not reset for every wait, which would cost more than reading a chunk. It fires once per
/// shortest timeout, and the timeouts are checked then.
pub(crate) struct Watch {
    timeouts: Timeouts,
    /// Time by which the request must have finished.
    end: Instant,
    /// Set if the deadline of the run comes first.
    ends_with_run: bool,
    tick: Duration,
    timer: Pin<Box<Sleep>>,
}

impl Watch {
    /// Starts now. `deadline` is that of the run.
    pub(crate) fn start(timeouts: Timeouts, deadline: Option<Instant>) -> Self {
        let [first_byte, idle, total] =
            [timeouts.first_byte, timeouts.idle, timeouts.total].map(|t| t.min(FOREVER));
        let timeouts = Timeouts { first_byte, idle, total, ..timeouts };
        let now = Instant::now();
        let end = now + timeouts.total;
        let ends_with_run = deadline.is_some_and(|deadline| deadline < end);
        let end = deadline.map_or(end, |deadline| deadline.min(end));
        let tick = timeouts.first_byte.min(timeouts.idle);
        Self { timeouts, end, ends_with_run, tick, timer: Box::pin(sleep_until(end.min(now + tick))) }
    }

    /// Waits for `work`, at most as long as `phase` may last.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] if it lasts longer.
    pub(crate) async fn during<T>(&mut self, phase: Phase, work: impl Future<Output = T>) -> Result<T> {
        let mut work = pin!(work);
        let mut due = None;
        poll_fn(|task| {
            if let Poll::Ready(done) = work.as_mut().poll(task) {
                return Poll::Ready(Ok(done));
            }
            let due = *due.get_or_insert_with(|| self.end.min(Instant::now() + self.limit(phase)));
            loop {
                ready!(self.timer.as_mut().poll(task));
                let now = Instant::now();
                if now >= due {
                    return Poll::Ready(Err(self.late(phase)));
                }
                self.timer.as_mut().reset(due.min(now + self.tick));
            }
        })
        .await
    }

    /// Time until which the end of the body may be delayed without a timeout: half of what is left.
    pub(crate) fn max_delay(&self) -> Instant {
        let now = Instant::now();
        now + self.end.saturating_duration_since(now).min(self.timeouts.idle) / 2
    }

    fn limit(&self, phase: Phase) -> Duration {
        match phase {
            Phase::FirstByte => self.timeouts.first_byte,
            Phase::Body => self.timeouts.idle,
        }
    }

    fn late(&self, phase: Phase) -> Error {
        if self.ends_with_run && Instant::now() >= self.end {
            let message = "the run ended before the request did";
            return Error::new(ErrorKind::Timeout, message).with_retryable(false);
        }
        let message = match phase {
            _ if Instant::now() >= self.end => {
                format!("the request did not end within {:?}", self.timeouts.total)
            }
            Phase::FirstByte => format!("no response started within {:?}", self.timeouts.first_byte),
            Phase::Body => format!("no response data received for {:?}", self.timeouts.idle),
        };
        Error::new(ErrorKind::Timeout, message)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::sleep;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn timeouts(first_byte: u32, idle: u32, total: u32) -> Timeouts {
        let [first_byte, idle, total] = [first_byte, idle, total].map(|n| SECOND * n);
        Timeouts { first_byte, idle, total, ..Timeouts::default() }
    }

    async fn waits_for(watch: &mut Watch, phase: Phase) -> (u64, String) {
        let began = Instant::now();
        let error = watch.during(phase, pending::<()>()).await.unwrap_err();
        (began.elapsed().as_secs(), error.to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn each_wait_has_its_own_limit() {
        let mut watch = Watch::start(timeouts(5, 60, 600), None);
        assert_eq!(
            waits_for(&mut watch, Phase::FirstByte).await,
            (5, "no response started within 5s".into())
        );
        let mut watch = Watch::start(timeouts(120, 6, 600), None);
        watch.during(Phase::FirstByte, sleep(SECOND * 119)).await.unwrap();
        assert_eq!(waits_for(&mut watch, Phase::Body).await, (6, "no response data received for 6s".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_drip_that_never_stalls_ends_with_the_total_timeout() {
        let mut watch = Watch::start(timeouts(10, 10, 60), None);
        let began = Instant::now();
        while watch.during(Phase::Body, sleep(SECOND * 9)).await.is_ok() {}
        assert_eq!(began.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_of_the_run_comes_first() {
        let mut watch = Watch::start(timeouts(10, 10, 60), Some(Instant::now() + SECOND * 3));
        assert_eq!(waits_for(&mut watch, Phase::FirstByte).await.0, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn ready_work_is_returned_however_late() {
        let mut watch = Watch::start(timeouts(1, 1, 1), None);
        sleep(SECOND * 5).await;
        assert_eq!(watch.during(Phase::Body, ready(7)).await.unwrap(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn an_extremely_long_timeout_never_expires() {
        let [first_byte, idle, total] = [Duration::MAX; 3];
        let mut watch = Watch::start(Timeouts { first_byte, idle, total, ..Timeouts::default() }, None);
        watch.during(Phase::FirstByte, sleep(SECOND * 3600)).await.unwrap();
        watch.during(Phase::Body, sleep(SECOND * 3600)).await.unwrap();
    }
}

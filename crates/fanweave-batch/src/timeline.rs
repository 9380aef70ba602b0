//! Timeline of the calls of a row, for charts of a run.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fanweave_core::event::RunId;
use fanweave_core::{Event, EventKind};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// Maximum calls per row whose times are kept. A chart shows no more.
const MAX_CALLS: usize = 256;

/// Timeline of the calls of a row.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Timeline {
    /// Start of the row, in milliseconds of Unix time.
    pub(crate) at: u64,
    pub(crate) calls: Vec<CallTimes>,
}

/// Times of one call of a row, in milliseconds since the start of the row.
///
/// ```
/// let mut call = fanweave::batch::CallTimes::default();
/// (call.sent_ms, call.ended_ms) = (12, 512);
/// assert!(call.failed_attempts.is_empty());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Line", into = "Line")]
#[non_exhaustive]
pub struct CallTimes {
    /// Name of the model, such as `openai/gpt-5-mini`, after the names of the steps of a chain around it:
    /// `outline > openai/gpt-5-mini`.
    pub step: String,
    /// Time at which it was ready to be sent.
    pub ready_ms: u64,
    /// Time at which the last attempt was sent.
    pub sent_ms: u64,
    /// Time at which the first byte of the response arrived, if reported.
    pub first_byte_ms: Option<u64>,
    /// Time at which it ended.
    pub ended_ms: u64,
    /// Failed attempts that were followed by another: send time, failure time and error kind.
    pub failed_attempts: Vec<(u64, u64, String)>,
}

/// Serialised form: a list, because field names would take most of the bytes.
type Line = (String, u64, u64, Option<u64>, u64, Vec<(u64, u64, String)>);

impl From<Line> for CallTimes {
    fn from((step, ready_ms, sent_ms, first_byte_ms, ended_ms, failed_attempts): Line) -> Self {
        Self { step, ready_ms, sent_ms, first_byte_ms, ended_ms, failed_attempts }
    }
}

impl From<CallTimes> for Line {
    fn from(call: CallTimes) -> Self {
        (call.step, call.ready_ms, call.sent_ms, call.first_byte_ms, call.ended_ms, call.failed_attempts)
    }
}

impl CallTimes {
    fn begun(step: String, ready_ms: u64) -> Self {
        Self { step, ready_ms, sent_ms: ready_ms, ended_ms: ready_ms, ..Self::default() }
    }
}

/// Measures the times of a row's calls.
pub(crate) struct Stopwatch {
    began: Instant,
    at: SystemTime,
    open: Vec<(RunId, CallTimes)>,
    done: Vec<CallTimes>,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self { began: Instant::now(), at: SystemTime::now(), open: Vec::new(), done: Vec::new() }
    }

    pub(crate) fn on_event(&mut self, event: &Event) {
        let now = || milliseconds(self.began.elapsed());
        match &event.kind {
            EventKind::Waiting(_) => {
                let now = now();
                self.call(event, now);
            }
            EventKind::RequestStarted => {
                let now = now();
                self.call(event, now).sent_ms = now;
            }
            EventKind::FirstByte => {
                let now = now();
                self.call(event, now).first_byte_ms = Some(now);
            }
            EventKind::Retrying { error, .. } => {
                let (now, why) = (now(), error.kind().as_str().to_owned());
                let call = self.call(event, now);
                call.first_byte_ms = None;
                call.failed_attempts.push((call.sent_ms, now, why));
            }
            EventKind::StepFinished { reply: Some(_) } => self.end(event, true),
            EventKind::StepFailed(_) => self.end(event, false),
            _ => {}
        }
    }

    fn call(&mut self, event: &Event, now: u64) -> &mut CallTimes {
        let at = self.open.iter().position(|(run, _)| *run == event.run).unwrap_or_else(|| {
            let step = step_of(event);
            self.open.push((event.run, CallTimes::begun(step, now)));
            self.open.len() - 1
        });
        &mut self.open[at].1
    }

    fn end(&mut self, event: &Event, well: bool) {
        let now = milliseconds(self.began.elapsed());
        let mut call = match self.open.iter().position(|(run, _)| *run == event.run) {
            Some(at) => self.open.swap_remove(at).1,
            // The model emits no event for its request.
            None if well => CallTimes::begun(step_of(event), 0),
            None => return,
        };
        call.ended_ms = now;
        if self.done.len() < MAX_CALLS {
            self.done.push(call);
        }
    }

    /// The calls that have not ended.
    pub(crate) fn open(&self) -> impl Iterator<Item = RunId> {
        self.open.iter().map(|(run, _)| *run)
    }

    /// Ends the timeline. Calls that were cut short end now.
    pub(crate) fn stop(&mut self) -> Timeline {
        let now = milliseconds(self.began.elapsed());
        let cut_short = std::mem::take(&mut self.open).into_iter().map(|(_, mut call)| {
            call.ended_ms = now;
            call
        });
        let mut calls = std::mem::take(&mut self.done);
        calls.extend(cut_short);
        calls.truncate(MAX_CALLS);
        let at = self.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Timeline { at: milliseconds(at), calls }
    }
}

/// The names of the steps around a call, and of its model.
fn step_of(event: &Event) -> String {
    match event.path.len() {
        0 | 1 => event.path.name().unwrap_or_default().to_owned(),
        _ => event.path.to_string(),
    }
}

pub(crate) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use fanweave_core::{Context, Error, ErrorKind, Reply, step};
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_times_of_a_call_are_recorded_from_queue_to_end() {
        let watch = Arc::new(Mutex::new(Stopwatch::start()));
        let call = step(|_: (), cx: Context| async move {
            cx.emit(EventKind::Waiting(fanweave_core::WaitReason::Limit)).await;
            sleep(Duration::from_millis(100)).await;
            cx.emit(EventKind::RequestStarted).await;
            sleep(Duration::from_millis(10)).await;
            let error = Error::new(ErrorKind::Server, "broken");
            cx.emit(EventKind::Retrying { attempt: 1, wait: Duration::ZERO, error }).await;
            cx.emit(EventKind::RequestStarted).await;
            sleep(Duration::from_millis(40)).await;
            cx.emit(EventKind::FirstByte).await;
            sleep(Duration::from_millis(50)).await;
            cx.emit(EventKind::StepFinished { reply: Some(Arc::new(Reply::default())) }).await;
            cx.emit(EventKind::RequestStarted).await;
            Ok(())
        })
        .named("m");
        let own = watch.clone();
        let cx =
            Context::new().with_observer(Arc::new(move |event: &Event| own.lock().unwrap().on_event(event)));
        call.invoke_in((), &cx).await.unwrap();
        sleep(Duration::from_millis(5)).await;
        let timeline = watch.lock().unwrap().stop();
        let ended = CallTimes::from(("m".into(), 0, 110, Some(150), 200, vec![(100, 110, "server".into())]));
        let cut_short = CallTimes::from(("m".into(), 200, 200, None, 205, Vec::new()));
        assert_eq!(timeline.calls, [ended, cut_short]);
        let line = serde_json::to_string(&timeline).unwrap();
        assert!(line.len() < 140, "{line}");
    }
}

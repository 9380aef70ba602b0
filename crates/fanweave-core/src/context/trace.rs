//! Spans and events of a run for subscribers of `tracing`. They never contain prompts, answers or messages of
//! errors.

use std::sync::Arc;

use tracing::{Level, Span, debug, debug_span, info, warn};

use super::{Context, Position};
use crate::event::{RunId, milliseconds};
use crate::{ErrorKind, EventKind, WaitReason};

/// The target of all spans and events, for filters.
const TARGET: &str = "fanweave";

/// Returns true if a subscriber may be interested. Without a subscriber: one atomic load.
pub(super) fn is_on() -> bool {
    tracing::enabled!(target: TARGET, Level::WARN)
}

/// The span in which a run begins.
pub(super) fn current() -> Option<Arc<Span>> {
    if !is_on() {
        return None;
    }
    Some(Span::current()).filter(|span| !span.is_disabled()).map(Arc::new)
}

/// The span of a step. It is never entered, because a step is suspended while it waits. `None` if the level
/// of spans, DEBUG, is off.
pub(super) fn of_step(around: Option<&Span>, name: &str, run: RunId) -> Option<Arc<Span>> {
    let span = match around {
        Some(around) => debug_span!(target: TARGET, parent: around, "fanweave.step", name, %run),
        None => debug_span!(target: TARGET, "fanweave.step", name, %run),
    };
    Some(span).filter(|span| !span.is_disabled()).map(Arc::new)
}

/// Reports an event. Beginnings and ends of steps are those of their spans.
// Outlined, to keep it out of the futures of runs without a subscriber.
#[inline(never)]
pub(super) fn report(position: &Position, kind: &EventKind) {
    let span = position.span.as_deref().and_then(Span::id);
    let step = &position.path;
    match kind {
        EventKind::RequestStarted => debug!(target: TARGET, parent: span, %step, "request"),
        EventKind::Hedged => debug!(target: TARGET, parent: span, %step, "hedged request"),
        EventKind::Waiting(WaitReason::Concurrency) => {
            debug!(target: TARGET, parent: span, %step, reason = "concurrency", "waiting");
        }
        EventKind::Waiting(WaitReason::Limit) => {
            info!(target: TARGET, parent: span, %step, reason = "limit", "waiting");
        }
        EventKind::Waiting(WaitReason::Outage(error)) => {
            info!(
                target: TARGET, parent: span, %step, reason = "outage",
                kind = error.kind().as_str(), status = error.status(), request_id = error.request_id(),
                "waiting"
            );
        }
        EventKind::Retrying { attempt, wait, error } => {
            let wait_ms = milliseconds::of(*wait);
            info!(
                target: TARGET, parent: span, %step, attempt, wait_ms,
                kind = error.kind().as_str(), status = error.status(), request_id = error.request_id(),
                "retrying"
            );
        }
        EventKind::Unanswered(_) => warn!(target: TARGET, parent: span, %step, "unanswered request"),
        // Whoever cancels a run knows of it. So does a batch API, to which the call of a row is submitted.
        EventKind::StepFailed(error) if error.kind() == ErrorKind::Cancelled => {
            debug!(target: TARGET, parent: span, %step, "step cancelled");
        }
        EventKind::StepFailed(error) => {
            warn!(
                target: TARGET, parent: span, %step,
                kind = error.kind().as_str(), status = error.status(), request_id = error.request_id(),
                "step failed"
            );
        }
        EventKind::StepStarted
        | EventKind::PromptSent(_)
        | EventKind::EmbeddingRequested(_)
        | EventKind::Delta(_)
        | EventKind::FirstByte
        | EventKind::FirstChunk
        | EventKind::Answered(_)
        | EventKind::StepFinished { .. } => {}
    }
}

impl Context {
    /// The `tracing` span of the step: a parent for spans of its own. Disabled without a subscriber.
    ///
    /// Every named step and every model call is a span `fanweave.step` of target `fanweave` and level DEBUG,
    /// with the fields `name` and `run`, below the span in which the run began. Retries and waits are events
    /// of level INFO, failed steps and unanswered requests of level WARN, requests and cancelled steps of
    /// level DEBUG. None contains a prompt or an answer.
    ///
    /// ```
    /// use fanweave::{Context, step};
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let count = step(|text: String, cx: Context| async move {
    ///     // With `tracing::info!(parent: &cx.span(), ..)`, a subscriber sees the step of an event.
    ///     Ok(cx.span().in_scope(|| text.len()))
    /// });
    /// assert_eq!(count.invoke("hello").await?, 5);
    /// # Ok(())
    /// # }) }
    /// ```
    pub fn span(&self) -> Span {
        self.position.span.as_deref().cloned().unwrap_or_else(Span::none)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::{Debug, Write as _};
    use std::sync::Mutex;
    use std::time::Duration;

    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber, subscriber};
    use tracing_core::span::Current;

    use super::*;
    use crate::{ChatModel, Error, Message, Model, Prompt, Result, chain, prompt, step, text, vars};

    /// Writes a line for each span and event: level, spans, name or message, fields.
    struct Lines {
        max: Level,
        spans: Mutex<Vec<(&'static Metadata<'static>, String)>>,
        entered: Mutex<Vec<Id>>,
        lines: Arc<Mutex<Vec<String>>>,
    }

    /// Subscribes for this thread until the guard is dropped.
    fn subscribe(max: Level) -> (Arc<Mutex<Vec<String>>>, subscriber::DefaultGuard) {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let subscriber =
            Lines { max, spans: Mutex::default(), entered: Mutex::default(), lines: lines.clone() };
        (lines, subscriber::set_default(subscriber))
    }

    #[derive(Default)]
    struct Fields(String);

    impl Visit for Fields {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            match field.name() {
                "run" => {}
                "message" | "name" => write!(self.0, " {value:?}").unwrap(),
                name => write!(self.0, " {name}={value:?}").unwrap(),
            }
        }
    }

    impl Lines {
        /// Names of a span and those around it, outermost first.
        fn path(&self, span: Option<&Id>) -> Option<String> {
            span.map(|id| self.spans.lock().unwrap()[id.into_u64() as usize - 1].1.clone())
        }
    }

    impl Subscriber for Lines {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            *metadata.level() <= self.max
        }

        fn new_span(&self, span: &Attributes<'_>) -> Id {
            let mut fields = Fields::default();
            span.record(&mut fields);
            let around = self.path(span.parent()).unwrap_or_default();
            let path = format!("{around}/{}{}", span.metadata().name(), fields.0);
            let mut spans = self.spans.lock().unwrap();
            spans.push((span.metadata(), path));
            Id::from_u64(spans.len() as u64)
        }

        fn event(&self, event: &Event<'_>) {
            let mut fields = Fields::default();
            event.record(&mut fields);
            let position = self.path(event.parent()).unwrap_or_else(|| "none".into());
            let line = format!("{}{} in {position}", event.metadata().level(), fields.0);
            self.lines.lock().unwrap().push(line);
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn enter(&self, span: &Id) {
            self.entered.lock().unwrap().push(span.clone());
        }

        fn exit(&self, _: &Id) {
            self.entered.lock().unwrap().pop();
        }

        fn current_span(&self) -> Current {
            let Some(id) = self.entered.lock().unwrap().last().cloned() else { return Current::none() };
            let metadata = self.spans.lock().unwrap()[id.into_u64() as usize - 1].0;
            Current::new(id, metadata)
        }
    }

    /// Waits, retries, and fails.
    struct Unlucky;

    impl ChatModel for Unlucky {
        fn name(&self) -> &str {
            "test/unlucky"
        }

        async fn generate(&self, _: Prompt, cx: &Context) -> Result<Message> {
            let refused = Error::new(ErrorKind::RateLimited, "my secret").with_status(429);
            cx.emit(EventKind::RequestStarted).await;
            let wait = Duration::from_millis(1500);
            cx.emit(EventKind::Retrying { attempt: 1, wait, error: refused }).await;
            cx.emit(EventKind::Waiting(WaitReason::Limit)).await;
            cx.emit(EventKind::RequestStarted).await;
            Err(Error::new(ErrorKind::Server, "my secret").with_status(500).with_request_id("req_1"))
        }
    }

    #[tokio::test]
    async fn a_subscriber_sees_waits_and_retries_with_their_step() {
        let chain = (prompt("my secret") | Model::new(Unlucky) | text()).named("outer");
        let (lines, _guard) = subscribe(Level::DEBUG);
        chain.invoke(vars! {}).await.unwrap_err();
        let lines = lines.lock().unwrap().join("\n");
        insta::assert_snapshot!(lines, @r#"
        DEBUG request step=outer > test/unlucky in /fanweave.step "outer"/fanweave.step "test/unlucky"
        INFO retrying step=outer > test/unlucky attempt=1 wait_ms=1500 kind="rate_limited" status=429 in /fanweave.step "outer"/fanweave.step "test/unlucky"
        INFO waiting step=outer > test/unlucky reason="limit" in /fanweave.step "outer"/fanweave.step "test/unlucky"
        DEBUG request step=outer > test/unlucky in /fanweave.step "outer"/fanweave.step "test/unlucky"
        WARN step failed step=outer > test/unlucky kind="server" status=500 request_id="req_1" in /fanweave.step "outer"/fanweave.step "test/unlucky"
        WARN step failed step=outer kind="server" status=500 request_id="req_1" in /fanweave.step "outer"
        "#);
    }

    #[tokio::test]
    async fn events_name_their_step_without_spans_too() {
        let chain = (prompt("my secret") | Model::new(Unlucky) | text()).named("outer");
        let (lines, _guard) = subscribe(Level::INFO);
        chain.invoke(vars! {}).await.unwrap_err();
        let lines = lines.lock().unwrap().join("\n");
        insta::assert_snapshot!(lines, @r#"
        INFO retrying step=outer > test/unlucky attempt=1 wait_ms=1500 kind="rate_limited" status=429 in none
        INFO waiting step=outer > test/unlucky reason="limit" in none
        WARN step failed step=outer > test/unlucky kind="server" status=500 request_id="req_1" in none
        WARN step failed step=outer kind="server" status=500 request_id="req_1" in none
        "#);
    }

    #[tokio::test]
    async fn a_cancelled_step_is_not_a_warning() {
        let stopped = step(|_: String, _: Context| async move {
            Err::<String, _>(Error::new(ErrorKind::Cancelled, "my secret"))
        });
        let (lines, _guard) = subscribe(Level::DEBUG);
        stopped.named("outer").invoke("x").await.unwrap_err();
        assert_eq!(*lines.lock().unwrap(), ["DEBUG step cancelled step=outer in /fanweave.step \"outer\""]);
    }

    #[tokio::test]
    async fn spans_nest_across_tasks_of_a_batch() {
        let (lines, _guard) = subscribe(Level::DEBUG);
        let job = tracing::info_span!("job");
        let rows = job.in_scope(|| chain(Model::new(Unlucky)).named("row").batch(["a"; 2]));
        rows.collect().await;
        let lines = lines.lock().unwrap();
        let position = "in /job/fanweave.step \"row\"/fanweave.step \"test/unlucky\"";
        assert_eq!(
            lines.iter().filter(|line| line.starts_with("INFO") && line.ends_with(position)).count(),
            4
        );
    }

    #[tokio::test]
    async fn steps_without_a_subscriber_have_no_span() {
        let cx = Context::new().begin(&"step".into()).await;
        assert!(cx.span().is_disabled() && cx.path().is_empty());
        let (_, _guard) = subscribe(Level::DEBUG);
        let cx = Context::new().begin(&"step".into()).await;
        assert!(!cx.span().is_disabled());
    }
}

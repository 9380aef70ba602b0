//! The open spans, by run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::trace::{SpanBuilder, SpanKind, Status, TraceContextExt};
use opentelemetry::{Context as Around, KeyValue};

use super::DynTracer;
use super::attributes;
use super::meters::Meters;
use crate::event::RunId;
use crate::{Error, Event, EventKind, Reply};

/// Maximum number of open spans. Beyond it the oldest one ends, since its run has most likely been dropped.
pub(super) const MAX_OPEN: usize = 65_536;

/// The open spans of all runs.
#[derive(Default)]
pub(super) struct Spans {
    open: BTreeMap<RunId, Open>,
}

/// A step that has begun and not ended.
struct Open {
    parent: Option<RunId>,
    /// Nested steps that have not ended.
    children: BTreeSet<RunId>,
    /// Context of the parent span.
    around: Around,
    began: (Instant, SystemTime),
    name: String,
    tags: Vec<String>,
    /// Its span. Started when it is known whether the step is a call.
    span: Option<Around>,
    call: Option<Call>,
}

/// A call of a model.
struct Call {
    about: Vec<KeyValue>,
    /// Time of the last request.
    sent: Instant,
    first_chunk: Option<Duration>,
}

impl Spans {
    /// Number of open spans.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn on_event(&mut self, event: &Event, tracer: &dyn DynTracer, meters: &Meters, content: bool) {
        match &event.kind {
            EventKind::StepStarted => self.begin(event, tracer),
            EventKind::PromptSent(prompt) => {
                let Some(open) = self.open.get_mut(&event.run) else { return };
                let span = open.call("chat", tracer).span();
                span.set_attributes(attributes::request(&prompt.parameters));
                if content {
                    span.set_attributes(attributes::prompt(prompt));
                }
            }
            EventKind::EmbeddingRequested(_) => {
                if let Some(open) = self.open.get_mut(&event.run) {
                    open.call("embeddings", tracer);
                }
            }
            EventKind::Waiting(_) => self.note(event, tracer, "waiting", Vec::new()),
            EventKind::Hedged => self.note(event, tracer, "hedged", Vec::new()),
            EventKind::RequestStarted => {
                if let Some(call) = self.open.get_mut(&event.run).and_then(|open| open.call.as_mut()) {
                    call.sent = Instant::now();
                }
            }
            EventKind::FirstChunk => {
                if let Some(call) = self.open.get_mut(&event.run).and_then(|open| open.call.as_mut()) {
                    call.first_chunk = Some(call.sent.elapsed());
                }
            }
            EventKind::Retrying { attempt, wait, error } => {
                let about = vec![
                    KeyValue::new("error.type", error.kind().as_str()),
                    KeyValue::new("fanweave.attempt", i64::from(*attempt)),
                    KeyValue::new("fanweave.wait_seconds", wait.as_secs_f64()),
                ];
                self.note(event, tracer, "retry", about);
            }
            EventKind::Answered(answer) if content => {
                if let Some(span) = self.open.get(&event.run).and_then(|open| open.span.as_ref()) {
                    span.span().set_attribute(attributes::answered(answer));
                }
            }
            EventKind::StepFinished { reply } => {
                self.end(event.run, tracer, |open| open.finish(reply.as_deref(), meters));
            }
            EventKind::StepFailed(error) => self.end(event.run, tracer, |open| open.fail(error, meters)),
            _ => {}
        }
    }

    fn begin(&mut self, event: &Event, tracer: &dyn DynTracer) {
        let parent = event.parent.filter(|parent| self.open.contains_key(parent));
        let around = match parent.and_then(|parent| self.open.get_mut(&parent)) {
            Some(parent) => {
                parent.children.insert(event.run);
                parent.span(tracer).clone()
            }
            None => Around::current(),
        };
        let open = Open {
            parent,
            children: BTreeSet::new(),
            around,
            began: (Instant::now(), SystemTime::now()),
            name: event.path.name().unwrap_or_default().to_owned(),
            tags: event.tags().map(str::to_owned).collect(),
            span: None,
            call: None,
        };
        self.open.insert(event.run, open);
        while self.open.len() > MAX_OPEN {
            let Some((&oldest, _)) = self.open.first_key_value() else { break };
            self.end(oldest, tracer, Open::abandon);
        }
    }

    fn note(&mut self, event: &Event, tracer: &dyn DynTracer, what: &'static str, about: Vec<KeyValue>) {
        if let Some(open) = self.open.get_mut(&event.run) {
            open.span(tracer).span().add_event(what, about);
        }
    }

    /// Ends a span, after its open children, whose steps have been dropped.
    fn end(&mut self, run: RunId, tracer: &dyn DynTracer, finish: impl FnOnce(&Open)) {
        let Some(mut open) = self.open.remove(&run) else { return };
        for child in std::mem::take(&mut open.children) {
            self.end_dropped(child);
        }
        if let Some(parent) = open.parent.and_then(|parent| self.open.get_mut(&parent)) {
            parent.children.remove(&run);
        }
        let span = open.span(tracer).clone();
        finish(&open);
        span.span().end();
    }

    /// Ends the span of a dropped step, and its children.
    fn end_dropped(&mut self, run: RunId) {
        let mut remaining = vec![run];
        while let Some(run) = remaining.pop() {
            let Some(open) = self.open.remove(&run) else { continue };
            remaining.extend(&open.children);
            open.abandon();
            if let Some(span) = &open.span {
                span.span().end();
            }
        }
    }
}

impl Open {
    /// Its span. Starts the span of a plain step unless a span is open.
    fn span(&mut self, tracer: &dyn DynTracer) -> &Around {
        let Self { span, around, began, name, tags, .. } = self;
        span.get_or_insert_with(|| {
            let builder = SpanBuilder::from_name(name.clone()).with_kind(SpanKind::Internal);
            tracer.start(builder.with_start_time(began.1).with_attributes(labels(tags)), around)
        })
    }

    /// Starts its span as that of a call.
    fn call(&mut self, operation: &'static str, tracer: &dyn DynTracer) -> &Around {
        let Self { span, around, began, name, tags, call, .. } = self;
        let about = attributes::call(operation, name);
        let model = name.split_once('/').map_or(&**name, |(_, model)| model);
        let builder = SpanBuilder::from_name(format!("{operation} {model}")).with_kind(SpanKind::Client);
        let all = about.iter().cloned().chain(labels(tags));
        let builder = builder.with_start_time(began.1).with_attributes(all);
        *call = Some(Call { about, sent: began.0, first_chunk: None });
        span.insert(tracer.start(builder, around))
    }

    fn finish(&self, reply: Option<&Reply>, meters: &Meters) {
        let (Some(span), Some(call)) = (&self.span, &self.call) else { return };
        let span = span.span();
        let mut about = call.about.clone();
        if let Some(reply) = reply {
            span.set_attributes(attributes::response(reply));
            let model = reply.model.clone();
            about.extend(model.map(|model| KeyValue::new("gen_ai.response.model", model)));
            if !reply.cached {
                meters.used(&reply.usage, &about);
            }
        }
        if let Some(time) = call.first_chunk {
            span.set_attribute(KeyValue::new("gen_ai.request.stream", true));
            span.set_attribute(KeyValue::new("gen_ai.response.time_to_first_chunk", time.as_secs_f64()));
        }
        meters.ended(self.began.0.elapsed(), call.first_chunk, &about);
    }

    fn fail(&self, error: &Error, meters: &Meters) {
        let why = KeyValue::new("error.type", error.kind().as_str());
        if let Some(span) = &self.span {
            span.span().set_attribute(why.clone());
            span.span().set_status(Status::error(error.to_string()));
        }
        if let Some(call) = &self.call {
            let mut about = call.about.clone();
            about.push(why);
            meters.ended(self.began.0.elapsed(), call.first_chunk, &about);
        }
    }

    /// Marks the span of a dropped run.
    fn abandon(&self) {
        if let Some(span) = &self.span {
            span.span().set_attribute(KeyValue::new("error.type", "cancelled"));
        }
    }
}

fn labels(tags: &[String]) -> Option<KeyValue> {
    (!tags.is_empty()).then(|| KeyValue::new("fanweave.tags", attributes::texts(tags.iter().cloned())))
}

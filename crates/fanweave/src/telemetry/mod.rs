//! Spans and metrics of calls, named by OpenTelemetry's conventions for generative AI.
//!
//! [`Telemetry`] is an [`Observer`]: it turns the events of a run into a span for every step, with the kind
//! client for model calls, and into the metrics of calls. The given tracer and meter export them. Requires
//! the feature `telemetry`.
//!
//! | span of a call | |
//! |---|---|
//! | name, kind | `chat MODEL` or `embeddings MODEL`, client |
//! | `gen_ai.operation.name`, `gen_ai.provider.name`, `gen_ai.request.model` | operation, provider, model |
//! | `gen_ai.request.temperature`, `.top_p`, `.max_tokens`, `.seed` | request parameters, if set |
//! | `gen_ai.request.stop_sequences`, `gen_ai.output.type` | request parameters, if set |
//! | `gen_ai.response.model`, `.id`, `.finish_reasons` | model, id and finish reason of the response |
//! | `gen_ai.request.stream` | set for streamed calls |
//! | `gen_ai.response.time_to_first_chunk` | seconds from the last request to its first chunk |
//! | `gen_ai.usage.input_tokens`, `.output_tokens` | token usage |
//! | `gen_ai.usage.cache_read.input_tokens`, `.reasoning.output_tokens` | token usage, if not zero |
//! | `error.type`, and the status | kind of the error, for a failed call |
//! | `fanweave.attempts` | number of requests |
//! | `fanweave.cached`, `fanweave.tags` | set for cached answers; tags of the run |
//! | events `waiting`, `retry`, `hedged` | the call was queued, a retry follows, a hedged request was sent |
//!
//! | metric | |
//! |---|---|
//! | `gen_ai.client.operation.duration` | seconds of a call, including waits and retries |
//! | `gen_ai.client.token.usage` | tokens, by `gen_ai.token.type` |
//! | `gen_ai.client.operation.time_to_first_chunk` | seconds from the last request to its first chunk |
//!
//! Prompts and answers are included only with [`Telemetry::with_content`].

mod attributes;
mod meters;
mod spans;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use fanweave_core::__private::PerProcess;
use opentelemetry::Context as Around;
use opentelemetry::metrics::Meter;
use opentelemetry::trace::{SpanBuilder, TraceContextExt, Tracer};

use crate::{Event, Observer};
use meters::Meters;
use spans::Spans;

/// Turns the events of runs into spans and metrics. Cheap to clone; clones share their state.
///
/// Attach it to a run with [`Context::with_observer`](crate::Context::with_observer), or to a chain with
/// [`scoped`](crate::Chain::scoped). The span that is current when a run begins is the parent of its spans.
///
/// ```
/// use std::sync::Arc;
///
/// use fanweave::telemetry::Telemetry;
/// use fanweave::{Context, model, prompt, text, vars};
/// use fanweave::crates::opentelemetry::global;
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// // The globals of the program; unless it sets them up, spans and metrics are discarded.
/// let telemetry = Telemetry::new(global::tracer("my-program"), &global::meter("my-program"));
/// let joke = prompt("Tell a joke about {{ topic }}.") | model("sim/writer")? | text();
/// let watched = joke.scoped(move |cx| cx.with_observer(Arc::new(telemetry.clone())));
/// watched.invoke(vars! { topic: "bears" }).await?;
/// # Ok(())
/// # }) }
/// ```
///
/// A forked child records its own spans. If the exporter of the tracer has a thread, as batching exporters
/// have, the child exports nothing with it: give it a tracer that was made after the fork.
///
/// # Cancellation
/// The spans of a dropped run end with the enclosing step, or when more than 65,536 spans are open.
#[derive(Clone)]
pub struct Telemetry {
    inner: Arc<Inner>,
    content: bool,
}

struct Inner {
    tracer: Box<dyn DynTracer>,
    meters: Meters,
    /// A forked child has no open spans: those of its parent end there.
    spans: PerProcess<Mutex<Spans>>,
}

/// A dyn-compatible tracer. Its spans are identified by their context.
trait DynTracer: Send + Sync {
    fn start(&self, span: SpanBuilder, around: &Around) -> Around;
}

impl<T> DynTracer for T
where
    T: Tracer + Send + Sync,
    T::Span: Send + Sync + 'static,
{
    fn start(&self, span: SpanBuilder, around: &Around) -> Around {
        around.with_span(self.build_with_context(span, around))
    }
}

impl Telemetry {
    /// Records spans with `tracer` and metrics with `meter`.
    pub fn new<T>(tracer: T, meter: &Meter) -> Self
    where
        T: Tracer + Send + Sync + 'static,
        T::Span: Send + Sync + 'static,
    {
        let inner = Inner { tracer: Box::new(tracer), meters: Meters::new(meter), spans: PerProcess::new() };
        Self { inner: Arc::new(inner), content: false }
    }

    /// Adds prompts and answers to spans: `gen_ai.system_instructions`, `gen_ai.input.messages` and
    /// `gen_ai.output.messages`. Default: off, since they may be private and are long.
    #[must_use]
    pub fn with_content(self, content: bool) -> Self {
        Self { content, ..self }
    }
}

impl Observer for Telemetry {
    fn on_event(&self, event: &Event) {
        let Inner { tracer, meters, spans } = &*self.inner;
        let spans = spans.get(Mutex::default);
        let mut spans = spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.on_event(event, &**tracer, meters, self.content);
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").field("content", &self.content).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

//! Spans and metrics of calls, as OpenTelemetry's conventions for generative AI name them.
//!
//! [`Telemetry`] is an [`Observer`]: it turns the events of a run into a span for every step, one of kind client for every
//! call of a model, and into the metrics of calls. Where they go is up to the tracer and the meter that it is given. It
//! needs the feature `telemetry`.
//!
//! | span of a call | |
//! |---|---|
//! | name, kind | `chat MODEL` or `embeddings MODEL`, client |
//! | `gen_ai.operation.name`, `gen_ai.provider.name`, `gen_ai.request.model` | whom was asked for what |
//! | `gen_ai.request.temperature`, `.top_p`, `.max_tokens`, `.seed`, `.stop_sequences`, `gen_ai.output.type` | how, as far as it was said |
//! | `gen_ai.response.model`, `.id`, `.finish_reasons` | what came back |
//! | `gen_ai.request.stream`, `gen_ai.response.time_to_first_chunk` | that it was streamed, and seconds from the last request to its first piece |
//! | `gen_ai.usage.input_tokens`, `.output_tokens`, `.cache_read.input_tokens`, `.reasoning.output_tokens` | what it used |
//! | `error.type`, and the status | why it failed |
//! | `fanweave.attempts`, `fanweave.cached`, `fanweave.tags` | requests it took, whether a store answered, the tags of the run |
//! | events `waiting`, `retry`, `hedged` | when it waited for its turn, which tries failed, and when it was sent a second time because it was late |
//!
//! | metric | |
//! |---|---|
//! | `gen_ai.client.operation.duration` | seconds of a call, waiting and retries included |
//! | `gen_ai.client.token.usage` | tokens, by `gen_ai.token.type` |
//! | `gen_ai.client.operation.time_to_first_chunk` | seconds from the last request to its first piece, for streamed calls |
//!
//! Prompts and answers are no part of it unless [`Telemetry::with_content`] asks for them.

mod attributes;
mod meters;
mod spans;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::Context as Around;
use opentelemetry::metrics::Meter;
use opentelemetry::trace::{SpanBuilder, TraceContextExt, Tracer};

use crate::{Event, Observer};
use meters::Meters;
use spans::Spans;

/// Turns the events of runs into spans and metrics. Cheap to clone; clones know the same spans.
///
/// Attach it to a run with [`Context::with_observer`](crate::Context::with_observer), or to a chain with
/// [`scoped`](crate::Chain::scoped). The span that is current where a run begins is the parent of its spans.
///
/// ```
/// use std::sync::Arc;
///
/// use fanweave::telemetry::Telemetry;
/// use fanweave::{Context, model, prompt, text, vars};
/// use opentelemetry::global;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> fanweave::Result<()> {
/// // Whatever the program has set up: without that, spans and metrics go nowhere.
/// let telemetry = Telemetry::new(global::tracer("my-program"), &global::meter("my-program"));
/// let joke = prompt("Tell a joke about {{ topic }}.") | model("sim/writer")? | text();
/// let watched = joke.scoped(move |cx| cx.with_observer(Arc::new(telemetry.clone())));
/// watched.invoke(vars! { topic: "bears" }).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Cancellation
/// The spans of a run that is dropped end with the step around them, and at the latest when 65,536 others are open.
#[derive(Clone)]
pub struct Telemetry {
    inner: Arc<Inner>,
    content: bool,
}

struct Inner {
    tracer: Box<dyn DynTracer>,
    meters: Meters,
    spans: Mutex<Spans>,
}

/// A tracer whose spans are known by the context that they make.
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
    /// Spans by `tracer`, metrics by `meter`.
    pub fn new<T>(tracer: T, meter: &Meter) -> Self
    where
        T: Tracer + Send + Sync + 'static,
        T::Span: Send + Sync + 'static,
    {
        let inner = Inner { tracer: Box::new(tracer), meters: Meters::new(meter), spans: Mutex::default() };
        Self { inner: Arc::new(inner), content: false }
    }

    /// The same, whose spans hold prompts and answers too: `gen_ai.system_instructions`, `gen_ai.input.messages` and
    /// `gen_ai.output.messages`. Default no: they may be private, and they are long.
    #[must_use]
    pub fn with_content(self, content: bool) -> Self {
        Self { content, ..self }
    }
}

impl Observer for Telemetry {
    fn on_event(&self, event: &Event) {
        let Inner { tracer, meters, spans } = &*self.inner;
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

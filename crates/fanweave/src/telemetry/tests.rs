use std::time::Duration;

use futures::StreamExt;
use opentelemetry::trace::{SpanId, TraceContextExt, TracerProvider};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};

use opentelemetry::metrics::MeterProvider;

use super::*;
use crate::model::fake::{Answer, Fake};
use crate::{
    Chain, Context, Error, ErrorKind, Parameters, Prompt, chain, embedder, model, parallel, prompt, step,
    text, vars,
};

/// Spans and metrics, kept in memory.
struct Exported {
    spans: InMemorySpanExporter,
    metrics: InMemoryMetricExporter,
    tracers: SdkTracerProvider,
    meters: SdkMeterProvider,
}

impl Exported {
    fn new() -> Self {
        let (spans, metrics) = (InMemorySpanExporter::default(), InMemoryMetricExporter::default());
        let tracers = SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build();
        let meters = SdkMeterProvider::builder().with_periodic_exporter(metrics.clone()).build();
        Self { spans, metrics, tracers, meters }
    }

    fn telemetry(&self) -> Telemetry {
        let scope = InstrumentationScope::builder("test").build();
        Telemetry::new(self.tracers.tracer_with_scope(scope), &self.meters.meter("test"))
    }

    fn watch<I: Send + 'static, O: Send + 'static>(&self, chain: Chain<I, O>, content: bool) -> Chain<I, O> {
        let telemetry = self.telemetry().with_content(content);
        chain.scoped(move |cx| cx.with_observer(Arc::new(telemetry.clone())))
    }

    /// The spans as a tree, with all that is the same in every run.
    fn tree(&self) -> String {
        let spans = self.spans.get_finished_spans().unwrap();
        let mut text = String::new();
        write(&mut text, &spans, SpanId::INVALID, 0);
        text
    }

    /// The names of the metrics, with their attributes and the number of records.
    fn counts(&self) -> String {
        use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ScopeMetrics};
        self.meters.force_flush().unwrap();
        let mut lines = Vec::new();
        for resource in self.metrics.get_finished_metrics().unwrap() {
            for metric in resource.scope_metrics().flat_map(ScopeMetrics::metrics) {
                let mut line = |about: Vec<String>, count: u64| {
                    lines.push(format!("{} {} {about:?}: {count}", metric.name(), metric.unit()));
                };
                match metric.data() {
                    AggregatedMetrics::F64(MetricData::Histogram(all)) => {
                        all.data_points().for_each(|point| line(shown(point.attributes()), point.count()));
                    }
                    AggregatedMetrics::U64(MetricData::Histogram(all)) => {
                        all.data_points().for_each(|point| line(shown(point.attributes()), point.count()));
                    }
                    _ => panic!("{} is no histogram", metric.name()),
                }
            }
        }
        lines.sort();
        lines.join("\n")
    }
}

fn shown<'a>(about: impl Iterator<Item = &'a KeyValue>) -> Vec<String> {
    let mut all: Vec<_> = about
        // It differs from run to run.
        .filter(|pair| !pair.key.as_str().ends_with("time_to_first_chunk"))
        .map(|pair| format!("{}={}", pair.key, pair.value))
        .collect();
    all.sort();
    all
}

fn write(text: &mut String, spans: &[SpanData], parent: SpanId, depth: usize) {
    for span in spans.iter().filter(|span| span.parent_span_id == parent) {
        let indent = "  ".repeat(depth);
        *text += &format!("{indent}{} ({:?}, {:?})\n", span.name, span.span_kind, span.status);
        for about in shown(span.attributes.iter()) {
            *text += &format!("{indent}  - {about}\n");
        }
        for event in span.events.iter() {
            *text += &format!("{indent}  ! {} {:?}\n", event.name, shown(event.attributes.iter()));
        }
        write(text, spans, span.span_context.span_id(), depth + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_chain_is_a_tree_of_spans_and_its_calls_are_measured() {
    let exported = Exported::new();
    let parameters = Parameters::new().temperature(0.5).max_tokens(9).stop(["END"]);
    let joke = prompt("A joke about {{ topic }}.") | &model("sim/echo").unwrap().with(parameters) | text();
    let both = parallel((joke.clone().named("joke"), joke.named("other")));
    let watched = exported.watch(both.named("both"), false);
    let cx = Context::new().with_tag("night");
    watched.invoke_in(vars! { topic: "bears" }, &cx).await.unwrap();
    insta::assert_snapshot!("tree", exported.tree());
    insta::assert_snapshot!("counts", exported.counts());
}

#[tokio::test(start_paused = true)]
async fn a_streamed_call_tells_the_time_to_its_first_piece_and_content_only_where_it_is_asked_for() {
    let exported = Exported::new();
    let question = || Prompt::from("Say hello.").with_system("Be short.");
    let ask = |content: bool| exported.watch(chain(model("sim/echo").unwrap()), content);
    ask(false).invoke(question()).await.unwrap();
    let pieces = ask(true).stream(question()).collect::<Vec<_>>().await;
    assert!(pieces.len() > 1 && pieces.iter().all(Result::is_ok));
    let spans = exported.spans.get_finished_spans().unwrap();
    let has = |span: &SpanData, name: &str| span.attributes.iter().any(|pair| pair.key.as_str() == name);
    assert!(!has(&spans[0], "gen_ai.response.time_to_first_chunk"));
    assert!(has(&spans[1], "gen_ai.response.time_to_first_chunk"));
    for name in ["gen_ai.input.messages", "gen_ai.system_instructions", "gen_ai.output.messages"] {
        assert!(!has(&spans[0], name) && has(&spans[1], name), "{name}");
    }
    insta::assert_snapshot!("content", exported.tree());
    assert!(exported.counts().contains("time_to_first_chunk s"), "{}", exported.counts());
}

#[tokio::test(start_paused = true)]
async fn a_failure_says_why_and_a_step_that_is_dropped_leaves_no_span_open() {
    let exported = Exported::new();
    let fails = chain(Fake::script([Answer::error(Error::new(ErrorKind::Overloaded, "come back later"))]));
    exported.watch(fails.named("outer"), false).invoke(Prompt::from("x")).await.unwrap_err();

    let slow = chain(Fake::echo().latency(Duration::from_secs(60))) | text();
    let late = slow.named("late").timeout(Duration::from_secs(1)).named("patient");
    let telemetry = exported.telemetry();
    let seen = telemetry.clone();
    let watched = late.scoped(move |cx| cx.with_observer(Arc::new(seen.clone())));
    watched.invoke(Prompt::from("x")).await.unwrap_err();
    assert_eq!(telemetry.inner.spans.get(Mutex::default).lock().unwrap().len(), 0);
    insta::assert_snapshot!("failures", exported.tree());
    insta::assert_snapshot!("failures_counts", exported.counts());
}

#[tokio::test]
async fn embedding_texts_is_a_call_and_embedding_no_texts_is_not() {
    let exported = Exported::new();
    let embed = exported.watch(chain(embedder("sim/words").unwrap()), false);
    embed.invoke(vec!["a bear".to_owned()]).await.unwrap();
    embed.invoke(Vec::new()).await.unwrap();
    insta::assert_snapshot!("embeddings", exported.tree());
}

#[tokio::test]
async fn a_hedged_request_is_an_event_of_its_span() {
    let exported = Exported::new();
    let late = step(|_: (), cx: Context| async move {
        cx.emit(crate::EventKind::Hedged).await;
        Ok(())
    });
    exported.watch(chain(late).named("late"), false).invoke(()).await.unwrap();
    insta::assert_snapshot!("hedged", exported.tree());
}

#[tokio::test]
async fn the_span_around_a_run_is_the_parent_of_its_spans() {
    use opentelemetry::trace::{FutureExt, Tracer};
    let exported = Exported::new();
    let around =
        opentelemetry::Context::current_with_span(Tracer::start(&exported.tracers.tracer("test"), "request"));
    let watched = exported.watch(chain(Fake::echo()), false);
    watched.invoke(Prompt::from("x")).with_context(around.clone()).await.unwrap();
    around.span().end();
    let tree = exported.tree();
    assert!(tree.starts_with("request (Internal") && tree.contains("\n  chat echo (Client"), "{tree}");
}

#[tokio::test]
async fn runs_that_are_forgotten_hold_no_memory_for_ever() {
    let exported = Exported::new();
    let telemetry = exported.telemetry();
    let seen = telemetry.clone();
    let endless =
        step(|(): (), _cx| async { std::future::pending::<crate::Result<()>>().await }).named("endless");
    let watched = endless.scoped(move |cx| cx.with_observer(Arc::new(seen.clone())));
    for _ in 0..spans::MAX_OPEN + 10 {
        let _ = futures::poll!(std::pin::pin!(watched.invoke(())));
    }
    assert_eq!(telemetry.inner.spans.get(Mutex::default).lock().unwrap().len(), spans::MAX_OPEN);
    assert_eq!(exported.spans.get_finished_spans().unwrap().len(), 10);
}

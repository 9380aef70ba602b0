//! Traces and metrics as a collector receives them, decoded with the official types of the protocol.

#![expect(clippy::unwrap_used, reason = "a collector of a test may panic as the test does")]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fanweave_sim::Settings;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use crate::support::{Folder, Provider, Ran, batch_args, prompts};

/// Received signals.
#[derive(Default)]
struct Received {
    traces: Vec<ExportTraceServiceRequest>,
    metrics: Vec<ExportMetricsServiceRequest>,
}

/// A collector that stores what it receives.
struct Collector {
    url: String,
    received: Arc<Mutex<Received>>,
    _runtime: tokio::runtime::Runtime,
}

impl Collector {
    fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::<Mutex<Received>>::default();
        let kept = received.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = kept.clone();
                tokio::spawn(async move {
                    let serve = service_fn(move |request| receive(request, kept.clone()));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), serve)
                        .await;
                });
            }
        });
        Self { url, received, _runtime: runtime }
    }

    fn spans(&self) -> Vec<Span> {
        let received = self.received.lock().unwrap();
        let resources = received.traces.iter().flat_map(|request| &request.resource_spans);
        resources.flat_map(|one| &one.scope_spans).flat_map(|one| one.spans.clone()).collect()
    }

    /// Service names of traces and metrics.
    fn services(&self) -> Vec<String> {
        let received = self.received.lock().unwrap();
        let traces =
            received.traces.iter().flat_map(|r| &r.resource_spans).filter_map(|r| r.resource.as_ref());
        let metrics =
            received.metrics.iter().flat_map(|r| &r.resource_metrics).filter_map(|r| r.resource.as_ref());
        traces.chain(metrics).filter_map(|one| text(&one.attributes, "service.name")).collect()
    }

    /// Count and sum of each histogram.
    fn histograms(&self) -> Vec<(String, u64, f64)> {
        let received = self.received.lock().unwrap();
        // Cumulative: the last export has the totals.
        let Some(last) = received.metrics.last() else { return Vec::new() };
        let metrics =
            last.resource_metrics.iter().flat_map(|one| &one.scope_metrics).flat_map(|one| &one.metrics);
        metrics
            .map(|metric| {
                let Some(Data::Histogram(histogram)) = &metric.data else {
                    panic!("{} is none", metric.name)
                };
                let count = histogram.data_points.iter().map(|point| point.count).sum();
                let sum = histogram.data_points.iter().filter_map(|point| point.sum).sum();
                (metric.name.clone(), count, sum)
            })
            .collect()
    }
}

async fn receive(
    request: Request<Incoming>,
    kept: Arc<Mutex<Received>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    assert_eq!(request.headers()["content-type"], "application/x-protobuf");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut kept = kept.lock().unwrap();
    match &*path {
        "/v1/traces" => kept.traces.push(ExportTraceServiceRequest::decode(body).unwrap()),
        "/v1/metrics" => kept.metrics.push(ExportMetricsServiceRequest::decode(body).unwrap()),
        _ => {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::NOT_FOUND;
            return Ok(response);
        }
    }
    Ok(Response::new(Full::default()))
}

fn find<'a>(all: &'a [KeyValue], name: &str) -> Option<&'a Value> {
    let pair = all.iter().find(|pair| pair.key == name)?;
    pair.value.as_ref()?.value.as_ref()
}

fn text(all: &[KeyValue], name: &str) -> Option<String> {
    match find(all, name)? {
        Value::StringValue(text) => Some(text.clone()),
        Value::ArrayValue(list) => match list.values.first() {
            Some(AnyValue { value: Some(Value::StringValue(text)), .. }) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    }
}

fn number(all: &[KeyValue], name: &str) -> Option<i64> {
    match find(all, name)? {
        Value::IntValue(n) => Some(*n),
        _ => None,
    }
}

fn run(folder: &Folder, collector: &str, env: &[(&str, &str)], words: &[impl AsRef<std::ffi::OsStr>]) -> Ran {
    let mut command = folder.command(words);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector).envs(env.iter().copied());
    Ran::of(command.output().expect("the program starts"))
}

#[test]
fn a_batch_arrives_at_a_collector_with_a_trace_for_every_row_and_its_metrics() {
    let provider = Provider::start(Settings { error_rate: 0.2, ..Settings::default() });
    let (folder, collector) = (Folder::new(), Collector::start());
    folder.write("in.jsonl", prompts(100));
    let url = provider.url();
    let words = batch_args(&url, &["--temperature", "0.5", "--max-tokens", "9", "--quiet"]);
    run(&folder, &collector.url, &[], &words).expect_code(0);

    let spans = collector.spans();
    let rows: Vec<_> = spans.iter().filter(|span| span.name == "row").collect();
    let calls: Vec<_> = spans.iter().filter(|span| span.name == "chat echo").collect();
    assert_eq!((rows.len(), calls.len(), spans.len()), (100, 100, 200));
    let (mut attempts, mut retries, mut input, mut output) = (0, 0, 0, 0);
    for call in calls {
        let about = &call.attributes;
        assert_eq!(call.kind, 3, "a client");
        assert!(rows.iter().any(|row| row.span_id == call.parent_span_id && row.trace_id == call.trace_id));
        assert_eq!(text(about, "gen_ai.operation.name").as_deref(), Some("chat"));
        assert_eq!(text(about, "gen_ai.provider.name").as_deref(), Some("openai"));
        assert_eq!(text(about, "gen_ai.request.model").as_deref(), Some("echo"));
        assert_eq!(find(about, "gen_ai.request.temperature"), Some(&Value::DoubleValue(0.5)));
        assert_eq!(number(about, "gen_ai.request.max_tokens"), Some(9));
        assert_eq!(text(about, "gen_ai.response.model").as_deref(), Some("echo"));
        assert!(text(about, "gen_ai.response.id").is_some_and(|id| !id.is_empty()));
        assert!(text(about, "gen_ai.response.finish_reasons").is_some());
        assert!(call.end_time_unix_nano > call.start_time_unix_nano);
        // No text of prompts or answers.
        assert!(about.iter().all(|pair| !pair.key.contains("messages")), "{about:?}");
        attempts += number(about, "fanweave.attempts").unwrap();
        retries += call.events.iter().filter(|event| event.name == "retry").count();
        input += number(about, "gen_ai.usage.input_tokens").unwrap();
        output += number(about, "gen_ai.usage.output_tokens").unwrap();
    }
    assert!(retries > 0, "a fifth of the requests failed");
    assert_eq!(attempts, 100 + i64::try_from(retries).unwrap());

    let histograms = collector.histograms();
    let told = |name: &str| {
        histograms.iter().find(|(other, ..)| other == name).map(|(_, count, sum)| (*count, *sum))
    };
    assert_eq!(told("gen_ai.client.operation.duration").unwrap().0, 100);
    #[expect(clippy::cast_precision_loss, reason = "a few hundred tokens")]
    let tokens = (input + output) as f64;
    assert_eq!(told("gen_ai.client.token.usage"), Some((200, tokens)));
    assert_eq!(told("gen_ai.client.operation.time_to_first_chunk"), None, "nothing was streamed");
    assert!(collector.services().iter().all(|name| name == "fanweave"));
}

#[test]
fn a_streamed_answer_reports_its_first_chunk_and_its_text_only_if_enabled() {
    let provider = Provider::start(Settings::default());
    let (folder, collector) = (Folder::new(), Collector::start());
    let url = provider.url();
    let ask = ["ask", "A secret.", "--model", "openai/echo", "--base-url", &url];
    run(&folder, &collector.url, &[("OTEL_SERVICE_NAME", "tides")], &ask).expect_code(0);
    let spans = collector.spans();
    assert!(!format!("{spans:?}").contains("A secret."), "{spans:?}");
    let call = spans.iter().find(|span| span.name == "chat echo").expect("a call");
    assert!(find(&call.attributes, "gen_ai.response.time_to_first_chunk").is_some());
    assert!(collector.services().iter().all(|name| name == "tides"));
    assert!(
        collector.histograms().iter().any(|(name, count, _)| name.ends_with("first_chunk") && *count == 1)
    );

    let content = [("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")];
    run(&folder, &collector.url, &content, &ask).expect_code(0);
    assert!(format!("{:?}", collector.spans()).contains("A secret."));

    folder.write(
        "chain.yaml",
        "name: pair\nsteps:\n  a: { prompt: one }\n  b: { prompt: '{{ steps.a.output }}' }\n",
    );
    let chain = ["run", "chain.yaml", "--model", "openai/echo", "--base-url", &url];
    run(&folder, &collector.url, &[], &chain).expect_code(0);
    let spans = collector.spans();
    let pair = spans.iter().find(|span| span.name == "pair").expect("the chain");
    let mut names: Vec<_> =
        spans.iter().filter(|span| span.parent_span_id == pair.span_id).map(|span| &*span.name).collect();
    names.sort_unstable();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn only_signals_with_an_endpoint_are_sent_under_the_given_service_name() {
    let folder = Folder::new();
    let ask = ["ask", "hello", "--model", "sim/echo"];
    let counts = |own: &str, path: &str| {
        let collector = Collector::start();
        let to = format!("{}{path}", collector.url);
        let more = [(own, to.as_str()), ("OTEL_RESOURCE_ATTRIBUTES", "team=red,service.name=tides")];
        let ran = run(&folder, "", &more, &ask).expect_code(0);
        assert_eq!(ran.stderr, "", "nothing went to where nobody listens");
        assert!(collector.services().iter().all(|name| name == "tides"), "{:?}", collector.services());
        let received = collector.received.lock().unwrap();
        (received.traces.len(), received.metrics.len())
    };
    assert_eq!(counts("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "/v1/traces"), (1, 0));
    assert_eq!(counts("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "/v1/metrics"), (0, 1));
}

#[test]
fn an_unreachable_collector_is_reported_and_does_not_affect_the_answer() {
    let folder = Folder::new();
    let ask = ["ask", "hello", "--model", "sim/echo"];
    let away = run(&folder, "http://127.0.0.1:1", &[], &ask).expect_code(0);
    assert!(away.stdout.contains("hello"), "{}", away.stdout);
    assert!(
        away.stderr.contains("note: telemetry was not exported: cannot connect to 127.0.0.1:1"),
        "{}",
        away.stderr
    );
    // The collector only accepts requests to its own endpoints.
    let collector = Collector::start();
    let lost = run(&folder, &format!("{}/elsewhere", collector.url), &[], &ask).expect_code(0);
    assert!(lost.stderr.contains(" answered 404 Not Found"), "{}", lost.stderr);
    let grpc =
        run(&folder, "http://127.0.0.1:1", &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], &ask).expect_code(0);
    assert!(grpc.stderr.contains("must be http/protobuf"), "{}", grpc.stderr);
    for endpoint in ["http://user:s3cret@127.0.0.1:1", "s3cret://127.0.0.1:1", "http://s3cret:x y"] {
        let refused = run(&folder, endpoint, &[], &ask).expect_code(0);
        assert!(refused.stderr.contains("without a user name or password"), "{}", refused.stderr);
        assert!(!refused.stderr.contains("s3cret"), "{}", refused.stderr);
    }
    let off = run(&folder, "http://127.0.0.1:1", &[("OTEL_SDK_DISABLED", "true")], &ask).expect_code(0);
    assert_eq!(off.stderr, "");
}

#[test]
fn a_collector_that_never_answers_does_not_delay_the_exit_for_long() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let folder = Folder::new();
    let began = std::time::Instant::now();
    let ran = run(&folder, &url, &[], &["ask", "hello", "--model", "sim/echo"]).expect_code(0);
    assert!(ran.stdout.contains("hello"), "{}", ran.stdout);
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

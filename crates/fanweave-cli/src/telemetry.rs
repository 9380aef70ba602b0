//! Spans and metrics of calls, sent where OpenTelemetry's own environment variables say.

#[cfg(feature = "telemetry")]
pub(crate) use sent::Exporter;
#[cfg(not(feature = "telemetry"))]
pub(crate) use silent::Exporter;

/// Without the feature there is nothing to send with.
#[cfg(not(feature = "telemetry"))]
mod silent {
    use fanweave::Chain;

    pub(crate) struct Exporter;

    impl Exporter {
        pub(crate) fn from_env() -> Self {
            Self
        }

        pub(crate) fn watch<I, O>(&self, _: &str, chain: Chain<I, O>) -> Chain<I, O> {
            chain
        }

        pub(crate) async fn end(self) {}
    }
}

#[cfg(feature = "telemetry")]
mod sent {
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::{Arc, Mutex, PoisonError};
    use std::time::Duration;

    use bytes::Bytes;
    use fanweave::Chain;
    use fanweave::models::{Client, HttpTransport};
    use fanweave::telemetry::Telemetry;
    use http::{Request, Response};
    use http_body_util::{BodyExt, Limited};
    use opentelemetry::metrics::MeterProvider;
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_http::{HttpClient, HttpError};
    use opentelemetry_otlp::{ExporterBuildError, MetricExporter, SpanExporter, WithHttpConfig};
    use opentelemetry_sdk::Resource;
    use opentelemetry_sdk::metrics::SdkMeterProvider;
    use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
    use tokio::runtime::Handle;

    use crate::out::tell;
    use crate::stop;

    /// Spans that wait to be sent, unless `OTEL_BSP_MAX_QUEUE_SIZE` says otherwise. Further ones are dropped.
    const QUEUE: usize = 65_536;
    /// Longest time for a request, and for what is left at the end.
    const PATIENCE: Duration = Duration::from_secs(5);
    /// Most bytes of a receiver's answer.
    const ANSWER: usize = 1 << 20;

    /// Sends what is told of calls, where somebody wants it.
    pub(crate) struct Exporter(Option<Providers>);

    struct Providers {
        tracers: SdkTracerProvider,
        meters: SdkMeterProvider,
        telemetry: Telemetry,
        failure: Failure,
    }

    /// Why the last request that failed did.
    type Failure = Arc<Mutex<Option<String>>>;

    impl Exporter {
        /// What the environment asks for: nothing, unless it names an endpoint. What it asks for and cannot have is said:
        /// it is no reason to fail.
        pub(crate) fn from_env() -> Self {
            let is_wanted = has_endpoint(TRACES) || has_endpoint(METRICS);
            let is_off = set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
            if !is_wanted || is_off {
                return Self(None);
            }
            if set("OTEL_EXPORTER_OTLP_PROTOCOL").is_some_and(|protocol| protocol != "http/protobuf") {
                note(
                    "OTEL_EXPORTER_OTLP_PROTOCOL has to be http/protobuf, which collectors take on port 4318",
                );
                return Self(None);
            }
            match Providers::new() {
                Ok(providers) => Self(Some(providers)),
                Err(error) => {
                    note(&error.to_string());
                    Self(None)
                }
            }
        }

        /// The chain, whose runs are told of: each is a trace, under a span of that name.
        pub(crate) fn watch<I, O>(&self, name: &str, chain: Chain<I, O>) -> Chain<I, O>
        where
            I: Send + 'static,
            O: Send + 'static,
        {
            let Some(providers) = &self.0 else { return chain };
            let telemetry = Arc::new(providers.telemetry.clone());
            chain.named(name).scoped(move |cx| cx.with_observer(telemetry.clone()))
        }

        /// Sends what is left.
        pub(crate) async fn end(self) {
            let Some(Providers { tracers, meters, telemetry, failure }) = self.0 else { return };
            drop(telemetry);
            // Both block, on threads that need this runtime to send.
            let ended = tokio::task::spawn_blocking(move || {
                let spans = tracers.shutdown_with_timeout(PATIENCE);
                spans.and(meters.shutdown_with_timeout(PATIENCE))
            });
            let ended = tokio::select! {
                ended = ended => ended,
                () = stop::signal() => return,
            };
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    // What the parts in between make of it no longer says what it was.
                    let why = failure.lock().unwrap_or_else(PoisonError::into_inner).take();
                    note(&why.unwrap_or_else(|| error.to_string()));
                }
                Err(error) => note(&error.to_string()),
            }
        }
    }

    /// The variables that say where traces and metrics alone go.
    const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    const METRICS: &str = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT";

    fn set(name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.trim().is_empty())
    }

    /// Whether somebody has said where to send what `own` is about.
    fn has_endpoint(own: &str) -> bool {
        set("OTEL_EXPORTER_OTLP_ENDPOINT").or_else(|| set(own)).is_some()
    }

    /// Whether somebody has said whose telemetry it is.
    fn has_service_name() -> bool {
        let is_name =
            |pair: &str| pair.split_once('=').is_some_and(|(name, _)| name.trim() == "service.name");
        set("OTEL_SERVICE_NAME").is_some()
            || set("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|all| all.split(',').any(is_name))
    }

    fn note(why: &str) {
        tell!("note: telemetry is not sent: {why}");
    }

    impl Providers {
        fn new() -> Result<Self, ExporterBuildError> {
            let failure = Failure::default();
            let sender =
                Sender { client: Client::default(), runtime: Handle::current(), failure: failure.clone() };
            let client: Arc<dyn HttpClient> = Arc::new(sender);
            let mut resource = Resource::builder();
            if !has_service_name() {
                resource = resource.with_service_name("fanweave");
            }
            let resource = resource.build();
            let mut tracers = SdkTracerProvider::builder().with_resource(resource.clone());
            // What has no address of its own would go to a collector on this machine that nobody has spoken of.
            if has_endpoint(TRACES) {
                let spans =
                    SpanExporter::builder().with_http().with_shared_http_client(client.clone()).build()?;
                let mut queue = BatchConfigBuilder::default();
                if std::env::var_os("OTEL_BSP_MAX_QUEUE_SIZE").is_none() {
                    queue = queue.with_max_queue_size(QUEUE);
                }
                let spans = BatchSpanProcessor::builder(spans).with_batch_config(queue.build()).build();
                tracers = tracers.with_span_processor(spans);
            }
            let mut meters = SdkMeterProvider::builder().with_resource(resource);
            if has_endpoint(METRICS) {
                let metrics =
                    MetricExporter::builder().with_http().with_shared_http_client(client).build()?;
                meters = meters.with_periodic_exporter(metrics);
            }
            let (tracers, meters) = (tracers.build(), meters.build());
            // The name of the switch that other instrumentations have.
            let content = std::env::var("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT");
            let content = content
                .is_ok_and(|value| ["true", "span_only", "span_and_event"].contains(&&*value.to_lowercase()));
            let telemetry = Telemetry::new(tracers.tracer("fanweave"), &meters.meter("fanweave"));
            Ok(Self { tracers, meters, telemetry: telemetry.with_content(content), failure })
        }
    }

    /// Sends over the connections of this program, as its environment's proxies and certificates have it.
    #[derive(Debug)]
    struct Sender {
        client: Client,
        runtime: Handle,
        failure: Failure,
    }

    impl HttpClient for Sender {
        fn send_bytes<'a, 'b>(
            &'a self,
            request: Request<Bytes>,
        ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
        where
            'a: 'b,
            Self: 'b,
        {
            let client = self.client.clone();
            let failure = self.failure.clone();
            // Alone: what else an address may hold is nobody's to read.
            let host = request.uri().host().unwrap_or_default().to_owned();
            let sent = async move {
                let (head, body) = client.send(request).await?.into_parts();
                let body = Limited::new(body, ANSWER).collect().await?.to_bytes();
                Ok::<_, HttpError>(Response::from_parts(head, body))
            };
            // Whoever asks has a thread, and no runtime.
            let sent = self.runtime.spawn(async move {
                let sent = match tokio::time::timeout(PATIENCE, sent).await {
                    Ok(sent) => sent,
                    Err(_) => Err(format!("{host} gave no answer within {PATIENCE:?}").into()),
                };
                let why = match &sent {
                    Ok(answer) if answer.status().is_success() => None,
                    Ok(answer) => Some(format!("{host} answered {}", answer.status())),
                    Err(error) => Some(error.to_string()),
                };
                if why.is_some() {
                    *failure.lock().unwrap_or_else(PoisonError::into_inner) = why;
                }
                sent
            });
            Box::pin(async move { sent.await? })
        }
    }
}

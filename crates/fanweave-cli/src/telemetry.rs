//! Exports spans and metrics of calls, configured by the standard OpenTelemetry environment variables.

#[cfg(feature = "telemetry")]
pub(crate) use sent::Exporter;
#[cfg(not(feature = "telemetry"))]
pub(crate) use silent::Exporter;

/// Stub for builds without the feature `telemetry`.
#[cfg(not(feature = "telemetry"))]
mod silent {
    use fanweave::Chain;

    use crate::stop::Stop;

    pub(crate) struct Exporter;

    impl Exporter {
        pub(crate) fn from_env() -> Self {
            Self
        }

        pub(crate) fn watch<I, O>(&self, _: &str, chain: Chain<I, O>) -> Chain<I, O> {
            chain
        }

        pub(crate) async fn end(self, _stop: &Stop) {}
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
    use crate::stop::Stop;

    /// Default of `OTEL_BSP_MAX_QUEUE_SIZE`: maximum number of queued spans. Further ones are dropped.
    const MAX_QUEUE: usize = 65_536;
    /// Timeout for a request, and for flushing at the end.
    const TIMEOUT: Duration = Duration::from_secs(5);
    /// Maximum size of a collector's response, in bytes.
    const MAX_RESPONSE_BYTES: usize = 1 << 20;

    /// Exports telemetry of calls, if it is enabled.
    pub(crate) struct Exporter(Option<Providers>);

    struct Providers {
        tracers: SdkTracerProvider,
        meters: SdkMeterProvider,
        telemetry: Telemetry,
        failure: Failure,
    }

    /// Reason of the last failed request.
    type Failure = Arc<Mutex<Option<String>>>;

    impl Exporter {
        /// Configures the exporter from the environment. Disabled unless an endpoint is set. Configuration
        /// errors are printed as notes and do not fail the run.
        pub(crate) fn from_env() -> Self {
            let is_wanted = has_endpoint(TRACES) || has_endpoint(METRICS);
            let is_off = set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
            if !is_wanted || is_off {
                return Self(None);
            }
            if set("OTEL_EXPORTER_OTLP_PROTOCOL").is_some_and(|protocol| protocol != "http/protobuf") {
                note("OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf, usually on port 4318");
                return Self(None);
            }
            // The errors of the SDK quote the URL.
            if let Some(variable) =
                ENDPOINTS.into_iter().find(|name| set(name).is_some_and(|url| !is_plain(&url)))
            {
                note(&format!(
                    "{variable} must be an http or https URL without a user name or password: put those into \
                     OTEL_EXPORTER_OTLP_HEADERS"
                ));
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

        /// Records each run of the chain as a trace, with a root span called `name`.
        pub(crate) fn watch<I, O>(&self, name: &str, chain: Chain<I, O>) -> Chain<I, O>
        where
            I: Send + 'static,
            O: Send + 'static,
        {
            let Some(providers) = &self.0 else { return chain };
            let telemetry = Arc::new(providers.telemetry.clone());
            chain.named(name).scoped(move |cx| cx.with_observer(telemetry.clone()))
        }

        /// Flushes and shuts down.
        pub(crate) async fn end(self, stop: &Stop) {
            let Some(Providers { tracers, meters, telemetry, failure }) = self.0 else { return };
            drop(telemetry);
            // Both block, and their threads need this runtime to send.
            let ended = tokio::task::spawn_blocking(move || {
                let spans = tracers.shutdown_with_timeout(TIMEOUT);
                spans.and(meters.shutdown_with_timeout(TIMEOUT))
            });
            let ended = tokio::select! {
                ended = ended => ended,
                () = stop.requested() => return,
            };
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    // The error of the SDK has lost the original reason.
                    let why = failure.lock().unwrap_or_else(PoisonError::into_inner).take();
                    note(&why.unwrap_or_else(|| error.to_string()));
                }
                Err(error) => note(&error.to_string()),
            }
        }
    }

    /// Variables for separate endpoints of traces and metrics.
    const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    const METRICS: &str = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT";

    /// The variables of endpoints.
    const ENDPOINTS: [&str; 3] = ["OTEL_EXPORTER_OTLP_ENDPOINT", TRACES, METRICS];

    /// Returns true for a URL of a server, without credentials.
    fn is_plain(url: &str) -> bool {
        let url = url
            .trim()
            .parse::<http::Uri>()
            .ok()
            .filter(|url| matches!(url.scheme_str(), Some("http" | "https")));
        url.and_then(|url| url.into_parts().authority)
            .is_some_and(|authority| !authority.as_str().contains('@'))
    }

    fn set(name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.trim().is_empty())
    }

    /// Returns true if an endpoint is set, in general or by the variable `own`.
    fn has_endpoint(own: &str) -> bool {
        set("OTEL_EXPORTER_OTLP_ENDPOINT").or_else(|| set(own)).is_some()
    }

    /// Returns true if a service name is set.
    fn has_service_name() -> bool {
        let is_name =
            |pair: &str| pair.split_once('=').is_some_and(|(name, _)| name.trim() == "service.name");
        set("OTEL_SERVICE_NAME").is_some()
            || set("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|all| all.split(',').any(is_name))
    }

    fn note(why: &str) {
        tell!("note: telemetry was not exported: {why}");
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
            // Without an endpoint, the SDK would send to a default collector on this machine.
            if has_endpoint(TRACES) {
                let spans =
                    SpanExporter::builder().with_http().with_shared_http_client(client.clone()).build()?;
                let mut queue = BatchConfigBuilder::default();
                if std::env::var_os("OTEL_BSP_MAX_QUEUE_SIZE").is_none() {
                    queue = queue.with_max_queue_size(MAX_QUEUE);
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
            // The variable that other instrumentations use as well.
            let content = std::env::var("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT");
            let content = content
                .is_ok_and(|value| ["true", "span_only", "span_and_event"].contains(&&*value.to_lowercase()));
            let telemetry = Telemetry::new(tracers.tracer("fanweave"), &meters.meter("fanweave"));
            Ok(Self { tracers, meters, telemetry: telemetry.with_content(content), failure })
        }
    }

    /// Sends over the HTTP client of this program, which respects proxies and certificates of the
    /// environment.
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
            // Only the host: the rest of the URL may contain secrets.
            let host = request.uri().host().unwrap_or_default().to_owned();
            let sent = async move {
                let (head, body) = client.send(request).await?.into_parts();
                let body = Limited::new(body, MAX_RESPONSE_BYTES).collect().await?.to_bytes();
                Ok::<_, HttpError>(Response::from_parts(head, body))
            };
            // The caller is a thread without a runtime.
            let sent = self.runtime.spawn(async move {
                let sent = match tokio::time::timeout(TIMEOUT, sent).await {
                    Ok(sent) => sent,
                    Err(_) => Err(format!("{host} did not answer within {TIMEOUT:?}").into()),
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

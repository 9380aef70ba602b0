//! Calls over TLS: which certificates are trusted, and how HTTP/2 shares connections.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fanweave_core::ErrorKind;
use fanweave_models::{Client, ModelBuilder, RetryPolicy};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

const BODY: &str = r#"{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}"#;

struct Secure {
    port: u16,
    pem: String,
    connections: Arc<AtomicUsize>,
}

impl Secure {
    /// A server for `localhost` that speaks `protocol`, and takes its time over every answer.
    async fn start(protocol: &[u8], latency: Duration) -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key.into())
            .unwrap();
        config.alpn_protocols = vec![protocol.to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let http2 = protocol == b"h2";

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, count) = (acceptor.clone(), count.clone());
                tokio::spawn(async move {
                    let Ok(socket) = acceptor.accept(socket).await else { return };
                    count.fetch_add(1, Ordering::SeqCst);
                    let service = service_fn(move |request: Request<Incoming>| async move {
                        let _ = request.into_body().collect().await;
                        tokio::time::sleep(latency).await;
                        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(BODY)))
                    });
                    let io = TokioIo::new(socket);
                    if http2 {
                        let mut http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                        let _ = http.max_concurrent_streams(100).serve_connection(io, service).await;
                    } else {
                        let http = hyper::server::conn::http1::Builder::new();
                        let _ = http.serve_connection(io, service).await;
                    }
                });
            }
        });
        Self { port, pem: cert.pem(), connections }
    }

    fn client(&self) -> Client {
        Client::builder().root_certificates(self.pem.as_bytes()).build().unwrap()
    }

    fn model(&self, host: &str, client: Client) -> ModelBuilder {
        let url = format!("https://{host}:{}/v1", self.port);
        ModelBuilder::new("openai/test").base_url(url).client(client)
    }
}

#[tokio::test]
async fn a_certificate_of_ones_own_is_trusted_where_it_is_given() {
    for protocol in [&b"http/1.1"[..], b"h2"] {
        let server = Secure::start(protocol, Duration::ZERO).await;
        let model = server.model("localhost", server.client()).build().unwrap();
        for _ in 0..3 {
            assert_eq!(model.invoke("x").await.unwrap().text(), "hi");
        }
        assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_refused_at_once() {
    let server = Secure::start(b"h2", Duration::ZERO).await;
    let stranger = Client::builder().build().unwrap();
    for (host, client) in [("localhost", stranger), ("127.0.0.1", server.client())] {
        // The default policy would go on for seconds.
        let error = server.model(host, client).build().unwrap().invoke("x").await.unwrap_err();
        assert_eq!((error.kind(), error.is_retryable(), error.attempts()), (ErrorKind::Connection, false, 1));
        assert!(error.message().contains("certificate"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_calls_than_one_http2_connection_takes_open_another() {
    let server = Secure::start(b"h2", Duration::from_millis(500)).await;
    let model = server.model("localhost", server.client()).retry(RetryPolicy::never()).build().unwrap();
    model.invoke("x").await.unwrap();
    let began = std::time::Instant::now();
    let mut calls = JoinSet::new();
    for _ in 0..400 {
        let model = model.clone();
        calls.spawn(async move { model.invoke("x").await });
    }
    for message in calls.join_all().await {
        message.unwrap();
    }
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
    let connections = server.connections.load(Ordering::SeqCst);
    assert!(connections >= 4, "{connections} connections");
}

//! Calls over TLS: trusted certificates, and sharing of HTTP/2 connections.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fanweave_core::{ErrorKind, Model};
use fanweave_models::{Client, ModelBuilder, RetryPolicy, Timeouts};
use futures::future::join_all;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, CertifiedKey, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

const BODY: &str = r#"{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}"#;

pub(crate) struct Secure {
    pub(crate) port: u16,
    pub(crate) pem: String,
    /// Number of TLS connections accepted.
    pub(crate) connections: Arc<AtomicUsize>,
}

/// Behaviour of a server.
#[derive(Clone, Copy)]
pub(crate) struct Behaviour {
    pub(crate) http2: bool,
    /// Delay before every response.
    pub(crate) latency: Duration,
    /// Concurrent HTTP/2 calls on a connection.
    pub(crate) streams: u32,
    /// Calls on one connection, after which the server shuts it down gracefully.
    pub(crate) last: usize,
    /// Refuses this many calls on every connection, like HTTP/2 servers that are about to shut down.
    pub(crate) refused: usize,
    /// Number of connections, from the first, on which each response is a 502.
    pub(crate) bad: usize,
    /// Number of calls on each connection, from the first, that get a 502 immediately.
    pub(crate) failed: usize,
    /// Number of connections, from the first, without responses.
    pub(crate) silent: usize,
    /// Closes a connection without a response when this call arrives.
    pub(crate) cut: usize,
}

impl Default for Behaviour {
    fn default() -> Self {
        let latency = Duration::ZERO;
        Self {
            http2: true,
            latency,
            streams: 100,
            last: usize::MAX,
            refused: 0,
            bad: 0,
            failed: 0,
            silent: 0,
            cut: usize::MAX,
        }
    }
}

/// A self-signed certificate for `names`, with its key. It has expired unless it is `valid`.
pub(crate) fn certificate(names: &[&str], valid: bool) -> CertifiedKey<KeyPair> {
    let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let mut parameters = CertificateParams::new(names).unwrap();
    if !valid {
        parameters.not_after = date_time_ymd(2001, 1, 1);
    }
    let signing_key = KeyPair::generate().unwrap();
    let cert = parameters.self_signed(&signing_key).unwrap();
    CertifiedKey { cert, signing_key }
}

impl Secure {
    /// Starts a server for `localhost`.
    pub(crate) async fn start(behaviour: Behaviour) -> Self {
        Self::start_as(&certificate(&["localhost"], true), behaviour).await
    }

    pub(crate) async fn start_as(certified: &CertifiedKey<KeyPair>, behaviour: Behaviour) -> Self {
        let CertifiedKey { cert, signing_key } = certified;
        let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key.into())
            .unwrap();
        config.alpn_protocols = vec![if behaviour.http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        let acceptor = TlsAcceptor::from(Arc::new(config));

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, count) = (acceptor.clone(), count.clone());
                tokio::spawn(async move {
                    let Ok(socket) = acceptor.accept(socket).await else { return };
                    let number = count.fetch_add(1, Ordering::SeqCst);
                    if behaviour.refused > 0 || behaviour.cut < usize::MAX {
                        refuse(socket, behaviour).await;
                    } else {
                        serve(TokioIo::new(socket), behaviour, number).await;
                    }
                });
            }
        });
        Self { port, pem: cert.pem(), connections }
    }

    pub(crate) fn client(&self) -> Client {
        Client::builder().root_certificates(self.pem.as_bytes()).build().unwrap()
    }

    pub(crate) fn model(&self, host: &str, client: Client) -> ModelBuilder {
        let url = format!("https://{host}:{}/v1", self.port);
        ModelBuilder::new("openai/test").base_url(url).client(client)
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

type Socket = TlsStream<TcpStream>;

async fn serve(io: TokioIo<Socket>, behaviour: Behaviour, number: usize) {
    let done = Arc::new(Notify::new());
    let (answered, tell) = (Arc::new(AtomicUsize::new(0)), done.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let (answered, tell) = (answered.clone(), tell.clone());
        async move {
            let _ = request.into_body().collect().await;
            let answered = answered.fetch_add(1, Ordering::SeqCst) + 1;
            if answered == behaviour.last {
                tell.notify_one();
            }
            let has_failed = number < behaviour.bad || answered <= behaviour.failed;
            if !has_failed {
                tokio::time::sleep(behaviour.latency).await;
            }
            if number < behaviour.silent {
                std::future::pending::<()>().await;
            }
            let mut response = Response::new(Full::<Bytes>::from(BODY));
            if has_failed {
                *response.status_mut() = StatusCode::BAD_GATEWAY;
            }
            Ok::<_, Infallible>(response)
        }
    });
    if behaviour.http2 {
        let mut http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let connection = http.max_concurrent_streams(behaviour.streams).serve_connection(io, service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            _ = &mut connection => return,
            () = done.notified() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    } else {
        let http = hyper::server::conn::http1::Builder::new();
        let _ = http.serve_connection(io, service).await;
    }
}

/// Refuses the first calls of a connection, and answers the others until the last one.
async fn refuse(socket: Socket, behaviour: Behaviour) {
    let mut connection = h2::server::handshake(socket).await.unwrap();
    let mut seen = 0;
    while let Some(Ok((_request, mut answer))) = connection.accept().await {
        seen += 1;
        if seen >= behaviour.cut {
            return;
        }
        if seen <= behaviour.refused {
            answer.send_reset(h2::Reason::REFUSED_STREAM);
        } else {
            let mut body = answer.send_response(Response::new(()), false).unwrap();
            body.send_data(Bytes::from(BODY), true).unwrap();
        }
    }
}

#[tokio::test]
async fn a_self_signed_certificate_is_trusted_if_it_is_configured() {
    for http2 in [false, true] {
        let server = Secure::start(Behaviour { http2, ..Behaviour::default() }).await;
        let model = server.model("localhost", server.client()).build().unwrap();
        for _ in 0..3 {
            assert_eq!(model.invoke("x").await.unwrap().text(), "hi");
        }
        assert_eq!(server.connections(), 1);
    }
}

#[tokio::test]
async fn an_untrusted_certificate_is_rejected_immediately() {
    let server = Secure::start(Behaviour::default()).await;
    let stranger = Client::builder().build().unwrap();
    for (host, client) in [("localhost", stranger), ("127.0.0.1", server.client())] {
        // The default policy would retry for seconds.
        let error = server.model(host, client).build().unwrap().invoke("x").await.unwrap_err();
        assert_eq!((error.kind(), error.is_retryable(), error.attempts()), (ErrorKind::Connection, false, 1));
        assert!(error.message().contains("certificate"), "{error}");
    }
}

#[tokio::test]
async fn an_expired_or_mismatched_certificate_is_rejected_immediately() {
    for (certified, says) in [
        (certificate(&["localhost"], false), "expired"),
        (certificate(&["elsewhere"], true), "not valid for name"),
    ] {
        let server = Secure::start_as(&certified, Behaviour::default()).await;
        let error =
            server.model("localhost", server.client()).build().unwrap().invoke("x").await.unwrap_err();
        assert_eq!((error.kind(), error.is_retryable(), error.attempts()), (ErrorKind::Connection, false, 1));
        assert!(error.message().contains(says), "{error}");
        assert_eq!(server.connections(), 0);
    }
}

async fn calls(model: &Model, count: usize) -> Duration {
    let began = std::time::Instant::now();
    let mut calls = JoinSet::new();
    for _ in 0..count {
        let model = model.clone();
        calls.spawn(async move { model.invoke("x").await });
    }
    for message in calls.join_all().await {
        assert_eq!(message.unwrap().text(), "hi");
    }
    began.elapsed()
}

/// 400 calls of 500 ms take 2 s on one connection that carries a hundred.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_calls_than_one_http2_connection_takes_open_as_many_as_are_needed() {
    let server =
        Secure::start(Behaviour { latency: Duration::from_millis(500), ..Behaviour::default() }).await;
    let model = server.model("localhost", server.client()).retry(RetryPolicy::never()).build().unwrap();
    for what in ["cold", "warm"] {
        let took = calls(&model, 400).await;
        println!("400 calls of 500 ms, {what}: {took:?}");
        assert!(took < Duration::from_millis(1500), "{what}: {took:?}");
        assert_eq!(server.connections(), 4, "{what}");
    }
}

#[tokio::test]
async fn a_server_that_takes_fewer_concurrent_calls_gets_more_connections() {
    let behaviour = Behaviour { latency: Duration::from_millis(50), streams: 5, ..Behaviour::default() };
    let server = Secure::start(behaviour).await;
    let model = server.model("localhost", server.client()).retry(RetryPolicy::never()).build().unwrap();
    // Until a server has announced its limit, a typical one is assumed.
    model.invoke("x").await.unwrap();
    calls(&model, 20).await;
    let connections = server.connections();
    assert!((4..=5).contains(&connections), "{connections} connections");
}

#[tokio::test]
async fn a_connection_that_shuts_down_uses_no_attempt_of_a_call() {
    let behaviour = Behaviour { latency: Duration::from_millis(2), last: 7, ..Behaviour::default() };
    let server = Secure::start(behaviour).await;
    let model = server.model("localhost", server.client()).retry(RetryPolicy::never()).build().unwrap();
    for _ in 0..10 {
        calls(&model, 10).await;
    }
    assert!((2..=30).contains(&server.connections()), "{}", server.connections());
}

#[tokio::test]
async fn a_call_that_the_server_refuses_to_start_is_resent_without_using_an_attempt() {
    let server = Secure::start(Behaviour { refused: 2, ..Behaviour::default() }).await;
    let model = server.model("localhost", server.client()).retry(RetryPolicy::never()).build().unwrap();
    assert_eq!(model.invoke("x").await.unwrap().reply.unwrap().attempts, 1);

    let server = Secure::start(Behaviour { refused: usize::MAX, ..Behaviour::default() }).await;
    let model = server.model("localhost", server.client()).retry(RetryPolicy::never()).build().unwrap();
    assert_eq!(model.invoke("x").await.unwrap_err().kind(), ErrorKind::Connection);
}

#[tokio::test]
async fn cancelled_calls_leave_the_connection_to_others() {
    let server =
        Secure::start(Behaviour { latency: Duration::from_millis(30), ..Behaviour::default() }).await;
    let model = server.model("localhost", server.client()).retry(RetryPolicy::never()).build().unwrap();
    // Only a few: a server closes a connection on which too many calls are cancelled.
    for _ in 0..5 {
        let call = calls(&model, 3);
        assert!(tokio::time::timeout(Duration::from_millis(5), call).await.is_err());
    }
    calls(&model, 150).await;
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_connection_whose_only_call_fails_is_replaced() {
    for http2 in [false, true] {
        let server = Secure::start(Behaviour { http2, bad: 1, ..Behaviour::default() }).await;
        let policy = RetryPolicy::default().initial_backoff(Duration::from_millis(1));
        let model = server.model("localhost", server.client()).retry(policy).build().unwrap();
        for attempts in [2, 1, 1] {
            assert_eq!(model.invoke("x").await.unwrap().reply.unwrap().attempts, attempts);
        }
        assert_eq!(server.connections(), 2);
    }
}

#[tokio::test]
async fn a_connection_whose_only_call_gets_no_response_is_replaced() {
    for http2 in [false, true] {
        let server = Secure::start(Behaviour { http2, silent: 1, ..Behaviour::default() }).await;
        let timeouts = Timeouts::default().first_byte(Duration::from_millis(1100));
        let client = Client::builder().root_certificates(server.pem.as_bytes()).timeouts(timeouts);
        let model = server.model("localhost", client.build().unwrap()).retry(RetryPolicy::never());
        let model = model.build().unwrap();
        assert_eq!(model.invoke("x").await.unwrap_err().kind(), ErrorKind::Timeout);
        model.invoke("x").await.unwrap();
        assert_eq!(server.connections(), 2);
    }
}

async fn failures(model: &Model, count: usize) -> usize {
    let calls = (0..count).map(|_| model.invoke("x"));
    join_all(calls).await.iter().filter(|message| message.is_err()).count()
}

#[tokio::test]
async fn a_busy_http2_connection_is_replaced_only_if_eight_calls_in_a_row_fail() {
    let latency = Duration::from_millis(500);
    for (behaviour, failed, connections) in [
        (Behaviour { bad: 1, ..Behaviour::default() }, 20, 2),
        (Behaviour { failed: 5, latency, ..Behaviour::default() }, 5, 1),
    ] {
        let server = Secure::start(behaviour).await;
        let model = server.model("localhost", server.client()).retry(RetryPolicy::never()).build().unwrap();
        assert_eq!(failures(&model, 20).await, failed);
        assert_eq!(failures(&model, 20).await, 0);
        assert_eq!(server.connections(), connections);
    }
}

#[tokio::test]
async fn an_http2_connection_that_closes_instead_of_the_next_answer_uses_no_attempt() {
    let server = Secure::start(Behaviour { cut: 2, ..Behaviour::default() }).await;
    let model = server.model("localhost", server.client()).retry(RetryPolicy::never()).build().unwrap();
    for _ in 0..5 {
        assert_eq!(model.invoke("x").await.unwrap().reply.unwrap().attempts, 1);
    }
    assert_eq!(server.connections(), 5);
}

//! Calls over TLS: which certificates are trusted, and how HTTP/2 shares connections.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fanweave_core::{ErrorKind, Model};
use fanweave_models::{Client, ModelBuilder, RetryPolicy};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
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
    /// TLS connections that were made.
    pub(crate) connections: Arc<AtomicUsize>,
}

/// How a server treats its calls.
#[derive(Clone, Copy)]
pub(crate) struct Manners {
    pub(crate) http2: bool,
    /// Before every answer.
    pub(crate) latency: Duration,
    /// HTTP/2 calls at once on a connection.
    pub(crate) streams: u32,
    /// Calls on one connection, after which it goes away in good order.
    pub(crate) last: usize,
    /// Refuses this many calls on every connection, as HTTP/2 servers do that are about to go away.
    pub(crate) refused: usize,
}

impl Default for Manners {
    fn default() -> Self {
        let latency = Duration::ZERO;
        Self { http2: true, latency, streams: 100, last: usize::MAX, refused: 0 }
    }
}

/// A certificate for `names` that nobody else has signed, with its key. It has expired where it is not
/// `valid`.
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
    /// A server for `localhost`.
    pub(crate) async fn start(manners: Manners) -> Self {
        Self::start_as(&certificate(&["localhost"], true), manners).await
    }

    pub(crate) async fn start_as(certified: &CertifiedKey<KeyPair>, manners: Manners) -> Self {
        let CertifiedKey { cert, signing_key } = certified;
        let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key.into())
            .unwrap();
        config.alpn_protocols = vec![if manners.http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
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
                    count.fetch_add(1, Ordering::SeqCst);
                    if manners.refused > 0 {
                        refuse(socket, manners).await;
                    } else {
                        serve(TokioIo::new(socket), manners).await;
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

async fn serve(io: TokioIo<Socket>, manners: Manners) {
    let done = Arc::new(Notify::new());
    let (answered, tell) = (Arc::new(AtomicUsize::new(0)), done.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let (answered, tell) = (answered.clone(), tell.clone());
        async move {
            let _ = request.into_body().collect().await;
            if answered.fetch_add(1, Ordering::SeqCst) + 1 == manners.last {
                tell.notify_one();
            }
            tokio::time::sleep(manners.latency).await;
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(BODY)))
        }
    });
    if manners.http2 {
        let mut http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let connection = http.max_concurrent_streams(manners.streams).serve_connection(io, service);
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

/// Refuses the first calls of a connection, and answers the others.
async fn refuse(socket: Socket, manners: Manners) {
    let mut connection = h2::server::handshake(socket).await.unwrap();
    let mut seen = 0;
    while let Some(Ok((_request, mut answer))) = connection.accept().await {
        seen += 1;
        if seen <= manners.refused {
            answer.send_reset(h2::Reason::REFUSED_STREAM);
        } else {
            let mut body = answer.send_response(Response::new(()), false).unwrap();
            body.send_data(Bytes::from(BODY), true).unwrap();
        }
    }
}

#[tokio::test]
async fn a_certificate_of_ones_own_is_trusted_where_it_is_given() {
    for http2 in [false, true] {
        let server = Secure::start(Manners { http2, ..Manners::default() }).await;
        let model = server.model("localhost", server.client()).build().unwrap();
        for _ in 0..3 {
            assert_eq!(model.invoke("x").await.unwrap().text(), "hi");
        }
        assert_eq!(server.connections(), 1);
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_refused_at_once() {
    let server = Secure::start(Manners::default()).await;
    let stranger = Client::builder().build().unwrap();
    for (host, client) in [("localhost", stranger), ("127.0.0.1", server.client())] {
        // The default policy would go on for seconds.
        let error = server.model(host, client).build().unwrap().invoke("x").await.unwrap_err();
        assert_eq!((error.kind(), error.is_retryable(), error.attempts()), (ErrorKind::Connection, false, 1));
        assert!(error.message().contains("certificate"), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_that_has_expired_or_is_for_another_host_is_refused_at_once() {
    for (certified, says) in [
        (certificate(&["localhost"], false), "expired"),
        (certificate(&["elsewhere"], true), "not valid for name"),
    ] {
        let server = Secure::start_as(&certified, Manners::default()).await;
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
    let server = Secure::start(Manners { latency: Duration::from_millis(500), ..Manners::default() }).await;
    let model = server.model("localhost", server.client()).retry(RetryPolicy::never()).build().unwrap();
    for what in ["cold", "warm"] {
        let took = calls(&model, 400).await;
        println!("400 calls of 500 ms, {what}: {took:?}");
        assert!(took < Duration::from_millis(1500), "{what}: {took:?}");
        assert_eq!(server.connections(), 4, "{what}");
    }
}

#[tokio::test]
async fn a_server_that_takes_fewer_calls_at_once_gets_more_connections() {
    let manners = Manners { latency: Duration::from_millis(50), streams: 5, ..Manners::default() };
    let server = Secure::start(manners).await;
    let model = server.model("localhost", server.client()).retry(RetryPolicy::never()).build().unwrap();
    // Until it has said so, a server is taken for one like most.
    model.invoke("x").await.unwrap();
    calls(&model, 20).await;
    let connections = server.connections();
    assert!((4..=5).contains(&connections), "{connections} connections");
}

#[tokio::test]
async fn a_connection_that_goes_away_costs_no_call_a_try() {
    let manners = Manners { latency: Duration::from_millis(2), last: 7, ..Manners::default() };
    let server = Secure::start(manners).await;
    let model = server.model("localhost", server.client()).retry(RetryPolicy::never()).build().unwrap();
    for _ in 0..10 {
        calls(&model, 10).await;
    }
    assert!((2..=30).contains(&server.connections()), "{}", server.connections());
}

#[tokio::test]
async fn a_call_that_the_server_refuses_to_begin_is_sent_again_without_a_try() {
    let server = Secure::start(Manners { refused: 2, ..Manners::default() }).await;
    let model = server.model("localhost", server.client()).retry(RetryPolicy::never()).build().unwrap();
    assert_eq!(model.invoke("x").await.unwrap().reply.unwrap().attempts, 1);

    let server = Secure::start(Manners { refused: usize::MAX, ..Manners::default() }).await;
    let model = server.model("localhost", server.client()).retry(RetryPolicy::never()).build().unwrap();
    assert_eq!(model.invoke("x").await.unwrap_err().kind(), ErrorKind::Connection);
}

#[tokio::test]
async fn calls_that_are_given_up_leave_the_connection_to_others() {
    let server = Secure::start(Manners { latency: Duration::from_millis(30), ..Manners::default() }).await;
    let model = server.model("localhost", server.client()).retry(RetryPolicy::never()).build().unwrap();
    // Few: a server closes a connection on which too many calls are given up.
    for _ in 0..5 {
        let call = calls(&model, 3);
        assert!(tokio::time::timeout(Duration::from_millis(5), call).await.is_err());
    }
    calls(&model, 150).await;
    assert_eq!(server.connections(), 2);
}

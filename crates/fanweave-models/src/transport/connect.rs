//! Opens connections: name lookup, TCP, proxy, TLS and negotiation of the HTTP version.

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Poll;
use std::time::Duration;

use fanweave_core::{Error, ErrorKind, Result};
use http::Uri;
use http::uri::Authority;
use hyper::client::conn::{http1, http2};
use hyper::rt::{Read, Write};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::descriptors::{self, DescriptorBudget, Permit};
use super::failure::{MAX_HEADERS, broken, causes};
use super::proxy::Proxies;
use super::unsent::{unsent, without_descriptor};
use super::wire::{Record, Sent, Socket, Trust, Wire, drive};

/// Concurrent requests on one HTTP/2 connection until the server has announced its limit, which is usually
/// 100 or 128.
const STREAMS: usize = 100;

/// Maximum bytes of the headers of a response over HTTP/2. Source: the limit of Chromium.
const MAX_HEADER_BYTES: u32 = 256 << 10;

/// Maximum concurrent requests on one HTTP/2 connection, whatever the server allows: one lost packet stalls
/// all of them.
const MAX_STREAMS: usize = 256;

/// Returns the number of concurrent requests that a server allows on a connection. It may change at any time.
pub(crate) type Streams = Arc<dyn Fn() -> usize + Send + Sync>;

/// Sender of a new connection, by HTTP version.
pub(crate) enum Opened {
    /// HTTP/1.1: one request at a time.
    One { sender: http1::SendRequest<Sent>, record: Arc<Record> },
    /// HTTP/2: many concurrent requests.
    Many { sender: http2::SendRequest<Sent>, streams: Streams },
}

/// Opens connections, with the settings of one client.
pub(crate) struct Connector {
    tcp: HttpConnector,
    timeout: Duration,
    roots: Vec<CertificateDer<'static>>,
    pub(crate) proxies: Proxies,
    pub(crate) budget: Arc<DescriptorBudget>,
    /// Built with the first TLS request: reading the platform's certificates takes milliseconds.
    tls: OnceLock<TlsConnector>,
}

impl Connector {
    pub(crate) fn new(timeout: Duration, roots: Vec<CertificateDer<'static>>, proxies: Proxies) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(timeout));
        tcp.enforce_http(false);
        Self { tcp, timeout, roots, proxies, budget: DescriptorBudget::shared(), tls: OnceLock::new() }
    }

    /// Opens a connection to the host of `uri`. On success it takes the permit; on failure the permit stays.
    ///
    /// # Errors
    /// [`ErrorKind::Connection`] if the host cannot be reached or its certificate is not trusted,
    /// [`ErrorKind::Timeout`] if it takes too long, [`ErrorKind::Config`] if no certificates can be read or
    /// the proxy rejects the credentials. All of them are marked as [unsent](super::unsent).
    pub(crate) async fn open(
        &self,
        uri: &Uri,
        permit: &mut Option<Permit>,
        trust: &Arc<Trust>,
    ) -> Result<Opened> {
        let record = Record::new(trust.clone());
        self.connect(uri, permit, record).await.map_err(unsent)
    }

    async fn connect(&self, uri: &Uri, permit: &mut Option<Permit>, record: Arc<Record>) -> Result<Opened> {
        let host = uri.authority().expect("a checked URL has a host");
        let socket = match self.proxies.of(uri) {
            None => self.limited(self.tcp(uri.clone()), host).await?,
            Some(proxy) if uri.scheme_str() == Some("https") => {
                let tunnel = async { proxy.tunnel(self.tcp(proxy.uri.clone()).await?, host).await };
                Box::pin(self.limited(tunnel, host)).await?
            }
            Some(proxy) => self.limited(self.tcp(proxy.uri), host).await?,
        };
        if uri.scheme_str() != Some("https") {
            let socket = TokioIo::new(socket);
            return http1(socket, permit, record).await.map_err(|e| cannot_connect(host, &e));
        }
        // Boxed: thousands of connections may be opened concurrently without TLS and should not reserve space
        // for its state.
        Box::pin(self.secure(socket, host, permit, record)).await
    }

    async fn secure(
        &self,
        socket: TcpStream,
        host: &Authority,
        permit: &mut Option<Permit>,
        record: Arc<Record>,
    ) -> Result<Opened> {
        let name = host.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name).map_err(|e| cannot_connect(host, &e))?;
        let secured = async { self.tls()?.connect(name, socket).await.map_err(|e| cannot_connect(host, &e)) };
        let stream = self.limited(secured, host).await?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let stream = TokioIo::new(stream);
        let opened =
            if http2 { self::http2(stream, permit).await } else { http1(stream, permit, record).await };
        opened.map_err(|e| cannot_connect(host, &e))
    }

    async fn tcp(&self, uri: Uri) -> Result<TcpStream> {
        let host = uri.authority().cloned();
        let opened = {
            let _dial = self.budget.dial().await;
            self.tcp.clone().call(uri).await
        };
        let name = host.as_ref().map_or("the server", Authority::as_str);
        opened.map(TokioIo::into_inner).map_err(|e| failed(&format!("cannot connect to {name}"), &e))
    }

    fn tls(&self) -> Result<&TlsConnector> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls);
        }
        // Failures are not cached: files that cannot be read now may become readable later.
        let tls = tls(&self.roots)?;
        Ok(self.tls.get_or_init(|| tls))
    }

    /// Runs one part of opening a connection, limited by the timeout.
    async fn limited<T>(&self, part: impl Future<Output = Result<T>>, host: &Authority) -> Result<T> {
        // Name lookup takes additional time, before the connector's timeout starts.
        timeout(self.timeout.saturating_mul(2), part).await.unwrap_or_else(|_| {
            let message = format!("cannot connect to {host}: no response within {:?}", self.timeout * 2);
            Err(Error::new(ErrorKind::Timeout, message))
        })
    }
}

fn cannot_connect(host: &Authority, error: &(dyn StdError + 'static)) -> Error {
    failed(&format!("cannot connect to {host}"), error)
}

fn failed(what: &str, error: &(dyn StdError + 'static)) -> Error {
    if descriptors::is_out_of_descriptors(causes(error)) {
        let message = format!("{what}: this process has run out of file descriptors (ulimit -n)");
        return without_descriptor(Error::new(ErrorKind::Connection, message));
    }
    broken(what, error)
}

/// Every connection is driven by its own task. The task ends when the pool and all requests have dropped the
/// connection, or when the server has closed it.
async fn http1<S: Socket>(
    socket: S,
    permit: &mut Option<Permit>,
    record: Arc<Record>,
) -> hyper::Result<Opened> {
    let wire = Wire::new(socket, record.clone(), connected(permit));
    let (mut sender, connection) = http1::Builder::new()
        // Servers and proxies that write their headers by hand.
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true)
        .max_headers(MAX_HEADERS)
        .handshake(wire)
        .await?;
    tokio::spawn(drive(connection, record.clone()));
    sender.ready().await?;
    Ok(Opened::One { sender, record })
}

fn connected(permit: &mut Option<Permit>) -> Permit {
    let mut permit = permit.take().expect("a connection attempt has a permit");
    permit.connected();
    permit
}

async fn http2<T: Read + Write + Unpin + Send + 'static>(
    io: T,
    permit: &mut Option<Permit>,
) -> hyper::Result<Opened> {
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        // Detects connections that died silently; costs nothing while responses arrive.
        .keep_alive_interval(Duration::from_secs(30))
        .adaptive_window(true)
        .max_header_list_size(MAX_HEADER_BYTES)
        .initial_max_send_streams(STREAMS)
        .handshake(io)
        .await?;
    let connection = Arc::new(Mutex::new(Some(connection)));
    let driven = connection.clone();
    let mut permit = Some(connected(permit));
    tokio::spawn(std::future::poll_fn(move |task| {
        let mut held = driven.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(connection) = &mut *held else { return Poll::Ready(()) };
        let done = Pin::new(connection).poll(task).map(drop);
        if done.is_ready() {
            // Requests that were not sent are returned only now.
            *held = None;
            drop(permit.take());
        }
        done
    }));
    let streams = Arc::new(move || {
        let held = connection.lock().unwrap_or_else(PoisonError::into_inner);
        let told = held.as_ref().map_or(1, http2::Connection::current_max_send_streams);
        told.clamp(1, MAX_STREAMS)
    });
    Ok(Opened::Many { sender, streams })
}

/// Trusts the certificates of the platform, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`, and `extra`.
fn tls(extra: &[CertificateDer<'static>]) -> Result<TlsConnector> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring offers TLS 1.2 and 1.3")
        .with_root_certificates(roots(extra)?)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn roots(extra: &[CertificateDer<'static>]) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let platform = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(platform.certs);
    for certificate in extra {
        roots
            .add(certificate.clone())
            .map_err(|e| Error::new(ErrorKind::Config, format!("a root certificate cannot be used: {e}")))?;
    }
    if roots.is_empty() {
        if platform.errors.iter().any(|error| descriptors::is_out_of_descriptors(causes(error))) {
            let message = "no root certificates could be read: this process has run out of file descriptors (ulimit -n)";
            return Err(without_descriptor(Error::new(ErrorKind::Connection, message)));
        }
        let why = platform.errors.first().map(|e| format!(": {e}")).unwrap_or_default();
        let message = format!(
            "no root certificates found{why}: install the ca-certificates of the system, or set SSL_CERT_FILE"
        );
        return Err(Error::new(ErrorKind::Config, message));
    }
    Ok(roots)
}

//! Connections: one pool for the whole process, unless somebody builds another.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use fanweave_core::{Error, ErrorKind, Result};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::Full;
use hyper_util::client::legacy::ResponseFuture;
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::pool::{Lanes, Pool, Seat, pool};
use super::sse::SseLimits;

/// How long the parts of one request may take. A retry is another request, and begins anew.
///
/// ```
/// use std::time::Duration;
/// use fanweave_models::{Client, Timeouts};
///
/// let patient = Timeouts { first_byte: Duration::from_secs(600), ..Timeouts::default() };
/// let client = Client::builder().timeouts(patient).build()?;
/// # Ok::<_, fanweave_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Longest time to connect to one address. Default 5 s.
    pub connect: Duration,
    /// Longest time from sending the request to the head of the answer: a plain answer is thought through
    /// whole before it begins. Default 120 s.
    pub first_byte: Duration,
    /// Longest silence inside an answer. Default 60 s.
    pub idle: Duration,
    /// Longest time for one request and its answer. Default 600 s, as in the official SDKs.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(120),
            idle: Duration::from_secs(60),
            total: Duration::from_secs(600),
        }
    }
}

/// A pool of connections with its settings. Cheap to clone; clones share the pool.
///
/// All models of a process share [`Client::default`], so that they share connections. HTTP/1.1 over plain TCP,
/// HTTP/1.1 or HTTP/2 over TLS, as the server likes. No redirect is ever followed.
///
/// ```
/// use fanweave_models::{Client, ModelBuilder};
///
/// let client = Client::builder().header("x-team", "search").build()?;
/// let model = ModelBuilder::new("vllm/qwen3").client(client).build()?;
/// assert_eq!(model.name(), "vllm/qwen3");
/// # Ok::<_, fanweave_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    settings: Settings,
    tcp: HttpConnector,
    plain: Pool<HttpConnector>,
    /// Built with the first request over TLS: reading the certificates of the platform takes milliseconds.
    tls: OnceLock<Result<Lanes>>,
}

/// What a [`ClientBuilder`] sets.
#[derive(Clone)]
struct Settings {
    timeouts: Timeouts,
    roots: Vec<CertificateDer<'static>>,
    headers: HeaderMap,
    max_body_bytes: usize,
    max_event_bytes: usize,
}

impl Client {
    /// Settings for a pool of its own.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    fn new(settings: Settings) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(settings.timeouts.connect));
        tcp.enforce_http(false);
        let plain = pool(tcp.clone());
        Self(Arc::new(Inner { settings, tcp, plain, tls: OnceLock::new() }))
    }

    /// Sends a request. The answer's body is still to come; the seat is to be kept until it has been read.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where no certificates can be read for TLS.
    pub(crate) fn send(
        &self,
        request: Request<Full<Bytes>>,
        https: bool,
    ) -> Result<(ResponseFuture, Option<Seat>)> {
        if !https {
            return Ok((self.0.plain.request(request), None));
        }
        let Inner { settings, tcp, tls, .. } = &*self.0;
        match tls.get_or_init(|| Lanes::new(tcp.clone(), &settings.roots)) {
            Ok(lanes) => {
                let (pool, seat) = lanes.choose();
                Ok((pool.request(request), Some(seat)))
            }
            Err(error) => Err(error.clone()),
        }
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        self.0.settings.timeouts
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.0.settings.headers
    }

    pub(crate) fn max_body_bytes(&self) -> usize {
        self.0.settings.max_body_bytes
    }

    pub(crate) fn sse_limits(&self) -> SseLimits {
        SseLimits { bytes: self.0.settings.max_event_bytes, ..SseLimits::default() }
    }
}

/// The pool that the whole process shares.
impl Default for Client {
    fn default() -> Self {
        static SHARED: OnceLock<Client> = OnceLock::new();
        SHARED.get_or_init(|| Client::new(ClientBuilder::default().settings)).clone()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("timeouts", &self.0.settings.timeouts).finish_non_exhaustive()
    }
}

/// Settings of a [`Client`].
///
/// ```
/// use std::time::Duration;
/// use fanweave_models::{Client, Timeouts};
///
/// let client = Client::builder()
///     .timeouts(Timeouts { connect: Duration::from_secs(1), ..Timeouts::default() })
///     .max_body_bytes(1 << 20)
///     .build()?;
/// # Ok::<_, fanweave_core::Error>(())
/// ```
#[must_use]
pub struct ClientBuilder {
    settings: Settings,
    /// The first setting that was wrong, reported by `build`.
    wrong: Option<Error>,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        let settings = Settings {
            timeouts: Timeouts::default(),
            roots: Vec::new(),
            headers: HeaderMap::new(),
            max_body_bytes: 256 << 20,
            max_event_bytes: SseLimits::default().bytes,
        };
        Self { settings, wrong: None }
    }
}

impl ClientBuilder {
    /// How long requests may take. Default [`Timeouts::default`].
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.settings.timeouts = timeouts;
        self
    }

    /// Trusts these certificates beside those of the platform. PEM, one or several.
    pub fn root_certificates(mut self, pem: &[u8]) -> Self {
        match CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>() {
            Ok(roots) if !roots.is_empty() => self.settings.roots.extend(roots),
            Ok(_) => self.wrong_setting("the root certificates hold no PEM certificate".to_owned()),
            Err(e) => self.wrong_setting(format!("the root certificates are not PEM: {e:?}")),
        }
        self
    }

    /// Sends this header with every request.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        match header(name, value) {
            Ok((name, value)) => _ = self.settings.headers.insert(name, value),
            Err(error) => _ = self.wrong.get_or_insert(error),
        }
        self
    }

    /// Most bytes of an answer's body. Default 256 MiB.
    pub fn max_body_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_body_bytes = bytes;
        self
    }

    /// Most bytes of one event of a stream. Default 16 MiB.
    pub fn max_event_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_event_bytes = bytes;
        self
    }

    /// The client.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a header or certificate that cannot be used.
    pub fn build(self) -> Result<Client> {
        match self.wrong {
            Some(error) => Err(error),
            None => Ok(Client::new(self.settings)),
        }
    }

    fn wrong_setting(&mut self, message: String) {
        self.wrong.get_or_insert_with(|| Error::new(ErrorKind::Config, message));
    }
}

/// A header as it goes over the wire. Its value is never printed: it may be a key.
pub(crate) fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue)> {
    let refused =
        |what| Error::new(ErrorKind::Config, format!("the header `{}` {what}", name.escape_debug()));
    let parsed = HeaderName::try_from(name).map_err(|_| refused("has no valid name"))?;
    let mut value = HeaderValue::try_from(value)
        .map_err(|_| refused("has a value that no header may have, such as one with a line break"))?;
    value.set_sensitive(true);
    Ok((parsed, value))
}

//! Connections: one pool per process, unless the caller builds another client.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanweave_core::__private::{Made, PerProcess};
use fanweave_core::{Error, ErrorKind, Result};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::body::Body;
use super::connect::Connector;
use super::own::{DynTransport, HttpTransport};
use super::pool::{Lease, Pool};
use super::proxy::Proxies;
use super::sse::SseLimits;
use super::watch::Timeouts;
use super::{descriptors, wire};

/// Describes what slows connections down: the limit of open files (`ulimit -n`), if a connection had to wait
/// because of it, and a host that sends more responses than requests, whose connections are not reused.
///
/// Programs may print it once: it costs time, but no call fails because of it:
///
/// ```
/// if let Some(notice) = fanweave::models::connection_notice() {
///     eprintln!("{notice}");
/// }
/// ```
pub fn connection_notice() -> Option<String> {
    let notices = [descriptors::notice(), wire::notice()];
    notices.into_iter().flatten().reduce(|first, second| format!("{first}; {second}"))
}

/// A connection pool with its settings. Cheap to clone; clones share the pool. A forked child opens
/// connections of its own.
///
/// All models of a process use [`Client::default`] and share its connections. Plain TCP uses HTTP/1.1; TLS
/// uses HTTP/1.1 or HTTP/2, as negotiated with the server. Proxies are read from the environment
/// ([`ClientBuilder::proxy`]). Redirects are never followed.
///
/// ```
/// use fanweave::models::{Client, ModelBuilder};
///
/// let client = Client::builder().header("x-team", "search").build()?;
/// let model = ModelBuilder::new("vllm/qwen3").client(client).build()?;
/// assert_eq!(model.name(), "vllm/qwen3");
/// # Ok::<_, fanweave::Error>(())
/// ```
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    settings: Settings,
    kind: TransportKind,
}

/// Transport that carries requests to the servers.
enum TransportKind {
    Pool(Pools),
    Own(Arc<dyn DynTransport>),
    /// The proxy settings of the environment are invalid. Reported by the first request, since the shared
    /// client is not built by the caller.
    None(Error),
}

/// The pool of this process, and what a forked child needs to make its own.
struct Pools {
    connect_timeout: Duration,
    roots: Vec<CertificateDer<'static>>,
    proxies: Proxies,
    pool: PerProcess<Pool>,
}

impl Pools {
    fn new(settings: &Settings, roots: Vec<CertificateDer<'static>>, proxies: Proxies) -> Self {
        Self { connect_timeout: settings.timeouts.connect, roots, proxies, pool: PerProcess::new() }
    }

    fn current(&self) -> Arc<Made<Pool>> {
        let make = || Connector::new(self.connect_timeout, self.roots.clone(), self.proxies.clone());
        self.pool.get(|| Pool::new(make()))
    }
}

/// A client with the connections of this process.
pub(crate) struct Connections {
    client: Client,
    kind: ConnectionKind,
}

/// The connections of a [`TransportKind`].
enum ConnectionKind {
    Pool(Arc<Made<Pool>>),
    Own(Arc<dyn DynTransport>),
    None(Error),
}

/// Settings of a [`ClientBuilder`].
#[derive(Clone)]
struct Settings {
    timeouts: Timeouts,
    headers: HeaderMap,
    max_body_bytes: usize,
    max_event_bytes: usize,
}

impl Client {
    /// Returns a builder for a client with its own pool.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    fn new(settings: Settings, kind: TransportKind) -> Self {
        Self(Arc::new(Inner { settings, kind }))
    }

    /// The connections of this process. Costs a system call.
    pub(crate) fn connections(&self) -> Connections {
        let kind = match &self.0.kind {
            TransportKind::Pool(pools) => ConnectionKind::Pool(pools.current()),
            TransportKind::Own(transport) => ConnectionKind::Own(transport.clone()),
            TransportKind::None(error) => ConnectionKind::None(error.clone()),
        };
        Connections { client: self.clone(), kind }
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

impl Connections {
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Returns a free connection for a request to `uri`, if there is one.
    pub(crate) fn free_lease(&self, uri: &Uri) -> Option<Lease> {
        match &self.kind {
            ConnectionKind::Pool(pool) => pool.free_lease(uri),
            _ => None,
        }
    }

    /// Waits for a connection for a request to `uri`, if the client has a pool.
    ///
    /// # Errors
    /// The same as those of the request.
    pub(crate) async fn lease(&self, uri: &Uri) -> Result<Option<Lease>> {
        match &self.kind {
            ConnectionKind::Pool(pool) => pool.lease(uri).await.map(Some),
            ConnectionKind::Own(_) => Ok(None),
            ConnectionKind::None(error) => Err(error.clone()),
        }
    }

    /// Sends a request on the connection of the lease `held`, or on another one. Returns before the body of
    /// the response has arrived.
    ///
    /// # Errors
    /// [`ErrorKind::Connection`] without a response, [`ErrorKind::Config`] if no TLS certificates can be
    /// read or the proxy cannot be used.
    pub(crate) async fn request(
        &self,
        request: Request<Bytes>,
        held: &mut Option<Lease>,
    ) -> Result<Response<Body>> {
        match &self.kind {
            ConnectionKind::Pool(pool) => {
                let answer = pool.send(request.map(Full::new), held).await?;
                Ok(answer.map(|body| Body::pooled(body, held.take())))
            }
            ConnectionKind::Own(transport) => transport.send(request).await,
            ConnectionKind::None(error) => Err(error.clone()),
        }
    }
}

/// The pool shared by the whole process.
impl Default for Client {
    fn default() -> Self {
        static SHARED: PerProcess<Client> = PerProcess::new();
        let shared = || {
            let settings = ClientBuilder::default().settings;
            let kind = Proxies::from_env(&|name| std::env::var(name).ok())
                .map_or_else(TransportKind::None, |proxies| {
                    TransportKind::Pool(Pools::new(&settings, Vec::new(), proxies))
                });
            Client::new(settings, kind)
        };
        Client::clone(&SHARED.get(shared))
    }
}

/// Lets a custom transport wrap a client. The client's headers and timeouts, other than the connect timeout,
/// do not apply here: they belong to the calls of a model.
impl HttpTransport for Client {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>> {
        let uri = request.uri();
        if uri.authority().is_none() || !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(Error::new(ErrorKind::Config, "a request needs a full http or https URL"));
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            let message = "the URL of a request contains a user name or password: send it in a header";
            return Err(Error::new(ErrorKind::Config, message));
        }
        self.connections().request(request, &mut None).await
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
/// use fanweave::models::{Client, Timeouts};
///
/// let client = Client::builder()
///     .timeouts(Timeouts::new().connect(Duration::from_secs(1)))
///     .max_body_bytes(1 << 20)
///     .build()?;
/// # Ok::<_, fanweave::Error>(())
/// ```
#[must_use]
pub struct ClientBuilder {
    settings: Settings,
    roots: Vec<CertificateDer<'static>>,
    proxies: Option<Proxies>,
    transport: Option<Arc<dyn DynTransport>>,
    /// The first invalid setting, reported by `build`.
    wrong: Option<Error>,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        let settings = Settings {
            timeouts: Timeouts::default(),
            headers: HeaderMap::new(),
            max_body_bytes: 256 << 20,
            max_event_bytes: SseLimits::default().bytes,
        };
        Self { settings, roots: Vec::new(), proxies: None, transport: None, wrong: None }
    }
}

impl ClientBuilder {
    /// Sets the timeouts of requests. Default [`Timeouts::default`].
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.settings.timeouts = timeouts;
        self
    }

    /// Trusts these certificates in addition to those of the platform. PEM, one or several.
    ///
    /// The platform's certificates are found in OpenSSL's default location, or in `SSL_CERT_FILE` and
    /// `SSL_CERT_DIR`.
    pub fn root_certificates(mut self, pem: &[u8]) -> Self {
        match CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>() {
            Ok(roots) if !roots.is_empty() => self.roots.extend(roots),
            Ok(_) => self.wrong_setting("the root certificates contain no PEM certificate".to_owned()),
            Err(e) => self.wrong_setting(format!("the root certificates are not PEM: {e:?}")),
        }
        self
    }

    /// Sends all requests through the proxy at `url`, such as `http://name:password@proxy.example:3128`, and
    /// ignores the environment. Default: the proxies of the environment, read as curl reads them.
    ///
    /// In the environment, `https_proxy` and `http_proxy` apply to requests of that scheme, and `all_proxy`
    /// to those without a specific proxy. `no_proxy` lists hosts, domains and networks that are called
    /// directly. Upper-case names work too. `localhost` is not an exception: it is called through the proxy
    /// unless `no_proxy` lists it. `https` requests use a tunnel, so the proxy sees neither the key nor the
    /// text.
    pub fn proxy(mut self, url: &str) -> Self {
        match Proxies::all(url) {
            Ok(proxies) => self.proxies = Some(proxies),
            Err(error) => _ = self.wrong.get_or_insert(error),
        }
        self
    }

    /// Connects to every host directly and ignores the proxies of the environment.
    pub fn no_proxy(mut self) -> Self {
        self.proxies = Some(Proxies::none());
        self
    }

    /// Sends every request through `transport` instead of a connection pool. Proxies and root certificates
    /// are then the transport's responsibility: setting both is an error. The connect timeout has no effect.
    pub fn transport(mut self, transport: impl HttpTransport) -> Self {
        self.transport = Some(Arc::new(transport));
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

    /// Maximum bytes of a response body, including streamed ones. Default 256 MiB.
    pub fn max_body_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_body_bytes = bytes;
        self
    }

    /// Maximum bytes of one event of a stream. Default 16 MiB.
    pub fn max_event_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_event_bytes = bytes;
        self
    }

    /// Builds the client.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for an invalid header, certificate or proxy.
    pub fn build(self) -> Result<Client> {
        let Self { settings, roots, proxies, transport, wrong } = self;
        if let Some(error) = wrong {
            return Err(error);
        }
        let kind = match transport {
            None => {
                let from_env = || Proxies::from_env(&|name| std::env::var(name).ok());
                let proxies = proxies.map_or_else(from_env, Ok)?;
                TransportKind::Pool(Pools::new(&settings, roots, proxies))
            }
            Some(_) if proxies.is_some() || !roots.is_empty() => {
                let message = "a client with a custom transport cannot have a proxy or root certificates: \
                               configure them in the transport";
                return Err(Error::new(ErrorKind::Config, message));
            }
            Some(transport) => TransportKind::Own(transport),
        };
        Ok(Client::new(settings, kind))
    }

    fn wrong_setting(&mut self, message: String) {
        self.wrong.get_or_insert_with(|| Error::new(ErrorKind::Config, message));
    }
}

/// Parses a header. Its value is never printed: it may be a key.
pub(crate) fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue)> {
    let refused =
        |what| Error::new(ErrorKind::Config, format!("the header `{}` {what}", name.escape_debug()));
    let parsed = HeaderName::try_from(name).map_err(|_| refused("has an invalid name"))?;
    let mut value = HeaderValue::try_from(value)
        .map_err(|_| refused("has an invalid value, such as one with a line break"))?;
    value.set_sensitive(true);
    Ok((parsed, value))
}

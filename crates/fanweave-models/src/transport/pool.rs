//! Pools of connections: one over plain TCP, and lanes of them over TLS.
//!
//! A pool opens a single HTTP/2 connection to a host, and servers take about a hundred requests at once on one:
//! 400 calls of 500 ms would take 2 s. So requests over TLS fill one lane after another, each with a pool of its
//! own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fanweave_core::{Error, ErrorKind, Result};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

/// Connections that are opened by `C` and used again.
pub(crate) type Pool<C> = Client<C, Full<Bytes>>;

/// How long an unused connection is kept. Common load balancers close theirs after 100 s and more.
const IDLE: Duration = Duration::from_secs(90);

/// Requests in one lane. Servers say how many they take at once on a connection, and most say 100 or 128.
const SEATS: usize = 100;

/// A pool over `connector`.
pub(crate) fn pool<C: Connect + Clone>(connector: C) -> Pool<C> {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        // Notices a connection that died silently; costs nothing while answers come.
        .http2_keep_alive_interval(Duration::from_secs(30))
        .http2_adaptive_window(true)
        .build(connector)
}

/// The pools for requests over TLS. There is one more whenever all others are full.
pub(crate) struct Lanes {
    connector: HttpsConnector<HttpConnector>,
    lanes: Mutex<Vec<Lane>>,
}

struct Lane {
    pool: Pool<HttpsConnector<HttpConnector>>,
    taken: Arc<AtomicUsize>,
}

/// A seat in a lane, until it is dropped.
pub(crate) struct Seat(Arc<AtomicUsize>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lanes {
    /// Trusts the certificates of the platform, and `extra`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where there is nobody to trust.
    pub(crate) fn new(tcp: HttpConnector, extra: &[CertificateDer<'static>]) -> Result<Self> {
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring offers TLS 1.2 and 1.3")
            .with_root_certificates(roots(extra)?)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_only()
            .enable_all_versions()
            .wrap_connector(tcp);
        Ok(Self { connector, lanes: Mutex::default() })
    }

    /// A seat in the first lane that has one: as few connections as will do.
    pub(crate) fn choose(&self) -> (Pool<HttpsConnector<HttpConnector>>, Seat) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let free = lanes.iter().position(|lane| lane.taken.load(Ordering::Relaxed) < SEATS);
        let at = free.unwrap_or_else(|| {
            lanes.push(Lane { pool: pool(self.connector.clone()), taken: Arc::default() });
            lanes.len() - 1
        });
        lanes[at].taken.fetch_add(1, Ordering::Relaxed);
        (lanes[at].pool.clone(), Seat(lanes[at].taken.clone()))
    }
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
        let why = platform.errors.first().map(|e| format!(": {e}")).unwrap_or_default();
        let message = format!(
            "no root certificates found{why}: install the ca-certificates of the system, or set SSL_CERT_FILE"
        );
        return Err(Error::new(ErrorKind::Config, message));
    }
    Ok(roots)
}

//! The provider as an HTTP server.
//!
//! `listener` accepts connections. `exchange` takes one request through outages, authentication, limits,
//! latency and faults. One file per endpoint reads its requests and writes its answers.

mod anthropic;
mod bedrock;
mod body;
mod content;
mod dialect;
mod endpoint;
mod event_stream;
mod events;
mod exchange;
mod gemini;
mod headers;
mod hold;
mod images;
mod listener;
mod ollama;
mod openai;
mod outage;
mod own;
mod problem;
mod provider;
mod reasoning;
mod refusal;
mod route;
mod schema_rules;
mod signature;
mod stats;
mod tokens;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::settings::Settings;
use provider::Provider;

pub use stats::Stats;

/// A running simulated provider. Dropping it stops it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// use fanweave_sim::{Server, Settings};
///
/// let server = Server::start(Settings::default())?;
/// assert!(server.base_url().starts_with("http://127.0.0.1:"));
/// // .. send it requests ..
/// assert_eq!(server.stats().requests, 0);
/// server.shutdown().await;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    provider: Arc<Provider>,
    stop: Option<oneshot::Sender<()>>,
    listener: JoinHandle<()>,
}

impl Server {
    /// Starts listening, on the runtime of the caller.
    ///
    /// # Errors
    ///
    /// If the settings are invalid ([`io::ErrorKind::InvalidInput`]), the address is unavailable, or the
    /// caller is not within a tokio runtime.
    pub fn start(settings: Settings) -> io::Result<Self> {
        settings.check().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let runtime = tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
        let listener = listener::bind(settings.addr)?;
        let addr = listener.local_addr()?;
        let provider = Arc::new(Provider::new(settings));
        let (stop, stopped) = oneshot::channel();
        let listener = runtime.spawn(listener::run(listener, addr, Arc::clone(&provider), stopped));
        Ok(Self { addr, provider, stop: Some(stop), listener })
    }

    /// Address on which it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Base URL for OpenAI clients: `http://127.0.0.1:8080/v1`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("{}/v1", self.origin())
    }

    /// Base URL for clients of Anthropic, Gemini and Ollama: `http://127.0.0.1:8080`.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The counts so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.provider.counters.snapshot()
    }

    /// Resets the state: counts start at 0, limits are refilled, draws restart, and outages are measured from
    /// the next request. Requests in flight and open connections continue and stay counted.
    pub fn reset(&self) {
        self.provider.reset();
    }

    /// Closes the listener and all connections immediately, and waits until they are closed.
    pub async fn shutdown(mut self) {
        // The listener may have ended already if its runtime is shutting down.
        drop(self.stop.take());
        let _ended = (&mut self.listener).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

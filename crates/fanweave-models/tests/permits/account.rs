//! An account at a simulated server, with the peak of the requests in flight as seen by the server and the
//! client.

use std::fmt::Debug;
use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fanweave_core::model::fake::Load;
use fanweave_core::{Context, Model, Result, RetryPolicy};
use fanweave_models::{AccountState, Body, Client, HttpTransport, ModelBuilder, RateLimits, account_states};
use fanweave_sim::{Server, Settings};
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::runtime::Runtime;
use tokio::time::sleep;

/// Concurrency limit of an account.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Ceiling {
    /// The client knows it.
    Set(usize),
    /// The server rejects more, and the client learns the limit. Calls run in place until then.
    Learnt(usize),
}

/// The runtime of all servers, which keeps running while a test is stuck.
fn servers() -> &'static Runtime {
    static SERVERS: OnceLock<Runtime> = OnceLock::new();
    let start = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    SERVERS.get_or_init(|| start().unwrap())
}

pub(crate) struct Account {
    server: Server,
    ceiling: Ceiling,
    /// Requests in flight, as seen by the client.
    sent: Load,
    /// Unique, so that no other account has the same model.
    model: String,
    /// The model that echoes its prompt. Keeps the state of the account alive.
    pub(crate) echo: Model,
}

impl Account {
    /// Starts a new account at a new server. With `counts`, its requests pass through a transport that counts
    /// them.
    pub(crate) fn start(ceiling: Ceiling, counts: bool, settings: Settings) -> Self {
        let (limits, max_in_flight) = match ceiling {
            Ceiling::Set(n) => (RateLimits::new().concurrency(NonZeroUsize::new(n).unwrap()), None),
            Ceiling::Learnt(n) => (RateLimits::new(), Some(n)),
        };
        let guard = servers().enter();
        let server = Server::start(Settings { max_in_flight, ..settings }).unwrap();
        drop(guard);
        let sent = Load::default();
        let mut client = Client::builder().no_proxy().build().unwrap();
        if counts {
            let counted = Counted { client, sent: sent.clone() };
            client = Client::builder().transport(counted).build().unwrap();
        }
        // A server may get the port of an earlier one and would then share its account.
        static ACCOUNTS: AtomicUsize = AtomicUsize::new(0);
        let model = format!("echo-{}", ACCOUNTS.fetch_add(1, Ordering::Relaxed));
        let echo = ModelBuilder::new(format!("openai/{model}"))
            .base_url(server.base_url())
            .api_key("sk-test")
            .client(client)
            .retry(RetryPolicy::new().initial_backoff(Duration::from_millis(1)))
            .limits(limits)
            .build()
            .unwrap();
        Self { server, ceiling, sent, model, echo }
    }

    /// State that changes while calls make progress.
    pub(crate) fn progress(&self) -> impl PartialEq + Debug + use<> {
        (self.server.stats(), self.state())
    }

    fn state(&self) -> AccountState {
        account_states().into_iter().find(|state| state.model == self.model).unwrap()
    }

    /// Checks that no request is in flight, that no call waits and that all permits of `cx` are free.
    pub(crate) async fn is_at_rest(&self, cx: &Context, run: Option<usize>) {
        let has_permits = || {
            let n = run.unwrap_or(1);
            (0..n).map_while(|_| cx.try_permit()).collect::<Vec<_>>().len() == n
        };
        // Tasks whose owners were dropped end when they are next polled, and the server notices later.
        for _ in 0..2000 {
            let state = self.state();
            let left = self.server.stats().in_flight;
            if (left, state.in_flight, state.waiting, self.sent.in_flight()) == (0, 0, 0, 0) && has_permits()
            {
                return;
            }
            sleep(Duration::from_millis(1)).await;
        }
        panic!("not at rest, permits free: {}: {:?}, {:?}", has_permits(), self.state(), self.server.stats());
    }

    /// Checks that the number of requests in flight never exceeded the limits of the account and the run.
    ///
    /// The server sees a request for a while after its call was dropped. The count of the client is exact.
    pub(crate) fn held(&self, cx: &Context, run: Option<usize>) -> Figures {
        let (stats, state) = (self.server.stats(), self.state());
        let run = run.map(|n| n as u64 + cx.over_limit());
        let account = match self.ceiling {
            Ceiling::Set(n) => Some(n as u64 + state.over_limit),
            Ceiling::Learnt(_) => None,
        };
        if let Some(allowed) = run.into_iter().chain(account).min() {
            let (peak, sent) = (stats.peak_in_flight, self.sent.max_in_flight() as u64);
            assert!(sent <= allowed, "{sent} in flight at the client, {allowed} allowed");
            let dropped = stats.client_disconnects;
            assert!(peak <= allowed + dropped, "{peak} at the server, {allowed} allowed, {dropped} dropped");
        }
        Figures {
            runs: 1,
            requests: stats.requests,
            refused: stats.rejected_429,
            dropped: stats.client_disconnects,
            over_limit: state.over_limit,
            peak: stats.peak_in_flight,
        }
    }
}

/// Figures of a run.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) runs: u64,
    pub(crate) requests: u64,
    pub(crate) refused: u64,
    pub(crate) dropped: u64,
    pub(crate) over_limit: u64,
    /// Maximum requests in flight that a server saw.
    pub(crate) peak: u64,
}

impl Figures {
    pub(crate) fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.requests += other.requests;
        self.refused += other.refused;
        self.dropped += other.dropped;
        self.over_limit += other.over_limit;
        self.peak = self.peak.max(other.peak);
    }
}

/// Counts requests from their first byte to the end of the response.
struct Counted {
    client: Client,
    sent: Load,
}

impl HttpTransport for Counted {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>> {
        let flight = self.sent.enter();
        let answer = HttpTransport::send(&self.client, request).await?;
        Ok(answer.map(|body| {
            Body::new(body.map_frame(move |frame| {
                let _in_flight = &flight;
                frame
            }))
        }))
    }
}

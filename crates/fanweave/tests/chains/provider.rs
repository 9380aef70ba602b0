//! The simulated provider, on a separate runtime, so that tests can count the tasks on their own.

use std::time::Duration;

use fanweave::models::{Client, ModelBuilder, RetryPolicy};
use fanweave::{Model, Parameters};
use fanweave_sim::{Latency, Server, Settings, Stats};
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep};

pub(crate) struct Provider {
    server: Option<Server>,
    runtime: Option<Runtime>,
}

impl Provider {
    pub(crate) fn start(settings: Settings) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let guard = runtime.enter();
        let server = Server::start(settings).unwrap();
        drop(guard);
        Self { server: Some(server), runtime: Some(runtime) }
    }

    /// A provider with this latency.
    pub(crate) fn slow(ms: u64) -> Self {
        Self::start(Settings { latency: Latency::Fixed(Duration::from_millis(ms)), ..Settings::default() })
    }

    pub(crate) fn stats(&self) -> Stats {
        self.server.as_ref().unwrap().stats()
    }

    pub(crate) fn url(&self) -> String {
        self.server.as_ref().unwrap().base_url()
    }

    /// A model of this provider, with a separate connection pool.
    pub(crate) fn model(&self, name: &str) -> ModelBuilder {
        let hasty = RetryPolicy::default().initial_backoff(Duration::from_millis(1));
        ModelBuilder::new(format!("openai/{name}"))
            .base_url(self.server.as_ref().unwrap().base_url())
            .api_key("sk-test")
            .client(Client::builder().build().unwrap())
            .retry(hasty)
    }

    /// The model that repeats its prompt.
    pub(crate) fn echo(&self) -> Model {
        self.model("echo").build().unwrap()
    }

    /// Waits until `holds`, at most 10 s.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Stats) -> bool) {
        let started = Instant::now();
        while !holds(&self.stats()) {
            assert!(started.elapsed().as_secs() < 10, "{what} did not come true: {:?}", self.stats());
            sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        drop(self.server.take());
        // A runtime must not block when it is dropped in an async test.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Limits the answer to this many tokens.
pub(crate) fn short(model: &Model, max_tokens: u32) -> Model {
    model.clone().with(Parameters::new().max_tokens(max_tokens))
}

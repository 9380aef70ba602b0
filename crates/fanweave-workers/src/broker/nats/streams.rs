//! Streams, the bucket and the consumers of a broker.

use std::fmt;
use std::time::Duration;

use async_nats::jetstream::{consumer, kv, stream};
use serde_json::Value;

use super::Nats;
use crate::broker::ACK_WAIT;
use crate::error::{Error, ErrorKind, Result};

/// Options of the streams that [`Nats::init`] creates.
///
/// ```
/// use fanweave::workers::Terms;
///
/// let terms = Terms::new().replicas(3);
/// assert_eq!((terms.replicas, terms.ack_wait.as_secs()), (3, 15));
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Terms {
    /// Number of servers that keep each message: 1, 3 or 5. Default: 1.
    pub replicas: usize,
    /// Time after which a ticket is delivered again unless a worker keeps it. Default: 15 s.
    pub ack_wait: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self { replicas: 1, ack_wait: ACK_WAIT }
    }
}

impl Terms {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the number of servers that keep each message.
    #[must_use]
    pub fn replicas(self, replicas: usize) -> Self {
        Self { replicas, ..self }
    }

    /// Sets the time after which a ticket is delivered again unless a worker keeps it.
    #[must_use]
    pub fn ack_wait(self, wait: Duration) -> Self {
        Self { ack_wait: wait, ..self }
    }
}

impl Nats {
    /// Time after which a ticket of a pool is delivered again unless a worker keeps it.
    ///
    /// # Errors
    /// The broker did not answer, or has no such pool: see [`init`](Self::init).
    pub async fn ack_wait(&self, pool: &str) -> Result<Duration> {
        let space = &self.space;
        let info = self.api(format!("$JS.API.CONSUMER.INFO.{space}_JOBS.pool_{pool}"), Value::Null).await?;
        let wait = info["config"]["ack_wait"].as_u64().map(Duration::from_nanos);
        wait.ok_or_else(|| {
            let message = format!("the broker has no pool `{pool}`: run `fanweave broker init` first");
            Error::new(ErrorKind::Usage, message)
        })
    }

    /// Options of a stream, if it exists.
    async fn config(&self, stream: &str) -> Result<Option<Value>> {
        let mut info = self.api(format!("$JS.API.STREAM.INFO.{stream}"), Value::Null).await?;
        Ok(info.get_mut("config").map(Value::take))
    }

    /// Creates the streams, the bucket and the consumer of the pool `default`, where they do not exist. Sets
    /// the options of those that exist.
    ///
    /// # Errors
    /// The broker refused it.
    pub async fn init(&self, terms: &Terms) -> Result<()> {
        let failed = |what: &str, e: &dyn fmt::Display| {
            let is_off = e.to_string().contains("JetStream not enabled");
            let why =
                if is_off { "JetStream is not enabled on the server".to_owned() } else { e.to_string() };
            Error::new(ErrorKind::Broker, format!("cannot create {what}: {why}"))
        };
        let space = &self.space;
        let base = |name: &str, subjects: &str| stream::Config {
            name: format!("{space}_{name}"),
            subjects: vec![format!("{space}.{subjects}.>")],
            num_replicas: terms.replicas,
            discard: stream::DiscardPolicy::New,
            max_messages_per_subject: -1,
            duplicate_window: Duration::from_secs(1),
            allow_direct: true,
            ..stream::Config::default()
        };
        let rows = base("ROWS", "rows");
        let results = base("RES", "res");
        let jobs = stream::Config {
            retention: stream::RetentionPolicy::WorkQueue,
            duplicate_window: Duration::from_secs(120),
            max_messages_per_subject: 1,
            discard_new_per_subject: true,
            // Tickets that are lost are issued again: no one waits until they are on the disk. Several
            // servers do not offer it.
            persist_mode: (terms.replicas == 1).then_some(stream::PersistenceMode::Async),
            ..base("JOBS", "job")
        };
        for mut config in [rows, results, jobs] {
            let name = format!("the stream {}", config.name);
            // The mode of a stream cannot be changed, and servers write the default as none.
            if let Some(existing) = self.config(&config.name).await? {
                let is_async = existing["persist_mode"] == "async";
                config.persist_mode = is_async.then_some(stream::PersistenceMode::Async);
            }
            self.js.create_or_update_stream(config).await.map_err(|e| failed(&name, &e))?;
        }
        let pool = consumer::pull::Config {
            durable_name: Some("pool_default".to_owned()),
            ack_policy: consumer::AckPolicy::Explicit,
            ack_wait: terms.ack_wait,
            max_deliver: -1,
            max_ack_pending: 20_000,
            max_waiting: 4_096,
            filter_subject: format!("{space}.job.default.>"),
            ..consumer::pull::Config::default()
        };
        let jobs = self.js.get_stream_no_info(format!("{space}_JOBS")).await;
        let jobs = jobs.map_err(|e| failed("the consumer of the pool", &e))?;
        // Creates it, or changes its options.
        jobs.create_consumer(pool).await.map_err(|e| failed("the consumer of the pool", &e))?;
        let bucket = self.bucket();
        let config = kv::Config {
            bucket: bucket.clone(),
            num_replicas: terms.replicas,
            history: 1,
            ..kv::Config::default()
        };
        let created = self.js.create_or_update_key_value(config).await;
        created.map(|_| ()).map_err(|e| failed(&format!("the bucket {bucket}"), &e))
    }
}

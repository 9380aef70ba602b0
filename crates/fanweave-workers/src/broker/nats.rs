//! NATS JetStream as the broker.
//!
//! Rows and logs are streams with a subject for each shard, tickets a work queue, values a key-value bucket.
//! Records are fenced by the expected sequence of their subject. Answers may be lost at any time, so that
//! each error leaves open whether an operation was carried out.

use std::error::Error as StdError;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_nats::jetstream::context::{ContextBuilder, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, consumer, kv, stream};
use async_nats::{Client, ConnectOptions, HeaderMap, ServerAddr};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Appended, Broker, Held, Listening, Settle, Stored, Ticket};
use crate::error::{Error, ErrorKind, Result};
use crate::wire::{Message, ShardId};

/// Time within which the broker answers a request.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// Codes of a refused publish: another last sequence, by a single server and by one of several replicas.
const WRONG_SEQUENCE: [u64; 2] = [10_071, 10_164];

/// Code of a refused publish: the stream, or the subject, is full.
const FULL: u64 = 10_077;

/// Records in an answer to a request for a log.
const READ_BATCH: u64 = 256;

/// Way in which a broker is accessed.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Access {
    /// File with credentials: a JWT and an nkey. Default: none.
    pub creds: Option<PathBuf>,
    /// File with the certificates of the broker's authority. Default: those of the system.
    pub ca: Option<PathBuf>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("creds", &self.creds).field("ca", &self.ca).finish()
    }
}

/// Options of the streams that [`Nats::init`] creates.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Terms {
    /// Number of servers that keep each message. Default: 1.
    pub replicas: usize,
    /// Time after which a ticket is delivered again unless a worker keeps it. Default: 60 s.
    pub ack_wait: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self { replicas: 1, ack_wait: Duration::from_secs(60) }
    }
}

impl Terms {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }
}

/// A connection to NATS servers with JetStream. Clones share it. Reconnects for as long as it takes.
#[derive(Clone)]
pub struct Nats {
    client: Client,
    js: jetstream::Context,
    space: String,
}

impl Nats {
    /// Connects to one of the servers in `urls`, separated by commas. Names of streams and subjects begin
    /// with `space`.
    ///
    /// # Errors
    /// [`Usage`](ErrorKind::Usage) if a URL is not valid or the credentials cannot be read;
    /// [`Broker`](ErrorKind::Broker) if no server is reached.
    pub async fn connect(urls: &str, space: &str, access: &Access) -> Result<Self> {
        let usage = |message: String| Error::new(ErrorKind::Usage, message);
        let parse = |url: &str| url.trim().parse::<ServerAddr>();
        let urls: Vec<_> = urls
            .split(',')
            .map(parse)
            .collect::<Result<_, _>>()
            .map_err(|_| usage("not a valid URL of a broker; use nats://HOST:PORT".to_owned()))?;
        let mut options = ConnectOptions::new()
            .max_reconnects(None)
            .ping_interval(Duration::from_secs(5))
            .connection_timeout(ANSWER_WAIT)
            .request_timeout(Some(ANSWER_WAIT))
            .reconnect_delay_callback(|attempts| {
                Duration::from_millis((100 * attempts as u64).clamp(100, 2_000))
            });
        // The client reads no user from URLs by itself.
        let user = urls.iter().find_map(|url| url.username().zip(url.password()));
        if let Some((user, password)) = user {
            options = options.user_and_password(user.to_owned(), password.to_owned());
        }
        if let Some(path) = &access.creds {
            let read = options.credentials_file(path).await;
            options =
                read.map_err(|e| usage(format!("{}: cannot read the credentials: {e}", path.display())))?;
        }
        if let Some(path) = &access.ca {
            options = options.add_root_certificates(path.clone());
        }
        let client = options.connect(urls).await.map_err(|e| {
            let cause = e.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            Error::new(ErrorKind::Broker, format!("cannot connect to the broker: {e}{cause}"))
        })?;
        let js = ContextBuilder::new()
            .timeout(ANSWER_WAIT)
            .ack_timeout(ANSWER_WAIT)
            .backpressure_on_inflight(true)
            .build(client.clone());
        Ok(Self { client, js, space: space.to_owned() })
    }

    /// Version of the server, and the address that is connected.
    pub fn server(&self) -> (String, String) {
        let info = self.client.server_info();
        (info.version, format!("{}:{}", info.host, info.port))
    }

    /// Creates the streams, the bucket and the consumer of the pool `default`, where they do not exist.
    ///
    /// # Errors
    /// The broker refused it, or has them with other settings.
    pub async fn init(&self, terms: &Terms) -> Result<()> {
        let failed = |what: &str, e: &dyn fmt::Display| {
            Error::new(ErrorKind::Broker, format!("cannot create {what}: {e}"))
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
            ..base("JOBS", "job")
        };
        for config in [rows, results, jobs] {
            let name = format!("the stream {}", config.name);
            self.js.get_or_create_stream(config).await.map_err(|e| failed(&name, &e))?;
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
        let created = jobs.get_or_create_consumer("pool_default", pool).await;
        created.map_err(|e| failed("the consumer of the pool", &e))?;
        let bucket = self.bucket();
        if self.js.get_key_value(&bucket).await.is_err() {
            let config = kv::Config {
                bucket: bucket.clone(),
                num_replicas: terms.replicas,
                history: 1,
                ..kv::Config::default()
            };
            let created = self.js.create_key_value(config).await;
            created.map_err(|e| failed(&format!("the bucket {bucket}"), &e))?;
        }
        Ok(())
    }

    fn bucket(&self) -> String {
        format!("{}_run", self.space)
    }

    fn subject(&self, kind: &str, shard: &ShardId) -> String {
        format!("{}.{kind}.{}.{}", self.space, shard.run, shard.number)
    }

    /// Publishes a message if the last sequence of its subject is `expected`.
    async fn publish(
        &self,
        subject: String,
        message: Message,
        expected: Option<u64>,
    ) -> Result<u64, PublishError> {
        let mut publish = PublishMessage::build().payload(message.body);
        for (name, value) in message.headers {
            publish = publish.header(name.as_str(), value.as_str());
        }
        if let Some(expected) = expected {
            publish = publish.expected_last_subject_sequence(expected);
        }
        Ok(self.js.send_publish(subject, publish).await?.await?.sequence)
    }

    /// Sends a request to the API of JetStream, and returns its answer.
    async fn api(&self, subject: String, body: Value) -> Result<Value> {
        let answer = self.client.request(subject, body.to_string().into()).await;
        let answer =
            answer.map_err(|e| Error::new(ErrorKind::Broker, format!("the broker did not answer: {e}")))?;
        serde_json::from_slice(&answer.payload)
            .map_err(|e| Error::new(ErrorKind::Broker, format!("unexpected answer of the broker: {e}")))
    }
}

/// The code of the server's answer to a publish. 0 without an answer.
fn code(error: &PublishError) -> u64 {
    let source = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
    source.map_or(0, |error| error.error_code().0)
}

fn is_fenced(error: &PublishError) -> bool {
    error.kind() == PublishErrorKind::WrongLastSequence || WRONG_SEQUENCE.contains(&code(error))
}

fn unknown(error: &PublishError) -> Error {
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    Error::new(ErrorKind::Broker, format!("the broker did not take a message: {error}{cause}"))
}

fn no_answer(error: &dyn fmt::Display) -> Error {
    Error::new(ErrorKind::Broker, format!("the broker did not answer: {error}"))
}

/// Headers that begin with the prefix of this crate.
fn headers(all: &HeaderMap) -> Vec<(String, String)> {
    let own = all.iter().filter(|(name, _)| AsRef::<str>::as_ref(name).starts_with("Fw-"));
    let first = |values: &Vec<async_nats::HeaderValue>| {
        values.first().map(|value| value.as_str().to_owned()).unwrap_or_default()
    };
    own.map(|(name, values)| (name.to_string(), first(values))).collect()
}

fn number(headers: &HeaderMap, name: &str) -> u64 {
    headers.get(name).and_then(|value| value.as_str().parse().ok()).unwrap_or_default()
}

impl Broker for Nats {
    fn put_once(&self, shard: ShardId, rows: Message) -> BoxFuture<'_, Result<bool>> {
        async move {
            match self.publish(self.subject("rows", &shard), rows, Some(0)).await {
                Ok(_) => Ok(true),
                Err(error) if is_fenced(&error) => Ok(false),
                Err(error) => Err(unknown(&error)),
            }
        }
        .boxed()
    }

    fn get(&self, shard: ShardId) -> BoxFuture<'_, Result<Option<Message>>> {
        async move {
            let subject = format!("$JS.API.DIRECT.GET.{}_ROWS", self.space);
            let body = json!({ "last_by_subj": self.subject("rows", &shard) });
            let answer = self.client.request(subject, body.to_string().into()).await;
            let answer = answer.map_err(|e| no_answer(&e))?;
            match answer.status.map(|status| status.as_u16()) {
                None => {
                    let headers = answer.headers.as_ref().map(headers).unwrap_or_default();
                    Ok(Some(Message { headers, body: answer.payload }))
                }
                Some(404) => Ok(None),
                Some(status) => Err(no_answer(&format!("status {status}"))),
            }
        }
        .boxed()
    }

    fn append(&self, shard: ShardId, record: Message, expected: u64) -> BoxFuture<'_, Appended> {
        async move {
            match self.publish(self.subject("res", &shard), record, Some(expected)).await {
                Ok(sequence) => Appended::At(sequence),
                Err(error) if is_fenced(&error) => Appended::Fenced,
                Err(error) => Appended::Unknown(unknown(&error).to_string()),
            }
        }
        .boxed()
    }

    /// Reads the log by requests for many messages at once, which servers answer since version 2.11.
    fn read(&self, shard: ShardId) -> BoxFuture<'_, Result<Vec<Stored>>> {
        async move {
            let subject = self.subject("res", &shard);
            let api = format!("$JS.API.DIRECT.GET.{}_RES", self.space);
            let mut log = Vec::new();
            let mut from = 1;
            loop {
                let inbox = self.client.new_inbox();
                let mut answers = self.client.subscribe(inbox.clone()).await.map_err(|e| no_answer(&e))?;
                let body = json!({
                    "seq": from, "next_by_subj": subject, "batch": READ_BATCH, "max_bytes": 8 << 20,
                });
                let sent = self.client.publish_with_reply(api.clone(), inbox, body.to_string().into()).await;
                sent.map_err(|e| no_answer(&e))?;
                let mut is_more = false;
                loop {
                    let answer = timeout(ANSWER_WAIT, answers.next()).await.map_err(|e| no_answer(&e))?;
                    let answer = answer.ok_or_else(|| no_answer(&"the connection was closed"))?;
                    let all = answer.headers.unwrap_or_default();
                    match answer.status.map(|status| status.as_u16()) {
                        None => {
                            let sequence = number(&all, "Nats-Sequence");
                            from = sequence + 1;
                            is_more = true;
                            let message = Message { headers: headers(&all), body: answer.payload };
                            log.push(Stored { sequence, message });
                        }
                        Some(404) => return Ok(log),
                        Some(204) => {
                            is_more &= number(&all, "Nats-Num-Pending") > 0;
                            break;
                        }
                        Some(status) => return Err(no_answer(&format!("status {status}"))),
                    }
                }
                if !is_more {
                    return Ok(log);
                }
            }
        }
        .boxed()
    }

    fn ticket_once(&self, pool: String, shard: ShardId) -> BoxFuture<'_, Result<bool>> {
        async move {
            let subject = self.subject(&format!("job.{pool}"), &shard);
            match self.publish(subject, Message::new(Bytes::new()), None).await {
                Ok(_) => Ok(true),
                // The same code says that the whole stream is full.
                Err(error) if code(&error) == FULL && unknown(&error).message().contains("per subject") => {
                    Ok(false)
                }
                Err(error) => Err(unknown(&error)),
            }
        }
        .boxed()
    }

    fn pull(&self, pool: String, wait: Duration) -> BoxFuture<'_, Result<Option<Ticket>>> {
        async move {
            let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}_JOBS.pool_{pool}", self.space);
            let inbox = self.client.new_inbox();
            let mut answers = self.client.subscribe(inbox.clone()).await.map_err(|e| no_answer(&e))?;
            let body = json!({
                "batch": 1, "expires": wait.as_nanos() as u64, "idle_heartbeat": (wait / 3).as_nanos() as u64,
            });
            let sent = self.client.publish_with_reply(subject, inbox, body.to_string().into()).await;
            sent.map_err(|e| no_answer(&e))?;
            loop {
                // The server sends a sign of life in each third of the time.
                let answer = timeout(wait / 3 * 2 + ANSWER_WAIT, answers.next()).await;
                let answer = answer.map_err(|e| no_answer(&e))?;
                let answer = answer.ok_or_else(|| no_answer(&"the connection was closed"))?;
                match answer.status.map(|status| status.as_u16()) {
                    None => {
                        let message = jetstream::Message { message: answer, context: self.js.clone() };
                        let deliveries = message.info().map_or(2, |info| info.delivered.unsigned_abs());
                        let reply = message.reply.as_ref().map(ToString::to_string).unwrap_or_default();
                        let shard = shard_of(&message.subject);
                        return Ok(shard.map(|shard| Ticket { shard, deliveries, reply }));
                    }
                    Some(100) => {}
                    Some(404 | 408) => return Ok(None),
                    Some(status) => return Err(no_answer(&format!("status {status}"))),
                }
            }
        }
        .boxed()
    }

    fn settle<'a>(&'a self, ticket: &'a Ticket, settle: Settle) -> BoxFuture<'a, Result<()>> {
        async move {
            let reply = ticket.reply.clone();
            match settle {
                Settle::Done => {
                    let answer = self.client.request(reply, "+ACK".into()).await;
                    answer.map(|_| ()).map_err(|e| no_answer(&e))
                }
                Settle::Retry(delay) => {
                    let body = format!("-NAK {}", json!({ "delay": delay.as_nanos() as u64 }));
                    self.client.publish(reply, body.into()).await.map_err(|e| no_answer(&e))
                }
                Settle::Progress => {
                    self.client.publish(reply, "+WPI".into()).await.map_err(|e| no_answer(&e))
                }
            }
        }
        .boxed()
    }

    fn value_cas(&self, key: String, value: Bytes, revision: u64) -> BoxFuture<'_, Result<Option<u64>>> {
        async move {
            let subject = format!("$KV.{}.{key}", self.bucket());
            let message = Message { headers: Vec::new(), body: value };
            match self.publish(subject, message, Some(revision)).await {
                Ok(sequence) => Ok(Some(sequence)),
                Err(error) if is_fenced(&error) => Ok(None),
                Err(error) => Err(unknown(&error)),
            }
        }
        .boxed()
    }

    fn value(&self, key: String) -> BoxFuture<'_, Result<Option<(Bytes, u64)>>> {
        async move {
            let bucket = self.bucket();
            let subject = format!("$JS.API.DIRECT.GET.KV_{bucket}.$KV.{bucket}.{key}");
            let answer = self.client.request(subject, Bytes::new()).await.map_err(|e| no_answer(&e))?;
            match answer.status.map(|status| status.as_u16()) {
                None => {
                    let all = answer.headers.unwrap_or_default();
                    // A value that was deleted.
                    let is_gone = all.get("KV-Operation").is_some();
                    Ok((!is_gone).then(|| (answer.payload, number(&all, "Nats-Sequence"))))
                }
                Some(404) => Ok(None),
                Some(status) => Err(no_answer(&format!("status {status}"))),
            }
        }
        .boxed()
    }

    fn keys(&self, prefix: String) -> BoxFuture<'_, Result<Vec<String>>> {
        async move {
            #[derive(Deserialize, Default)]
            struct State {
                #[serde(default)]
                subjects: Option<std::collections::HashMap<String, u64>>,
            }
            let bucket = self.bucket();
            let values = format!("$KV.{bucket}.");
            let body = json!({ "subjects_filter": format!("{values}{prefix}>") });
            let info = self.api(format!("$JS.API.STREAM.INFO.KV_{bucket}"), body).await?;
            let state: State = serde_json::from_value(info["state"].clone()).unwrap_or_default();
            let keys = state.subjects.unwrap_or_default().into_keys();
            Ok(keys.filter_map(|subject| subject.strip_prefix(&values).map(str::to_owned)).collect())
        }
        .boxed()
    }

    fn ask(&self, worker: String, shard: ShardId, wait: Duration) -> BoxFuture<'_, Option<bool>> {
        async move {
            let subject = format!("{}.own.{worker}", self.space);
            let question = format!("{} {}", shard.run, shard.number);
            let answer = timeout(wait, self.client.request(subject, question.into())).await.ok()?.ok()?;
            Some(answer.payload.as_ref() == b"yes")
        }
        .boxed()
    }

    fn listen(&self, worker: String, held: Held) -> BoxFuture<'_, Result<Listening>> {
        async move {
            let subject = format!("{}.own.{worker}", self.space);
            let mut questions = self.client.subscribe(subject).await.map_err(|e| no_answer(&e))?;
            let client = self.client.clone();
            let task = tokio::spawn(async move {
                while let Some(question) = questions.next().await {
                    let Some(reply) = question.reply else { continue };
                    let is_held = question_of(&question.payload).is_some_and(|shard| held(&shard));
                    // Without an answer, the worker asks once more.
                    let _ = client.publish(reply, if is_held { "yes" } else { "no" }.into()).await;
                }
            });
            let listening: Listening = Box::new(EndOnDrop(task));
            Ok(listening)
        }
        .boxed()
    }
}

/// The shard of the subject of a ticket.
fn shard_of(subject: &str) -> Option<ShardId> {
    let mut parts = subject.rsplit('.');
    let number = parts.next()?.parse().ok()?;
    Some(ShardId { run: parts.next()?.to_owned(), number })
}

fn question_of(question: &[u8]) -> Option<ShardId> {
    let (run, number) = std::str::from_utf8(question).ok()?.split_once(' ')?;
    Some(ShardId { run: run.to_owned(), number: number.parse().ok()? })
}

/// A task that ends with this value.
struct EndOnDrop(JoinHandle<()>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

//! NATS JetStream as the broker.
//!
//! Rows and logs are streams with a subject for each shard, tickets a work queue, values a key-value bucket.
//! Records are fenced by the expected sequence of their subject. Answers may be lost at any time, so that
//! each error leaves open whether an operation was carried out.

mod access;
mod check;
mod streams;
mod trouble;

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::jetstream::consumer::{self, DeliverPolicy};
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub use access::Access;
use access::Denials;
pub use check::{Check, Finding};
pub use streams::Terms;
use trouble::Trouble;

use super::{Appended, Broker, Held, Listening, Settle, Stored, Ticket, set_over_deletion};
use crate::error::{Error, ErrorKind, Result};
use crate::wire::{Message, ShardId};

/// Time within which the broker answers a request.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// Codes of a refused publish: another last sequence, by a single server and by one of several replicas.
const WRONG_SEQUENCE: [u64; 2] = [10_071, 10_164];

/// Code of a refused publish: the stream, or the subject, is full.
const FULL: u64 = 10_077;

/// Maximum number of messages in an answer to a request for the last records of a run.
const FETCH: usize = 1_000;

/// Header of the message that deletes a value.
const DELETION: &str = "KV-Operation";

/// Records in an answer to a request for a log.
const READ_BATCH: u64 = 256;

/// A connection to NATS servers with JetStream. Clones share it. Reconnects for as long as it takes.
///
/// ```no_run
/// use fanweave::workers::{Access, Nats, Terms};
///
/// # fanweave::blocking::wait(async {
/// let broker = Nats::connect("nats://127.0.0.1:4222", "fw", &Access::new()).await?;
/// broker.init(&Terms::new()).await?;
/// assert!(broker.check().await.is_good());
/// # Ok::<_, fanweave::workers::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Nats {
    client: Client,
    js: jetstream::Context,
    space: String,
    denials: Denials,
    /// Failures of messages, and of requests: a broker that is full answers requests.
    trouble: Arc<[Trouble; 2]>,
}

/// The last message of a value.
struct LastValue {
    value: Bytes,
    revision: u64,
    /// Set if the value was deleted.
    is_deletion: bool,
}

impl Nats {
    /// Version of the server, and the address that is connected.
    pub fn server(&self) -> (String, String) {
        let info = self.client.server_info();
        (info.version, format!("{}:{}", info.host, info.port))
    }

    /// Calls `report` when operations have failed for a while, as nothing else says why a command waits, and
    /// when they succeed again.
    pub fn on_trouble(&self, report: impl Fn(&str) + Clone + Send + Sync + 'static) {
        self.trouble.iter().for_each(|trouble| trouble.report_to(report.clone()));
    }

    /// The error of an operation that got no answer. A refused one gets none: the reason arrives apart.
    /// `subject` is what was published or subscribed to, or its beginning up to a dot.
    fn no_answer(&self, subject: &str, error: &dyn fmt::Display) -> Error {
        self.denied(subject).unwrap_or_else(|| self.failed(1, format!("the broker did not answer: {error}")))
    }

    fn denied(&self, subject: &str) -> Option<Error> {
        let denied = self.denials.take(subject)?;
        Some(Error::new(ErrorKind::Denied, format!("the broker refuses it: {denied}")))
    }

    /// The error of a message (0) or of a request (1).
    fn failed(&self, kind: usize, message: String) -> Error {
        self.trouble[kind].failed(&message);
        Error::new(ErrorKind::Broker, message)
    }

    /// The error of a message that may not be there.
    fn unknown(&self, subject: &str, error: &PublishError) -> Error {
        // A message that is refused is not answered, and neither is one that the broker cannot write.
        let denied = (error.kind() == PublishErrorKind::TimedOut).then(|| self.denied(subject)).flatten();
        denied.unwrap_or_else(|| {
            self.failed(0, format!("the broker did not take a message: {}", with_cause(error)))
        })
    }

    /// Removes the messages of a stream with these subjects.
    async fn purge(&self, stream: &str, subjects: String) -> Result<()> {
        let api = format!("$JS.API.STREAM.PURGE.{}_{stream}", self.space);
        let answer = self.api(api, json!({ "filter": subjects })).await?;
        match answer["error"]["description"].as_str() {
            None => Ok(()),
            Some(why) => Err(Error::new(ErrorKind::Broker, format!("the broker removes nothing: {why}"))),
        }
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
        subject: &str,
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
        let sequence = self.js.send_publish(subject.to_owned(), publish).await?.await?.sequence;
        self.trouble[0].succeeded();
        Ok(sequence)
    }

    /// The last message of a value: the value, or its deletion. `None` without a message.
    async fn last_value(&self, key: &str) -> Result<Option<LastValue>> {
        let bucket = self.bucket();
        let subject = format!("$JS.API.DIRECT.GET.KV_{bucket}.$KV.{bucket}.{key}");
        let answer = self.client.request(subject.clone(), Bytes::new()).await;
        let answer = answer.map_err(|e| self.no_answer(&subject, &e))?;
        self.trouble[1].succeeded();
        match answer.status.map(|status| status.as_u16()) {
            None => {
                let all = answer.headers.unwrap_or_default();
                let (is_deletion, revision) = (all.get(DELETION).is_some(), number(&all, "Nats-Sequence"));
                Ok(Some(LastValue { value: answer.payload, revision, is_deletion }))
            }
            Some(404) => Ok(None),
            Some(status) => Err(self.no_answer(&subject, &format!("status {status}"))),
        }
    }

    /// Sends a request to the API of JetStream, and returns its answer.
    async fn api(&self, subject: String, body: Value) -> Result<Value> {
        // The server takes no body where it expects none.
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let answer = self.client.request(subject.clone(), body).await;
        let answer = answer.map_err(|e| self.no_answer(&subject, &e))?;
        self.trouble[1].succeeded();
        serde_json::from_slice(&answer.payload)
            .map_err(|e| Error::new(ErrorKind::Broker, format!("unexpected answer of the broker: {e}")))
    }
}

/// The code of the server's answer to a publish. 0 without an answer.
fn code(error: &PublishError) -> u64 {
    let source = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
    source.map_or(0, |error| error.error_code().0)
}

fn with_cause(error: &(impl StdError + 'static)) -> String {
    let (text, cause) = (error.to_string(), error.source().map(ToString::to_string));
    match cause {
        // Some errors repeat their cause.
        Some(cause) if !text.ends_with(&cause) => format!("{text}: {cause}"),
        _ => text,
    }
}

/// Returns true if the subject has a message already. The same code says that the whole stream is full.
fn is_full_subject(error: &PublishError) -> bool {
    code(error) == FULL && with_cause(error).contains("per subject")
}

fn is_fenced(error: &PublishError) -> bool {
    error.kind() == PublishErrorKind::WrongLastSequence || WRONG_SEQUENCE.contains(&code(error))
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
            let subject = self.subject("rows", &shard);
            match self.publish(&subject, rows, Some(0)).await {
                Ok(_) => Ok(true),
                Err(error) if is_fenced(&error) => Ok(false),
                Err(error) => Err(self.unknown(&subject, &error)),
            }
        }
        .boxed()
    }

    fn get(&self, shard: ShardId) -> BoxFuture<'_, Result<Option<Message>>> {
        async move {
            let subject = format!("$JS.API.DIRECT.GET.{}_ROWS", self.space);
            let body = json!({ "last_by_subj": self.subject("rows", &shard) });
            let answer = self.client.request(subject.clone(), body.to_string().into()).await;
            let answer = answer.map_err(|e| self.no_answer(&subject, &e))?;
            self.trouble[1].succeeded();
            match answer.status.map(|status| status.as_u16()) {
                None => {
                    let headers = answer.headers.as_ref().map(headers).unwrap_or_default();
                    Ok(Some(Message { headers, body: answer.payload }))
                }
                Some(404) => Ok(None),
                Some(status) => Err(self.no_answer(&subject, &format!("status {status}"))),
            }
        }
        .boxed()
    }

    fn append(&self, shard: ShardId, record: Message, expected: u64) -> BoxFuture<'_, Appended> {
        async move {
            let subject = self.subject("res", &shard);
            match self.publish(&subject, record, Some(expected)).await {
                Ok(sequence) => Appended::At(sequence),
                Err(error) if is_fenced(&error) => Appended::Fenced,
                Err(error) => match self.unknown(&subject, &error) {
                    error if error.kind() == ErrorKind::Denied => Appended::Denied(error.to_string()),
                    error => Appended::Unknown(error.to_string()),
                },
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
                let mut answers =
                    self.client.subscribe(inbox.clone()).await.map_err(|e| self.no_answer(&api, &e))?;
                let body = json!({
                    "seq": from, "next_by_subj": subject, "batch": READ_BATCH, "max_bytes": 8 << 20,
                });
                let sent = self.client.publish_with_reply(api.clone(), inbox, body.to_string().into()).await;
                sent.map_err(|e| self.no_answer(&api, &e))?;
                let mut is_more = false;
                loop {
                    let answer =
                        timeout(ANSWER_WAIT, answers.next()).await.map_err(|e| self.no_answer(&api, &e))?;
                    let answer = answer.ok_or_else(|| self.no_answer(&api, &"the connection was closed"))?;
                    self.trouble[1].succeeded();
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
                        Some(status) => return Err(self.no_answer(&api, &format!("status {status}"))),
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
            match self.publish(&subject, Message::new(Bytes::new()), None).await {
                Ok(_) => Ok(true),
                Err(error) if is_full_subject(&error) => Ok(false),
                Err(error) => Err(self.unknown(&subject, &error)),
            }
        }
        .boxed()
    }

    fn pull(&self, pool: String, wait: Duration) -> BoxFuture<'_, Result<Option<Ticket>>> {
        async move {
            let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}_JOBS.pool_{pool}", self.space);
            let inbox = self.client.new_inbox();
            let mut answers =
                self.client.subscribe(inbox.clone()).await.map_err(|e| self.no_answer(&subject, &e))?;
            let body = json!({
                "batch": 1, "expires": wait.as_nanos() as u64, "idle_heartbeat": (wait / 3).as_nanos() as u64,
            });
            let sent = self.client.publish_with_reply(subject.clone(), inbox, body.to_string().into()).await;
            sent.map_err(|e| self.no_answer(&subject, &e))?;
            loop {
                // The server sends a sign of life in each third of the time.
                let answer = timeout(wait / 3 * 2 + ANSWER_WAIT, answers.next()).await;
                let answer = answer.map_err(|e| self.no_answer(&subject, &e))?;
                let answer = answer.ok_or_else(|| self.no_answer(&subject, &"the connection was closed"))?;
                self.trouble[1].succeeded();
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
                    Some(status) => return Err(self.no_answer(&subject, &format!("status {status}"))),
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
                    answer.map(|_| ()).map_err(|e| self.no_answer(&ticket.reply, &e))
                }
                Settle::Retry(delay) => {
                    let body = format!("-NAK {}", json!({ "delay": delay.as_nanos() as u64 }));
                    self.client
                        .publish(reply, body.into())
                        .await
                        .map_err(|e| self.no_answer(&ticket.reply, &e))
                }
                Settle::Progress => self
                    .client
                    .publish(reply, "+WPI".into())
                    .await
                    .map_err(|e| self.no_answer(&ticket.reply, &e)),
            }
        }
        .boxed()
    }

    fn value_cas(&self, key: String, value: Bytes, revision: u64) -> BoxFuture<'_, Result<Option<u64>>> {
        async move {
            let subject = format!("$KV.{}.{key}", self.bucket());
            let put = |expected| {
                let message = Message { headers: Vec::new(), body: value.clone() };
                let subject = &subject;
                async move {
                    match self.publish(subject, message, Some(expected)).await {
                        Ok(sequence) => Ok(Some(sequence)),
                        Err(error) if is_fenced(&error) => Ok(None),
                        Err(error) => Err(self.unknown(subject, &error)),
                    }
                }
            };
            let deletion = || async {
                let last = self.last_value(&key).await?;
                Ok(last.filter(|last| last.is_deletion).map(|last| last.revision))
            };
            set_over_deletion(revision, put, deletion).await
        }
        .boxed()
    }

    fn value(&self, key: String) -> BoxFuture<'_, Result<Option<(Bytes, u64)>>> {
        async move {
            let last = self.last_value(&key).await?.filter(|last| !last.is_deletion);
            Ok(last.map(|last| (last.value, last.revision)))
        }
        .boxed()
    }

    fn value_delete(&self, key: String) -> BoxFuture<'_, Result<()>> {
        async move {
            let subject = format!("$KV.{}.{key}", self.bucket());
            let headers = vec![(DELETION.to_owned(), "DEL".to_owned())];
            let message = Message { headers, body: Bytes::new() };
            self.publish(&subject, message, None).await.map(|_| ()).map_err(|e| self.unknown(&subject, &e))
        }
        .boxed()
    }

    fn last_records(&self, run: String) -> BoxFuture<'_, Result<Vec<(u64, Message)>>> {
        async move {
            let config = consumer::pull::Config {
                // Permissions are given for consumers with names.
                name: Some(format!("look_{}", fastrand::u64(..))),
                filter_subject: format!("{}.res.{run}.*", self.space),
                deliver_policy: DeliverPolicy::LastPerSubject,
                ack_policy: consumer::AckPolicy::None,
                headers_only: true,
                inactive_threshold: ANSWER_WAIT,
                ..consumer::pull::Config::default()
            };
            let stream = self.js.get_stream_no_info(format!("{}_RES", self.space)).await;
            let stream = stream.map_err(|e| self.no_answer("$JS.API.CONSUMER.", &e))?;
            let consumer =
                stream.create_consumer(config).await.map_err(|e| self.no_answer("$JS.API.CONSUMER.", &e))?;
            let mut left = consumer.cached_info().num_pending;
            // A shard whose last record is replaced meanwhile is delivered twice: the later one counts.
            let mut records = HashMap::new();
            while left > 0 {
                let before = left;
                let fetch = consumer.fetch().max_messages(FETCH).expires(ANSWER_WAIT);
                let mut messages =
                    fetch.messages().await.map_err(|e| self.no_answer("$JS.API.CONSUMER.", &e))?;
                while let Some(message) = messages.next().await {
                    let message = message.map_err(|e| self.no_answer("$JS.API.CONSUMER.", &e))?;
                    left = left.saturating_sub(1);
                    let Some(shard) = shard_of(&message.subject) else { continue };
                    let headers = message.headers.as_ref().map(headers).unwrap_or_default();
                    records.insert(shard.number, Message { headers, body: Bytes::new() });
                }
                if left == before {
                    // The records that are missing were removed.
                    break;
                }
            }
            let name = &consumer.cached_info().name;
            // The server removes it by itself, but later.
            let _ = stream.delete_consumer(name).await;
            Ok(records.into_iter().collect())
        }
        .boxed()
    }

    fn remove_tickets(&self, pool: String, run: String) -> BoxFuture<'_, Result<()>> {
        self.purge("JOBS", format!("{}.job.{pool}.{run}.>", self.space)).boxed()
    }

    fn remove_shards(&self, run: String) -> BoxFuture<'_, Result<()>> {
        async move {
            self.purge("ROWS", format!("{}.rows.{run}.>", self.space)).await?;
            self.purge("RES", format!("{}.res.{run}.>", self.space)).await
        }
        .boxed()
    }

    fn clock(&self) -> BoxFuture<'_, Result<Duration>> {
        async move {
            let info = self.api(format!("$JS.API.STREAM.INFO.KV_{}", self.bucket()), Value::Null).await?;
            let time = info["ts"].as_str().and_then(|text| humantime::parse_rfc3339_weak(text).ok());
            let since = time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
            since.ok_or_else(|| self.no_answer("$JS.API.STREAM.INFO.", &"no time"))
        }
        .boxed()
    }

    fn keys(&self, prefix: String) -> BoxFuture<'_, Result<Vec<String>>> {
        async move {
            #[derive(Deserialize, Default)]
            struct State {
                #[serde(default)]
                subjects: Option<HashMap<String, u64>>,
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
            let questions = self.client.subscribe(subject.clone()).await;
            let mut questions = questions.map_err(|e| self.no_answer(&subject, &e))?;
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
            // Without questions, other workers would take its shards: a server that does not permit the
            // subscription says nothing else.
            let answer = self.client.request(subject.clone(), "- 0".into()).await;
            answer.map(|_| listening).map_err(|e| self.no_answer(&subject, &e))
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

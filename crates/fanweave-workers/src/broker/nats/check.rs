//! Checks of a server, in words.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::future::join_all;
use serde_json::Value;
use tokio::time::Instant;

use super::{Nats, is_fenced};
use crate::broker::Broker;
use crate::error::{Error, ErrorKind, Result};
use crate::wire::{Message, ShardId};

/// Oldest version of the server that is known to work.
const MIN_VERSION: (u32, u32, u32) = (2, 14, 7);

/// Size of the largest message that is sent.
const MAX_MESSAGE: usize = 1 << 20;

/// Round trips of which the fastest one tells the time.
const ROUND_TRIPS: usize = 5;

/// Difference of clocks from which it is reported.
const MAX_OFFSET: Duration = Duration::from_secs(1);

/// Result of [`Nats::check`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Check {
    /// Findings, in the order of the checks.
    pub findings: Vec<Finding>,
}

/// Finding of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// As it must be.
    Good(String),
    /// Works, with the disadvantage that it names.
    Note(String),
    /// Runs fail because of it.
    Bad(String),
}

impl Check {
    /// Returns true if no run fails because of what was found.
    pub fn is_good(&self) -> bool {
        !self.findings.iter().any(|finding| matches!(finding, Finding::Bad(_)))
    }

    fn good(&mut self, text: impl Into<String>) {
        self.findings.push(Finding::Good(text.into()));
    }

    fn note(&mut self, text: impl Into<String>) {
        self.findings.push(Finding::Note(text.into()));
    }

    fn bad(&mut self, text: impl Into<String>) {
        self.findings.push(Finding::Bad(text.into()));
    }
}

impl Nats {
    /// Checks the server and what this user may do there: version, size of messages, `JetStream`, streams,
    /// clock and permissions. Changes nothing.
    ///
    /// Takes a few seconds if something is not permitted: a server does not answer what it refuses.
    pub async fn check(&self) -> Check {
        let mut check = Check::default();
        let info = self.client.server_info();
        let (major, minor, patch) = MIN_VERSION;
        match crate::broker::version(&info.version) {
            Some(version) if version >= MIN_VERSION => check.good(format!("nats-server {}", info.version)),
            _ => {
                check
                    .bad(format!("nats-server {}: {major}.{minor}.{patch} or newer is needed", info.version));
            }
        }
        match info.max_payload >= MAX_MESSAGE {
            true => check.good(format!("messages of {} KiB", info.max_payload >> 10)),
            false => check.bad(format!("max_payload is {} bytes: set it to 1MB or more", info.max_payload)),
        }
        let account = self.api("$JS.API.INFO".to_owned(), Value::Null).await;
        match account {
            Ok(account) if account.get("error").is_some_and(|error| !error.is_null()) => {
                let why = account["error"]["description"].as_str().unwrap_or("refused").to_owned();
                check.bad(format!("JetStream: {why}; add `jetstream {{}}` to the configuration"));
                return check;
            }
            Ok(account) => storage(&account, &mut check),
            Err(error) if error.message().contains("no responders") => {
                check.bad("JetStream is not enabled: add `jetstream {}` to the configuration");
                return check;
            }
            Err(error) => check.note(format!("JetStream's account cannot be read: {error}")),
        }
        if !self.streams(&mut check).await {
            return check;
        }
        self.offset(&mut check).await;
        self.permissions(&mut check).await;
        check
    }

    /// Checks that this user may record results and what else a worker publishes. Changes nothing.
    ///
    /// # Errors
    /// [`Denied`](ErrorKind::Denied), with what the server refuses. A server that does not answer permits it:
    /// workers wait for it.
    pub async fn check_worker(&self) -> Result<()> {
        let values = ["stat.check", "pause.check", "limit.check", "money.check", "keeper"];
        let shard = ShardId { run: "check".to_owned(), number: 0 };
        let subjects = values.iter().map(|key| format!("$KV.{}.{key}", self.bucket()));
        let checks = subjects.chain([self.subject("res", &shard)]).map(|subject| async move {
            match self.refused(&subject).await {
                Some(error) if error.kind() == ErrorKind::Denied => Err(error),
                _ => Ok(()),
            }
        });
        let denied = join_all(checks).await.into_iter().find_map(Result::err);
        denied.map_or(Ok(()), |error| {
            let message = format!("this user may not do what a worker does: {error}");
            Err(Error::new(ErrorKind::Denied, message))
        })
    }

    /// Checks that the broker is prepared and that this user may share limits. Changes nothing.
    ///
    /// # Errors
    /// [`Usage`](ErrorKind::Usage) if the broker is not prepared; [`Denied`](ErrorKind::Denied), with what
    /// the server refuses; [`Broker`](ErrorKind::Broker) if it does not answer.
    pub async fn check_limits(&self) -> Result<()> {
        let key = "limit.check";
        let changing = format!("$KV.{}.{key}", self.bucket());
        let info = self.api(format!("$JS.API.STREAM.INFO.KV_{}", self.bucket()), Value::Null);
        let (info, changed, read) = futures::join!(info, self.refused(&changing), self.last_value(key));
        let denied = |error: &Error| error.kind() == ErrorKind::Denied;
        let all = [info.as_ref().err(), changed.as_ref(), read.as_ref().err()];
        if let Some(error) = all.into_iter().flatten().find(|error| denied(error)) {
            let message = format!("this user may not share limits: {error}");
            return Err(Error::new(ErrorKind::Denied, message));
        }
        let unprepared = |why: &str| {
            let (_, address) = self.server();
            Error::new(ErrorKind::Usage, format!("the broker at {address} is not prepared: {why}"))
        };
        match info {
            Ok(info) if info["config"].is_object() => Ok(()),
            Ok(_) => Err(unprepared("run `fanweave broker init --on` with its URL")),
            Err(error) if error.message().contains("no responders") => {
                Err(unprepared("JetStream is not enabled; add `jetstream {}` to the configuration"))
            }
            Err(error) => Err(error),
        }
    }

    /// The error of a message that is not written, whose subject is not permitted. `None` if it is.
    async fn refused(&self, subject: &str) -> Option<Error> {
        // No message has this sequence, so a server that permits the message refuses it nevertheless.
        let expected = Some(u64::from(u32::MAX));
        let sent = self.publish(subject, Message::new(Bytes::new()), expected).await;
        sent.err().filter(|error| !is_fenced(error)).map(|error| self.unknown(subject, &error))
    }

    /// Looks at the streams. Returns false if some are missing.
    async fn streams(&self, check: &mut Check) -> bool {
        let names = ["ROWS", "RES", "JOBS"].map(|name| format!("{}_{name}", self.space));
        let bucket = format!("KV_{}", self.bucket());
        let names: Vec<_> = names.into_iter().chain([bucket]).collect();
        let infos = names.iter().map(|name| self.api(format!("$JS.API.STREAM.INFO.{name}"), Value::Null));
        let mut replicas = None;
        for (name, info) in names.iter().zip(join_all(infos).await) {
            match info {
                Ok(info) if info["config"].is_object() => {
                    replicas = info["config"]["num_replicas"].as_u64().or(replicas);
                }
                Ok(_) => {
                    check.bad(format!("the stream {name} does not exist: run `fanweave broker init`"));
                    return false;
                }
                Err(error) if error.kind() == ErrorKind::Denied => {}
                Err(error) => check.note(format!("the stream {name} cannot be looked at: {error}")),
            }
        }
        match replicas {
            Some(1) => check.note("1 replica: results are lost with the disk of the server"),
            Some(n) => check.good(format!("{n} replicas")),
            None => {}
        }
        true
    }

    /// Compares the clocks by the fastest of some round trips.
    async fn offset(&self, check: &mut Check) {
        let mut min_trip: Option<(Duration, i128)> = None;
        for _ in 0..ROUND_TRIPS {
            let asked = Instant::now();
            let Ok(theirs) = self.clock().await else { continue };
            let trip = asked.elapsed();
            let ours = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let ours = ours.saturating_sub(trip / 2);
            let offset = ours.as_millis().cast_signed() - theirs.as_millis().cast_signed();
            if min_trip.is_none_or(|(before, _)| trip < before) {
                min_trip = Some((trip, offset));
            }
        }
        let Some((trip, offset)) = min_trip else {
            return check.bad("the clock of the broker cannot be read");
        };
        let trip = trip.as_millis();
        match offset.unsigned_abs() > MAX_OFFSET.as_millis() {
            true => check.note(format!(
                "the clock of this machine differs from the broker's by {offset} ms; limits follow the broker's"
            )),
            false => check.good(format!("clocks differ by {offset} ms, a round trip takes {trip} ms")),
        }
    }

    async fn permissions(&self, check: &mut Check) {
        let shard = ShardId { run: "check".to_owned(), number: 0 };
        let is_permitted = async |kind: &str| self.refused(&self.subject(kind, &shard)).await.is_none();
        let may = |is_permitted: bool, what: &str| match is_permitted {
            true => Finding::Good(format!("this user may {what}")),
            false => Finding::Note(format!("this user may not {what}")),
        };
        let (may_submit, may_work) = futures::join!(is_permitted("rows"), is_permitted("res"));
        check.findings.push(may(may_submit, "submit runs"));
        check.findings.push(may(may_work, "run rows"));
        check.findings.push(may(self.read(shard.clone()).await.is_ok(), "read results"));
        if !may_submit && !may_work {
            check.bad("this user may neither submit nor work");
        }
    }
}

fn storage(account: &Value, check: &mut Check) {
    let used = account["storage"].as_u64().unwrap_or_default();
    let limit = account["limits"]["max_storage"].as_i64().filter(|limit| *limit > 0);
    let mib = |bytes: u64| bytes >> 20;
    match limit {
        Some(limit) if used.saturating_mul(5) > limit.unsigned_abs().saturating_mul(4) => {
            check.note(format!(
                "storage: {} of {} MiB are used; remove runs that were collected with `fanweave jobs rm`",
                mib(used),
                mib(limit.unsigned_abs())
            ));
        }
        Some(limit) => {
            check.good(format!("storage: {} of {} MiB are used", mib(used), mib(limit.unsigned_abs())));
        }
        None => check.good(format!("storage: {} MiB are used", mib(used))),
    }
}

//! One shard at a worker: claimed, run, recorded and released.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanweave_batch::__private::{Job, Origin, encode_row};
use fanweave_batch::{CancellationToken, FinishedRow, Progress, RowKey};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::append::{Counts, Lost, ShardWriter, read_log};
use crate::broker::{Broker, Settle, Ticket};
use crate::in_hand::Reservation;
use crate::log::{CAREFUL_DEATHS, MAX_ALONE, ShardLog};
use crate::manifests::manifest_of;
use crate::money::Money;
use crate::patience::patiently;
use crate::rows::{EndRoutes, Feed, Routes, Unrecorded, Workload};
use crate::wire::{Kind, Manifest, Record, Row, decode_rows};

/// Maximum size of the body of a record. With its headers, a record must stay below the 1 MiB of a message.
const MAX_RECORD_BYTES: usize = 768 << 10;

/// Size of results from which they are recorded.
const FLUSH_BYTES: usize = 256 << 10;

/// Maximum time for which a result waits for others.
const FLUSH_AFTER: Duration = Duration::from_millis(200);

/// Maximum number of results that are taken at once.
const MAX_RECEIVED: usize = 256;

/// Number of results from which they are recorded. Those that have ended meanwhile are in the same record.
const MIN_FLUSH_ROWS: usize = 64;

/// Time for which an owner may answer a question.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// Pause before a silent owner is asked once more.
const ASK_PAUSE: Duration = Duration::from_secs(3);

/// Delay of a ticket whose shard is in good hands.
pub(crate) const HELD_DELAY: Duration = Duration::from_secs(10);

/// Delay of a ticket that this worker cannot serve.
pub(crate) const UNABLE_DELAY: Duration = Duration::from_secs(30);

/// Time for which a worker that was refused takes no more tickets of the run.
pub(crate) const REFUSED_PAUSE: Duration = Duration::from_secs(60);

/// Time for which a worker takes no more tickets of a run whose budget is spent.
pub(crate) const BUDGET_PAUSE: Duration = Duration::from_secs(10);

/// Time for which a replica may lack the rows of a shard.
const ROWS_WAIT: Duration = Duration::from_secs(10);

/// A shard that a worker is to run.
pub(crate) struct ShardRun {
    pub(crate) broker: Arc<dyn Broker>,
    /// Name of the claim.
    pub(crate) writer: String,
    pub(crate) ticket: Ticket,
    /// Number of the origin of its rows, different for each claim.
    pub(crate) origin: u64,
    pub(crate) run: Manifest,
    pub(crate) workload: Arc<dyn Workload>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) jobs: mpsc::Sender<fanweave_batch::Result<Job>>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) concurrency: usize,
    /// Time between two signs that the ticket is worked on.
    pub(crate) beat: Duration,
    /// Cancelled when the worker stops.
    pub(crate) stop: CancellationToken,
    /// Its rows that have not ended.
    pub(crate) reserved: Reservation,
}

/// End of a shard at a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ShardEnd {
    /// All its rows have a result.
    Complete,
    /// Another worker runs it.
    Elsewhere,
    /// Another worker took it over while this one stood still.
    Lost,
    /// The broker does not permit this worker to record results.
    Denied(String),
    /// Rows were left without a result, and the shard was released.
    Released,
    /// Its rows are not at the broker.
    NoRows,
    /// Its log or its rows cannot be read by this version.
    Unreadable,
}

/// Results that wait to be recorded.
#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// The results, each with whether its line has an answer.
    rows: Vec<(Unrecorded, bool)>,
    since: Option<Instant>,
}

impl From<Lost> for ShardEnd {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Elsewhere => Self::Lost,
            Lost::Denied(why) => Self::Denied(why),
        }
    }
}

impl ShardRun {
    /// Runs the shard and settles its ticket.
    pub(crate) async fn run(mut self) -> ShardEnd {
        let beat = keep(self.broker.clone(), self.ticket.clone(), self.beat);
        let end = tokio::select! {
            end = self.work() => end,
            () = beat => unreachable!("the beat never ends"),
        };
        let settle = match &end {
            ShardEnd::Complete => Some(Settle::Done),
            ShardEnd::Elsewhere => Some(Settle::Retry(HELD_DELAY)),
            // The ticket belongs to the worker that took it over.
            ShardEnd::Lost => None,
            ShardEnd::Released if self.stop.is_cancelled() => Some(Settle::Retry(Duration::ZERO)),
            ShardEnd::Released => Some(Settle::Retry(self.released_delay())),
            ShardEnd::NoRows | ShardEnd::Unreadable | ShardEnd::Denied(_) => {
                Some(Settle::Retry(UNABLE_DELAY))
            }
        };
        if let Some(settle) = settle {
            settle_ticket(&*self.broker, &self.ticket, settle).await;
        }
        end
    }

    /// Delay of the ticket of a shard that was released.
    fn released_delay(&self) -> Duration {
        match self.routes.ended.get() {
            Some(stopped) if stopped.refused.is_some() || stopped.unavailable.is_some() => REFUSED_PAUSE,
            Some(stopped) if stopped.over_budget => BUDGET_PAUSE,
            _ => Duration::ZERO,
        }
    }

    async fn work(&mut self) -> ShardEnd {
        let rows = match self.rows().await {
            Ok(Some(rows)) => rows,
            Ok(None) => return ShardEnd::NoRows,
            Err(_) => return ShardEnd::Unreadable,
        };
        let (mut writer, log) = match self.claim(rows.len() as u64).await {
            Ok(claimed) => claimed,
            Err(end) => return end,
        };
        let origin = Origin::new(self.origin);
        self.reserved.learn(rows.len());
        let is_careful = log.deaths >= CAREFUL_DEATHS;
        let left: Vec<Row> = rows.into_iter().filter(|row| !log.done.contains_key(&row.row.index)).collect();
        let done = match is_careful {
            false => self.run_all(&mut writer, &origin, left).await,
            true => self.run_one_by_one(&mut writer, &origin, left, &log).await,
        };
        self.routes.remove(self.origin);
        match done {
            Ok(true) => ShardEnd::Complete,
            Ok(false) => match writer.append(Kind::Release, Bytes::new()).await {
                Ok(()) => ShardEnd::Released,
                Err(lost) => lost.into(),
            },
            Err(lost) => {
                // Its rows in flight end, and are paid by the worker that took the shard over.
                origin.fence();
                lost.into()
            }
        }
    }

    /// Gets the rows of the shard. `None` if the broker does not have them.
    async fn rows(&self) -> crate::Result<Option<Vec<Row>>> {
        let end = Instant::now() + ROWS_WAIT;
        loop {
            match self.broker.get(self.ticket.shard.clone()).await {
                Ok(Some(message)) => {
                    message.check_version()?;
                    return decode_rows(&message.body).map(Some);
                }
                Ok(None) if Instant::now() >= end => return Ok(None),
                _ => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Claims the shard, unless it is complete or in good hands.
    async fn claim(&mut self, rows: u64) -> Result<(ShardWriter, ShardLog), ShardEnd> {
        let shard = &self.ticket.shard.clone();
        let mut log = ShardLog::default();
        let mut is_read = self.ticket.deliveries <= 1;
        loop {
            if !is_read {
                log = match read_log(&*self.broker, shard).await {
                    Ok((log, _)) => log,
                    Err(error) if error.kind() == crate::ErrorKind::Broker => {
                        sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                    Err(_) => return Err(ShardEnd::Unreadable),
                };
                if log.is_complete(rows, self.run.generation) {
                    // Failed rows are retried in a generation that this worker may not know yet.
                    self.reread().await;
                    if log.is_complete(rows, self.run.generation) {
                        return Err(ShardEnd::Complete);
                    }
                }
                if let Some(owner) = &log.owner
                    && self.is_held(owner).await
                {
                    return Err(ShardEnd::Elsewhere);
                }
            }
            is_read = false;
            let claim = ShardWriter::claim(
                self.broker.clone(),
                shard.clone(),
                self.writer.clone(),
                &log,
                rows,
                self.run.generation,
            );
            let claimed = claim.await;
            if let Err(Lost::Denied(why)) = claimed {
                return Err(ShardEnd::Denied(why));
            }
            if let Ok(writer) = claimed {
                let mut claimed = log;
                // As the claim that was just accepted changes it.
                claimed.deaths += 1;
                if self.run.generation > claimed.generation {
                    claimed.done.retain(|_, done| done.is_ok);
                    (claimed.generation, claimed.deaths) = (self.run.generation, 1);
                    claimed.alone.clear();
                }
                return Ok((writer, claimed));
            }
        }
    }

    /// Reads the manifest of the run once more.
    async fn reread(&mut self) {
        let read = patiently(|| manifest_of(&*self.broker, &self.run.run)).await;
        if let Ok(Some((manifest, _))) = read {
            self.run = manifest;
        }
    }

    /// Returns true if the owner of the shard says that it runs it.
    async fn is_held(&self, owner: &str) -> bool {
        let worker = Record::worker_of(owner);
        if worker == Record::worker_of(&self.writer) {
            // This worker runs no shard twice, so the claim is one that has ended.
            return false;
        }
        for attempt in 0..2 {
            if attempt > 0 {
                sleep(ASK_PAUSE).await;
            }
            let answer = self.broker.ask(worker.to_owned(), self.ticket.shard.clone(), ANSWER_WAIT).await;
            if let Some(is_held) = answer {
                return is_held;
            }
        }
        false
    }

    /// Runs all rows that are left. Returns false if some of them have no result.
    async fn run_all(
        &mut self,
        writer: &mut ShardWriter,
        origin: &Origin,
        left: Vec<Row>,
    ) -> Result<bool, Lost> {
        let mut results = self.routes.add(self.origin);
        let mut missing = left.len();
        self.reserved.set(missing);
        // While a record is written, as many results gather as may be unrecorded.
        let flush_rows = (self.concurrency / 2).clamp(1, MIN_FLUSH_ROWS);
        let mut received = Vec::new();
        let jobs = self.jobs.clone();
        let origin = origin.clone();
        let feeding = async move {
            for Row { key, row } in left {
                if jobs.send(Ok(Job::new(origin.clone(), key, row))).await.is_err() {
                    // The window has ended: no more results come.
                    break;
                }
            }
            drop(jobs);
            std::future::pending::<()>().await;
        };
        tokio::pin!(feeding);
        // Once its rows are sent, the shard must not keep the window open.
        self.jobs = mpsc::channel(1).0;
        let mut buffer = Buffer::default();
        while missing > 0 {
            let flush_at = buffer.since.map(|since| since + FLUSH_AFTER);
            let count = tokio::select! {
                biased;
                count = results.recv_many(&mut received, MAX_RECEIVED) => Some(count),
                () = sleep_until(flush_at.unwrap_or_else(Instant::now)), if flush_at.is_some() => None,
                () = &mut feeding => unreachable!("it never ends"),
            };
            let is_last = match count {
                Some(0) => true,
                Some(count) => {
                    missing -= count;
                    self.reserved.set(missing);
                    received.drain(..).for_each(|result| buffer.add(result));
                    missing == 0
                }
                None => false,
            };
            let is_due = flush_at.is_some_and(|at| at <= Instant::now());
            if is_last || is_due || buffer.rows.len() >= flush_rows || buffer.bytes.len() >= FLUSH_BYTES {
                // Rows are fed meanwhile, so that a slow broker holds no calls up.
                let flushed = tokio::select! {
                    flushed = buffer.flush(writer, &self.progress) => flushed,
                    () = &mut feeding => unreachable!("it never ends"),
                };
                if flushed.is_err() || is_last {
                    return flushed.map(|()| missing == 0);
                }
            }
        }
        Ok(true)
    }

    /// Runs rows one at a time, each after a record that says so: a row that ends its worker is found. They
    /// have a window of their own, in which no row waits for what becomes of others.
    async fn run_one_by_one(
        &mut self,
        writer: &mut ShardWriter,
        origin: &Origin,
        left: Vec<Row>,
        log: &ShardLog,
    ) -> Result<bool, Lost> {
        self.jobs = mpsc::channel(1).0;
        let mut run = self.run.clone();
        run.settings.keep_going = true;
        let Ok(rows) = self.workload.rows(&run) else { return Ok(false) };
        let (jobs, inbox) = mpsc::channel(1);
        let routes = Arc::new(Routes::new(1));
        let mut results = routes.add(self.origin);
        let feed = Feed {
            jobs: inbox,
            routes: routes.clone(),
            stop: self.stop.child_token(),
            progress: self.progress.clone(),
            money: Money::of(&self.broker, &run),
        };
        let window = async move {
            let _end = EndRoutes(routes);
            rows.run(feed).await;
        };
        let running = async {
            for row in left {
                let alone = log.alone.get(&row.row.index).copied().unwrap_or_default();
                if alone >= MAX_ALONE {
                    let message = format!("{alone} workers ended while they ran this row alone");
                    let mut line = Vec::new();
                    encode_row(&failed(&row, "worker_died", &message), &mut line);
                    let counts = Counts { done: 1, failed: 1 };
                    writer.append_rows(line.into(), counts).await?;
                    continue;
                }
                writer.append(Kind::Try, row.row.index.to_string().into()).await?;
                let Row { key, row } = row;
                if jobs.send(Ok(Job::new(origin.clone(), key, row))).await.is_err() {
                    return Ok(false);
                }
                let Some(result) = results.recv().await else { return Ok(false) };
                let mut buffer = Buffer::default();
                buffer.add(result);
                buffer.flush(writer, &self.progress).await?;
            }
            drop(jobs);
            Ok(true)
        };
        let (done, ()) = tokio::join!(running, window);
        done
    }
}

impl Buffer {
    fn add(&mut self, result: Unrecorded) {
        self.since.get_or_insert_with(Instant::now);
        let (mut line, mut is_ok) = (Vec::new(), result.row.row.is_ok());
        encode_row(&result.row.row, &mut line);
        if line.len() > MAX_RECORD_BYTES {
            let row = &result.row.row;
            let size = line.len() >> 10;
            let message = format!("the result has {size} KiB, more than the broker takes in one message");
            let failed = failed_row(row.key(), row.index(), row.line(), row.id(), "too_large", &message);
            encode_row(&failed, &mut line);
            is_ok = false;
        }
        self.bytes.extend_from_slice(&line);
        self.rows.push((result, is_ok));
    }

    /// Records the results.
    async fn flush(&mut self, writer: &mut ShardWriter, progress: &Progress) -> Result<(), Lost> {
        self.since = None;
        let bytes = Bytes::from(std::mem::take(&mut self.bytes));
        let (mut from, mut flushed) = (0, 0);
        while from < bytes.len() {
            let rest = &bytes[from..];
            // Whole lines, of which each is smaller than a record.
            let to = match rest.len() > MAX_RECORD_BYTES {
                true => rest[..MAX_RECORD_BYTES]
                    .iter()
                    .rposition(|byte| *byte == b'\n')
                    .map_or(rest.len(), |at| at + 1),
                false => rest.len(),
            };
            let lines = bytes.slice(from..from + to);
            let mut counts = Counts::default();
            let count = lines.iter().filter(|byte| **byte == b'\n').count();
            self.rows[flushed..flushed + count].iter().for_each(|(_, is_ok)| counts.add(*is_ok));
            writer.append_rows(lines, counts).await?;
            (from, flushed) = (from + to, flushed + count);
        }
        for (result, _) in self.rows.drain(..) {
            result.row.count(progress);
        }
        Ok(())
    }
}

/// A row that failed without a call.
fn failed(row: &Row, kind: &str, message: &str) -> FinishedRow {
    let Row { key, row } = row;
    failed_row(*key, row.index, row.line, row.id.as_deref(), kind, message)
}

fn failed_row(
    key: RowKey,
    index: u64,
    line: u64,
    id: Option<&str>,
    kind: &str,
    message: &str,
) -> FinishedRow {
    let record = json!({
        "key": key.to_string(), "index": index, "line": line, "id": id, "latency_ms": 0,
        "result": { "error": { "kind": kind, "message": message, "attempts": 0 } },
    });
    serde_json::from_value(record).expect("these are the fields of a row")
}

/// Tells the broker that a ticket is worked on, for ever.
pub(crate) async fn keep(broker: Arc<dyn Broker>, ticket: Ticket, beat: Duration) {
    loop {
        sleep(beat).await;
        let _ = timeout(beat, broker.settle(&ticket, Settle::Progress)).await;
    }
}

/// Settles a ticket. If the broker does not answer, the next worker that gets the ticket
/// settles it.
pub(crate) async fn settle_ticket(broker: &dyn Broker, ticket: &Ticket, settle: Settle) {
    for _ in 0..10 {
        match broker.settle(ticket, settle).await {
            Err(error) if error.kind() != crate::ErrorKind::Denied => {}
            _ => return,
        }
        sleep(Duration::from_millis(200)).await;
    }
}

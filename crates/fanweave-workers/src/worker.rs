//! A worker: takes tickets, runs the rows of their shards, and records the results.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fanweave_batch::{CancellationToken, Progress};
use futures::FutureExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::activity::Activity;
use crate::broker::{ACK_WAIT, Broker, Settle, Ticket};
use crate::error::{Error, ErrorKind, Result};
use crate::in_hand::InHand;
use crate::jobs::{issue, runs};
use crate::manifests::manifest_of;
use crate::money::Money;
use crate::patience::patiently;
use crate::pause::{Attempt, is_keeper, may_try, open, pause};
use crate::rows::{EndRoutes, Feed, Routes, Workload};
use crate::shard::{
    BUDGET_PAUSE, HELD_DELAY, REFUSED_PAUSE, ShardEnd, ShardRun, UNABLE_DELAY, keep, settle_ticket,
};
use crate::status::{Publisher, Refusal};
use crate::wire::{Manifest, RunState, ShardId};

/// Maximum wait for a ticket.
const PULL_WAIT: Duration = Duration::from_secs(30);

/// Time without a ticket after which no more rows are expected, if all rows of the run were submitted.
const IDLE: Duration = Duration::from_secs(1);

/// Time after which the manifest of a run is read again: a run that is cancelled ends within it.
const MANIFEST_AGE: Duration = Duration::from_secs(2);

/// Maximum number of shards in hand.
const MAX_SHARDS: usize = 64;

/// Rows read ahead of the calls.
const AHEAD: usize = 64;

/// A worker. Runs the rows of one run at a time.
///
/// ```
/// use std::sync::Arc;
///
/// use fanweave::batch::{BatchJob, Output, Render, Source};
/// use fanweave::context::CancellationToken;
/// use fanweave::crates::serde_json::json;
/// use fanweave::workers::{Broker, Manifest, Memory, Results, RunRows, Worker, Workload, submit_rows};
/// use fanweave::{chain, testing::Fake};
///
/// struct Echo;
///
/// impl Workload for Echo {
///     fn rows(&self, _: &Manifest) -> fanweave::workers::Result<Box<dyn RunRows>> {
///         // Its source and its output are not used.
///         let nothing = Source::rows("nothing", Vec::<String>::new());
///         let output = Output::Writer(Box::new(std::io::sink()));
///         Ok(Box::new(BatchJob::new(nothing, Render::default(), chain(Fake::echo()), output)))
///     }
/// }
///
/// let broker: Arc<dyn Broker> = Arc::new(Memory::default());
/// let (worker, stop) = (Worker::new(broker.clone(), Arc::new(Echo)), CancellationToken::new());
/// let stopping = stop.clone();
/// let working = std::thread::spawn(move || fanweave::blocking::wait(worker.run(stopping)));
///
/// fanweave::blocking::wait(async {
///     let source = Source::rows("cities", ["Oslo", "Rome"]);
///     let manifest = Manifest::new("cities-1", json!({}));
///     let submitted = submit_rows(broker.clone(), manifest, source, None, 2).await?;
///     let mut results = Results::new(broker, submitted.manifest);
///     while let Some(row) = results.next().await? {
///         assert!(row.is_ok());
///     }
///     stop.cancel();
///     Ok::<_, fanweave::workers::Error>(())
/// })
/// .unwrap();
/// working.join().unwrap().unwrap();
/// ```
pub struct Worker {
    broker: Arc<dyn Broker>,
    workload: Arc<dyn Workload>,
    name: String,
    pool: String,
    concurrency: usize,
    ack_wait: Duration,
    note: Arc<dyn Fn(&str) + Send + Sync>,
    activity: Activity,
}

/// The rows in flight of a run.
struct Session {
    run: Manifest,
    read_at: Instant,
    /// `None` once no more rows are expected.
    jobs: Option<mpsc::Sender<fanweave_batch::Result<fanweave_batch::__private::Job>>>,
    routes: Arc<Routes>,
    /// Cancelled when the worker stops, or the run is cancelled.
    stop: CancellationToken,
    progress: Arc<Progress>,
    publisher: Publisher,
    /// Set while the run is paused and this worker is the one that attempts it.
    is_probe: bool,
}

/// State of a worker that runs.
struct Running<'w> {
    worker: &'w Worker,
    stop: CancellationToken,
    claims: u64,
    held: Arc<Mutex<HashSet<ShardId>>>,
    in_hand: InHand,
    shards: JoinSet<(ShardId, ShardEnd)>,
    windows: JoinSet<()>,
    session: Option<Session>,
    /// Runs that this worker does not take for now.
    refused: HashMap<String, Instant>,
    /// Reason for which it cannot work at this broker.
    denied: Option<String>,
}

impl Worker {
    /// A worker of `broker` that runs what `workload` can run.
    pub fn new(broker: Arc<dyn Broker>, workload: Arc<dyn Workload>) -> Self {
        Self {
            broker,
            workload,
            name: worker_name(),
            pool: "default".to_owned(),
            concurrency: 64,
            ack_wait: ACK_WAIT,
            note: Arc::new(|_| {}),
            activity: Activity::default(),
        }
    }

    /// Sets its name, which no other worker may have. Default: a [random one](worker_name).
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Sets the pool whose tickets it takes. Default: `default`.
    #[must_use]
    pub fn pool(self, pool: impl Into<String>) -> Self {
        Self { pool: pool.into(), ..self }
    }

    /// Sets the maximum number of rows in flight. Default: 64.
    ///
    /// As many results may wait for the broker. If the process is killed, the calls of both are paid again.
    #[must_use]
    pub fn concurrency(self, rows: usize) -> Self {
        Self { concurrency: rows.max(1), ..self }
    }

    /// Sets the time after which the broker delivers a ticket again unless a worker keeps it. Default: 15 s.
    #[must_use]
    pub fn ack_wait(self, wait: Duration) -> Self {
        Self { ack_wait: wait, ..self }
    }

    /// Calls `note` with messages for the operator, such as the reason for which a run is not taken.
    #[must_use]
    pub fn on_note(self, note: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { note: Arc::new(note), ..self }
    }

    /// Counts of its rows, also while it runs.
    pub fn activity(&self) -> Activity {
        self.activity.clone()
    }

    /// Its name: a random one for each worker.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs rows until `stop` is cancelled. Then rows in flight end and are recorded, and shards that have
    /// rows left are released.
    ///
    /// # Errors
    /// The broker did not deliver questions to this worker at its start, or does not permit it to take
    /// tickets or to record results. Later outages of the broker are waited for.
    ///
    /// # Cancellation
    /// Dropping the future aborts the calls in flight. Their rows, and results that are not recorded yet, are
    /// rerun by other workers.
    pub async fn run(&self, stop: CancellationToken) -> Result<()> {
        let held: Arc<Mutex<HashSet<ShardId>>> = Arc::default();
        let answers = held.clone();
        let is_held = move |shard: &ShardId| lock(&answers).contains(shard);
        let _listening = self.broker.listen(self.name.clone(), Arc::new(is_held)).await?;
        let running = Running {
            worker: self,
            stop,
            claims: 0,
            held,
            in_hand: InHand::default(),
            shards: JoinSet::new(),
            windows: JoinSet::new(),
            session: None,
            refused: HashMap::new(),
            denied: None,
        };
        running.run().await
    }
}

impl Running<'_> {
    async fn run(mut self) -> Result<()> {
        let stop = self.stop.clone();
        let broker = self.worker.broker.clone();
        // Kept while other events are handled: a ticket that is on its way must not get lost.
        let mut pulling = None;
        let mut idle_at = Instant::now();
        while !stop.is_cancelled() && self.denied.is_none() {
            self.wait_for_capacity().await;
            if pulling.is_none() {
                // Nothing was asked for until now, however long rows have taken.
                idle_at = Instant::now() + IDLE;
            }
            let pull = pulling.get_or_insert_with(|| {
                let (broker, pool) = (broker.clone(), self.worker.pool.clone());
                async move { broker.pull(pool, PULL_WAIT).await }.boxed()
            });
            let has_session = self.session.is_some();
            let pulled = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                pulled = pull => pulled,
                Some(_) = self.windows.join_next() => {
                    self.refresh().await;
                    continue;
                }
                Some(ended) = self.shards.join_next() => {
                    self.forget(ended);
                    continue;
                }
                () = sleep_until(idle_at), if has_session => {
                    self.idle().await;
                    self.refresh().await;
                    idle_at = Instant::now() + IDLE;
                    continue;
                }
            };
            pulling = None;
            self.refresh().await;
            match pulled {
                Ok(Some(ticket)) => self.take(ticket).await,
                Ok(None) => self.keep().await,
                Err(error) if error.kind() == ErrorKind::Denied => self.denied = Some(error.to_string()),
                Err(_) => sleep(Duration::from_millis(300)).await,
            }
        }
        drop(pulling);
        if let Some(session) = &mut self.session {
            session.jobs = None;
            session.stop.cancel();
        }
        while let Some(ended) = self.shards.join_next().await {
            self.forget(ended);
        }
        while self.windows.join_next().await.is_some() {}
        if let Some(session) = self.session.take() {
            session.publisher.end().await;
        }
        match self.denied {
            None => Ok(()),
            Some(why) => Err(Error::new(ErrorKind::Denied, format!("this worker cannot work: {why}"))),
        }
    }

    /// Issues tickets that were lost, if no other worker does. A run needs no one that follows it.
    async fn keep(&self) {
        let broker = &*self.worker.broker;
        let looked = async {
            if !is_keeper(broker, &self.worker.name).await {
                return Ok(());
            }
            for run in runs(broker).await? {
                let Some((manifest, _)) = manifest_of(broker, &run).await? else { continue };
                if manifest.sealed && manifest.state == RunState::Open {
                    issue(broker, &manifest).await?;
                }
            }
            Ok::<_, Error>(())
        };
        tokio::select! {
            () = self.stop.cancelled() => {}
            // The next look repeats what the broker did not answer.
            _ = looked => {}
        }
    }

    /// Waits until another shard may be taken.
    async fn wait_for_capacity(&mut self) {
        loop {
            let changed = self.in_hand.clone();
            let has_capacity =
                self.in_hand.rows() < 2 * self.worker.concurrency && self.shards.len() < MAX_SHARDS;
            if has_capacity || self.denied.is_some() {
                return;
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = changed.changed() => {}
                Some(ended) = self.shards.join_next() => self.forget(ended),
                () = sleep(MANIFEST_AGE) => {}
            }
            self.refresh().await;
        }
    }

    fn forget(&mut self, ended: Result<(ShardId, ShardEnd), tokio::task::JoinError>) {
        match ended {
            Ok((shard, end)) => {
                lock(&self.held).remove(&shard);
                if let ShardEnd::Denied(why) = end {
                    self.denied = Some(why);
                }
            }
            Err(error) => self.note(&format!("internal error (please report it): a shard ended: {error}")),
        }
    }

    fn note(&self, note: &str) {
        (self.worker.note)(note);
    }

    /// Runs the shard of a ticket, or gives the ticket back.
    async fn take(&mut self, ticket: Ticket) {
        let broker = self.worker.broker.clone();
        if lock(&self.held).contains(&ticket.shard) {
            return settle_ticket(&*broker, &ticket, Settle::Retry(HELD_DELAY)).await;
        }
        let run = ticket.shard.run.clone();
        if let Some(until) = self.refused.get(&run).copied() {
            if until > Instant::now() {
                let wait = until - Instant::now();
                return settle_ticket(&*broker, &ticket, Settle::Retry(wait)).await;
            }
            self.refused.remove(&run);
        }
        let beat = keep(broker.clone(), ticket.clone(), self.worker.ack_wait / 4);
        let prepared = tokio::select! {
            prepared = self.prepare(&run) => prepared,
            () = beat => unreachable!("the beat never ends"),
        };
        if self.stop.is_cancelled() {
            return settle_ticket(&*broker, &ticket, Settle::Retry(Duration::ZERO)).await;
        }
        match prepared {
            Ok(true) => {}
            Ok(false) => return settle_ticket(&*broker, &ticket, Settle::Done).await,
            Err(why) => {
                let until = match self.refused.get(&run).copied() {
                    Some(until) => until,
                    None => {
                        self.note(&format!("{run} is not taken: {why}"));
                        let until = Instant::now() + UNABLE_DELAY;
                        self.refused.insert(run.clone(), until);
                        until
                    }
                };
                let wait = until.saturating_duration_since(Instant::now());
                return settle_ticket(&*broker, &ticket, Settle::Retry(wait)).await;
            }
        }
        let Some(session) = &self.session else { return };
        let Some(jobs) = session.jobs.clone() else { return };
        self.claims += 1;
        lock(&self.held).insert(ticket.shard.clone());
        let shard = ticket.shard.clone();
        let running = ShardRun {
            broker,
            writer: format!("{}.{}", self.worker.name, self.claims),
            ticket,
            origin: self.claims,
            run: session.run.clone(),
            workload: self.worker.workload.clone(),
            routes: session.routes.clone(),
            jobs,
            progress: session.progress.clone(),
            concurrency: self.worker.concurrency,
            beat: self.worker.ack_wait / 4,
            stop: session.stop.clone(),
            reserved: self.in_hand.reserve(self.worker.concurrency),
        };
        self.shards.spawn(async move {
            let end = running.run().await;
            (shard, end)
        });
    }

    /// Starts the rows of a run, if they are not running. Returns false if the run has no rows to run.
    async fn prepare(&mut self, run: &str) -> Result<bool, Error> {
        let is_open = |session: &Session| {
            session.run.run == run && session.jobs.is_some() && session.routes.ended.get().is_none()
        };
        if self.session.as_ref().is_some_and(is_open) {
            return Ok(true);
        }
        let manifest = self.manifest(run).await?;
        let Some(manifest) = manifest.filter(|manifest| manifest.state == RunState::Open) else {
            return Ok(false);
        };
        self.end_session().await;
        let rows = self.worker.workload.rows(&manifest)?;
        let is_probe = match may_try(&*self.worker.broker, run, &self.worker.name).await {
            Attempt::Open => false,
            Attempt::Probe => true,
            Attempt::Paused(wait) => {
                self.refused.insert(run.to_owned(), Instant::now() + wait);
                let message = "its provider refuses or fails; another worker attempts it";
                return Err(Error::new(ErrorKind::Broker, message));
            }
        };
        let (jobs, inbox) = mpsc::channel(AHEAD.min(self.worker.concurrency));
        let routes = Arc::new(Routes::new(self.worker.concurrency));
        let money = Money::of(&self.worker.broker, &manifest);
        let (stop, progress) = (self.stop.child_token(), Arc::<Progress>::default());
        let feed = Feed {
            jobs: inbox,
            routes: routes.clone(),
            stop: stop.clone(),
            progress: progress.clone(),
            money,
        };
        let end = EndRoutes(routes.clone());
        self.windows.spawn(async move {
            rows.run(feed).await;
            drop(end);
        });
        self.worker.activity.begin(&progress);
        let publisher = Publisher::start(self.worker.broker.clone(), run, &self.worker.name, &progress);
        self.session = Some(Session {
            run: manifest,
            read_at: Instant::now(),
            jobs: Some(jobs),
            routes,
            stop,
            progress,
            publisher,
            is_probe,
        });
        Ok(true)
    }

    /// Ends the rows in flight of the previous run, or of rows of this one that nothing follows.
    async fn end_session(&mut self) {
        let Some(mut session) = self.session.take() else { return };
        session.jobs = None;
        while let Some(ended) = self.shards.join_next().await {
            self.forget(ended);
        }
        while self.windows.join_next().await.is_some() {}
        self.worker.activity.end();
        session.publisher.end().await;
    }

    /// Expects no more rows, if all rows of the run were submitted: what becomes of rows that wait for others
    /// is then decided.
    async fn idle(&mut self) {
        if self.session.as_ref().is_none_or(|session| session.jobs.is_none()) {
            return;
        }
        if self.session.as_ref().is_some_and(|session| !session.run.sealed) {
            self.reread().await;
        }
        let Some(session) = &mut self.session else { return };
        if session.run.sealed {
            session.jobs = None;
        }
    }

    /// Looks at the state of the session and of its run.
    async fn refresh(&mut self) {
        let Some(session) = &self.session else { return };
        if let Some(stopped) = session.routes.ended.get() {
            let run = session.run.run.clone();
            if let Some(error) = stopped.refused.as_ref().or(stopped.unavailable.as_ref()) {
                let refusal = Refusal {
                    error: error.clone(),
                    rows: stopped.refused_rows,
                    is_outage: stopped.unavailable.is_some(),
                };
                session.publisher.refused(refusal);
                let is_first = !self.refused.contains_key(&run);
                self.refused.insert(run.clone(), Instant::now() + REFUSED_PAUSE);
                pause(&*self.worker.broker, &run, &self.worker.name).await;
                if is_first {
                    let seconds = REFUSED_PAUSE.as_secs();
                    self.note(&format!("{run}: {error}; trying again in {seconds} s"));
                }
            }
            if stopped.over_budget {
                session.publisher.over_budget();
                let is_first = !self.refused.contains_key(&run);
                self.refused.insert(run.clone(), Instant::now() + BUDGET_PAUSE);
                if is_first {
                    self.note(&format!("{run}: another row could exceed the budget"));
                }
            }
            return self.end_session().await;
        }
        if session.is_probe && session.progress.snapshot().ok > 0 {
            open(&*self.worker.broker, &session.run.run).await;
            self.session.iter_mut().for_each(|session| session.is_probe = false);
        }
        let Some(session) = &self.session else { return };
        if session.read_at.elapsed() >= MANIFEST_AGE {
            self.reread().await;
        }
    }

    /// Reads the manifest of the run once more.
    async fn reread(&mut self) {
        let Some(run) = self.session.as_ref().map(|session| session.run.run.clone()) else { return };
        let manifest = self.manifest(&run).await;
        let Some(session) = &mut self.session else { return };
        session.read_at = Instant::now();
        match manifest {
            Ok(Some(manifest)) if manifest.state == RunState::Open => {
                if session.run.clone().adopt(&manifest) {
                    // The next ticket starts rows with the new settings.
                    return self.end_session().await;
                }
                session.run = manifest;
            }
            Ok(_) => session.stop.cancel(),
            Err(_) => {}
        }
    }

    /// The manifest of a run. Waits for the broker.
    async fn manifest(&self, run: &str) -> Result<Option<Manifest>> {
        tokio::select! {
            () = self.stop.cancelled() => Ok(None),
            found = patiently(|| manifest_of(&*self.worker.broker, run)) => Ok(found?.map(|(manifest, _)| manifest)),
        }
    }
}

fn lock(held: &Mutex<HashSet<ShardId>>) -> std::sync::MutexGuard<'_, HashSet<ShardId>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A random name for a worker, of 128 bits.
///
/// ```
/// use fanweave::workers::worker_name;
///
/// assert_ne!(worker_name(), worker_name());
/// ```
pub fn worker_name() -> String {
    base32(&mut fastrand::Rng::new(), 26)
}

/// Random digits of base 32.
fn base32(random: &mut fastrand::Rng, digits: usize) -> String {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    (0..digits).map(|_| char::from(DIGITS[random.usize(..32)])).collect()
}

//! Rows in flight of a run at a worker: the window of a batch, fed by shards.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use fanweave_batch::__private::{Finished, Follower, Job, Leases, RowRecorder, Stopped};
use fanweave_batch::{BatchJob, CancellationToken, IntoAnswer, Progress, RowLocation};
use fanweave_core::Context;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::error::Result;
use crate::money::Money;
use crate::wire::Manifest;

/// Makes chains of the work of runs. Implemented by the program, which has the models and their keys.
pub trait Workload: Send + Sync + 'static {
    /// The rows of a run, which start once the returned value is [run](RunRows::run).
    ///
    /// # Errors
    /// The reason for which this worker cannot run the rows, such as a model without a key. Other workers
    /// take them.
    fn rows(&self, run: &Manifest) -> Result<Box<dyn RunRows>>;
}

/// Rows of a run that can be started.
pub trait RunRows: Send {
    /// Runs the rows of `feed` until there are no more.
    fn run(self: Box<Self>, feed: Feed) -> BoxFuture<'static, ()>;
}

/// Rows for a window, and where their results go.
pub struct Feed {
    pub(crate) jobs: mpsc::Receiver<fanweave_batch::Result<Job>>,
    pub(crate) routes: Arc<Routes>,
    /// Starts no more rows once it is cancelled.
    pub(crate) stop: CancellationToken,
    pub(crate) progress: Arc<Progress>,
    pub(crate) money: Option<Money>,
}

/// A result, and its permit to be unrecorded.
pub(crate) struct Unrecorded {
    pub(crate) row: Finished,
    pub(crate) _permit: OwnedSemaphorePermit,
}

/// Receivers of the results of each origin.
pub(crate) struct Routes {
    to: Mutex<HashMap<u64, mpsc::UnboundedSender<Unrecorded>>>,
    /// Permits of results that are not recorded yet.
    unrecorded: Arc<Semaphore>,
    /// Reason for which the window ended, once it has.
    pub(crate) ended: OnceLock<Stopped>,
}

impl Routes {
    /// Routes for results of which at most `unrecorded` may wait for the broker.
    pub(crate) fn new(unrecorded: usize) -> Self {
        let unrecorded = Arc::new(Semaphore::new(unrecorded));
        Self { to: Mutex::default(), unrecorded, ended: OnceLock::new() }
    }

    /// Receives the results of `origin` until [`remove`](Self::remove) is called, or the window ends.
    pub(crate) fn add(&self, origin: u64) -> mpsc::UnboundedReceiver<Unrecorded> {
        let (sender, results) = mpsc::unbounded_channel();
        if self.ended.get().is_none() {
            self.lock().insert(origin, sender);
        }
        results
    }

    pub(crate) fn remove(&self, origin: u64) {
        self.lock().remove(&origin);
    }

    fn end(&self, stopped: Stopped) {
        let _ = self.ended.set(stopped);
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, mpsc::UnboundedSender<Unrecorded>>> {
        self.to.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands results to the shards that they belong to.
struct ShardRecorder(Arc<Routes>);

impl RowRecorder for ShardRecorder {
    async fn finished(&mut self, mut row: Finished) -> bool {
        let permit = self.0.unrecorded.clone().acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        row.permit.release();
        let route = self.0.lock().get(&row.origin.id()).cloned();
        if let Some(route) = route {
            // A shard that has ended needs no result.
            let _ = route.send(Unrecorded { row, _permit: permit });
        }
        true
    }

    async fn duplicate(&mut self, _: Follower, _: RowLocation) -> bool {
        unreachable!("rows of shards are not deduplicated")
    }

    fn ended_early(&self) -> BoxFuture<'static, ()> {
        std::future::pending().boxed()
    }
}

impl<I: Send + 'static, O: IntoAnswer> RunRows for BatchJob<I, O> {
    /// Runs rows with the chain, the settings and the prices of the job. Its source and its output are not
    /// used.
    fn run(self: Box<Self>, feed: Feed) -> BoxFuture<'static, ()> {
        let Feed { jobs, routes, stop, progress, money } = feed;
        let rows = self.stop(stop.clone()).progress(progress).into_rows().rows;
        async move {
            let (budget, mut lessor) = Leases::new(money.as_ref().map_or(0.0, |money| money.row));
            let lending = async move {
                match money {
                    Some(money) => money.lend(lessor).await,
                    None => lessor.lease(f64::MAX),
                }
            };
            let mut window = rows.window(ShardRecorder(routes.clone()), jobs, budget);
            let running = async move {
                // The source is a channel, which has no errors.
                let _ = window.run(&stop, &Context::new()).await;
                routes.end(window.into_recorder().1);
            };
            tokio::join!(running, lending);
        }
        .boxed()
    }
}

/// Ends the routes, whatever became of the window.
pub(crate) struct EndRoutes(pub(crate) Arc<Routes>);

impl Drop for EndRoutes {
    fn drop(&mut self) {
        if self.0.ended.get().is_none() {
            self.0.end(Stopped { is_cut_short: true, ..Stopped::default() });
        }
    }
}

use std::future::pending;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use fanweave_core::step;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::Notify;

use super::*;
use crate::dedupe::Follower;
use crate::feed::JobFields;
use crate::key::Key;
use crate::leases::Leases;
use crate::location::RowLocation;
use crate::origin::Origin;
use crate::progress::Progress;
use crate::render::Prepared;
use crate::tally::Calls;
use crate::{Costs, Input};

/// A recorder of a worker: keeps the origin and the index of each row, and releases its permit at once.
#[derive(Clone, Default)]
struct Rows {
    recorded: Arc<Mutex<Vec<(u64, u64)>>>,
    /// Set if rows must wait for `next`.
    is_slow: bool,
    next: Arc<Notify>,
}

impl Rows {
    fn recorded(&self) -> Vec<(u64, u64)> {
        let mut rows = self.recorded.lock().unwrap().clone();
        rows.sort_unstable();
        rows
    }
}

impl RowRecorder for Rows {
    async fn finished(&mut self, mut row: Finished) -> bool {
        if self.is_slow {
            self.next.notified().await;
        }
        row.permit.release();
        self.recorded.lock().unwrap().push((row.origin.id(), row.row.index()));
        true
    }

    async fn duplicate(&mut self, _: Follower, _: RowLocation) -> bool {
        unreachable!("requests are not deduplicated")
    }

    fn ended_early(&self) -> BoxFuture<'static, ()> {
        pending().boxed()
    }
}

type Answer = fanweave_core::Result<String>;

/// A window over rows that `answer` answers, and the sender of the rows.
fn window<F: Future<Output = Answer> + Send + 'static>(
    concurrency: usize,
    rows: &Rows,
    budget: impl RowBudget + 'static,
    answer: impl Fn(String) -> F + Clone + Send + Sync + 'static,
) -> (Window<String, String, Rows>, mpsc::Sender<Result<Job>>) {
    let chain = step(move |text: String, _: Context| answer(text));
    let prepare = |input| match input {
        Input::Text(text) => Prepared::Now(Ok(text)),
        other => unreachable!("{other:?}"),
    };
    let drain = CancellationToken::new();
    let row = RowRun {
        prepare: Arc::new(prepare),
        prompt_of: None,
        has_one_choice: false,
        chain,
        cx: Context::new().with_draining(drain.clone()),
        progress: Arc::new(Progress::default()),
        costs: Costs::default(),
        dedupe: None,
        journal: None,
    };
    let terms = Terms {
        concurrency,
        budget: Box::new(budget),
        drain,
        keeps_going: false,
        max_errors: None,
        is_answered: false,
        answered: Arc::default(),
        is_last: Arc::default(),
    };
    let (sender, jobs) = mpsc::channel(64);
    (Window::new(row, rows.clone(), jobs, terms), sender)
}

fn job(origin: &Origin, index: u64, text: &str) -> Job {
    Job(Box::new(JobFields {
        origin: origin.clone(),
        key: Key::of(&[text.as_bytes()]),
        index,
        line: index + 1,
        id: None,
        input: Ok(Input::Text(text.to_owned())),
        requeues: 0,
        earlier: Calls::default(),
        paid_before: Calls::default(),
        answers: Vec::new(),
    }))
}

async fn run<R: RowRecorder>(window: &mut Window<String, String, R>) {
    window.run(&CancellationToken::new(), &Context::new()).await.unwrap();
}

fn budget() -> impl RowBudget {
    Costs::default().budget(0.0, 0)
}

/// Counts its drops.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fenced_origin_ends_alone() {
    let (rows, calls, dropped) =
        (Rows::default(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, held) = (calls.clone(), dropped.clone());
    let (mut window, jobs) = window(4, &rows, budget(), move |text| {
        let (calls, held) = (counted.clone(), Dropped(held.clone()));
        async move {
            calls.fetch_add(1, Ordering::Relaxed);
            if text == "stuck" {
                pending::<()>().await;
            }
            sleep(Duration::from_secs(1)).await;
            drop(held);
            Ok(text)
        }
    });
    let (lost, kept) = (Origin::new(7), Origin::new(9));
    for index in 0..3 {
        jobs.send(Ok(job(&lost, index, "stuck"))).await.unwrap();
    }
    for index in 10..14 {
        jobs.send(Ok(job(&kept, index, "quick"))).await.unwrap();
    }
    // Not started when the origin is fenced.
    jobs.send(Ok(job(&lost, 3, "stuck"))).await.unwrap();
    jobs.send(Ok(job(&kept, 14, "quick"))).await.unwrap();
    drop(jobs);
    let fencing = async {
        sleep(Duration::from_millis(2500)).await;
        lost.fence();
    };
    let progress = window.row.progress.clone();
    tokio::join!(run(&mut window), fencing);
    assert_eq!(rows.recorded(), (10..15).map(|index| (9, index)).collect::<Vec<_>>());
    assert_eq!((calls.load(Ordering::Relaxed), dropped.load(Ordering::Relaxed)), (8, 8));
    assert!(!window.stopped.is_cut_short, "the other machine has the rows");
    assert_eq!(progress.snapshot().in_flight, 5, "rows in flight are counted out by their recorder");
}

#[tokio::test(start_paused = true)]
async fn a_result_that_comes_after_the_fence_is_not_recorded() {
    let rows = Rows::default();
    let (mut window, jobs) = window(8, &rows, budget(), |text| async move {
        match text.as_str() {
            "late" => {
                sleep(Duration::from_secs(2)).await;
                Ok(text)
            }
            // Withheld until another row is answered.
            _ => Err(Error::new(ErrorKind::BadRequest, "no such model").with_status(400)),
        }
    });
    let (lost, kept) = (Origin::new(1), Origin::new(2));
    for (origin, index) in [(&lost, 0), (&kept, 1), (&lost, 2)] {
        jobs.send(Ok(job(origin, index, "refused"))).await.unwrap();
    }
    jobs.send(Ok(job(&kept, 3, "late"))).await.unwrap();
    drop(jobs);
    let fencing = async {
        sleep(Duration::from_secs(1)).await;
        lost.fence();
    };
    tokio::join!(run(&mut window), fencing);
    assert_eq!(rows.recorded(), [(2, 1), (2, 3)]);
}

#[tokio::test(start_paused = true)]
async fn a_full_recorder_starts_no_row() {
    let rows = Rows { is_slow: true, ..Rows::default() };
    let started = Arc::new(AtomicUsize::new(0));
    let counted = started.clone();
    let (mut window, jobs) = window(2, &rows, budget(), move |text| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Ok(text) }
    });
    for index in 0..6 {
        jobs.send(Ok(job(&Origin::default(), index, "row"))).await.unwrap();
    }
    drop(jobs);
    let recording = async {
        for ended in 0..6 {
            sleep(Duration::from_secs(1)).await;
            assert_eq!(rows.recorded().len(), ended);
            let started = started.load(Ordering::Relaxed);
            assert!(started <= ended + 2, "{started} rows started, {ended} recorded");
            rows.next.notify_one();
        }
    };
    tokio::join!(run(&mut window), recording);
    assert_eq!(rows.recorded(), (0..6).map(|index| (0, index)).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn rows_wait_for_leases_and_the_run_ends_with_the_last_one() {
    let rows = Rows::default();
    let (leases, mut lessor) = Leases::new(0.25);
    let (mut window, jobs) = window(4, &rows, leases, |text| async move {
        sleep(Duration::from_secs(1)).await;
        Ok(text)
    });
    for index in 0..8 {
        jobs.send(Ok(job(&Origin::new(1), index, "row"))).await.unwrap();
    }
    let leasing = async {
        assert_eq!(lessor.needed().await, Some(0.25));
        sleep(Duration::from_secs(60)).await;
        assert!(rows.recorded().is_empty(), "no row starts without a lease");
        lessor.lease(0.5);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(rows.recorded().len(), 2);
        lessor.lease(0.25);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(rows.recorded().len(), 3);
        lessor.end();
    };
    tokio::join!(run(&mut window), leasing);
    assert_eq!(rows.recorded().len(), 3);
    assert!(window.stopped.over_budget && window.stopped.is_cut_short);
}

#[tokio::test(start_paused = true)]
async fn the_last_row_of_a_run_waits_for_its_lease() {
    let rows = Rows::default();
    let (leases, mut lessor) = Leases::new(0.25);
    let (mut window, jobs) = window(4, &rows, leases, |text| async move { Ok(text) });
    jobs.send(Ok(job(&Origin::new(1), 0, "row"))).await.unwrap();
    drop(jobs);
    let leasing = async {
        assert_eq!(lessor.needed().await, Some(0.25));
        sleep(Duration::from_secs(1)).await;
        lessor.lease(0.25);
    };
    tokio::join!(run(&mut window), leasing);
    assert_eq!(rows.recorded(), [(1, 0)]);
    assert!(!window.stopped.is_cut_short);
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_a_run_that_waits_for_a_lease() {
    let rows = Rows::default();
    let (leases, _lessor) = Leases::new(0.25);
    let (mut window, jobs) = window(4, &rows, leases, |text| async move { Ok(text) });
    jobs.send(Ok(job(&Origin::new(1), 0, "row"))).await.unwrap();
    let stop = CancellationToken::new();
    let stopping = async {
        sleep(Duration::from_secs(1)).await;
        stop.cancel();
    };
    let around = Context::new();
    let (ended, ()) = tokio::join!(window.run(&stop, &around), stopping);
    ended.unwrap();
    assert!(window.stopped.is_cut_short && !window.stopped.over_budget && rows.recorded().is_empty());
}

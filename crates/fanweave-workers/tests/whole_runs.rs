//! Whole runs over a broker in memory, with faults from a seed, in paused time: every row has one result, and
//! calls are repeated only within the bounds.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanweave_batch::__private::KeyedRows;
use fanweave_batch::{BatchJob, CancellationToken, FinishedRow, Output, Progress, Render, Source};
use fanweave_core::{Chain, Error, ErrorKind, Prompt, step};
use fanweave_workers::{
    Attached, Broker, Faults, Manifest, Memory, Results, RunRows, ShardId, Worker, Workload, cancel, remove,
    retry, runs, status_of, submit, workers_of,
};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

const CONCURRENCY: usize = 4;
const SHARD: u64 = 8;

/// Number of calls of each prompt.
type Calls = Arc<Mutex<HashMap<String, u32>>>;

#[derive(Clone)]
struct Echo {
    calls: Calls,
    /// Requests per minute of the runs that were started.
    rates: Arc<Mutex<Vec<Option<f64>>>>,
    /// The prompts that are answered with an error.
    refuses: fn(&str) -> Option<Error>,
    latency: Duration,
}

impl Workload for Echo {
    fn rows(&self, run: &Manifest) -> fanweave_workers::Result<Box<dyn RunRows>> {
        self.rates.lock().unwrap().push(run.limits.requests_per_minute);
        let (calls, refuses, latency) = (self.calls.clone(), self.refuses, self.latency);
        let chain: Chain<Prompt, String> = step(move |prompt: Prompt, _| {
            let calls = calls.clone();
            async move {
                let text = prompt.last_user_text().to_owned();
                *calls.lock().unwrap().entry(text.clone()).or_default() += 1;
                sleep(latency + Duration::from_millis(text.len() as u64)).await;
                match refuses(&text) {
                    Some(error) => Err(error),
                    None => Ok(text.to_uppercase()),
                }
            }
        });
        let settings = fanweave_batch::Settings::new().concurrency(CONCURRENCY);
        let settings = settings.keep_going(run.settings.keep_going);
        let nothing = Source::rows("nothing", Vec::<String>::new());
        let output = Output::Writer(Box::new(std::io::sink()));
        Ok(Box::new(BatchJob::new(nothing, Render::default(), chain, output).settings(settings)))
    }
}

fn echo() -> Echo {
    let latency = Duration::from_millis(50);
    Echo { calls: Calls::default(), rates: Arc::default(), refuses: |_| None, latency }
}

fn rows(n: u64) -> KeyedRows {
    // Rows 3 and 4 are equal.
    let text = |i: u64| format!("row {}", if i == 4 { 3 } else { i });
    KeyedRows::new(Source::rows("rows", (0..n).map(text).collect::<Vec<_>>()), None)
}

/// A worker that can be killed.
struct Started {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

fn start(broker: &Memory, workload: &Echo) -> Started {
    let stop = CancellationToken::new();
    let worker = Worker::new(Arc::new(broker.clone()), Arc::new(workload.clone())).concurrency(CONCURRENCY);
    let token = stop.clone();
    let task = tokio::spawn(async move { worker.run(token).await.unwrap() });
    Started { task, stop }
}

/// Submits rows. Reading them is a thread's work, in which paused time may pass: do it before a test looks at
/// the time.
async fn submitted(broker: &Memory, n: u64) -> Results {
    let broker: Arc<dyn Broker> = Arc::new(broker.clone());
    let manifest = Manifest::new("rows-1", json!({}));
    let submitted = submit(&broker, manifest, rows(n), SHARD).await.unwrap();
    assert_eq!((submitted.manifest.rows, submitted.manifest.shards), (n, n.div_ceil(SHARD)));
    Results::new(broker, submitted.manifest)
}

async fn all(mut results: Results) -> Vec<FinishedRow> {
    let mut all = Vec::new();
    while let Some(row) = results.next().await.unwrap() {
        all.push(row);
    }
    all
}

async fn collecting(broker: &Memory, n: u64) -> JoinHandle<Vec<FinishedRow>> {
    tokio::spawn(all(submitted(broker, n).await))
}

fn check(results: &[FinishedRow], n: u64) {
    assert!(results.iter().map(FinishedRow::index).eq(0..n), "each row has one result, in input order");
    let keys: std::collections::HashSet<_> = results.iter().map(FinishedRow::key).collect();
    assert_eq!(keys.len() as u64, n, "equal rows have keys of their own");
}

/// Calls beyond one for each row.
fn repeated(workload: &Echo, n: u64) -> u64 {
    let calls: u32 = workload.calls.lock().unwrap().values().sum();
    u64::from(calls) - n
}

#[tokio::test(start_paused = true)]
async fn two_workers_answer_each_row_once() {
    let (broker, workload) = (Memory::default(), echo());
    let workers = [start(&broker, &workload), start(&broker, &workload)];
    let results = all(submitted(&broker, 100).await).await;
    check(&results, 100);
    assert_eq!(repeated(&workload, 100), 0);
    assert!(results.iter().all(FinishedRow::is_ok));
    for worker in workers {
        worker.stop.cancel();
        worker.task.await.unwrap();
    }
    // A run that is complete is collected again without a worker.
    check(&all(submitted(&broker, 100).await).await, 100);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_stopped_repeats_no_call() {
    let (broker, workload) = (Memory::default(), echo());
    let collecting = collecting(&broker, 60).await;
    for _ in 0..4 {
        let worker = start(&broker, &workload);
        sleep(Duration::from_millis(170)).await;
        worker.stop.cancel();
        worker.task.await.unwrap();
    }
    assert!(!collecting.is_finished(), "rows are left");
    let _last = start(&broker, &workload);
    check(&collecting.await.unwrap(), 60);
    assert_eq!(repeated(&workload, 60), 0);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_killed_repeats_at_most_its_calls_in_flight_and_unrecorded_results() {
    for seed in 0..40 {
        let (broker, workload) = (Memory::default(), echo());
        let collecting = collecting(&broker, 60).await;
        let mut random = fastrand::Rng::with_seed(seed);
        let kills = 3;
        for _ in 0..kills {
            let worker = start(&broker, &workload);
            sleep(Duration::from_millis(random.u64(10..400))).await;
            worker.task.abort();
        }
        let _last = start(&broker, &workload);
        check(&collecting.await.unwrap(), 60);
        let bound = kills * 2 * CONCURRENCY as u64;
        assert!(repeated(&workload, 60) <= bound, "seed {seed}: {} repeated", repeated(&workload, 60));
    }
}

#[tokio::test(start_paused = true)]
async fn faults_of_the_broker_lose_no_row_and_double_none() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut faults = Faults::new();
        faults.seed = seed;
        faults.lost_answer = random.f64() * 0.3;
        faults.lost_request = random.f64() * 0.3;
        faults.duplicate_delivery = random.f64() * 0.3;
        faults.lag = random.f64() * 0.3;
        faults.lost_ticket = random.f64() * 0.3;
        // A broker that lets a record through that it must refuse.
        faults.fork = if seed % 3 == 0 { random.f64() * 0.2 } else { 0.0 };
        let (broker, workload) = (Memory::with_faults(faults), echo());
        let collecting = collecting(&broker, 40).await;
        let mut workers = vec![start(&broker, &workload), start(&broker, &workload)];
        while !collecting.is_finished() && workers.len() < 6 {
            sleep(Duration::from_millis(random.u64(10..2_000))).await;
            let worker = workers.remove(random.usize(..workers.len()));
            if random.bool() {
                worker.task.abort();
            } else {
                worker.stop.cancel();
            }
            workers.push(start(&broker, &workload));
            workers.push(start(&broker, &workload));
        }
        let results = timeout(Duration::from_secs(3_600), collecting).await;
        check(&results.unwrap_or_else(|_| panic!("seed {seed} does not end")).unwrap(), 40);
        workers.iter().for_each(|worker| worker.task.abort());
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_says_that_it_has_ended_although_messages_are_lost() {
    for seed in 0..40 {
        let mut faults = Faults::new();
        (faults.seed, faults.lost_request, faults.lost_answer) = (seed, 0.3, 0.3);
        let (broker, workload) = (Memory::with_faults(faults), echo());
        let collecting = collecting(&broker, 10).await;
        let worker = start(&broker, &workload);
        check(&collecting.await.unwrap(), 10);
        worker.stop.cancel();
        worker.task.await.unwrap();
        let workers = loop {
            // The look itself may fail.
            if let Ok(workers) = workers_of(&broker, "rows-1").await {
                break workers;
            }
        };
        assert!(workers.len() == 1 && workers[0].has_ended, "seed {seed}: {workers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_journal_of_a_collected_run_has_the_lines_of_its_workers() {
    let refuses = |text: &str| text.ends_with('7').then(|| Error::new(ErrorKind::BadRequest, "no sevens"));
    let (broker, workload) = (Memory::default(), Echo { refuses, ..echo() });
    let _worker = start(&broker, &workload);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    let collect = async |rows: u64| {
        let nothing = step(|_: Prompt, _| async { Ok(String::new()) });
        let texts: Vec<_> = (0..rows).map(|i| format!("row {i}")).collect();
        let output = Output::File(path.clone());
        let job = BatchJob::new(Source::rows("rows", texts), Render::default(), nothing, output);
        let attached = Attached::new(Arc::new(broker.clone()), Manifest::new("rows-1", json!({})));
        attached.run(job).await.unwrap()
    };
    let summary = collect(120).await;
    assert_eq!((summary.rows, summary.ok, summary.failed), (120, 108, 12));
    let journal = std::fs::read_to_string(folder.path().join("out.jsonl.journal")).unwrap();
    let journal: Vec<_> = journal.lines().filter(|line| line.contains("\"row\"")).collect();
    let mut recorded = Vec::new();
    for number in 0..120_u64.div_ceil(50) {
        let shard = ShardId { run: "rows-1".into(), number };
        for stored in broker.read(shard).await.unwrap() {
            recorded.push(String::from_utf8(stored.message.body.to_vec()).unwrap());
        }
    }
    let mut recorded: Vec<_> = recorded.iter().flat_map(|body| body.lines()).collect();
    recorded.sort_by_key(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["row"]["index"].as_u64().unwrap()
    });
    assert_eq!(journal, recorded);
    // A part of them is known, and the rest is collected again.
    let kept: Vec<_> = std::fs::read_to_string(folder.path().join("out.jsonl.journal"))
        .unwrap()
        .split_inclusive('\n')
        .enumerate()
        .filter(|(i, _)| i % 3 != 1)
        .map(|(_, line)| line.to_owned())
        .collect();
    std::fs::write(folder.path().join("out.jsonl.journal"), kept.concat()).unwrap();
    let output = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let summary = collect(120).await;
    assert_eq!((summary.rows, summary.resumed), (120, kept.len() as u64 - 1));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), output);
}

#[tokio::test(start_paused = true)]
async fn rows_that_take_long_leave_no_capacity_unused() {
    let (broker, workload) = (Memory::default(), Echo { latency: Duration::from_secs(5), ..echo() });
    let submitting: Arc<dyn Broker> = Arc::new(broker.clone());
    // Four rows and two: with each shard alone, half of the capacity would wait for the second part.
    let submitted = submit(&submitting, Manifest::new("rows-1", json!({})), rows(60), 6).await.unwrap();
    let (_worker, began) = (start(&broker, &workload), Instant::now());
    check(&all(Results::new(submitting, submitted.manifest)).await, 60);
    let took = began.elapsed().as_secs();
    assert!((75..80).contains(&took), "{took} s for 15 rounds of 5 s");
    assert_eq!(workload.rates.lock().unwrap().len(), 1, "the rows were started once");
}

#[tokio::test(start_paused = true)]
async fn rows_that_take_long_are_in_flight_for_the_command_that_follows_them() {
    let (broker, workload) = (Memory::default(), Echo { latency: Duration::from_secs(60), ..echo() });
    let _worker = start(&broker, &workload);
    let progress = Arc::new(Progress::default());
    let nothing = step(|prompt: Prompt, _| async move { Ok(prompt.last_user_text().to_owned()) });
    let source = Source::rows("rows", (0..4).map(|i| format!("row {i}")).collect::<Vec<_>>());
    let output = Output::Writer(Box::new(std::io::sink()));
    let job = BatchJob::new(source, Render::default(), nothing, output).progress(progress.clone());
    let attached = Attached::new(Arc::new(broker.clone()), Manifest::new("rows-1", json!({}))).patient(true);
    let running = tokio::spawn(attached.run(job));
    while progress.snapshot().in_flight == 0 {
        sleep(Duration::from_millis(100)).await;
    }
    // Nothing changes, and the worker still says that it lives.
    let beat = workers_of(&broker, "rows-1").await.unwrap()[0].beat;
    sleep(Duration::from_secs(40)).await;
    let now = progress.snapshot();
    assert_eq!((now.in_flight, now.at_workers, now.done), (4, 4, 0));
    assert!(workers_of(&broker, "rows-1").await.unwrap()[0].beat >= beat + 6);
    assert_eq!(running.await.unwrap().unwrap().ok, 4);
}

#[tokio::test(start_paused = true)]
async fn lost_tickets_are_issued_again() {
    let (broker, workload) = (Memory::default(), echo());
    let collecting = collecting(&broker, 60).await;
    broker.lose_tickets();
    let _worker = start(&broker, &workload);
    check(&collecting.await.unwrap(), 60);
    assert_eq!(repeated(&workload, 60), 0);
}

#[tokio::test(start_paused = true)]
async fn failed_rows_are_results_and_do_not_hold_up_the_last_shard() {
    let refuses = |text: &str| text.ends_with('7').then(|| Error::new(ErrorKind::BadRequest, "no sevens"));
    let (broker, workload) = (Memory::default(), Echo { refuses, ..echo() });
    let results = submitted(&broker, 18).await;
    let _worker = start(&broker, &workload);
    let results = timeout(Duration::from_secs(60), all(results)).await.unwrap();
    check(&results, 18);
    let failed: Vec<_> = results.iter().filter(|row| !row.is_ok()).map(FinishedRow::index).collect();
    assert_eq!(failed, [7, 17]);
}

#[tokio::test(start_paused = true)]
async fn rows_of_a_rejected_account_are_answered_once_it_is_accepted() {
    static IS_REJECTED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(true);
    let refuses = |_: &str| {
        let is_rejected = IS_REJECTED.load(std::sync::atomic::Ordering::Relaxed);
        is_rejected.then(|| Error::new(ErrorKind::Authentication, "invalid key").with_status(401))
    };
    let (broker, workload) = (Memory::default(), Echo { refuses, ..echo() });
    let collecting = collecting(&broker, 30).await;
    let _worker = start(&broker, &workload);
    sleep(Duration::from_secs(20)).await;
    let status = workers_of(&broker, "rows-1").await.unwrap();
    let refusal = status[0].refusal.clone().expect("the worker says why it takes no rows");
    assert_eq!(refusal.error.message(), "invalid key");
    let calls: u32 = workload.calls.lock().unwrap().values().sum();
    assert!(calls <= 2 * CONCURRENCY as u32, "{calls} calls");

    IS_REJECTED.store(false, std::sync::atomic::Ordering::Relaxed);
    let results = timeout(Duration::from_secs(600), collecting).await.unwrap().unwrap();
    check(&results, 30);
    assert!(results.iter().all(FinishedRow::is_ok));
}

#[tokio::test(start_paused = true)]
async fn a_row_that_ends_its_worker_fails_alone() {
    let (broker, workload) = (Memory::default(), echo());
    let collecting = collecting(&broker, 24).await;
    let poison = "row 13";
    let mut deaths = 0;
    while !collecting.is_finished() && deaths < 20 {
        let worker = start(&broker, &workload);
        let calls = |of: &str| workload.calls.lock().unwrap().get(of).copied().unwrap_or_default();
        let before = calls(poison);
        // As a process that is killed by what it does with this row.
        while calls(poison) == before && !collecting.is_finished() {
            sleep(Duration::from_millis(5)).await;
        }
        if calls(poison) > before {
            sleep(Duration::from_millis(20)).await;
            worker.task.abort();
            deaths += 1;
        }
    }
    let results = collecting.await.unwrap();
    check(&results, 24);
    let failed: Vec<_> = results.iter().filter(|row| !row.is_ok()).collect();
    assert_eq!(failed.iter().map(|row| row.index()).collect::<Vec<_>>(), [13]);
    assert!(failed[0].error().unwrap().message().contains("2 workers ended"), "{:?}", failed[0]);
    assert_eq!(deaths, 4, "two in the shard, and two alone");
}

#[tokio::test(start_paused = true)]
async fn workers_together_keep_to_a_budget_and_a_larger_one_continues() {
    let (broker, workload) = (Memory::default(), echo());
    let at: Arc<dyn Broker> = Arc::new(broker.clone());
    let mut manifest = Manifest::new("rows-1", json!({}));
    (manifest.budget_usd, manifest.row_usd) = (Some(1.0), 0.1);
    let submitted = submit(&at, manifest.clone(), rows(40), SHARD).await.unwrap();
    let workers = [start(&broker, &workload), start(&broker, &workload)];
    sleep(Duration::from_secs(60)).await;
    // A row without a known cost is taken to cost the maximum.
    let calls = || workload.calls.lock().unwrap().values().sum::<u32>();
    assert_eq!(calls(), 10, "as many as the budget pays");
    let status = workers_of(&broker, "rows-1").await.unwrap();
    assert!(status.iter().all(|worker| worker.is_over_budget), "{status:?}");

    manifest.budget_usd = Some(10.0);
    submit(&at, manifest, rows(40), SHARD).await.unwrap();
    let results = timeout(Duration::from_secs(600), all(Results::new(at, submitted.manifest))).await.unwrap();
    check(&results, 40);
    assert_eq!(calls(), 40);
    drop(workers);
}

#[tokio::test(start_paused = true)]
async fn a_run_is_cancelled_and_its_failed_rows_are_retried() {
    static FAILS: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(true);
    let refuses = |text: &str| {
        let fails = text.ends_with('7') && FAILS.load(std::sync::atomic::Ordering::Relaxed);
        fails.then(|| Error::new(ErrorKind::BadRequest, "no sevens"))
    };
    let (broker, workload) = (Memory::default(), Echo { refuses, ..echo() });
    let mut results = submitted(&broker, 40).await;
    let worker = start(&broker, &workload);
    while status_of(&broker, "rows-1").await.unwrap().done < 12 {
        sleep(Duration::from_millis(20)).await;
    }
    assert!(cancel(&broker, "rows-1").await.unwrap());
    sleep(Duration::from_secs(30)).await;
    let status = status_of(&broker, "rows-1").await.unwrap();
    assert!(status.done < 40 && status.state() == "cancelled" && status.owned_shards == 0, "{status:?}");
    let calls = || workload.calls.lock().unwrap().values().sum::<u32>();
    assert_eq!(u64::from(calls()), status.done, "calls in flight were recorded");
    results.skip_missing();
    assert_eq!(all(results).await.len() as u64, status.done, "the results that are there are collected");

    FAILS.store(false, std::sync::atomic::Ordering::Relaxed);
    let shards = retry(&broker, "rows-1").await.unwrap();
    assert!(shards > 0);
    let retried = status_of(&broker, "rows-1").await.unwrap();
    assert_eq!(retried.owned_shards, 0, "no worker has taken one yet");
    let results = Results::new(Arc::new(broker.clone()), retried.manifest);
    let results = timeout(Duration::from_secs(600), all(results)).await.unwrap();
    check(&results, 40);
    assert!(results.iter().all(FinishedRow::is_ok));
    assert_eq!(u64::from(calls()), 40 + status.failed, "failed rows alone were called again");
    let status = status_of(&broker, "rows-1").await.unwrap();
    assert_eq!((status.state(), status.done, status.failed), ("done", 40, 0));
    remove(&broker, "rows-1").await.unwrap();
    assert!(runs(&broker).await.unwrap().is_empty());
    drop(worker);
}

#[tokio::test(start_paused = true)]
async fn workers_issue_lost_tickets_without_a_collector() {
    let (broker, workload) = (Memory::default(), echo());
    let results = submitted(&broker, 40).await;
    broker.lose_tickets();
    let worker = start(&broker, &workload);
    sleep(Duration::from_secs(120)).await;
    assert!(status_of(&broker, "rows-1").await.unwrap().is_complete());
    check(&all(results).await, 40);
    assert_eq!(repeated(&workload, 40), 0);
    drop(worker);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_removed_is_submitted_again() {
    let (broker, workload) = (Memory::default(), echo());
    let _worker = start(&broker, &workload);
    for time in 1..=2 {
        check(&all(submitted(&broker, 20).await).await, 20);
        remove(&broker, "rows-1").await.unwrap();
        assert_eq!(repeated(&workload, 0), 20 * time, "its results were removed as well");
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_may_not_record_results_ends_with_the_reason() {
    let (broker, workload) = (Memory::default(), echo());
    let _results = submitted(&broker, 20).await;
    broker.deny_records();
    let worker = Worker::new(Arc::new(broker.clone()), Arc::new(workload.clone()));
    let ended = timeout(Duration::from_secs(30), worker.run(CancellationToken::new())).await;
    let error = ended.expect("it ends").unwrap_err();
    assert_eq!(error.kind(), fanweave_workers::ErrorKind::Denied);
    assert!(error.message().contains("may not record results"), "{error}");
    assert_eq!(repeated(&workload, 0), 0, "nothing was paid");
}

#[tokio::test(start_paused = true)]
async fn limits_of_a_repeated_submission_hold_for_workers_that_run() {
    let (broker, workload) = (Memory::default(), echo());
    let collecting = collecting(&broker, 2_000).await;
    let _worker = start(&broker, &workload);
    sleep(Duration::from_secs(1)).await;
    let mut manifest = Manifest::new("rows-1", json!({}));
    manifest.limits.requests_per_minute = Some(30.0);
    let at: Arc<dyn Broker> = Arc::new(broker.clone());
    submit(&at, manifest, rows(2_000), SHARD).await.unwrap();
    sleep(Duration::from_secs(10)).await;
    assert!(!collecting.is_finished(), "rows are left");
    assert_eq!(*workload.rates.lock().unwrap(), [None, Some(30.0)]);
    check(&collecting.await.unwrap(), 2_000);
}

#[tokio::test]
async fn retried_rows_have_the_budget_of_the_command_that_retries_them() {
    let folder = tempfile::tempdir().unwrap();
    let (broker, refuses) = (Memory::default(), |text: &str| {
        text.ends_with('7').then(|| Error::new(ErrorKind::BadRequest, "no sevens"))
    });
    let _worker = start(&broker, &Echo { refuses, ..echo() });
    for (budget, retries) in [(5.0, false), (10.0, true)] {
        let texts: Vec<_> = (0..10).map(|n| format!("row {n}")).collect();
        let nothing: Chain<Prompt, String> = step(|_: Prompt, _| async { Ok(String::new()) });
        let output = Output::File(folder.path().join("out.jsonl"));
        let settings = fanweave_batch::Settings::new().retry_failed(retries);
        let job = BatchJob::new(Source::rows("rows", texts), Render::default(), nothing, output);
        let mut manifest = Manifest::new("rows-1", json!({}));
        (manifest.budget_usd, manifest.row_usd) = (Some(budget), 0.1);
        let attached = Attached::new(Arc::new(broker.clone()), manifest).retry_failed(retries);
        let summary = attached.run(job.settings(settings)).await.unwrap();
        assert_eq!((summary.rows, summary.failed), (10, 1));
        let manifest = status_of(&broker, "rows-1").await.unwrap().manifest;
        assert_eq!(manifest.budget_usd, Some(budget));
        assert_eq!(manifest.generation, u64::from(retries));
    }
}

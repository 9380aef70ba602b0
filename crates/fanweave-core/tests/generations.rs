//! The runtime of blocking calls, and values of a process, in processes that begin a new generation, as after
//! a fork. In a test binary of its own, because they end and replace what the whole process shares.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use fanweave_core::__private::PerProcess;
use fanweave_core::ErrorKind;
use fanweave_core::blocking::{Pool, blocking_step, wait};
use fanweave_core::runtime::{
    RuntimeSettings, after_fork, configure, generation, handle, report_forks, shutdown,
};

/// Name of the worker thread that runs a task.
fn worker() -> String {
    let name = async { std::thread::current().name().unwrap_or_default().to_owned() };
    wait(async { tokio::spawn(name).await.expect("the task ends") })
}

/// Tests that end the runtime of the process, one after the other.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    shutdown(Duration::from_secs(30)).expect("no call runs");
    guard
}

#[test]
fn a_runtime_that_was_shut_down_starts_with_other_settings() {
    let _alone = alone();
    let named = |name| configure(RuntimeSettings::new().thread_name(name));
    named("first").expect("nothing has started");
    assert_eq!(worker(), "first");
    let error = named("second").expect_err("it has started");
    assert_eq!(error.kind(), ErrorKind::Config);
    shutdown(Duration::from_secs(30)).expect("no call runs");
    named("second").expect("nothing has started");
    assert_eq!(worker(), "second");
    after_fork();
    assert_eq!(worker(), "second", "another generation inherits the settings");
}

#[test]
fn threads_and_tasks_have_ended_after_a_shutdown() {
    let _alone = alone();
    let (held, dropped) = mpsc::channel::<()>();
    handle().spawn(async move {
        let _held = held;
        std::future::pending::<()>().await;
    });
    shutdown(Duration::from_secs(30)).expect("no call runs");
    assert_eq!(dropped.try_recv(), Err(mpsc::TryRecvError::Disconnected));
}

#[test]
fn a_shutdown_waits_for_running_calls_and_says_how_many_it_could_not() {
    let _alone = alone();
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let (begin, begun) = mpsc::channel();
    let call = std::thread::spawn(move || {
        wait(async move {
            begin.send(()).expect("the test waits");
            released.await.expect("the test releases it");
            // A timer of a runtime that has ended would panic.
            tokio::time::sleep(Duration::from_millis(1)).await;
        });
    });
    begun.recv().expect("the call begins");
    let error = shutdown(Duration::from_millis(20)).expect_err("a call runs");
    assert_eq!(error.to_string(), "1 blocking calls are still running after 20ms");
    let end = std::thread::spawn(|| shutdown(Duration::from_secs(30)));
    release.send(()).expect("the call waits");
    end.join().expect("no panic").expect("the call ends");
    call.join().expect("no panic");
}

#[tokio::test]
async fn a_shutdown_works_inside_another_runtime_and_not_on_a_worker() {
    let _alone = alone();
    let on_worker = wait(async { tokio::spawn(async { shutdown(Duration::ZERO) }).await });
    assert_eq!(on_worker.expect("no panic").expect_err("a worker").kind(), ErrorKind::Config);
    shutdown(Duration::from_secs(30)).expect("no call runs");
}

#[test]
fn the_shared_pool_of_another_generation_has_threads_of_its_own() {
    let _alone = alone();
    let step = blocking_step(|n: u64, _| Ok(n + 1));
    assert_eq!(step.blocking().invoke(1_u64).expect("it adds"), 2);
    assert_eq!(Pool::shared().threads(), 1);
    after_fork();
    assert_eq!(Pool::shared().threads(), 0);
    assert_eq!(step.blocking().invoke(2_u64).expect("it adds"), 3);
}

#[test]
fn the_shared_pool_has_as_many_threads_as_configured() {
    let _alone = alone();
    configure(RuntimeSettings::new().blocking_threads(NonZeroUsize::MIN)).expect("nothing has started");
    let step = blocking_step(|(): (), _| {
        std::thread::sleep(Duration::from_millis(1));
        Ok(())
    });
    step.blocking().batch(std::iter::repeat_n((), 8)).concurrency(8).collect();
    assert_eq!(Pool::shared().threads(), 1);
    shutdown(Duration::from_secs(30)).expect("no call runs");
    configure(RuntimeSettings::new()).expect("nothing has started");
}

/// Counts its drops.
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn each_generation_makes_a_value_and_drops_no_other() {
    let _alone = alone();
    let drops = AtomicUsize::new(0);
    let value = PerProcess::new();
    let first = generation();
    assert!(Arc::ptr_eq(&value.get(|| Counted(&drops)), &value.get(|| Counted(&drops))));
    after_fork();
    assert_ne!(generation(), first);
    assert!(value.get(|| Counted(&drops)).is_current());
    assert_eq!(drops.load(Ordering::Relaxed), 0);
    drop(value);
    assert_eq!(drops.load(Ordering::Relaxed), 1, "that of this generation");
    let value = PerProcess::new();
    value.get(|| Counted(&drops));
    after_fork();
    drop(value);
    assert_eq!(drops.load(Ordering::Relaxed), 1, "that of another generation stays");
}

#[test]
fn a_fork_that_is_reported_begins_a_generation() {
    let _alone = alone();
    report_forks();
    let first = generation();
    assert_eq!(generation(), first);
    assert_eq!(worker(), "fanweave-runtime");
    after_fork();
    assert_eq!(generation(), first + 1);
    assert_eq!(worker(), "fanweave-runtime", "it has a runtime of its own");
}

#[test]
fn threads_that_make_a_value_at_once_get_the_same() {
    let _alone = alone();
    let made = AtomicUsize::new(0);
    let value = PerProcess::new();
    let barrier = std::sync::Barrier::new(8);
    let get = || {
        barrier.wait();
        **value.get(|| made.fetch_add(1, Ordering::Relaxed))
    };
    let values: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(get)).collect();
        threads.into_iter().map(|thread| thread.join().expect("it returns")).collect()
    });
    assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
}

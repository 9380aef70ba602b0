use std::sync::Mutex;
use std::time::Duration;

use fanweave_core::Runnable;
use fanweave_core::model::fake::Fake;
use tokio::time::{Instant, sleep};

use super::*;

/// Keeps the recorded calls, after a delay.
#[derive(Clone, Default)]
struct Keep {
    recorded: Arc<Mutex<Vec<CallRecord>>>,
    delay: Duration,
    fails: bool,
}

impl LogSink for Keep {
    async fn record(&self, record: CallRecord) -> Result<()> {
        sleep(self.delay).await;
        if self.fails {
            return Err(Error::new(ErrorKind::Server, "the log is full"));
        }
        self.recorded.lock().unwrap().push(record);
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn every_call_is_recorded_with_its_tags_and_none_waits_for_it() {
    let sink = Keep { delay: Duration::from_secs(60), ..Keep::default() };
    let log = RequestLog::new(sink.clone()).unwrap().tags(["team"]);
    let script = [Ok("one"), Err(Error::new(ErrorKind::Server, "on strike"))];
    let model = log.wrap(Fake::script(script).model());
    let began = Instant::now();
    let cx = Context::new().with_tag("night");
    model.run("a".into(), &cx).await.unwrap();
    let error = model.run("b".into(), &cx).await.unwrap_err();
    assert_eq!(error.to_string(), "step fake/script: on strike");
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(log.close().await, LogSummary { recorded: 2, failed: 0, dropped: 0 });
    let recorded = sink.recorded.lock().unwrap();
    assert_eq!(recorded[0].tags, ["team", "night"]);
    assert_eq!(recorded[0].result.as_ref().unwrap().text(), "one");
    assert_eq!(recorded[1].prompt.last_user_text(), "b");
    assert_eq!(recorded[1].result.as_ref().unwrap_err().kind(), ErrorKind::Server);
}

#[tokio::test(start_paused = true)]
async fn calls_beyond_a_full_queue_are_counted_and_not_recorded() {
    let sink = Keep { delay: Duration::from_secs(60), ..Keep::default() };
    let log = RequestLog::with_queue(sink.clone(), NonZeroUsize::MIN).unwrap();
    let model = log.wrap(Fake::echo().model());
    // The task is not scheduled in between: the fake model never waits.
    for _ in 0..5 {
        model.invoke("x").await.unwrap();
    }
    assert_eq!(log.close().await, LogSummary { recorded: 1, failed: 0, dropped: 4 });
}

#[tokio::test(start_paused = true)]
async fn a_sink_without_concurrency_records_in_order() {
    #[derive(Clone, Default)]
    struct Ordered(Arc<Mutex<Vec<String>>>);

    impl LogSink for Ordered {
        const CONCURRENCY: NonZeroUsize = NonZeroUsize::MIN;

        async fn record(&self, record: CallRecord) -> Result<()> {
            let text = record.prompt.last_user_text();
            // The first ones take longest.
            sleep(Duration::from_secs(9 - text.parse::<u64>().unwrap())).await;
            self.0.lock().unwrap().push(text);
            Ok(())
        }
    }

    let sink = Ordered::default();
    let log = RequestLog::new(sink.clone()).unwrap();
    let model = log.wrap(Fake::echo().model());
    for n in 0..9 {
        model.invoke(n.to_string()).await.unwrap();
    }
    assert_eq!(log.close().await.recorded, 9);
    assert_eq!(*sink.0.lock().unwrap(), ["0", "1", "2", "3", "4", "5", "6", "7", "8"]);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_fails_or_is_gone_fails_no_call() {
    let log = RequestLog::new(Keep { fails: true, ..Keep::default() }).unwrap();
    let model = log.wrap(Fake::echo().model());
    assert_eq!(model.invoke("x").await.unwrap().text(), "x");
    assert_eq!(log.close().await, LogSummary { recorded: 0, failed: 1, dropped: 0 });
    assert_eq!(model.invoke("y").await.unwrap().text(), "y");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_log_ends_its_task() {
    let sink = Keep { delay: Duration::from_secs(60), ..Keep::default() };
    let log = RequestLog::new(sink.clone()).unwrap();
    log.wrap(Fake::echo().model()).invoke("x").await.unwrap();
    tokio::task::yield_now().await;
    drop(log);
    sleep(Duration::from_secs(120)).await;
    assert!(sink.recorded.lock().unwrap().is_empty());
    assert_eq!(Arc::strong_count(&sink.recorded), 1, "the task has dropped its sink");
}

#[test]
fn outside_of_a_runtime_a_log_is_refused() {
    assert_eq!(RequestLog::new(Keep::default()).unwrap_err().kind(), ErrorKind::Config);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_panics_fails_one_call_and_records_the_next() {
    struct Shaky;
    impl LogSink for Shaky {
        async fn record(&self, record: CallRecord) -> Result<()> {
            assert_ne!(record.prompt.last_user_text(), "a");
            Ok(())
        }
    }
    let log = RequestLog::new(Shaky).unwrap();
    let model = log.wrap(Fake::echo().model());
    for text in ["a", "b"] {
        model.invoke(text).await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(log.close().await, LogSummary { recorded: 1, failed: 1, dropped: 0 });
}

//! Tests of lanes that are refused.

use std::num::NonZeroU32;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use fanweave_core::model::fake::Fake;
use fanweave_core::model::{CallHook, PendingCall};
use fanweave_core::{ChatModel, Model, Reply};
use futures::future::BoxFuture;

use super::*;

/// Answers with its name, unless `refuses` returns an error for the prompt.
struct Vendor {
    name: &'static str,
    refuses: fn(&str) -> Option<ErrorKind>,
    calls: Arc<AtomicUsize>,
}

impl ChatModel for Vendor {
    fn name(&self) -> &str {
        self.name
    }

    async fn generate(&self, prompt: Prompt, _: &Context) -> Result<Message> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        match (self.refuses)(&prompt.last_user_text()) {
            Some(kind) => Err(Error::new(kind, "refused")),
            None => Ok(Message::assistant(self.name)),
        }
    }
}

type Refuses = fn(&str) -> Option<ErrorKind>;

fn of(all: &[(&'static str, Refuses)]) -> (Spreading, Vec<Arc<AtomicUsize>>, Notes) {
    let mut counts = Vec::new();
    let lane = |(name, refuses): &(&'static str, Refuses)| {
        let calls = Arc::<AtomicUsize>::default();
        counts.push(calls.clone());
        Lane::new(Model::new(Vendor { name, refuses: *refuses, calls })).key_name("KEY")
    };
    let lanes = all.iter().map(lane).collect();
    let (settings, notes) = reporting(true);
    (Spreading::new(lanes, settings), counts, notes)
}

/// The changes that a spread has reported.
#[derive(Clone, Default)]
pub(super) struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    /// The changes since the last call.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

pub(super) fn reporting(suspends: bool) -> (Settings, Notes) {
    let notes = Notes::default();
    let taken = notes.clone();
    let note = move |change: &SpreadChange| taken.0.lock().unwrap().push(change.to_string());
    (Settings { on_change: Some(Arc::new(note)), suspends }, notes)
}

async fn ask(spread: &Spreading, what: &str) -> Result<String, ErrorKind> {
    let answer = spread.run(Prompt::from(what), &Context::new()).await;
    answer.map(|message| message.text()).map_err(|error| error.kind())
}

#[tokio::test]
async fn a_lane_that_is_rejected_is_called_once_and_the_others_answer() {
    for kind in [ErrorKind::Authentication, ErrorKind::QuotaExhausted, ErrorKind::NotFound] {
        let refuses: Refuses = match kind {
            ErrorKind::Authentication => |_| Some(ErrorKind::Authentication),
            ErrorKind::QuotaExhausted => |_| Some(ErrorKind::QuotaExhausted),
            _ => |_| Some(ErrorKind::NotFound),
        };
        let (spread, calls, received) = of(&[("a/a", refuses), ("b/b", |_| None), ("c/c", |_| None)]);
        for _ in 0..30 {
            assert_ne!(ask(&spread, "hi").await.unwrap(), "a/a");
        }
        let calls: Vec<_> = calls.iter().map(|calls| calls.load(Ordering::Relaxed)).collect();
        assert_eq!(calls[0], 1);
        assert!(calls[1] >= 14 && calls[2] >= 14, "the others share its calls: {calls:?}");
        let received = received.take();
        assert_eq!(received.len(), 1);
        assert!(received[0].starts_with("a/a with the key in KEY is disabled for this run"), "{received:?}");
    }
}

#[tokio::test]
async fn the_error_of_the_last_lane_is_returned() {
    let wrong: Refuses = |_| Some(ErrorKind::Authentication);
    let (spread, _, received) = of(&[("a/a", wrong), ("b/b", wrong)]);
    for _ in 0..3 {
        assert_eq!(ask(&spread, "hi").await, Err(ErrorKind::Authentication));
    }
    assert_eq!(received.take().len(), 1, "the other failure is the error, not a note");
}

#[tokio::test]
async fn not_found_of_one_request_disables_no_lane() {
    let own: Refuses = |what| (what == "lost").then_some(ErrorKind::NotFound);
    let (spread, _, received) = of(&[("a/a", own), ("b/b", own)]);
    // Before any lane has answered, and afterwards.
    assert_eq!(ask(&spread, "lost").await, Err(ErrorKind::NotFound));
    let mut names: Vec<_> =
        [ask(&spread, "hi").await, ask(&spread, "hi").await].into_iter().flatten().collect();
    names.sort();
    assert_eq!(names, ["a/a", "b/b"]);
    assert_eq!(ask(&spread, "lost").await, Err(ErrorKind::NotFound));
    // The other lane finds it. The first one stays enabled, because it has answered other requests.
    let (spread, _, other_received) = of(&[("a/a", own), ("b/b", |_| None)]);
    for _ in 0..4 {
        assert!(ask(&spread, "hi").await.is_ok());
    }
    for _ in 0..4 {
        let _ = ask(&spread, "lost").await;
    }
    assert_eq!([received.take(), other_received.take()], [Vec::<String>::new(), Vec::new()]);
}

#[tokio::test]
async fn a_daily_limit_disables_a_lane_and_a_limit_per_minute_does_not() {
    let limited = |wait| {
        LaneError::of(
            &Error::new(ErrorKind::RateLimited, "slow down").with_retry_after(Duration::from_secs(wait)),
        )
    };
    assert!(matches!(limited(3600), LaneError::Refused));
    assert!(matches!(limited(60), LaneError::OfCall));
}

#[test]
fn every_model_gets_its_share_and_no_run_of_one_is_long() {
    let lane =
        |weight| LaneInUse::new(Lane::new(Fake::echo().model()).weight(NonZeroU32::new(weight).unwrap()));
    for (a, b) in [(1, 1), (3, 1), (7, 5), (100, 1), (1, 1000)] {
        let lanes = [lane(a), lane(b)];
        let is_first = |n| lane_of(n, &lanes, &[0, 1]).unwrap() == 0;
        assert_eq!((0..(a + b).into()).filter(|n| is_first(*n)).count(), a as usize, "{a}:{b}");
    }
    // The largest weights neither overflow nor take long.
    let lanes = [lane(u32::MAX), lane(u32::MAX), lane(1)];
    let firsts = (0..10_000).filter(|n| lane_of(u64::MAX - n, &lanes, &[0, 1, 2]) == Some(0)).count();
    assert!((4_900..=5_100).contains(&firsts), "{firsts}");
}

#[tokio::test]
async fn a_spread_of_one_model_is_the_model_and_of_none_an_error() {
    let one = Spread::new([Fake::echo().model()]).chain().unwrap();
    assert_eq!(one.invoke("hi").await.unwrap().text(), "hi");
    let error = Spread::new(Vec::<Lane>::new()).chain().unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Config, "a spread needs at least one model"));
}

/// Knows the answer of one model.
struct Knows(&'static str);

impl CallHook for Knows {
    fn before<'a>(&'a self, call: &'a PendingCall<'a>) -> BoxFuture<'a, Result<Option<Message>>> {
        let mut known = Message::assistant(format!("known of {}", call.model));
        known.reply = Some(Box::new(Reply::new().cached(true)));
        let known = self.knows(call).then_some(known);
        Box::pin(async move { Ok(known) })
    }

    fn knows(&self, call: &PendingCall<'_>) -> bool {
        call.model == self.0 && call.prompt.last_user_text() == "hi"
    }
}

#[tokio::test]
async fn a_lane_whose_answer_is_known_comes_first_even_if_it_is_disabled() {
    let wrong: Refuses = |_| Some(ErrorKind::Authentication);
    let (spread, calls, received) = of(&[("a/a", |_| None), ("b/b", wrong), ("c/c", |_| None)]);
    let cx = Context::new().with_call_hook(Arc::new(Knows("b/b")));
    let known = async || spread.run(Prompt::from("hi"), &cx).await.unwrap().text();
    for _ in 0..5 {
        assert_eq!(known().await, "known of b/b");
    }
    assert!(!spread.0.lanes[1].has_answered(), "the provider has not answered");
    // Other calls use all lanes, and disable this one.
    for _ in 0..6 {
        assert_ne!(spread.run(Prompt::from("other"), &cx).await.unwrap().text(), "b/b");
    }
    assert!(spread.0.lanes[1].is_disabled());
    assert_eq!(known().await, "known of b/b");
    assert_eq!(received.take().len(), 1);
    let calls: Vec<_> = calls.iter().map(|calls| calls.load(Ordering::Relaxed)).collect();
    assert_eq!((calls[1], calls[0] + calls[2]), (1, 6));
}

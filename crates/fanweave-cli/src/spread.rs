//! Distributes calls over several models or keys (lanes). A lane that is rejected permanently is disabled; a
//! lane whose provider is failing is suspended until it recovers. The other lanes take its calls.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fanweave::compose::{Node, Streaming};
use fanweave::{Chain, Context, Error, ErrorKind, Message, Prompt, Runnable, chain};
use tokio::sync::mpsc::UnboundedSender;

use crate::lane::Lane;

/// Options for distributing calls.
#[derive(Clone)]
pub(crate) struct Spreading {
    /// Receives notes about lanes while the calls run.
    pub(crate) notes: UnboundedSender<String>,
    /// Set to call other lanes while the provider of one is failing. Otherwise its calls wait.
    pub(crate) on_outage: bool,
}

/// One step for all lanes.
pub(crate) fn spread(mut lanes: Vec<Lane>, settings: Spreading) -> Chain<Prompt, Message> {
    match (lanes.len(), lanes.pop()) {
        (1, Some(lane)) => chain(lane.model),
        (_, last) => {
            lanes.extend(last);
            chain(Spread(Arc::new(Lanes::new(lanes, settings))))
        }
    }
}

/// Spreads calls over lanes by weight.
struct Spread(Arc<Lanes>);

struct Lanes {
    lanes: Vec<Lane>,
    next: AtomicU64,
    /// Number of lanes that are not disabled: at least one.
    left: Mutex<usize>,
    settings: Spreading,
}

/// A call to one lane.
struct Call(Arc<Lanes>, usize);

/// Meaning of an error for the lane that returned it.
enum Verdict {
    /// The lane rejects all calls: an invalid key, an empty account, a daily limit.
    Refused,
    /// Concerns either the lane or only this request: an unknown model, or a missing file in the request.
    Doubtful,
    /// The provider of the lane is failing.
    Failing,
    /// Concerns only this call.
    Fine,
}

impl Verdict {
    fn of(error: &Error) -> Self {
        match error.kind() {
            _ if error.is_account_level() => Self::Refused,
            ErrorKind::NotFound => Self::Doubtful,
            ErrorKind::Unavailable => Self::Failing,
            _ => Self::Fine,
        }
    }
}

impl Lanes {
    fn new(lanes: Vec<Lane>, settings: Spreading) -> Self {
        let left = Mutex::new(lanes.len());
        Self { lanes, next: AtomicU64::new(0), left, settings }
    }

    /// Disables a lane and emits a note. Returns `false` for the last lane, which stays enabled.
    fn disable(&self, lane: usize, error: &Error) -> bool {
        let lane = &self.lanes[lane];
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if lane.is_disabled() {
            return true;
        }
        if *left == 1 {
            return false;
        }
        *left -= 1;
        lane.disable();
        self.note(&format!(
            "{} is disabled for this run; its rows use the remaining models and keys: {error}",
            lane.name()
        ));
        true
    }

    fn note(&self, note: &str) {
        // A dry run has no receiver.
        let _ = self.settings.notes.send(format!("note: {note}"));
    }

    /// Calls one lane and updates its state.
    async fn call(&self, lane: usize, prompt: Prompt, cx: &Context) -> fanweave::Result<Message> {
        let lane = &self.lanes[lane];
        let done = lane.model.run(prompt, cx).await;
        match &done {
            Ok(_) => {
                if lane.answered() {
                    self.note(&format!("{} has recovered", lane.name()));
                }
            }
            Err(error) if error.kind() == ErrorKind::Unavailable && self.settings.on_outage => {
                if lane.suspend() {
                    let why = std::error::Error::source(error).map_or(error.to_string(), ToString::to_string);
                    self.note(&format!("{} is suspended, its provider is failing: {why}", lane.name()));
                }
            }
            Err(_) => {}
        }
        done
    }
}

/// Waits for the first lane to recover, when all of them are suspended.
async fn first_to_recover(
    lanes: &Arc<Lanes>,
    suspended: &[usize],
    prompt: Prompt,
    cx: &Context,
) -> fanweave::Result<Message> {
    let mut calls = suspended.iter().map(|lane| chain(Call(lanes.clone(), *lane)));
    let first = calls.next().expect("a lane is suspended");
    first.fallback(calls).run(prompt, cx).await
}

impl Runnable for Call {
    type Input = Prompt;

    const DRIVES_CALLS: bool = true;
    type Output = Message;

    async fn run(&self, prompt: Prompt, cx: &Context) -> fanweave::Result<Message> {
        self.0.call(self.1, prompt, cx).await
    }

    fn streaming(&self) -> Streaming {
        Streaming::Deltas
    }
}

/// The lane of call number `n`, among those in `open`. The calls of a lane are spread evenly, not sent in
/// runs.
fn lane_of(n: u64, lanes: &[Lane], open: &[usize]) -> Option<usize> {
    let whole = open.iter().map(|lane| lanes[*lane].weight()).sum::<u64>();
    // A step that is coprime to the total visits every position once; the golden ratio spreads them evenly.
    let step = (1..=whole).rev().find(|s| *s * 1000 <= whole * 618 && coprime(*s, whole));
    let mut position = n.checked_rem(whole)? * step.unwrap_or(1) % whole;
    for lane in open {
        match position.checked_sub(lanes[*lane].weight()) {
            Some(rest) => position = rest,
            None => return Some(*lane),
        }
    }
    unreachable!("a position is less than the sum of all weights")
}

fn coprime(a: u64, b: u64) -> bool {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a == 1
}

impl Runnable for Spread {
    type Input = Prompt;

    const DRIVES_CALLS: bool = true;
    type Output = Message;

    async fn run(&self, prompt: Prompt, cx: &Context) -> fanweave::Result<Message> {
        let all = &self.0;
        let number = all.next.fetch_add(1, Ordering::Relaxed);
        let mut doubts: Vec<(usize, Error)> = Vec::new();
        let mut unavailable = Vec::new();
        loop {
            let is_left = |lane: &usize| {
                !all.lanes[*lane].is_disabled() && !doubts.iter().any(|(doubted, _)| doubted == lane)
            };
            let left: Vec<_> = (0..all.lanes.len()).filter(is_left).collect();
            let untried = || left.iter().copied().filter(|lane| !unavailable.contains(lane));
            let probe = untried().find_map(|lane| Some((lane, all.lanes[lane].try_probe()?)));
            // With `--no-fallback-on-outage`, no lane is ever suspended.
            let open: Vec<_> = untried().filter(|lane| all.lanes[*lane].is_open()).collect();
            let lane = probe.as_ref().map(|(lane, _)| *lane).or_else(|| lane_of(number, &all.lanes, &open));
            let Some(lane) = lane else {
                if !left.is_empty() {
                    return first_to_recover(all, &left, prompt, cx).await;
                }
                let (_, error) = doubts.swap_remove(0);
                return Err(error);
            };
            let has_others = all.settings.on_outage && left.len() > 1;
            let own = cx.clone().with_alternatives(has_others || cx.has_alternatives());
            let error = match all.call(lane, prompt.clone(), &own).await {
                Ok(message) => {
                    // Another lane answered: the doubtful ones are to blame, not the request.
                    for (lane, error) in doubts.iter().filter(|(lane, _)| !all.lanes[*lane].has_answered()) {
                        all.disable(*lane, error);
                    }
                    return Ok(message);
                }
                Err(error) => error,
            };
            drop(probe);
            // These errors come before the first delta: no reader has seen a part of an answer.
            match Verdict::of(&error) {
                Verdict::Refused if all.disable(lane, &error) => {}
                Verdict::Doubtful if !all.lanes[lane].has_answered() => doubts.push((lane, error)),
                Verdict::Failing if has_others => unavailable.push(lane),
                _ => return Err(error),
            }
        }
    }

    fn streaming(&self) -> Streaming {
        Streaming::Deltas
    }

    fn describe(&self) -> Node {
        Node::model("spread")
    }
}

#[cfg(test)]
mod outages;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use fanweave::{ChatModel, Model};
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

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

        async fn generate(&self, prompt: Prompt, _: &Context) -> fanweave::Result<Message> {
            self.calls.fetch_add(1, Ordering::Relaxed);
            match (self.refuses)(&prompt.last_user_text()) {
                Some(kind) => Err(Error::new(kind, "refused")),
                None => Ok(Message::assistant(self.name)),
            }
        }
    }

    type Refuses = fn(&str) -> Option<ErrorKind>;

    fn of(all: &[(&'static str, Refuses)]) -> (Spread, Vec<Arc<AtomicUsize>>, UnboundedReceiver<String>) {
        let mut counts = Vec::new();
        let lane = |(name, refuses): &(&'static str, Refuses)| {
            let calls = Arc::<AtomicUsize>::default();
            counts.push(calls.clone());
            Lane::new(Model::new(Vendor { name, refuses: *refuses, calls }), 1, Some("KEY".to_owned()))
        };
        let lanes = all.iter().map(lane).collect();
        let (notes, received) = unbounded_channel();
        (Spread(Arc::new(Lanes::new(lanes, Spreading { notes, on_outage: true }))), counts, received)
    }

    fn lines(received: &mut UnboundedReceiver<String>) -> Vec<String> {
        std::iter::from_fn(|| received.try_recv().ok()).collect()
    }

    async fn ask(spread: &Spread, what: &str) -> Result<String, ErrorKind> {
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
            let (spread, calls, mut received) = of(&[("a/a", refuses), ("b/b", |_| None), ("c/c", |_| None)]);
            for _ in 0..30 {
                assert_ne!(ask(&spread, "hi").await.unwrap(), "a/a");
            }
            let calls: Vec<_> = calls.iter().map(|calls| calls.load(Ordering::Relaxed)).collect();
            assert_eq!(calls[0], 1);
            assert!(calls[1] >= 14 && calls[2] >= 14, "the others share its calls: {calls:?}");
            let received = lines(&mut received);
            assert_eq!(received.len(), 1);
            assert!(
                received[0].starts_with("note: a/a with the key in KEY is disabled for this run"),
                "{received:?}"
            );
        }
    }

    #[tokio::test]
    async fn the_error_of_the_last_lane_is_returned() {
        let wrong: Refuses = |_| Some(ErrorKind::Authentication);
        let (spread, _, mut received) = of(&[("a/a", wrong), ("b/b", wrong)]);
        for _ in 0..3 {
            assert_eq!(ask(&spread, "hi").await, Err(ErrorKind::Authentication));
        }
        assert_eq!(lines(&mut received).len(), 1, "the other failure is the error, not a note");
    }

    #[tokio::test]
    async fn not_found_of_one_request_disables_no_lane() {
        let own: Refuses = |what| (what == "lost").then_some(ErrorKind::NotFound);
        let (spread, _, mut received) = of(&[("a/a", own), ("b/b", own)]);
        // Before any lane has answered, and afterwards.
        assert_eq!(ask(&spread, "lost").await, Err(ErrorKind::NotFound));
        let mut names: Vec<_> =
            [ask(&spread, "hi").await, ask(&spread, "hi").await].into_iter().flatten().collect();
        names.sort();
        assert_eq!(names, ["a/a", "b/b"]);
        assert_eq!(ask(&spread, "lost").await, Err(ErrorKind::NotFound));
        // The other lane finds it. The first one stays enabled, because it has answered other requests.
        let (spread, _, mut other_received) = of(&[("a/a", own), ("b/b", |_| None)]);
        for _ in 0..4 {
            assert!(ask(&spread, "hi").await.is_ok());
        }
        for _ in 0..4 {
            let _ = ask(&spread, "lost").await;
        }
        assert_eq!([lines(&mut received), lines(&mut other_received)], [Vec::<String>::new(), Vec::new()]);
    }

    #[tokio::test]
    async fn a_daily_limit_disables_a_lane_and_a_limit_per_minute_does_not() {
        let limited = |wait| {
            Verdict::of(
                &Error::new(ErrorKind::RateLimited, "slow down").with_retry_after(Duration::from_secs(wait)),
            )
        };
        assert!(matches!(limited(3600), Verdict::Refused));
        assert!(matches!(limited(60), Verdict::Fine));
    }

    #[test]
    fn every_model_gets_its_share_and_no_run_of_one_is_long() {
        let lane = |name: &str, weight| Lane::new(fanweave::model(name).unwrap(), weight, None);
        for (a, b) in [(1, 1), (3, 1), (7, 5), (100, 1), (1, 1000)] {
            let lanes = [lane("sim/writer", a), lane("sim/echo", b)];
            let is_writer = |n| lane_of(n, &lanes, &[0, 1]).unwrap() == 0;
            assert_eq!((0..(a + b)).filter(|n| is_writer(*n)).count() as u64, a, "{a}:{b}");
        }
    }
}

//! Calls spread over several models or keys. One that is refused for good leaves the rotation, and the others go on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use fanweave::{Chain, Context, Error, ErrorKind, Message, Model, Prompt, Runnable, Streaming, chain};
use tokio::sync::mpsc::UnboundedSender;

/// A model with one of the keys that it may be called with.
pub(crate) struct Lane {
    model: Model,
    weight: u64,
    /// The environment variable of the key, where it comes from one.
    variable: Option<String>,
    is_out: AtomicBool,
    has_answered: AtomicBool,
}

impl Lane {
    pub(crate) fn new(model: Model, weight: u64, variable: Option<String>) -> Self {
        Self { model, weight, variable, is_out: AtomicBool::new(false), has_answered: AtomicBool::new(false) }
    }

    /// Its share of the calls, beside those of the others.
    pub(crate) fn weight(&self) -> u64 {
        self.weight
    }

    fn is_out(&self) -> bool {
        self.is_out.load(Ordering::Relaxed)
    }

    fn has_answered(&self) -> bool {
        self.has_answered.load(Ordering::Relaxed)
    }

    /// What it is called, as a note names it. Never the key.
    fn name(&self) -> String {
        let key = self.variable.as_ref().map(|variable| format!(" with the key in {variable}"));
        format!("{}{}", self.model.name(), key.unwrap_or_default())
    }
}

/// One step for all lanes. What is to be told of them while it runs goes to `say`.
pub(crate) fn spread(mut lanes: Vec<Lane>, say: &UnboundedSender<String>) -> Chain<Prompt, Message> {
    match (lanes.len(), lanes.pop()) {
        (1, Some(lane)) => chain(lane.model),
        (_, last) => {
            lanes.extend(last);
            chain(Spread::new(lanes, say.clone()))
        }
    }
}

/// Spreads calls over lanes by weight.
struct Spread {
    lanes: Vec<Lane>,
    next: AtomicU64,
    /// How many lanes are in the rotation: never none.
    left: Mutex<usize>,
    say: UnboundedSender<String>,
}

/// What an error says of the lane that it came from.
enum Verdict {
    /// No other call would be answered there either: a wrong key, an empty account, the limit of a day.
    Refused,
    /// Either that, or something about this one request: a model that is not there, or a file that it names.
    Doubtful,
    /// Nothing: the error is the call's own.
    Fine,
}

impl Verdict {
    fn of(error: &Error) -> Self {
        match error.kind() {
            _ if error.refuses_account() => Self::Refused,
            ErrorKind::NotFound => Self::Doubtful,
            _ => Self::Fine,
        }
    }
}

impl Spread {
    fn new(lanes: Vec<Lane>, say: UnboundedSender<String>) -> Self {
        let left = Mutex::new(lanes.len());
        Self { lanes, next: AtomicU64::new(0), left, say }
    }

    /// Takes a lane out of the rotation, and says so once. `false` where it is the last one, which stays.
    fn leave_out(&self, lane: &Lane, error: &Error) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if lane.is_out() {
            return true;
        }
        if *left == 1 {
            return false;
        }
        *left -= 1;
        lane.is_out.store(true, Ordering::Relaxed);
        // Nobody listens to a rehearsal.
        let _ = self.say.send(format!(
            "note: {} is left out from here on, and its calls go to the others: {error}",
            lane.name()
        ));
        true
    }
}

/// The lane of call number `n`. The calls of each are spread evenly rather than sent in runs.
fn lane_of<'l>(n: u64, lanes: &[&'l Lane]) -> Option<&'l Lane> {
    let whole = lanes.iter().map(|lane| lane.weight).sum::<u64>();
    // A step of about the golden ratio of the whole, and no divisor of it, visits every place once.
    let step = (1..=whole).rev().find(|s| *s * 1000 <= whole * 618 && coprime(*s, whole));
    let mut place = n.checked_rem(whole)? * step.unwrap_or(1) % whole;
    for lane in lanes {
        match place.checked_sub(lane.weight) {
            Some(rest) => place = rest,
            None => return Some(lane),
        }
    }
    unreachable!("a place is less than all weights together")
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
    type Output = Message;

    async fn run(&self, prompt: Prompt, cx: &Context) -> fanweave::Result<Message> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let mut doubts: Vec<(&Lane, Error)> = Vec::new();
        loop {
            let is_doubted = |lane: &Lane| doubts.iter().any(|(other, _)| std::ptr::eq(*other, lane));
            let free: Vec<_> = self.lanes.iter().filter(|lane| !lane.is_out() && !is_doubted(lane)).collect();
            let Some(lane) = lane_of(turn, &free) else {
                let (_, error) = doubts.swap_remove(0);
                return Err(error);
            };
            let error = match lane.model.run(prompt.clone(), cx).await {
                Ok(message) => {
                    lane.has_answered.store(true, Ordering::Relaxed);
                    // The request was not at fault.
                    for (lane, error) in doubts.iter().filter(|(lane, _)| !lane.has_answered()) {
                        self.leave_out(lane, error);
                    }
                    return Ok(message);
                }
                Err(error) => error,
            };
            // Refusals come before the first piece: no reader has heard anything of an answer.
            match Verdict::of(&error) {
                Verdict::Refused if self.leave_out(lane, &error) => {}
                Verdict::Doubtful if !lane.has_answered() => doubts.push((lane, error)),
                _ => return Err(error),
            }
        }
    }

    fn streaming(&self) -> Streaming {
        Streaming::Pieces
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use fanweave::ChatModel;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;

    /// Answers with its name, unless `refuses` has an error for the prompt.
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
        let (say, said) = unbounded_channel();
        (Spread::new(lanes, say), counts, said)
    }

    fn lines(said: &mut UnboundedReceiver<String>) -> Vec<String> {
        std::iter::from_fn(|| said.try_recv().ok()).collect()
    }

    async fn ask(spread: &Spread, what: &str) -> Result<String, ErrorKind> {
        let answer = spread.run(Prompt::from(what), &Context::new()).await;
        answer.map(|message| message.text()).map_err(|error| error.kind())
    }

    #[tokio::test]
    async fn one_that_is_refused_for_good_is_called_once_and_the_others_answer() {
        for kind in [ErrorKind::Authentication, ErrorKind::QuotaExhausted, ErrorKind::NotFound] {
            let refuses: Refuses = match kind {
                ErrorKind::Authentication => |_| Some(ErrorKind::Authentication),
                ErrorKind::QuotaExhausted => |_| Some(ErrorKind::QuotaExhausted),
                _ => |_| Some(ErrorKind::NotFound),
            };
            let (spread, calls, mut said) = of(&[("a/a", refuses), ("b/b", |_| None), ("c/c", |_| None)]);
            for _ in 0..30 {
                assert_ne!(ask(&spread, "hi").await.unwrap(), "a/a");
            }
            let calls: Vec<_> = calls.iter().map(|calls| calls.load(Ordering::Relaxed)).collect();
            assert_eq!(calls[0], 1);
            assert!(calls[1] >= 14 && calls[2] >= 14, "the others share its calls: {calls:?}");
            let said = lines(&mut said);
            assert_eq!(said.len(), 1);
            assert!(said[0].starts_with("note: a/a with the key in KEY is left out"), "{said:?}");
        }
    }

    #[tokio::test]
    async fn the_error_of_the_last_one_left_is_that_of_the_call() {
        let wrong: Refuses = |_| Some(ErrorKind::Authentication);
        let (spread, _, mut said) = of(&[("a/a", wrong), ("b/b", wrong)]);
        for _ in 0..3 {
            assert_eq!(ask(&spread, "hi").await, Err(ErrorKind::Authentication));
        }
        assert_eq!(lines(&mut said).len(), 1, "the other one is no note, but the error");
    }

    #[tokio::test]
    async fn what_one_request_does_not_find_takes_nobody_out() {
        let own: Refuses = |what| (what == "lost").then_some(ErrorKind::NotFound);
        let (spread, _, mut said) = of(&[("a/a", own), ("b/b", own)]);
        // Before anybody has answered, and after.
        assert_eq!(ask(&spread, "lost").await, Err(ErrorKind::NotFound));
        let mut names: Vec<_> =
            [ask(&spread, "hi").await, ask(&spread, "hi").await].into_iter().flatten().collect();
        names.sort();
        assert_eq!(names, ["a/a", "b/b"]);
        assert_eq!(ask(&spread, "lost").await, Err(ErrorKind::NotFound));
        // The other one finds it: that says nothing of one that answers too.
        let (spread, _, mut said_too) = of(&[("a/a", own), ("b/b", |_| None)]);
        for _ in 0..4 {
            assert!(ask(&spread, "hi").await.is_ok());
        }
        for _ in 0..4 {
            let _ = ask(&spread, "lost").await;
        }
        assert_eq!([lines(&mut said), lines(&mut said_too)], [Vec::<String>::new(), Vec::new()]);
    }

    #[tokio::test]
    async fn a_limit_of_the_day_takes_out_and_one_of_the_minute_does_not() {
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
            let lanes: Vec<_> = lanes.iter().collect();
            let is_writer = |n| lane_of(n, &lanes).unwrap().model.name() == "sim/writer";
            assert_eq!((0..(a + b)).filter(|n| is_writer(*n)).count() as u64, a, "{a}:{b}");
        }
    }
}

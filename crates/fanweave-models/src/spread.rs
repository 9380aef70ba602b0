//! Distributes calls over several models or keys (lanes). A lane that is rejected permanently is disabled; a
//! lane whose provider is failing is suspended until it recovers. The other lanes take its calls.

mod lane;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fanweave_core::runnable::Streaming;
use fanweave_core::{Chain, Context, Error, ErrorKind, Message, Node, Prompt, Result, Runnable, chain};

pub use self::lane::Lane;
use self::lane::LaneInUse;

/// Distributes calls over several models or keys, its [`Lane`]s, by weight.
///
/// A lane that rejects all calls, because of an invalid key, an empty account or a daily limit, is disabled.
/// A lane whose provider is failing is suspended, and one call at a time probes whether it has recovered. Its
/// calls use the other lanes meanwhile. Errors of single calls are returned as they are.
///
/// A call whose answer a [hook](fanweave_core::model::CallHook) knows, such as that of a resumed row, uses
/// the lane that gave this answer.
///
/// ```
/// use std::num::NonZeroU32;
/// use fanweave::models::{Lane, ModelBuilder, Spread};
/// use fanweave::{prompt, text};
///
/// # fn main() -> fanweave::Result<()> {
/// let with_key = |key: &str| ModelBuilder::new("openai/gpt-5-mini").api_key(key).build();
/// let lanes = [
///     Lane::new(with_key("sk-first")?).key_name("FIRST_KEY").weight(NonZeroU32::MIN.saturating_add(2)),
///     Lane::new(with_key("sk-second")?).key_name("SECOND_KEY"),
/// ];
/// // Three of four calls use the first key.
/// let both = Spread::new(lanes).on_change(|change| eprintln!("note: {change}")).chain()?;
/// let joke = prompt("Tell a joke about {{ topic }}.") | both | text();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct Spread {
    lanes: Vec<Lane>,
    settings: Settings,
}

/// Receives the changes of lanes.
type OnChange = Arc<dyn Fn(&SpreadChange) + Send + Sync>;

#[derive(Clone)]
struct Settings {
    on_change: Option<OnChange>,
    /// Set to call other lanes while the provider of one is failing. Otherwise its calls wait.
    suspends: bool,
}

impl Spread {
    /// Distributes calls over these lanes. A [`Model`](fanweave_core::Model) is a lane of weight 1.
    pub fn new<L: Into<Lane>>(lanes: impl IntoIterator<Item = L>) -> Self {
        let lanes = lanes.into_iter().map(Into::into).collect();
        Self { lanes, settings: Settings { on_change: None, suspends: true } }
    }

    /// Lets calls wait for their own lane while its provider is failing. Default: other lanes take them.
    pub fn wait_in_outages(mut self) -> Self {
        self.settings.suspends = false;
        self
    }

    /// Calls `report` when a lane is disabled or suspended, or has recovered. It must not block. Default:
    /// nothing.
    pub fn on_change(mut self, report: impl Fn(&SpreadChange) + Send + Sync + 'static) -> Self {
        self.settings.on_change = Some(Arc::new(report));
        self
    }

    /// The lanes as one step. A clone of the spread makes a step whose lanes have states of their own.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] without lanes.
    pub fn chain(self) -> Result<Chain<Prompt, Message>> {
        let Self { mut lanes, settings } = self;
        match (lanes.len(), lanes.pop()) {
            (_, None) => Err(Error::new(ErrorKind::Config, "a spread needs at least one model")),
            (1, Some(lane)) => Ok(chain(lane.model)),
            (_, Some(last)) => {
                lanes.push(last);
                Ok(chain(Spreading::new(lanes, settings)))
            }
        }
    }
}

/// Shows the lanes.
impl fmt::Debug for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spread").field("lanes", &self.lanes).finish_non_exhaustive()
    }
}

/// A change of a lane of a [`Spread`]. Displays as a sentence.
///
/// ```
/// use fanweave::models::SpreadChange;
///
/// fn report(change: &SpreadChange) {
///     if let SpreadChange::Disabled { lane, error, .. } = change {
///         eprintln!("{lane}: {}", error.hint().unwrap_or_default());
///     }
/// }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SpreadChange {
    /// The lane rejects all calls. No further call uses it.
    #[non_exhaustive]
    Disabled {
        /// Name of the lane.
        lane: String,
        /// The rejection.
        error: Error,
    },
    /// The provider of the lane is failing. Others take its calls until it has recovered.
    #[non_exhaustive]
    Suspended {
        /// Name of the lane.
        lane: String,
        /// The last failure.
        cause: Error,
    },
    /// A suspended lane answers.
    #[non_exhaustive]
    Recovered {
        /// Name of the lane.
        lane: String,
    },
}

impl fmt::Display for SpreadChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disabled { lane, error } => {
                write!(
                    f,
                    "{lane} is disabled for this run; its calls use the remaining models and keys: {error}"
                )
            }
            Self::Suspended { lane, cause } => {
                write!(f, "{lane} is suspended, its provider is failing: {cause}")
            }
            Self::Recovered { lane } => write!(f, "{lane} has recovered"),
        }
    }
}

/// The step of a spread.
struct Spreading(Arc<Lanes>);

struct Lanes {
    lanes: Vec<LaneInUse>,
    next: AtomicU64,
    /// Number of lanes that are not disabled: at least one.
    left: Mutex<usize>,
    settings: Settings,
}

/// A call to one lane.
struct Call(Arc<Lanes>, usize);

/// Meaning of an error for the lane that returned it.
enum LaneError {
    /// The lane rejects all calls: an invalid key, an empty account, a daily limit.
    Refused,
    /// Concerns either the lane or only this request: an unknown model, or a missing file in the request.
    Doubtful,
    /// The provider of the lane is failing.
    Failing,
    /// Concerns only this call.
    OfCall,
}

impl LaneError {
    fn of(error: &Error) -> Self {
        match error.kind() {
            _ if error.is_account_level() => Self::Refused,
            ErrorKind::NotFound => Self::Doubtful,
            ErrorKind::Unavailable => Self::Failing,
            _ => Self::OfCall,
        }
    }
}

impl Lanes {
    /// Disables a lane and reports it. Returns `false` for the last lane, which stays enabled.
    fn disable(&self, lane: usize, error: &Error) -> bool {
        let lane = &self.lanes[lane];
        {
            let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
            if lane.is_disabled() {
                return true;
            }
            if *left == 1 {
                return false;
            }
            *left -= 1;
            lane.disable();
        }
        self.report(|| SpreadChange::Disabled { lane: lane.lane.name(), error: error.clone() });
        true
    }

    fn report(&self, change: impl FnOnce() -> SpreadChange) {
        if let Some(report) = &self.settings.on_change {
            report(&change());
        }
    }

    /// Calls one lane and updates its state.
    async fn call(&self, lane: usize, prompt: Prompt, cx: &Context) -> Result<Message> {
        let lane = &self.lanes[lane];
        let done = lane.lane.model.run(prompt, cx).await;
        match &done {
            // An answer from a store or a journal does not show that the provider answers.
            Ok(message) if message.reply.as_ref().is_some_and(|reply| reply.cached) => {}
            Ok(_) => {
                if lane.answered() {
                    self.report(|| SpreadChange::Recovered { lane: lane.lane.name() });
                }
            }
            Err(error) if error.kind() == ErrorKind::Unavailable && self.settings.suspends => {
                if lane.suspend() {
                    self.report(|| SpreadChange::Suspended {
                        lane: lane.lane.name(),
                        cause: cause_of(error),
                    });
                }
            }
            Err(_) => {}
        }
        done
    }

    /// The lane whose answer to `prompt` a hook of calls knows.
    fn known(&self, prompt: &Prompt, cx: &Context) -> Option<usize> {
        cx.call_hook()?;
        self.lanes.iter().position(|lane| lane.lane.model.is_known(prompt, cx))
    }
}

/// The last failure of a provider that is unavailable.
fn cause_of(error: &Error) -> Error {
    let source = std::error::Error::source(error);
    source.and_then(|source| source.downcast_ref::<Error>()).unwrap_or(error).clone()
}

/// Waits for the first lane to recover, when all of them are suspended.
async fn first_to_recover(
    lanes: &Arc<Lanes>,
    suspended: &[usize],
    prompt: Prompt,
    cx: &Context,
) -> Result<Message> {
    let mut calls = suspended.iter().map(|lane| chain(Call(lanes.clone(), *lane)));
    let first = calls.next().expect("a lane is suspended");
    first.fallback(calls).run(prompt, cx).await
}

impl Runnable for Call {
    type Input = Prompt;

    const DRIVES_CALLS: bool = true;
    type Output = Message;

    async fn run(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
        self.0.call(self.1, prompt, cx).await
    }

    fn streaming(&self) -> Streaming {
        Streaming::Deltas
    }
}

/// The lane of call number `n`, among those in `open`. The calls of a lane are spread evenly, not sent in
/// runs.
fn lane_of(n: u64, lanes: &[LaneInUse], open: &[usize]) -> Option<usize> {
    let share = |lane: &usize| u128::from(lanes[*lane].lane.share());
    let whole = open.iter().map(share).sum::<u128>();
    // A step that is coprime to the total visits every position once; the golden ratio spreads them evenly.
    let step = (1..=whole * 618 / 1000).rev().find(|step| coprime(*step, whole));
    let mut position = u128::from(n).checked_rem(whole)? * step.unwrap_or(1) % whole;
    for lane in open {
        match position.checked_sub(share(lane)) {
            Some(rest) => position = rest,
            None => return Some(*lane),
        }
    }
    unreachable!("a position is less than the sum of all weights")
}

fn coprime(a: u128, b: u128) -> bool {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a == 1
}

impl Spreading {
    fn new(lanes: Vec<Lane>, settings: Settings) -> Self {
        let left = Mutex::new(lanes.len());
        let lanes = lanes.into_iter().map(LaneInUse::new).collect();
        Self(Arc::new(Lanes { lanes, next: AtomicU64::new(0), left, settings }))
    }
}

impl Runnable for Spreading {
    type Input = Prompt;

    const DRIVES_CALLS: bool = true;
    type Output = Message;

    async fn run(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
        let all = &self.0;
        let number = all.next.fetch_add(1, Ordering::Relaxed);
        let mut doubts: Vec<(usize, Error)> = Vec::new();
        let mut unavailable = Vec::new();
        let mut known = all.known(&prompt, cx);
        loop {
            let is_left = |lane: &usize| {
                !all.lanes[*lane].is_disabled() && !doubts.iter().any(|(doubted, _)| doubted == lane)
            };
            let left: Vec<_> = (0..all.lanes.len()).filter(is_left).collect();
            let untried = || left.iter().copied().filter(|lane| !unavailable.contains(lane));
            let known = known.take();
            let probe = match known {
                Some(_) => None,
                None => untried().find_map(|lane| Some((lane, all.lanes[lane].try_probe()?))),
            };
            // With `wait_in_outages`, no lane is ever suspended.
            let open: Vec<_> = untried().filter(|lane| all.lanes[*lane].is_open()).collect();
            let lane = known.or_else(|| probe.as_ref().map(|(lane, _)| *lane));
            let lane = lane.or_else(|| lane_of(number, &all.lanes, &open));
            let Some(lane) = lane else {
                if !left.is_empty() {
                    return first_to_recover(all, &left, prompt, cx).await;
                }
                let (_, error) = doubts.swap_remove(0);
                return Err(error);
            };
            let has_others = all.settings.suspends && left.len() > 1;
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
            match LaneError::of(&error) {
                LaneError::Refused if all.disable(lane, &error) => {}
                LaneError::Doubtful if !all.lanes[lane].has_answered() => doubts.push((lane, error)),
                LaneError::Failing if has_others => unavailable.push(lane),
                _ => return Err(error),
            }
        }
    }

    fn streaming(&self) -> Streaming {
        Streaming::Deltas
    }

    fn describe(&self) -> Node {
        let lanes = self.0.lanes.iter().map(|lane| &lane.lane);
        Node::one_of("spread", lanes.map(|lane| (lane.name(), lane.model.describe())))
    }
}

#[cfg(test)]
mod outages;
#[cfg(test)]
mod tests;

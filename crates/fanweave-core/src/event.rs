//! Events that a run reports while it is in progress.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::{Delta, Error, Message, Prompt, Reply, Usage};

/// Identifies one run of one step within the process that ran it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RunId(NonZeroU64);

impl RunId {
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NonZeroU64::new(NEXT.fetch_add(1, Ordering::Relaxed)).unwrap_or(NonZeroU64::MIN))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// An event of a run.
///
/// Serialises as an object, with names as the field names of this struct, `at` in whole microseconds as
/// `at_us`, and waits in whole milliseconds. Answers and prompts are part of it.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use fanweave::crates::serde_json;
/// use fanweave::{Context, Event, Runnable, testing::Fake};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let lines = Arc::new(Mutex::new(Vec::new()));
/// let log = lines.clone();
/// let cx = Context::new().with_observer(Arc::new(move |event: &Event| {
///     log.lock().unwrap().push(serde_json::to_string(event).unwrap());
/// }));
/// Fake::echo().run("hello".into(), &cx).await?;
/// let first: Event = serde_json::from_str(&lines.lock().unwrap()[0]).unwrap();
/// assert!(first.parent.is_none());
/// assert_eq!(first.path.len(), 1);
/// # Ok(())
/// # }) }
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// The run of the step that emitted it.
    pub run: RunId,
    /// The run of the enclosing step. `None` at the top.
    pub parent: Option<RunId>,
    /// Names of the enclosing steps, outermost first, and of the step itself.
    pub path: Path,
    /// Time since the whole run began, on the monotonic clock.
    #[serde(rename = "at_us", with = "microseconds")]
    pub at: Duration,
    /// The kind of the event.
    pub kind: EventKind,
    #[serde(flatten)]
    pub(crate) labels: Arc<Labels>,
}

impl Event {
    /// The tags of the run, outermost first.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.labels.tags()
    }

    /// The metadata value of that name, as the innermost scope set it.
    pub fn metadata(&self, name: &str) -> Option<&Value> {
        self.labels.metadata(name)
    }
}

/// Labels of a run, for consumers of its events.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Labels {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<Arc<str>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "pairs")]
    pub(crate) metadata: Vec<(Arc<str>, Value)>,
}

impl Labels {
    /// No tags and no metadata. Allocated once.
    pub(crate) fn none() -> Arc<Self> {
        static NONE: LazyLock<Arc<Labels>> = LazyLock::new(Arc::default);
        NONE.clone()
    }

    pub(crate) fn tags(&self) -> impl Iterator<Item = &str> {
        self.tags.iter().map(AsRef::as_ref)
    }

    pub(crate) fn metadata(&self, name: &str) -> Option<&Value> {
        self.metadata.iter().find(|(other, _)| **other == *name).map(|(_, value)| value)
    }
}

/// The kind of an event.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// A step began.
    StepStarted,
    /// The prompt sent to a model, with all parameters. Follows its [`StepStarted`](Self::StepStarted).
    PromptSent(Arc<Prompt>),
    /// Number of texts that an [`Embedder`](crate::Embedder) turns into vectors. Follows its
    /// [`StepStarted`](Self::StepStarted).
    EmbeddingRequested(usize),
    /// A model sent a delta of its answer.
    Delta(Delta),
    /// A call waits before its request is sent. The wait ends with the next
    /// [`RequestStarted`](Self::RequestStarted) of the same run. A rate limit that a provider reports is a
    /// [`Retrying`](Self::Retrying) with its wait.
    Waiting(WaitReason),
    /// A request is about to be sent.
    RequestStarted,
    /// A hedged request is about to be sent for a slow one. The first answer wins.
    Hedged,
    /// A request was sent, and its response is missing or incomplete: the provider may still bill it. Holds
    /// the estimate of its input tokens.
    Unanswered(Usage),
    /// The first byte of an answer arrived.
    FirstByte,
    /// The first chunk of a streamed answer arrived.
    FirstChunk,
    /// An attempt failed and will be retried.
    Retrying {
        /// The number of the failed attempt, from 1. Rejections for rate limits are counted here, although
        /// they use up no attempts of a model's policy.
        attempt: u32,
        /// Time until the next attempt.
        #[serde(rename = "wait_ms", with = "milliseconds")]
        wait: Duration,
        /// The error of the attempt.
        error: Error,
    },
    /// The reply of a model. Its [`StepFinished`](Self::StepFinished) follows.
    Answered(Arc<Message>),
    /// A step succeeded.
    StepFinished {
        /// The reply of the provider, for a step that called one.
        reply: Option<Arc<Reply>>,
    },
    /// A step failed.
    StepFailed(Error),
}

/// Reason why a call waits before its request is sent.
///
/// ```
/// use fanweave::{Error, ErrorKind, events::WaitReason};
///
/// let failing = Error::new(ErrorKind::Server, "Bad Gateway").with_status(502);
/// assert_eq!(WaitReason::Outage(failing).to_string(), "the provider is failing: status 502: Bad Gateway");
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WaitReason {
    /// The run has its maximum number of calls in flight.
    Concurrency,
    /// The account has reached a limit, or earlier calls are queued for it.
    Limit,
    /// The provider is failing: no request is sent except for one probe at a time. Holds the last failure.
    Outage(Error),
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Concurrency => f.write_str("the run has its maximum of calls in flight"),
            Self::Limit => f.write_str("the account has reached a limit"),
            Self::Outage(error) => write!(f, "the provider is failing: {error}"),
        }
    }
}

/// Observes every event of a run, as it happens.
///
/// Called inline, so it must be quick: count, or send to a channel, and return. An observer that panics does
/// not fail the run, and still receives later events. `Fn(&Event)` closures are observers.
///
/// ```
/// use std::sync::{Arc, atomic::{AtomicUsize, Ordering}};
/// use fanweave::{Context, Event, EventKind, Runnable, testing::Fake};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let calls = Arc::new(AtomicUsize::new(0));
/// let seen = calls.clone();
/// let cx = Context::new().with_observer(Arc::new(move |event: &Event| {
///     if let EventKind::StepFinished { .. } = event.kind {
///         seen.fetch_add(1, Ordering::Relaxed);
///     }
/// }));
/// Fake::echo().run("hello".into(), &cx).await?;
/// assert_eq!(calls.load(Ordering::Relaxed), 1);
/// # Ok(())
/// # }) }
/// ```
pub trait Observer: Send + Sync + 'static {
    /// Called with each event.
    fn on_event(&self, event: &Event);
}

impl<F: Fn(&Event) + Send + Sync + 'static> Observer for F {
    fn on_event(&self, event: &Event) {
        self(event);
    }
}

/// Names of the enclosing steps of a position in a chain, outermost first. Cheap to clone. Serialises as a
/// list of names.
///
/// ```
/// use fanweave::crates::serde_json;
/// use fanweave::events::Path;
///
/// let path: Path = serde_json::from_str(r#"["outline", "openai/gpt-5-mini"]"#).unwrap();
/// assert_eq!(path.names().collect::<Vec<_>>(), ["outline", "openai/gpt-5-mini"]);
/// assert_eq!(path.name(), Some("openai/gpt-5-mini"));
/// assert_eq!(path.to_string(), "outline > openai/gpt-5-mini");
/// ```
#[derive(Clone, Default)]
pub struct Path(Option<Arc<Node>>);

struct Node {
    name: Arc<str>,
    above: Path,
}

impl Path {
    pub(crate) fn join(&self, name: Arc<str>) -> Self {
        Self(Some(Arc::new(Node { name, above: self.clone() })))
    }

    /// The innermost name. `None` outside of any step.
    pub fn name(&self) -> Option<&str> {
        self.0.as_deref().map(|node| &*node.name)
    }

    /// All names, outermost first.
    pub fn names(&self) -> impl DoubleEndedIterator<Item = &str> + ExactSizeIterator {
        let mut names: Vec<_> = self.upwards().collect();
        names.reverse();
        names.into_iter()
    }

    /// Number of names.
    pub fn len(&self) -> usize {
        self.upwards().count()
    }

    /// Returns true outside of any step.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// All names, innermost first.
    fn upwards(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(self.0.as_deref(), |node| node.above.0.as_deref()).map(|node| &*node.name)
    }
}

/// Maximum length of a path that is read from JSON. Far beyond the recursion limit of any run; a path is
/// freed one name inside the other, so its length must be limited.
const MAX_DEPTH: usize = 1000;

impl Serialize for Path {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.names())
    }
}

impl<'de> Deserialize<'de> for Path {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<Arc<str>>::deserialize(deserializer)?;
        if names.len() > MAX_DEPTH {
            return Err(D::Error::custom(format_args!(
                "a path has {} names: at most {MAX_DEPTH}",
                names.len()
            )));
        }
        Ok(names.into_iter().fold(Path::default(), |path, name| path.join(name)))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(node) = &self.0 else { return Ok(()) };
        if node.above.0.is_some() {
            write!(f, "{} > ", node.above)?;
        }
        f.write_str(&node.name)
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// Metadata as an object. Names are unique.
mod pairs {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};
    use serde_json::{Map, Value};

    pub(super) fn serialize<S: Serializer>(
        pairs: &[(Arc<str>, Value)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(pairs.iter().map(|(name, value)| (name, value)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(Arc<str>, Value)>, D::Error> {
        let pairs = Map::deserialize(deserializer)?;
        Ok(pairs.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}

/// Durations as whole microseconds.
mod microseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(time.as_micros().try_into().unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_micros)
    }
}

/// Durations as whole milliseconds.
pub(crate) mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn of(time: Duration) -> u64 {
        time.as_millis().try_into().unwrap_or(u64::MAX)
    }

    pub(super) fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(of(*time))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests;

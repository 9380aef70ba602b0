//! Requests that adapt to what a server refuses: learned once per base URL and model, and kept for the
//! process. What is refused is recognised in [`refusal`]; requests are changed just before they are sent, so
//! that calls in flight profit as well.

mod refusal;
mod schema;
#[cfg(test)]
mod tests;
mod trial;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fanweave_core::__private::PerProcess;
use fanweave_core::{Advice, Error, Parameters, Prompt, ResponseFormat, Result};
use serde_json::json;
use tokio::time::Instant;

use self::refusal::Refused;
use self::schema::{loosen, set_within};
use self::trial::Trial;
use crate::protocol::HttpRequest;
use crate::providers::splice::Splice;

/// Changes that a model may make to requests that a server refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Adapt {
    /// None.
    Never,
    /// To fields that this crate adds by itself.
    #[default]
    Added,
    /// Also to parameters of the caller.
    Parameters,
}

/// Maximum (server, model) pairs remembered. Above it, those that no model uses are forgotten.
const MAX_SHAPES: usize = 4096;

/// One learned fact, or several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Facts(u32);

impl Facts {
    const NONE: Self = Self(0);
    const NO_STREAM_OPTIONS: Self = Self(1);
    /// `max_completion_tokens` was refused. With the next one, both spellings are refused: neither applies.
    const MAX_TOKENS: Self = Self(1 << 1);
    /// `max_tokens` was refused.
    const MAX_COMPLETION_TOKENS: Self = Self(1 << 2);
    const STREAMED: Self = Self(1 << 3);
    const NOT_STREAMED: Self = Self(1 << 4);
    /// The default maximum of output tokens was above the model's.
    const MAX_OUTPUT: Self = Self(1 << 5);
    const JSON_OBJECT: Self = Self(1 << 6);
    /// The first of [`SAMPLING`].
    const FIRST_SAMPLING: u32 = 8;
    /// An answer followed a schema: the schema is never loosened after that.
    const SCHEMA_ANSWERED: Self = Self(1 << 31);

    const STREAMING: Self = Self(Self::NO_STREAM_OPTIONS.0 | Self::STREAMED.0 | Self::NOT_STREAMED.0);

    const fn has(self, fact: Self) -> bool {
        self.0 & fact.0 != 0
    }

    const fn and(self, fact: Self) -> Self {
        Self(self.0 | fact.0)
    }

    const fn without(self, facts: Self) -> Self {
        Self(self.0 & !facts.0)
    }

    fn sampling(at: usize) -> Self {
        Self(1 << (Self::FIRST_SAMPLING + at as u32))
    }

    /// The facts that change what a model answers.
    fn answer_changing(self) -> Self {
        let sampling = (0..SAMPLING.len()).fold(Self::NONE, |all, at| all.and(Self::sampling(at)));
        Self(self.0 & sampling.and(Self::JSON_OBJECT).0)
    }

    /// The facts as a person reads them: `without stream_options`.
    fn texts(self) -> Vec<String> {
        let fixed = [
            (Self::NO_STREAM_OPTIONS, "sent without `stream_options`"),
            (Self::MAX_TOKENS, "`max_completion_tokens` sent as `max_tokens`"),
            (Self::MAX_COMPLETION_TOKENS, "`max_tokens` sent as `max_completion_tokens`"),
            (Self::STREAMED, "answers are streamed"),
            (Self::NOT_STREAMED, "answers are not streamed"),
            (Self::MAX_OUTPUT, "default maximum of output tokens lowered to the model's"),
            (Self::JSON_OBJECT, "`json_schema` sent as `json_object` with the schema in the prompt"),
        ];
        let fixed = fixed.into_iter().filter(|(fact, _)| self.has(*fact)).map(|(_, text)| text.to_owned());
        let sampling = SAMPLING.iter().enumerate().filter(|(at, _)| self.has(Self::sampling(*at)));
        fixed.chain(sampling.map(|(_, name)| format!("sent without `{name}`"))).collect()
    }
}

/// Parameters that are dropped if a server refuses them and the caller allows it.
const SAMPLING: [&str; 12] = [
    "temperature",
    "top_p",
    "seed",
    "stop",
    "frequency_penalty",
    "presence_penalty",
    "parallel_tool_calls",
    "reasoning_effort",
    "reasoning",
    "thinking",
    "think",
    "enable_thinking",
];

/// Objects of requests that hold the first fields of `SAMPLING`, and the names of the fields there: Gemini,
/// Ollama, Bedrock. Empty for a field that the dialect lacks.
const NESTED: [(&str, [&str; 6]); 3] = [
    (
        "generationConfig",
        ["temperature", "topP", "seed", "stopSequences", "frequencyPenalty", "presencePenalty"],
    ),
    ("options", ["temperature", "top_p", "seed", "stop", "frequency_penalty", "presence_penalty"]),
    ("inferenceConfig", ["temperature", "topP", "", "stopSequences", "", ""]),
];

/// The field of `SAMPLING` as the caller knows it.
fn as_written(field: &str) -> String {
    match field {
        "reasoning" | "thinking" | "think" | "enable_thinking" => {
            format!("the reasoning effort or budget, sent as `{field}`")
        }
        "text" | "generationConfig" | "output_config" | "format" => {
            format!("the JSON schema, sent in `{field}`")
        }
        field => format!("`{field}`"),
    }
}

/// Known facts about the requests that one server takes for one model.
#[derive(Debug, Default)]
pub(crate) struct Shape {
    facts: AtomicU32,
    /// Maximum output tokens of the model, once learned.
    max_output: AtomicU32,
    /// Maximum texts of an embeddings request, once learned.
    max_inputs: AtomicU32,
    /// Requests that were refused, and retried in another shape.
    refused: AtomicU32,
    /// Requests that were sent with changes.
    changed: AtomicU32,
    /// The first request with the last change.
    trial: Trial,
}

/// The base URL and the model of each shape.
type Shapes = Mutex<HashMap<(String, String), Arc<Shape>>>;

static SHAPES: PerProcess<Shapes> = PerProcess::new();

impl Shape {
    /// The shape of a model at a server, shared by all handles of the process.
    pub(crate) fn of(base_url: &str, model: &str) -> Arc<Self> {
        let shapes = SHAPES.get(Mutex::default);
        let mut shapes = shapes.lock().unwrap_or_else(PoisonError::into_inner);
        if shapes.len() >= MAX_SHAPES {
            shapes.retain(|_, shape| Arc::strong_count(shape) > 1);
        }
        shapes.entry((base_url.to_owned(), model.to_owned())).or_default().clone()
    }

    pub(crate) fn facts(&self) -> Facts {
        Facts(self.facts.load(Ordering::Relaxed))
    }

    /// Maximum texts of an embeddings request.
    pub(crate) fn max_inputs(&self) -> usize {
        match self.max_inputs.load(Ordering::Relaxed) {
            0 => usize::MAX,
            texts => texts as usize,
        }
    }

    /// Records the limit that a refused request has named.
    pub(crate) fn learn_max_inputs(&self, texts: usize) {
        let texts = u32::try_from(texts).unwrap_or(u32::MAX).max(1);
        self.max_inputs.store(texts, Ordering::Relaxed);
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns true if the facts are new.
    fn learn(&self, facts: Facts) -> bool {
        !Facts(self.facts.fetch_or(facts.0, Ordering::Relaxed)).has(facts)
    }

    /// Text that distinguishes answers to changed requests from others. Empty without such changes.
    pub(crate) fn identity(&self) -> String {
        let texts = self.facts().answer_changing().texts();
        texts.into_iter().map(|text| format!(", {text}")).collect()
    }
}

/// Changes that fanweave has made to the requests for one model at one server, because the server refused the
/// original ones.
///
/// ```
/// for adaptation in fanweave::models::adaptations() {
///     println!("{} at {}: {:?}", adaptation.model, adaptation.server, adaptation.changes);
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Adaptation {
    /// The model, as the server names it.
    pub model: String,
    /// The base URL.
    pub server: String,
    /// The changes, one sentence each: ``sent without `stream_options` ``.
    pub changes: Vec<String>,
    /// Requests that were refused, and retried with the changes.
    pub refused: u64,
    /// Requests that were sent with changes.
    pub changed: u64,
}

impl Adaptation {
    /// The part of it that is not in `before`, an earlier one of the same model. `None` if no request was
    /// changed since.
    fn since(mut self, before: &[Self]) -> Option<Self> {
        let is_earlier = |other: &&Self| other.model == self.model && other.server == self.server;
        if let Some(before) = before.iter().find(is_earlier) {
            self.refused = self.refused.saturating_sub(before.refused);
            self.changed = self.changed.saturating_sub(before.changed);
        }
        (self.refused + self.changed > 0).then_some(self)
    }
}

/// One line: ``m at http://localhost:8000/v1 (1 request refused, 200 changed): sent without `stream_options` ``.
impl fmt::Display for Adaptation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, server, changes, refused, changed } = self;
        let requests = if *refused == 1 { "request" } else { "requests" };
        let changes = changes.join(", ");
        write!(f, "{model} at {server} ({refused} {requests} refused, {changed} changed): {changes}")
    }
}

/// Changes that fanweave has made to requests because servers refused the original ones, in this process.
///
/// A server that refuses a field which this crate adds by itself, such as `stream_options` or the spelling of
/// `max_tokens`, gets the request again without it, and so do all later calls of the same base URL and model.
/// [`ModelBuilder::strict_request`](crate::ModelBuilder::strict_request) turns this off,
/// [`ModelBuilder::adapt`](crate::ModelBuilder::adapt) extends it to parameters of the caller.
///
/// One for each model of a server, in the order of their names.
///
/// ```
/// assert!(fanweave::models::adaptations().is_empty());
/// ```
pub fn adaptations() -> Vec<Adaptation> {
    let shapes = SHAPES.get(Mutex::default);
    let shapes = shapes.lock().unwrap_or_else(PoisonError::into_inner);
    let mut all: Vec<_> = shapes
        .iter()
        .map(|((server, model), shape)| {
            let mut changes = effective(shape.facts()).texts();
            let max_inputs = shape.max_inputs();
            if max_inputs < usize::MAX {
                changes.push(format!("at most {max_inputs} texts per request"));
            }
            Adaptation {
                model: model.clone(),
                server: server.clone(),
                changes,
                refused: shape.refused.load(Ordering::Relaxed).into(),
                changed: shape.changed.load(Ordering::Relaxed).into(),
            }
        })
        .filter(|adaptation| !adaptation.changes.is_empty())
        .collect();
    all.sort_unstable_by(|a, b| (&a.model, &a.server).cmp(&(&b.model, &b.server)));
    all
}

/// The [`adaptations`] with the requests since `before`, those of an earlier moment.
///
/// ```
/// use fanweave::models::{adaptations, adaptations_since};
///
/// let before = adaptations();
/// // .. a run ..
/// assert!(adaptations_since(&before).is_empty());
/// ```
pub fn adaptations_since(before: &[Adaptation]) -> Vec<Adaptation> {
    adaptations().into_iter().filter_map(|adaptation| adaptation.since(before)).collect()
}

/// The facts that change requests.
fn effective(facts: Facts) -> Facts {
    let spellings = Facts::MAX_TOKENS.and(Facts::MAX_COMPLETION_TOKENS);
    let both = facts.has(Facts::MAX_TOKENS) && facts.has(Facts::MAX_COMPLETION_TOKENS);
    facts.without(if both { spellings } else { Facts::NONE }).without(Facts::SCHEMA_ANSWERED)
}

/// Changes that are possible in the requests of one call.
#[derive(Debug, Clone)]
pub(crate) struct Adapter {
    shape: Arc<Shape>,
    adapt: Adapt,
    /// Facts that do not apply to the call, because the caller has written these fields.
    fixed: Facts,
    has_schema: bool,
}

/// Source of the error of a request that is retried in another shape.
#[derive(Debug)]
struct Adapted {
    /// Set for the first of them: it is sent while the others wait.
    is_first: bool,
}

impl fmt::Display for Adapted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server refuses a field of the request")
    }
}

impl std::error::Error for Adapted {}

impl Adapter {
    pub(crate) fn new(shape: Arc<Shape>, adapt: Adapt, prompt: &Prompt) -> Self {
        let parameters = &prompt.parameters;
        let fixed = match adapt {
            Adapt::Never => Facts(u32::MAX),
            // The request of a row is its own: only what is added for streaming can change.
            _ if prompt.body.is_some() => Facts(!Facts::STREAMING.0),
            Adapt::Added => written(parameters),
            Adapt::Parameters => Facts::NONE,
        };
        let fixed = if parameters.max_tokens.is_some() { fixed.and(Facts::MAX_OUTPUT) } else { fixed };
        let has_schema = matches!(parameters.format, Some(ResponseFormat::JsonSchema { .. }));
        Self { shape, adapt, fixed, has_schema }
    }

    /// The facts that apply to a request that is sent now.
    pub(crate) fn facts(&self) -> Facts {
        effective(self.shape.facts()).without(self.fixed)
    }

    /// The request in the shape that its server takes. `None` if it is sent as it is.
    ///
    /// # Errors
    /// Those of [`Splice`].
    pub(crate) fn apply(&self, facts: Facts, request: &HttpRequest) -> Result<Option<HttpRequest>> {
        if facts == Facts::NONE {
            return Ok(None);
        }
        let Ok(json) = std::str::from_utf8(&request.body) else { return Ok(None) };
        let mut body = Splice::new(json)?;
        let mut request = request.clone();
        if facts.has(Facts::STREAMED) && !request.streams && body.get("model").is_some() {
            body.set("stream", Some(true))?;
            request.streams = true;
            if request.path.ends_with("/completions") {
                body.set("stream_options", Some(json!({"include_usage": true})))?;
            }
        }
        if facts.has(Facts::NOT_STREAMED) && request.streams && body.get("stream").is_some() {
            body.set("stream", None::<()>)?;
            body.set("stream_options", None::<()>)?;
            request.streams = false;
        }
        if facts.has(Facts::NO_STREAM_OPTIONS) {
            body.set("stream_options", None::<()>)?;
        }
        if facts.has(Facts::MAX_TOKENS) {
            body.rename("max_completion_tokens", "max_tokens");
        }
        if facts.has(Facts::MAX_COMPLETION_TOKENS) {
            body.rename("max_tokens", "max_completion_tokens");
        }
        let max_output = self.shape.max_output.load(Ordering::Relaxed);
        if facts.has(Facts::MAX_OUTPUT) && max_output > 0 {
            body.set("max_tokens", Some(max_output))?;
        }
        for (at, name) in SAMPLING.iter().enumerate() {
            if facts.has(Facts::sampling(at)) {
                body.set(name, None::<()>)?;
            }
        }
        for (container, names) in &NESTED {
            without(&mut body, container, names, facts)?;
        }
        if facts.has(Facts::JSON_OBJECT) {
            loosen(&mut body)?;
        }
        request.body = body.finish().into();
        self.shape.changed.fetch_add(1, Ordering::Relaxed);
        Ok(Some(request))
    }

    /// Learns from the failure of a request that was sent with `facts` at the time `sent`. The error tells
    /// [`is_adapted`](Self::is_adapted) if the request is retried, or has advice if only the caller can
    /// change it.
    pub(crate) fn failed(&self, error: Error, facts: Facts, request: &HttpRequest, sent: Instant) -> Error {
        let Some(refused) = Refused::by(&error, request) else {
            self.accepted(facts);
            return error;
        };
        let fact = refused.fact;
        // Another call may have learned it in the meantime.
        if !self.fixed.has(fact) && self.facts() != facts {
            return self.adapted(error, false);
        }
        let known = self.shape.facts();
        let is_own = fact.answer_changing() == Facts::NONE;
        let may = is_own
            || (self.adapt == Adapt::Parameters
                && !(fact == Facts::JSON_OBJECT && known.has(Facts::SCHEMA_ANSWERED)));
        if may && !self.fixed.has(fact) && !known.has(fact) {
            if fact == Facts::MAX_OUTPUT {
                self.shape.max_output.store(refused.max_output, Ordering::Relaxed);
            }
            let is_first = self.shape.learn(fact);
            // Both spellings are refused: the server's own sentence says more.
            if self.facts().0 & facts.0 != facts.0 {
                self.shape.trial.end();
                return error;
            }
            if is_first {
                self.shape.trial.begin(sent);
            }
            return self.adapted(error, is_first);
        }
        self.accepted(facts);
        if is_own || self.adapt != Adapt::Added || self.fixed.has(fact) {
            return error;
        }
        error.with_advice(Advice::Adapt { parameter: as_written(refused.field).into() })
    }

    /// Marks and counts the error of a request that is retried in another shape.
    fn adapted(&self, error: Error, is_first: bool) -> Error {
        self.shape.refused.fetch_add(1, Ordering::Relaxed);
        error.with_source(Adapted { is_first })
    }

    /// Records that the server did not refuse the shape of a request sent with `facts`.
    pub(crate) fn accepted(&self, facts: Facts) {
        if facts != Facts::NONE && facts == self.facts() {
            self.shape.trial.end();
        }
    }

    /// Waits until a request with the change is known to be accepted, unless this is the first one with it.
    pub(crate) async fn tried(&self, error: &Error) {
        let source = std::error::Error::source(error).and_then(<dyn std::error::Error>::downcast_ref);
        if let Some(Adapted { is_first: false }) = source {
            self.shape.trial.ended().await;
        }
    }

    /// Records that a request sent with `facts` was answered.
    pub(crate) fn answered(&self, facts: Facts) {
        if self.has_schema && self.adapt == Adapt::Parameters && !facts.has(Facts::JSON_OBJECT) {
            self.shape.learn(Facts::SCHEMA_ANSWERED);
        }
    }

    /// Returns true if the request of this error is retried in another shape.
    pub(crate) fn is_adapted(error: &Error) -> bool {
        std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<Adapted>)
    }
}

/// The facts about fields that the caller has written by their names on the wire.
fn written(parameters: &Parameters) -> Facts {
    let fields = [
        ("stream_options", Facts::NO_STREAM_OPTIONS),
        ("max_tokens", Facts::MAX_COMPLETION_TOKENS.and(Facts::MAX_OUTPUT)),
        ("max_completion_tokens", Facts::MAX_TOKENS),
        ("stream", Facts::STREAMED.and(Facts::NOT_STREAMED)),
    ];
    let written = fields.into_iter().filter(|(name, _)| parameters.extra.contains_key(*name));
    written.fold(Facts::NONE, |all, (_, fact)| all.and(fact))
}

/// Removes refused fields from an object of the request.
fn without(body: &mut Splice<'_>, container: &str, names: &[&str], facts: Facts) -> Result<()> {
    let refused = names.iter().enumerate().filter(|(at, _)| facts.has(Facts::sampling(*at)));
    let refused: Vec<_> = refused.map(|(_, name)| (*name, None)).collect();
    if refused.is_empty() { Ok(()) } else { set_within(body, container, &refused) }
}

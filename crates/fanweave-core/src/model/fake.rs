//! Models for tests: scripted answers, errors and delays, without a network.

mod answer;

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use answer::Answer;

use crate::{
    ChatModel, Context, Error, ErrorKind, FinishReason, Fold, Message, Model, Part, Prompt, Reply, Result,
    Role, Usage,
};

/// Builds a model that answers from a script or by a function, or echoes its prompt.
///
/// It streams word by word, and answers any number of concurrent calls.
///
/// ```
/// use fanweave::{Error, ErrorKind, testing::Fake};
///
/// # fn main() { fanweave::blocking::wait(async {
/// let model = Fake::script([Ok("one"), Err(Error::new(ErrorKind::Server, "on strike"))]).model();
/// assert_eq!(model.invoke("x").await.unwrap().text(), "one");
/// assert_eq!(model.invoke("x").await.unwrap_err().kind(), ErrorKind::Server);
/// # }) }
/// ```
#[derive(Debug, Clone)]
pub struct Fake {
    name: &'static str,
    source: Source,
    latency: Duration,
    per_word: Duration,
    load: Option<Load>,
    asked: Option<Asked>,
    /// Number of tool calls so far, of all clones.
    calls: Arc<AtomicUsize>,
}

#[derive(Clone)]
enum Source {
    Echo,
    Script(Arc<Mutex<VecDeque<Answer>>>),
    Function(Arc<dyn Fn(&Prompt) -> Answer + Send + Sync>),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Echo => f.write_str("Echo"),
            Source::Script(answers) => f.debug_tuple("Script").field(answers).finish(),
            Source::Function(_) => f.write_str("Function"),
        }
    }
}

/// Records the prompts that fake models were asked. Clones share the record. See [`Fake::record_in`].
#[derive(Debug, Clone, Default)]
pub struct Asked(Arc<Mutex<Vec<Prompt>>>);

impl Asked {
    /// All prompts so far, in the order in which the calls began.
    pub fn prompts(&self) -> Vec<Prompt> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The latest prompt. `None` before the first call.
    pub fn last(&self) -> Option<Prompt> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last().cloned()
    }

    fn push(&self, prompt: &Prompt) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(prompt.clone());
    }
}

/// Counts the calls of fake models that are in flight. Clones share the count. See [`Fake::count_in`].
#[derive(Debug, Clone, Default)]
pub struct Load(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    now: AtomicUsize,
    max: AtomicUsize,
    all: AtomicUsize,
}

/// Counts a call as in flight until it is dropped.
#[derive(Debug)]
pub struct Flight(Load);

impl Load {
    /// Counts a call of a custom model as in flight until the result is dropped.
    #[must_use = "the call has ended when this is dropped"]
    pub fn enter(&self) -> Flight {
        let now = self.0.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.max.fetch_max(now, Ordering::SeqCst);
        self.0.all.fetch_add(1, Ordering::SeqCst);
        Flight(self.clone())
    }

    /// Calls in flight now.
    pub fn in_flight(&self) -> usize {
        self.0.now.load(Ordering::SeqCst)
    }

    /// Maximum number of calls that were in flight concurrently.
    pub fn max_in_flight(&self) -> usize {
        self.0.max.load(Ordering::SeqCst)
    }

    /// Total number of calls.
    pub fn calls(&self) -> usize {
        self.0.all.load(Ordering::SeqCst)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Fake {
    /// A model that answers with the last user message.
    pub fn echo() -> Self {
        Self {
            name: "fake/echo",
            source: Source::Echo,
            latency: Duration::ZERO,
            per_word: Duration::ZERO,
            load: None,
            asked: None,
            calls: Arc::default(),
        }
    }

    /// A model that returns these answers, one per call, and then [`ErrorKind::Config`]. An answer is an
    /// [`Answer`], a text, or a `Result` of a text.
    pub fn script<A: Into<Answer>>(answers: impl IntoIterator<Item = A>) -> Self {
        let answers = answers.into_iter().map(Into::into).collect();
        Self { name: "fake/script", source: Source::Script(Arc::new(Mutex::new(answers))), ..Self::echo() }
    }

    /// A model that answers with the result of `answer`.
    ///
    /// ```
    /// use fanweave::{Prompt, testing::{Answer, Fake}};
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let count = |prompt: &Prompt| Answer::text(prompt.messages.len().to_string());
    /// let count = Fake::answer_with(count).model();
    /// assert_eq!(count.invoke("hello").await?.text(), "1");
    /// # Ok(())
    /// # }) }
    /// ```
    pub fn answer_with(answer: impl Fn(&Prompt) -> Answer + Send + Sync + 'static) -> Self {
        Self { name: "fake/function", source: Source::Function(Arc::new(answer)), ..Self::echo() }
    }

    /// Waits this long before every answer. Default 0.
    #[must_use]
    pub fn latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// Waits this long before every word of an answer, even if it is not streamed. Default 0.
    #[must_use]
    pub fn per_word(mut self, pause: Duration) -> Self {
        self.per_word = pause;
        self
    }

    /// Counts the calls of the model in `load` while they are in flight.
    ///
    /// ```
    /// use fanweave::{chain, testing::{Fake, Load}};
    /// use std::time::Duration;
    ///
    /// # fn main() { fanweave::blocking::wait(async {
    /// let load = Load::default();
    /// let slow = chain(Fake::echo().latency(Duration::from_secs(1)).count_in(&load));
    /// slow.batch(["a", "b", "c"]).concurrency(2).collect().await;
    /// assert_eq!((load.max_in_flight(), load.calls()), (2, 3));
    /// # }) }
    /// ```
    #[must_use]
    pub fn count_in(mut self, load: &Load) -> Self {
        self.load = Some(load.clone());
        self
    }

    /// Records the prompts of the model in `asked`. They are kept as long as `asked` or the model.
    ///
    /// ```
    /// use fanweave::testing::{Asked, Fake};
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let asked = Asked::default();
    /// Fake::echo().record_in(&asked).model().invoke("hello").await?;
    /// assert_eq!(asked.last().unwrap().last_user_text(), "hello");
    /// # Ok(())
    /// # }) }
    /// ```
    #[must_use]
    pub fn record_in(mut self, asked: &Asked) -> Self {
        self.asked = Some(asked.clone());
        self
    }

    /// The model.
    pub fn model(self) -> Model {
        Model::new(self)
    }

    /// The model, with parameters for every call.
    #[must_use]
    pub fn with(self, parameters: crate::Parameters) -> Model {
        self.model().with(parameters)
    }
}

impl ChatModel for Fake {
    const DRIVES_CALLS: bool = true;

    fn name(&self) -> &str {
        self.name
    }

    async fn generate(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
        if cx.needs_task() {
            let fake = self.clone();
            return Box::pin(cx.permit(move |cx| async move { fake.answer(&prompt, &cx).await })).await;
        }
        let _permit = cx.acquire().await?;
        self.answer(&prompt, cx).await
    }
}

impl Fake {
    async fn answer(&self, prompt: &Prompt, cx: &Context) -> Result<Message> {
        let _flight = self.load.as_ref().map(Load::enter);
        if let Some(asked) = &self.asked {
            asked.push(prompt);
        }
        let question = prompt.last_user_text();
        let mut answer = match &self.source {
            Source::Echo => Answer::text(question.clone()),
            Source::Script(script) => {
                let next = script.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                next.ok_or_else(|| Error::new(ErrorKind::Config, "the script of the fake model has ended"))?
            }
            Source::Function(answer) => answer(prompt),
        };
        self.name_calls(&mut answer.parts);
        let latency = answer.latency.unwrap_or(self.latency);
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        self.stream(&answer, cx).await?;
        let usage = answer.usage.unwrap_or_else(|| Usage::new(words(&question), answer.count_words()));
        let mut message = Message::from_parts(Role::Assistant, answer.parts);
        let finish_reason = answer.finish_reason.unwrap_or_else(|| match message.tool_calls().next() {
            Some(_) => FinishReason::ToolCalls,
            None => FinishReason::Stop,
        });
        message.reply = Some(Box::new(Reply {
            model: Some(self.name.to_owned()),
            finish_reason: Some(finish_reason),
            usage,
            attempts: 1,
            ..Reply::default()
        }));
        Ok(message)
    }

    /// Sets the ids of tool calls without one.
    fn name_calls(&self, parts: &mut [Part]) {
        for part in parts {
            if let Part::ToolCall(call) = part
                && call.id.is_empty()
            {
                call.id = format!("call_{}", self.calls.fetch_add(1, Ordering::Relaxed) + 1);
            }
        }
    }

    /// Emits the deltas of an answer, up to its error.
    async fn stream(&self, answer: &Answer, cx: &Context) -> Result<()> {
        let pause = answer.pause.unwrap_or(self.per_word);
        let wants_deltas = cx.wants_deltas();
        if !wants_deltas && pause.is_zero() && answer.error.is_none() {
            return Ok(());
        }
        let max = answer.error.as_ref().map_or(usize::MAX, |_| answer.deltas_before_error);
        let mut partial = Fold::default();
        for delta in answer.deltas().take(max) {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            if answer.error.is_some() {
                partial.push(&delta);
            }
            if wants_deltas {
                cx.delta(delta).await;
            }
        }
        match &answer.error {
            Some(error) if max == 0 => Err(error.clone()),
            Some(error) => Err(error.clone().with_partial(partial.into_message())),
            None => Ok(()),
        }
    }
}

fn words(text: &str) -> u64 {
    if !text.is_ascii() {
        return text.split_whitespace().count() as u64;
    }
    let (mut words, mut was_space) = (0, true);
    for byte in text.as_bytes() {
        // Without a branch: this is called for each answer.
        let is_space = (*byte == b' ') | matches!(byte, b'\t'..=b'\r');
        words += u64::from(was_space & !is_space);
        was_space = is_space;
    }
    words
}

/// A fake model is used like any other: `prompt("..") | Fake::echo()`.
impl crate::Runnable for Fake {
    const DRIVES_CALLS: bool = true;

    type Input = Prompt;
    type Output = Message;

    async fn run(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
        self.clone().model().run(prompt, cx).await
    }

    fn streaming(&self) -> crate::Streaming {
        crate::Streaming::Deltas
    }

    fn describe(&self) -> crate::Node {
        crate::Node::model(self.name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::time::Instant;

    use super::*;
    use crate::{chain, text};

    #[tokio::test(start_paused = true)]
    async fn words_are_streamed_and_calls_run_concurrently() {
        let slow = chain(Fake::echo().per_word(Duration::from_millis(100))) | text();
        let started = Instant::now();
        let mut run = slow.stream("a b c");
        let mut at = Vec::new();
        while let Some(delta) = run.next().await {
            delta.unwrap();
            at.push(started.elapsed().as_millis());
        }
        assert_eq!(at, [100, 200, 300]);
        let started = Instant::now();
        slow.batch(["a b", "c d", "e f"]).collect().await;
        assert_eq!(started.elapsed().as_millis(), 200);
    }

    #[tokio::test(start_paused = true)]
    async fn a_script_has_tool_calls_usage_delays_and_errors() {
        let second = Duration::from_secs(1);
        let reset = Error::new(ErrorKind::StreamIncomplete, "reset");
        let model = Fake::script([
            Answer::calls([("add", json!({ "a": 1, "b": 2 })), ("now", json!({}))]).latency(second),
            Answer::thinking("Hm, so.").then_text("3").then_calls([("now", json!({}))]).usage(20, 5),
            Answer::chunks(["on", "e tw", "o"]).pause(second).finish(FinishReason::Length),
            Answer::text("one two three").fail_after(2, reset),
            "plain".into(),
        ])
        .latency(second * 9)
        .model();
        let started = Instant::now();
        let calls = model.invoke("x").await.unwrap();
        let ids: Vec<_> = calls.tool_calls().map(|call| call.id.as_str()).collect();
        assert_eq!((ids, started.elapsed()), (vec!["call_1", "call_2"], second));
        assert_eq!(calls.finish_reason(), Some(&FinishReason::ToolCalls));

        let mut run = chain(model.clone()).stream("x");
        let mut fold = Fold::default();
        while let Some(delta) = run.next().await {
            fold.push(&delta.unwrap());
        }
        let answer = run.output().await.unwrap();
        assert_eq!(fold.into_message().parts, answer.parts);
        assert_eq!(answer.tool_calls().next().unwrap().id, "call_3");
        assert_eq!(answer.usage(), Usage::new(20, 5));

        let started = Instant::now();
        let mut run = chain(model.clone()).stream("x");
        let mut chunks = Vec::new();
        while let Some(delta) = run.next().await {
            chunks.extend(delta.unwrap().as_text().map(str::to_owned));
        }
        assert_eq!(
            (chunks, started.elapsed()),
            (["on", "e tw", "o"].map(String::from).to_vec(), second * 12)
        );

        let error = model.invoke("x").await.unwrap_err();
        assert_eq!(
            (error.kind(), error.partial().unwrap().text().as_str()),
            (ErrorKind::StreamIncomplete, "one two ")
        );
        assert_eq!(model.invoke("x").await.unwrap().text(), "plain");
        assert_eq!(model.invoke("x").await.unwrap_err().kind(), ErrorKind::Config);
    }

    #[tokio::test]
    async fn a_fake_remembers_what_it_was_asked() {
        let asked = Asked::default();
        let model = Fake::answer_with(|prompt| Answer::text(prompt.last_user_text().to_uppercase()))
            .record_in(&asked)
            .with(crate::Parameters::new().max_tokens(7));
        assert_eq!(model.invoke("a").await.unwrap().text(), "A");
        model.clone().invoke("b").await.unwrap();
        let prompts = asked.prompts();
        assert_eq!(prompts.iter().map(Prompt::last_user_text).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(asked.last().unwrap().parameters.max_tokens, Some(7));
    }
}

//! Models for tests: scripted answers, errors and delays, without a network.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::{
    ChatModel, Context, Delta, Error, ErrorKind, FinishReason, Message, Model, Prompt, Reply, Result, Usage,
};

/// Builds a model that answers from a script, or echoes its prompt.
///
/// It streams word by word, and answers any number of concurrent calls.
///
/// ```
/// use fanweave::{Error, ErrorKind, model::fake::Fake};
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
    script: Option<Arc<Mutex<VecDeque<Result<String>>>>>,
    latency: Duration,
    per_word: Duration,
    load: Option<Load>,
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
        let latency = Duration::ZERO;
        Self { name: "fake/echo", script: None, latency, per_word: Duration::ZERO, load: None }
    }

    /// A model that returns these answers, one per call, and then [`ErrorKind::Config`].
    pub fn script<T: Into<String>>(answers: impl IntoIterator<Item = Result<T>>) -> Self {
        let answers = answers.into_iter().map(|answer| answer.map(Into::into)).collect();
        Self { name: "fake/script", script: Some(Arc::new(Mutex::new(answers))), ..Self::echo() }
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
    /// use fanweave::{chain, model::fake::{Fake, Load}};
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
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency).await;
        }
        let question = prompt.last_user_text();
        let text = match &self.script {
            None => question.clone(),
            Some(script) => {
                let next = script.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                next.unwrap_or_else(|| {
                    Err(Error::new(ErrorKind::Config, "the script of the fake model has ended"))
                })?
            }
        };
        let wants_deltas = cx.wants_deltas();
        if wants_deltas || !self.per_word.is_zero() {
            for word in text.split_inclusive(' ') {
                if !self.per_word.is_zero() {
                    tokio::time::sleep(self.per_word).await;
                }
                if wants_deltas {
                    cx.delta(Delta::text(word)).await;
                }
            }
        }
        let usage = Usage { input_tokens: words(&question), output_tokens: words(&text), ..Usage::default() };
        let mut message = Message::assistant(text);
        message.reply = Some(Box::new(Reply {
            model: Some(self.name.to_owned()),
            finish_reason: Some(FinishReason::Stop),
            usage,
            attempts: 1,
            ..Reply::default()
        }));
        Ok(message)
    }
}

fn words(text: &str) -> u64 {
    text.split_whitespace().count() as u64
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
        crate::Node::step(self.name)
    }
}

#[cfg(test)]
mod tests {
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
}

//! Models for tests: scripted answers, errors and delays, without a network.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::{
    ChatModel, Context, Delta, Error, ErrorKind, FinishReason, Message, Model, Prompt, Reply, Result, Usage,
};

/// Builds a model that answers from a script, or echoes what it is asked.
///
/// It streams word by word, and answers any number of calls at once.
///
/// ```
/// use fanweave_core::{Error, ErrorKind, model::fake::Fake};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let model = Fake::script([Ok("one"), Err(Error::new(ErrorKind::Server, "on strike"))]).model();
/// assert_eq!(model.invoke("x").await.unwrap().text(), "one");
/// assert_eq!(model.invoke("x").await.unwrap_err().kind(), ErrorKind::Server);
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Fake {
    name: &'static str,
    script: Option<Arc<Mutex<VecDeque<Result<String>>>>>,
    latency: Duration,
    per_word: Duration,
}

impl Fake {
    /// A model that answers with the last user message.
    pub fn echo() -> Self {
        Self { name: "fake/echo", script: None, latency: Duration::ZERO, per_word: Duration::ZERO }
    }

    /// A model that gives these answers, one a call, and then [`ErrorKind::Config`].
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

    /// Waits this long before every word of an answer, whether it is streamed or not. Default 0.
    #[must_use]
    pub fn per_word(mut self, pause: Duration) -> Self {
        self.per_word = pause;
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
            return Box::pin(cx.permit(move |cx| async move { fake.answer(prompt, &cx).await })).await;
        }
        let _permit = cx.acquire().await?;
        self.answer(prompt, cx).await
    }
}

impl Fake {
    async fn answer(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency).await;
        }
        let asked = prompt.last_user_text();
        let text = match &self.script {
            None => asked.clone(),
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
        let usage = Usage { input_tokens: words(&asked), output_tokens: words(&text), ..Usage::default() };
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
        crate::Streaming::Pieces
    }

    fn describe(&self) -> crate::Node {
        crate::Node::step(self.name)
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use tokio::time::Instant;

    use super::*;
    use crate::{chain, text};

    #[tokio::test(start_paused = true)]
    async fn words_come_one_by_one_and_calls_at_the_same_time() {
        let slow = chain(Fake::echo().per_word(Duration::from_millis(100))) | text();
        let started = Instant::now();
        let mut run = slow.stream("a b c");
        let mut at = Vec::new();
        while let Some(piece) = run.next().await {
            piece.unwrap();
            at.push(started.elapsed().as_millis());
        }
        assert_eq!(at, [100, 200, 300]);
        let started = Instant::now();
        slow.batch(["a b", "c d", "e f"]).collect().await;
        assert_eq!(started.elapsed().as_millis(), 200);
    }
}

//! Several prompts with several candidates each.

use std::num::NonZeroUsize;

use super::Model;
use crate::{Concurrency, Context, Error, Message, Prompt, Result, Row, Runnable, Usage, chain};

/// Prompts for one model, each answered by one candidate or by several. Made by [`Model::generate`].
#[derive(Debug)]
pub struct Generate {
    model: Model,
    prompts: Vec<Prompt>,
    candidates: NonZeroUsize,
    concurrency: Concurrency,
    cx: Context,
}

/// The answers to several prompts.
#[derive(Debug)]
#[non_exhaustive]
pub struct Generations {
    /// For each prompt, in order, its candidates.
    pub prompts: Vec<Generation>,
    /// Tokens of all answers together.
    pub usage: Usage,
}

/// The candidates of one prompt.
#[derive(Debug)]
#[non_exhaustive]
pub struct Generation {
    /// The candidates, or their errors. Each answer's [`reply`](Message::reply) has its finish reason and the
    /// provider's metadata.
    pub candidates: Vec<Result<Message>>,
    /// Tokens of the candidates together.
    pub usage: Usage,
}

impl Generation {
    /// The first candidate that is an answer.
    ///
    /// # Errors
    /// The first candidate's error, if no candidate is an answer.
    pub fn first(&self) -> Result<&Message, &Error> {
        let answer = self.candidates.iter().find_map(|candidate| candidate.as_ref().ok());
        match (answer, self.candidates.first()) {
            (Some(answer), _) => Ok(answer),
            (None, Some(Err(error))) => Err(error),
            (None, _) => unreachable!("every prompt has at least one candidate"),
        }
    }
}

impl Model {
    /// Answers several prompts concurrently, each with one or several candidates.
    ///
    /// ```
    /// use std::num::NonZeroUsize;
    /// use fanweave::testing::Fake;
    ///
    /// # fn main() { fanweave::blocking::wait(async {
    /// let titles = Fake::echo()
    ///     .model()
    ///     .generate(["A title on tides.", "A title on wind."])
    ///     .candidates(NonZeroUsize::new(3).unwrap())
    ///     .run()
    ///     .await;
    /// assert_eq!(titles.prompts.len(), 2);
    /// assert_eq!(titles.prompts[1].candidates.len(), 3);
    /// assert_eq!(titles.prompts[0].first().unwrap().text(), "A title on tides.");
    /// assert_eq!(titles.usage.output_tokens, 3 * 4 + 3 * 4);
    /// # }) }
    /// ```
    pub fn generate<P: Into<Prompt>>(&self, prompts: impl IntoIterator<Item = P>) -> Generate {
        Generate {
            model: self.clone(),
            prompts: prompts.into_iter().map(Into::into).collect(),
            candidates: NonZeroUsize::MIN,
            concurrency: Concurrency::new(crate::batch::DEFAULT_CONCURRENCY),
            cx: Context::new(),
        }
    }
}

impl Generate {
    /// Number of answers for each prompt. Default 1. Each answer is a separate call: providers differ in
    /// support for several answers to one request, and one that fails does not affect the others.
    #[must_use]
    pub fn candidates(mut self, n: NonZeroUsize) -> Self {
        self.candidates = n;
        self
    }

    /// Maximum calls in flight. Default [`DEFAULT_CONCURRENCY`](crate::batch::DEFAULT_CONCURRENCY). 0 fails
    /// every candidate with [`Config`](crate::ErrorKind::Config).
    #[must_use]
    pub fn concurrency(mut self, n: impl Into<Concurrency>) -> Self {
        self.concurrency = n.into();
        self
    }

    /// A deadline, cancellation or observers for all calls.
    #[must_use]
    pub fn within(mut self, cx: Context) -> Self {
        self.cx = cx;
        self
    }

    /// Makes the calls.
    ///
    /// # Cancellation
    /// Dropping the future ends all calls.
    pub async fn run(self) -> Generations {
        let Self { model, prompts, candidates, concurrency, cx } = self;
        let each = candidates.get();
        let mut generations: Vec<_> =
            prompts.iter().map(|_| Generation { candidates: Vec::new(), usage: Usage::default() }).collect();
        let calls = prompts
            .into_iter()
            .flat_map(move |prompt| (0..each).map(move |n| (n, prompt.clone())).collect::<Vec<_>>());
        let mut rows = chain(Candidate(model)).batch(calls).concurrency(concurrency).within(cx).run();
        let mut usage = Usage::default();
        while let Some(Row { index, result }) = rows.next().await {
            let generation = &mut generations[index / each];
            if let Ok(message) = &result {
                generation.usage += message.usage();
                usage += message.usage();
            }
            generation.candidates.push(result);
        }
        Generations { prompts: generations, usage }
    }
}

/// Generates the candidate of that number for a prompt.
struct Candidate(Model);

impl Runnable for Candidate {
    const DRIVES_CALLS: bool = true;

    type Input = (usize, Prompt);
    type Output = Message;

    async fn run(&self, (n, prompt): (usize, Prompt), cx: &Context) -> Result<Message> {
        if n == 0 {
            return self.0.run(prompt, cx).await;
        }
        // A cached model would return the same answer for each.
        self.0.run(prompt, &cx.clone().with_fresh_answers()).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::ErrorKind;
    use crate::model::fake::Fake;

    #[tokio::test(start_paused = true)]
    async fn all_candidates_of_all_prompts_are_requested_concurrently() {
        let started = Instant::now();
        let model = Fake::echo().latency(Duration::from_secs(1)).model();
        let all = model.generate(["a", "b", "c"]).candidates(NonZeroUsize::new(4).unwrap()).run().await;
        assert_eq!(started.elapsed().as_secs(), 1);
        assert!(
            all.prompts.iter().all(|prompt| prompt.candidates.len() == 4 && prompt.usage.output_tokens == 4)
        );
        assert_eq!(all.usage.total_tokens(), 24);
    }

    #[tokio::test]
    async fn a_prompt_that_fails_leaves_the_others_alone() {
        let model =
            Fake::script([Ok("one"), Err(Error::new(ErrorKind::ContentFilter, "no")), Ok("three")]).model();
        let all = model.generate(["a", "b", "c"]).concurrency(1).run().await;
        let texts: Vec<_> =
            all.prompts.iter().map(|p| p.first().map(Message::text).map_err(Error::kind)).collect();
        assert_eq!(texts, [Ok("one".to_owned()), Err(ErrorKind::ContentFilter), Ok("three".to_owned())]);
    }

    #[tokio::test]
    async fn candidates_of_a_model_that_remembers_are_fresh() {
        let model = Fake::script([Ok("one"), Ok("two")]).model().cached(crate::MemoryCache::default());
        let all = model.generate(["a"]).candidates(NonZeroUsize::new(2).unwrap()).concurrency(1).run().await;
        let texts: Vec<_> = all.prompts[0].candidates.iter().map(|c| c.as_ref().unwrap().text()).collect();
        assert_eq!(texts, ["one", "two"]);
    }
}

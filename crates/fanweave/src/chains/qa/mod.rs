//! Questions about documents: four ways to bring more text before a model than one prompt holds.

mod map_reduce;
mod map_rerank;
mod refine;
mod stuff;

#[cfg(test)]
mod tests;

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

pub use map_reduce::{COLLAPSE_PROMPT, MAP_PROMPT, REDUCE_PROMPT};
pub use map_rerank::RERANK_PROMPT;
pub use refine::{FIRST_PROMPT, REFINE_PROMPT};
pub use stuff::STUFF_PROMPT;

use crate::retrieve::Document;
use crate::{
    Chain, Context, Delta, Error, ErrorKind, Message, Model, Prompt, Result, Runnable, Streaming, Usage,
    Vars, chain, vars,
};

/// Tokens of documents in one prompt. Source: a context of 4,096 with room for question and answer.
const MAX_TOKENS: usize = 3000;

/// Documents in work at once. One round of calls for as many as a retriever is likely to find.
const CONCURRENCY: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// What is answered where there are no documents, and no call is made.
pub const NO_DOCUMENTS: &str = "I do not know: no documents were found.";

/// A question and the documents to answer it from.
///
/// ```
/// use fanweave::chains::qa::Question;
///
/// let question = Question::new("When do tides turn?", ["Tides turn every six hours."]);
/// assert_eq!(question.documents.len(), 1);
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Question {
    /// What is asked.
    pub question: String,
    /// Where the answer is to be found.
    pub documents: Vec<Document>,
}

impl Question {
    /// A question about `documents`.
    pub fn new<D: Into<Document>>(
        question: impl Into<String>,
        documents: impl IntoIterator<Item = D>,
    ) -> Self {
        Self { question: question.into(), documents: documents.into_iter().map(Into::into).collect() }
    }
}

/// An answer, and where it comes from.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct Answer {
    /// The answer.
    pub text: String,
    /// The documents that it was made from, in the order in which they were given. With `map_rerank` the one that
    /// won.
    pub sources: Vec<Document>,
    /// Tokens of all calls.
    pub usage: Usage,
    /// How well the winner of `map_rerank` answers the question: 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
    /// Answers of `map_rerank` that did not take part, because they bore no score.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
}

/// An answer without a score.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Skipped {
    /// Which document, from 0.
    pub document: usize,
    /// The beginning of what the model wrote.
    pub answer: String,
}

/// Answers questions about documents.
///
/// | made by | calls for `n` documents | good for |
/// |---|---|---|
/// | [`stuff`](Self::stuff) | 1 | a few documents that fit into one prompt |
/// | [`map_reduce`](Self::map_reduce) | `n` at once, then one, with rounds between while too much is left | many documents |
/// | [`refine`](Self::refine) | `n`, one after the other | an answer that grows with each document |
/// | [`map_rerank`](Self::map_rerank) | `n` at once | an answer that stands in one document |
///
/// Every way makes a chain from [`Question`] to [`Answer`] that can be invoked, streamed and batched. The stream is
/// that of the last call alone. Without documents it answers [`NO_DOCUMENTS`] and calls nothing.
///
/// ```
/// use fanweave::chains::qa::{Qa, Question};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> fanweave::Result<()> {
/// let model = fanweave::Model::new(fanweave::sim::Sim::writer().without_latency());
/// let qa = Qa::stuff(model).chain();
/// let documents = ["The Rance station opened in 1966.", "Bears hibernate in winter."];
/// let answer = qa.invoke(Question::new("When did the Rance station open?", documents)).await?;
/// assert_eq!(answer.text, "The Rance station opened in 1966.");
/// assert_eq!(answer.sources.len(), 2);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`ErrorKind::Input`] where documents do not fit into the prompt that they have to share, before the call is made;
/// [`ErrorKind::Parse`] where no answer of `map_rerank` bears a score; else the error of the call that failed, with
/// the document that it was about.
#[derive(Clone)]
pub struct Qa {
    way: Strategy,
    parts: Parts,
}

impl fmt::Debug for Qa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self.way {
            Strategy::Stuff(_) => "stuff",
            Strategy::MapReduce(_) => "map_reduce",
            Strategy::Refine(_) => "refine",
            Strategy::MapRerank(_) => "map_rerank",
        };
        f.debug_struct("Qa").field("way", &way).field("model", &self.parts.model).finish_non_exhaustive()
    }
}

#[derive(Clone)]
enum Strategy {
    Stuff(stuff::Stuff),
    MapReduce(map_reduce::MapReduce),
    Refine(refine::Refine),
    MapRerank(map_rerank::MapRerank),
}

/// What all ways share.
#[derive(Clone)]
struct Parts {
    model: Model,
    max_tokens: usize,
    concurrency: NonZeroUsize,
    count: Arc<dyn Fn(&str) -> usize + Send + Sync>,
    no_documents: Arc<str>,
}

impl Qa {
    fn new(model: Model, way: Strategy) -> Self {
        let count = Arc::new(|text: &str| text.len().div_ceil(4));
        let parts = Parts {
            model,
            max_tokens: MAX_TOKENS,
            concurrency: CONCURRENCY,
            count,
            no_documents: NO_DOCUMENTS.into(),
        };
        Self { way, parts }
    }

    /// All documents in one prompt. An error where they do not fit.
    pub fn stuff(model: Model) -> Self {
        Self::new(model, Strategy::Stuff(stuff::Stuff::default()))
    }

    /// One call for each document, all at once; then one for what they found. Where that is too much for one prompt, it
    /// is first collapsed, in groups that fit, all groups at once.
    pub fn map_reduce(model: Model) -> Self {
        Self::new(model, Strategy::MapReduce(map_reduce::MapReduce::default()))
    }

    /// An answer from the first document, refined with each other one in turn.
    pub fn refine(model: Model) -> Self {
        Self::new(model, Strategy::Refine(refine::Refine::default()))
    }

    /// One scored answer for each document, all at once. The highest score wins, and of equals the first.
    pub fn map_rerank(model: Model) -> Self {
        Self::new(model, Strategy::MapRerank(map_rerank::MapRerank::default()))
    }

    /// The prompt that gives the answer. Its variables are `question` and
    ///
    /// - for `stuff`: `context`, the documents ([`STUFF_PROMPT`]);
    /// - for `map_reduce`: `context`, what was found ([`REDUCE_PROMPT`]);
    /// - for `refine`: `context`, the next document, and `answer`, the one so far ([`REFINE_PROMPT`]);
    /// - for `map_rerank`: `context`, the document ([`RERANK_PROMPT`]).
    #[must_use]
    pub fn prompt(mut self, prompt: Chain<Vars, Prompt>) -> Self {
        match &mut self.way {
            Strategy::Stuff(way) => way.prompt = prompt,
            Strategy::MapReduce(way) => way.reduce = prompt,
            Strategy::Refine(way) => way.refine = prompt,
            Strategy::MapRerank(way) => way.prompt = prompt,
        }
        self
    }

    /// The prompt for a single document, with the variables `question` and `context`: for each one with `map_reduce`
    /// ([`MAP_PROMPT`]), for the first one with `refine` ([`FIRST_PROMPT`]). The other ways have no such prompt, and
    /// take it for their only one.
    #[must_use]
    pub fn document_prompt(mut self, prompt: Chain<Vars, Prompt>) -> Self {
        match &mut self.way {
            Strategy::MapReduce(way) => way.map = prompt,
            Strategy::Refine(way) => way.first = prompt,
            Strategy::Stuff(_) | Strategy::MapRerank(_) => return self.prompt(prompt),
        }
        self
    }

    /// The prompt that makes one text of a group, with the variables `question` and `context` ([`COLLAPSE_PROMPT`]).
    /// Only `map_reduce` has it.
    #[must_use]
    pub fn collapse_prompt(mut self, prompt: Chain<Vars, Prompt>) -> Self {
        if let Strategy::MapReduce(way) = &mut self.way {
            way.collapse = prompt;
        }
        self
    }

    /// Most tokens of documents, or of what was found in them, in one prompt. Default 3,000.
    #[must_use]
    pub fn max_tokens(mut self, tokens: usize) -> Self {
        self.parts.max_tokens = tokens;
        self
    }

    /// How tokens are counted. Default: four bytes are one.
    #[must_use]
    pub fn count_tokens(mut self, count: impl Fn(&str) -> usize + Send + Sync + 'static) -> Self {
        self.parts.count = Arc::new(count);
        self
    }

    /// Most calls of one question at once; they obey the run's concurrency beside this. Default 256.
    #[must_use]
    pub fn concurrency(mut self, calls: NonZeroUsize) -> Self {
        self.parts.concurrency = calls;
        self
    }

    /// What is answered where there are no documents. Default [`NO_DOCUMENTS`].
    #[must_use]
    pub fn no_documents(mut self, answer: impl Into<Arc<str>>) -> Self {
        self.parts.no_documents = answer.into();
        self
    }

    /// The chain, to invoke, stream, batch and compose.
    pub fn chain(self) -> Chain<Question, Answer> {
        chain(self).named("qa")
    }
}

impl Runnable for Qa {
    type Input = Question;
    type Output = Answer;

    async fn run(&self, question: Question, cx: &Context) -> Result<Answer> {
        if question.documents.is_empty() {
            let text = self.parts.no_documents.to_string();
            if cx.wants_deltas() {
                cx.delta(Delta::text(&*text)).await;
            }
            return Ok(Answer { text, ..Answer::default() });
        }
        match &self.way {
            Strategy::Stuff(way) => way.run(&self.parts, question, cx).await,
            Strategy::MapReduce(way) => way.run(&self.parts, question, cx).await,
            Strategy::Refine(way) => way.run(&self.parts, question, cx).await,
            Strategy::MapRerank(way) => way.run(&self.parts, question, cx).await,
        }
    }

    fn streaming(&self) -> Streaming {
        Streaming::Deltas
    }
}

impl Parts {
    /// One call of the model. Its pieces are heard where `cx` is not muted.
    async fn call(&self, prompt: &Chain<Vars, Prompt>, vars: Vars, cx: &Context) -> Result<Said> {
        let prompt = prompt.run(vars, &cx.without_deltas()).await?;
        let message = self.model.run(prompt, cx).await?;
        Ok(Said::from(message))
    }

    /// One call for each document, all at once; what they said in the order of the documents.
    async fn call_each(
        &self,
        prompt: &Chain<Vars, Prompt>,
        question: &str,
        documents: &[Document],
        cx: &Context,
    ) -> Result<Vec<Said>> {
        self.check_documents(documents)?;
        let calls: Vec<_> = documents
            .iter()
            .enumerate()
            .map(|(index, document)| self.call_about(prompt, question, index, document, cx))
            .collect();
        stream::iter(calls).buffered(self.concurrency.get()).try_collect().await
    }

    async fn call_about(
        &self,
        prompt: &Chain<Vars, Prompt>,
        question: &str,
        index: usize,
        document: &Document,
        cx: &Context,
    ) -> Result<Said> {
        let said = self.call(prompt, vars! { question: question, context: document.text }, cx).await;
        said.map_err(|error| error.with_step(about(index, document)))
    }

    fn tokens(&self, text: &str) -> usize {
        (self.count)(text)
    }

    /// Whether `text` fits into a prompt; `what` begins the error.
    fn check(&self, text: &str, what: impl FnOnce() -> String, advice: &str) -> Result<()> {
        let tokens = self.tokens(text);
        if tokens <= self.max_tokens {
            return Ok(());
        }
        let message = format!(
            "{} about {tokens} tokens, more than the {} of one prompt: {advice}",
            what(),
            self.max_tokens
        );
        Err(Error::new(ErrorKind::Input, message))
    }

    /// Whether each document fits into a prompt of its own.
    fn check_documents(&self, documents: &[Document]) -> Result<()> {
        documents.iter().enumerate().try_for_each(|(index, document)| {
            let what = || format!("{} has", about(index, document));
            self.check(&document.text, what, "split it, or raise `max_tokens`")
        })
    }
}

/// What one call said, and what it used.
struct Said {
    text: String,
    usage: Usage,
}

impl From<Message> for Said {
    fn from(message: Message) -> Self {
        Self { usage: message.usage(), text: message.into_text() }
    }
}

/// A document as people know it: `document 3 (tides.md)`.
fn about(index: usize, document: &Document) -> String {
    let source = document.source().map(|source| format!(" ({source})")).unwrap_or_default();
    format!("document {index}{source}")
}

/// Texts as they stand in a prompt.
fn join<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let mut all = String::new();
    for text in texts {
        if !all.is_empty() {
            all.push_str(BETWEEN);
        }
        all.push_str(text);
    }
    all
}

/// What stands between documents in a prompt.
const BETWEEN: &str = "\n\n";

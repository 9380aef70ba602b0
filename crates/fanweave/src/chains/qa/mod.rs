//! Questions about documents, with four strategies for documents that do not fit into one prompt.

mod map_reduce;
mod map_rerank;
mod refine;
mod stuff;

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::BitOr;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

pub use map_reduce::{COLLAPSE_PROMPT, MAP_PROMPT, REDUCE_PROMPT};
pub use map_rerank::RERANK_PROMPT;
pub use refine::{FIRST_PROMPT, REFINE_PROMPT};
pub use stuff::STUFF_PROMPT;

use crate::retrieve::Document;
use crate::{
    Chain, Context, Delta, Error, ErrorKind, Message, Model, Node, Prompt, Result, Runnable, Streaming,
    Usage, Vars, chain, vars,
};

use fanweave_core::Concurrency;

/// Default maximum tokens of documents in one prompt. Source: a context of 4,096 with room for question and
/// answer.
const MAX_TOKENS: usize = 3000;

/// Default maximum concurrent calls: one round for the number of documents that a retriever is likely to
/// find.
const CONCURRENCY: usize = 256;

/// The default answer without documents. No call is made then.
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
    /// The question.
    pub question: String,
    /// The documents to answer it from.
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

/// An answer and its sources.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct Answer {
    /// The answer.
    pub text: String,
    /// The documents that it is based on, in their given order. With `map_rerank`, the document with the
    /// highest score.
    pub sources: Vec<Document>,
    /// Tokens of all calls.
    pub usage: Usage,
    /// Score of the answer with `map_rerank`, from 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
    /// Answers of `map_rerank` without a score, which were skipped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
}

/// An answer without a score.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Skipped {
    /// Index of the document, from 0.
    pub document: usize,
    /// The beginning of what the model wrote.
    pub answer: String,
}

/// Answers questions about documents.
///
/// | strategy | calls for `n` documents | good for |
/// |---|---|---|
/// | [`stuff`](Self::stuff) | 1 | a few documents that fit into one prompt |
/// | [`map_reduce`](Self::map_reduce) | `n` concurrent calls, optional rounds, then one | many documents |
/// | [`refine`](Self::refine) | `n` sequential calls | an answer that is refined with each document |
/// | [`map_rerank`](Self::map_rerank) | `n` concurrent calls | an answer that one document contains |
///
/// Every strategy is a chain from [`Question`] to [`Answer`] that can be invoked, streamed and batched. Only
/// the last call is streamed. Without documents, the answer is [`NO_DOCUMENTS`] and no call is made.
///
/// ```
/// use fanweave::chains::qa::{Qa, Question};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let model = fanweave::Model::new(fanweave::testing::Sim::writer().without_latency());
/// let qa = Qa::stuff(model).chain();
/// let documents = ["The Rance station opened in 1966.", "Bears hibernate in winter."];
/// let answer = qa.invoke(Question::new("When did the Rance station open?", documents)).await?;
/// assert_eq!(answer.text, "The Rance station opened in 1966.");
/// assert_eq!(answer.sources.len(), 2);
/// # Ok(())
/// # }) }
/// ```
///
/// # Errors
/// [`ErrorKind::Input`] if documents do not fit into a prompt, before the call is made; [`ErrorKind::Parse`]
/// if no answer of `map_rerank` has a score; otherwise the error of the failed call, with its document.
#[derive(Clone)]
pub struct Qa {
    strategy: Strategy,
    parts: Parts,
}

impl fmt::Debug for Qa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Qa")
            .field("strategy", &self.strategy.name())
            .field("model", &self.parts.model)
            .finish_non_exhaustive()
    }
}

#[derive(Clone)]
enum Strategy {
    Stuff(stuff::Stuff),
    MapReduce(map_reduce::MapReduce),
    Refine(refine::Refine),
    MapRerank(map_rerank::MapRerank),
}

impl Strategy {
    fn name(&self) -> &'static str {
        match self {
            Strategy::Stuff(_) => "stuff",
            Strategy::MapReduce(_) => "map_reduce",
            Strategy::Refine(_) => "refine",
            Strategy::MapRerank(_) => "map_rerank",
        }
    }
}

/// The settings that all strategies share.
#[derive(Clone)]
struct Parts {
    model: Model,
    max_tokens: usize,
    concurrency: Concurrency,
    count: Arc<dyn Fn(&str) -> usize + Send + Sync>,
    no_documents: Arc<str>,
}

impl Qa {
    fn new(model: Model, strategy: Strategy) -> Self {
        let count = Arc::new(|text: &str| text.len().div_ceil(4));
        let parts = Parts {
            model,
            max_tokens: MAX_TOKENS,
            concurrency: Concurrency::new(CONCURRENCY),
            count,
            no_documents: NO_DOCUMENTS.into(),
        };
        Self { strategy, parts }
    }

    /// All documents in one prompt. An error if they do not fit.
    pub fn stuff(model: Model) -> Self {
        Self::new(model, Strategy::Stuff(stuff::Stuff::default()))
    }

    /// One concurrent call for each document; then one call for the combined results. Results that do not fit
    /// into one prompt are first shortened, in groups that fit, one concurrent call for each group.
    pub fn map_reduce(model: Model) -> Self {
        Self::new(model, Strategy::MapReduce(map_reduce::MapReduce::default()))
    }

    /// An answer from the first document, refined with each of the others in order.
    pub fn refine(model: Model) -> Self {
        Self::new(model, Strategy::Refine(refine::Refine::default()))
    }

    /// One concurrent call for each document, whose answer has a score. Selects the highest score; ties by
    /// order.
    pub fn map_rerank(model: Model) -> Self {
        Self::new(model, Strategy::MapRerank(map_rerank::MapRerank::default()))
    }

    /// Sets the prompt for the answer. Its variables are `question` and
    ///
    /// - for `stuff`: `context`, the documents ([`STUFF_PROMPT`]);
    /// - for `map_reduce`: `context`, the results for the documents ([`REDUCE_PROMPT`]);
    /// - for `refine`: `context`, the next document, and `answer`, the answer so far ([`REFINE_PROMPT`]);
    /// - for `map_rerank`: `context`, the document ([`RERANK_PROMPT`]).
    #[must_use]
    pub fn prompt(mut self, prompt: Chain<Vars, Prompt>) -> Self {
        match &mut self.strategy {
            Strategy::Stuff(way) => way.prompt = prompt,
            Strategy::MapReduce(way) => way.reduce = prompt,
            Strategy::Refine(way) => way.refine = prompt,
            Strategy::MapRerank(way) => way.prompt = prompt,
        }
        self
    }

    /// Sets the prompt for a single document, with the variables `question` and `context`: for each document
    /// with `map_reduce` ([`MAP_PROMPT`]), for the first one with `refine` ([`FIRST_PROMPT`]). For the other
    /// strategies this is the same as [`prompt`](Self::prompt).
    #[must_use]
    pub fn document_prompt(mut self, prompt: Chain<Vars, Prompt>) -> Self {
        match &mut self.strategy {
            Strategy::MapReduce(way) => way.map = prompt,
            Strategy::Refine(way) => way.first = prompt,
            Strategy::Stuff(_) | Strategy::MapRerank(_) => return self.prompt(prompt),
        }
        self
    }

    /// Sets the prompt that shortens a group of results, with the variables `question` and `context`
    /// ([`COLLAPSE_PROMPT`]). Only for `map_reduce`.
    #[must_use]
    pub fn collapse_prompt(mut self, prompt: Chain<Vars, Prompt>) -> Self {
        if let Strategy::MapReduce(way) = &mut self.strategy {
            way.collapse = prompt;
        }
        self
    }

    /// Maximum tokens of documents, or of results for documents, in one prompt. Default: 3,000.
    #[must_use]
    pub fn max_tokens(mut self, tokens: usize) -> Self {
        self.parts.max_tokens = tokens;
        self
    }

    /// Sets the function that counts tokens. Default: four bytes per token.
    #[must_use]
    pub fn count_tokens(mut self, count: impl Fn(&str) -> usize + Send + Sync + 'static) -> Self {
        self.parts.count = Arc::new(count);
        self
    }

    /// Maximum concurrent calls of one question, in addition to the concurrency limit of the run. Default:
    /// 256. With 0, every question fails with [`ErrorKind::Config`].
    #[must_use]
    pub fn concurrency(mut self, calls: impl Into<Concurrency>) -> Self {
        self.parts.concurrency = calls.into();
        self
    }

    /// Sets the answer without documents. Default: [`NO_DOCUMENTS`].
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
        self.parts.concurrency.checked()?;
        if question.documents.is_empty() {
            let text = self.parts.no_documents.to_string();
            if cx.wants_deltas() {
                cx.delta(Delta::text(&*text)).await;
            }
            return Ok(Answer { text, ..Answer::default() });
        }
        match &self.strategy {
            Strategy::Stuff(way) => way.run(&self.parts, question, cx).await,
            Strategy::MapReduce(way) => way.run(&self.parts, question, cx).await,
            Strategy::Refine(way) => way.run(&self.parts, question, cx).await,
            Strategy::MapRerank(way) => way.run(&self.parts, question, cx).await,
        }
    }

    fn streaming(&self) -> Streaming {
        Streaming::Deltas
    }

    fn describe(&self) -> Node {
        let model = self.parts.model.describe();
        let repeated = match self.strategy {
            Strategy::Stuff(_) => 0,
            _ => model.models(),
        };
        Node::around(self.strategy.name(), [model]).with_models(repeated)
    }
}

/// `|` as of a [`Chain`].
impl<R: Runnable<Input = Answer>> BitOr<R> for Qa {
    type Output = Chain<<Self as Runnable>::Input, R::Output>;

    fn bitor(self, next: R) -> Self::Output {
        chain(self).then(next)
    }
}

impl Parts {
    /// One call of the model. Its deltas are emitted to `cx`.
    async fn call(&self, prompt: &Chain<Vars, Prompt>, vars: Vars, cx: &Context) -> Result<CallOutput> {
        let prompt = prompt.run(vars, &cx.without_deltas()).await?;
        let message = self.model.run(prompt, cx).await?;
        Ok(CallOutput::from(message))
    }

    /// One concurrent call for each document. Results are in the order of the documents.
    async fn call_each(
        &self,
        prompt: &Chain<Vars, Prompt>,
        question: &str,
        documents: &[Document],
        cx: &Context,
    ) -> Result<Vec<CallOutput>> {
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
    ) -> Result<CallOutput> {
        let cx = &cx.fork(index as u64);
        let output = self.call(prompt, vars! { question: question, context: document.text }, cx).await;
        output.map_err(|error| error.with_step(about(index, document)))
    }

    fn tokens(&self, text: &str) -> usize {
        (self.count)(text)
    }

    /// Checks that `text` fits into a prompt; `what` begins the error.
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

    /// Checks that each document fits into a separate prompt.
    fn check_documents(&self, documents: &[Document]) -> Result<()> {
        documents.iter().enumerate().try_for_each(|(index, document)| {
            let what = || format!("{} has", about(index, document));
            self.check(&document.text, what, "split it, or raise `max_tokens`")
        })
    }
}

/// The text and the token usage of one call.
struct CallOutput {
    text: String,
    usage: Usage,
}

impl From<Message> for CallOutput {
    fn from(message: Message) -> Self {
        Self { usage: message.usage(), text: message.into_text() }
    }
}

/// A label for a document: `document 3 (tides.md)`.
fn about(index: usize, document: &Document) -> String {
    let source = document.source().map(|source| format!(" ({source})")).unwrap_or_default();
    format!("document {index}{source}")
}

/// Joins texts for a prompt.
fn join<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let mut all = String::new();
    for text in texts {
        if !all.is_empty() {
            all.push_str(SEPARATOR);
        }
        all.push_str(text);
    }
    all
}

/// Separator of documents in a prompt.
const SEPARATOR: &str = "\n\n";

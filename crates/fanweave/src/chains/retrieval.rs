//! Questions about retrieved documents: single questions, or a conversation.

use std::collections::HashMap;

use serde::Serialize;

use super::qa::{Answer, Qa, Question};
use crate::retrieve::{Document, Retrieve, Retriever};
use crate::{
    Chain, Context, Message, Model, Node, Part, Prompt, Result, Role, Runnable, Streaming, Usage, Vars,
    chain, excerpt, prompt, vars,
};

/// Retrieves documents for a question, and answers from them.
///
/// ```
/// use fanweave::chains::{RetrievalQa, qa::Qa};
/// use fanweave::{Context, stores::{MemoryStore, VectorIndex}, testing::{Fake, HashEmbedder}};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let index = VectorIndex::new(MemoryStore::store(), HashEmbedder::embedder()).limit(1);
/// index.add(["Tides follow the moon.".into(), "Bears sleep.".into()], &Context::new()).await?;
///
/// let model = Fake::script([Ok("The moon.")]).model();
/// let chain = RetrievalQa::new(index, Qa::stuff(model)).chain();
/// let answer = chain.invoke("What do tides follow?").await?;
/// assert_eq!(answer.text, "The moon.");
/// assert_eq!(answer.sources[0].text, "Tides follow the moon.");
/// # Ok(())
/// # }) }
/// ```
#[derive(Debug, Clone)]
pub struct RetrievalQa {
    retrieve: Chain<String, Vec<Document>>,
    qa: Qa,
}

impl RetrievalQa {
    /// Answers with `qa` from the documents of `retriever`.
    pub fn new(retriever: impl Retriever, qa: Qa) -> Self {
        Self { retrieve: Retrieve::chain(retriever), qa }
    }

    /// The chain, to invoke, stream, batch and compose.
    pub fn chain(self) -> Chain<String, Answer> {
        chain(self)
    }
}

impl Runnable for RetrievalQa {
    type Input = String;
    type Output = Answer;

    async fn run(&self, question: String, cx: &Context) -> Result<Answer> {
        let documents = self.retrieve.run(question.clone(), &cx.without_deltas()).await?;
        self.qa.run(Question { question, documents }, cx).await
    }

    fn streaming(&self) -> Streaming {
        Streaming::Deltas
    }

    fn describe(&self) -> Node {
        Node::sequence([self.retrieve.describe(), self.qa.describe()])
    }
}

/// The default prompt that rewrites a follow-up as a standalone question. Its variables are `history` and
/// `question`.
pub const CONDENSE_PROMPT: &str =
    "Rephrase the follow-up as a standalone question that can be understood without the \
conversation. Write only the question.

Conversation:
{{ history }}

Follow-up: {{ question }}
Standalone question:";

/// Default maximum tokens of history in the prompt.
const MAX_HISTORY_TOKENS: usize = 2000;

/// Maximum bytes of the arguments of a call, and of a result, in a history as text. 500: some lines.
const MAX_TOOL_BYTES: usize = 500;

/// A question and the conversation before it.
///
/// ```
/// use fanweave::Message;
/// use fanweave::chains::FollowUp;
///
/// let pairs = FollowUp::new("And at night?", [("When do tides turn?", "Every six hours.")]);
/// let messages = vec![Message::user("When do tides turn?"), Message::assistant("Every six hours.")];
/// assert_eq!(pairs, FollowUp::new("And at night?", messages));
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FollowUp {
    /// The question.
    pub question: String,
    /// Earlier messages, oldest first.
    pub history: Vec<Message>,
}

impl FollowUp {
    /// A question after `history`: messages, or pairs of a question and its answer.
    pub fn new(question: impl Into<String>, history: impl Into<History>) -> Self {
        Self { question: question.into(), history: history.into().0 }
    }
}

impl From<String> for FollowUp {
    fn from(question: String) -> Self {
        Self { question, history: Vec::new() }
    }
}

impl From<&str> for FollowUp {
    fn from(question: &str) -> Self {
        question.to_owned().into()
    }
}

/// The conversation before a question: messages, or pairs of a question and its answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History(Vec<Message>);

impl From<Vec<Message>> for History {
    fn from(messages: Vec<Message>) -> Self {
        Self(messages)
    }
}

impl<Q: Into<String>, A: Into<String>> From<Vec<(Q, A)>> for History {
    fn from(pairs: Vec<(Q, A)>) -> Self {
        let both = |(question, answer): (Q, A)| [Message::user(question), Message::assistant(answer)];
        Self(pairs.into_iter().flat_map(both).collect())
    }
}

impl<Q: Into<String>, A: Into<String>, const N: usize> From<[(Q, A); N]> for History {
    fn from(pairs: [(Q, A); N]) -> Self {
        pairs.into_iter().collect::<Vec<_>>().into()
    }
}

/// The output of [`Conversational`].
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct ConversationalAnswer {
    /// The answer.
    pub text: String,
    /// The standalone question, as given to the retriever and the model.
    pub question: String,
    /// The documents that the answer is based on.
    pub sources: Vec<Document>,
    /// Tokens of all calls.
    pub usage: Usage,
}

/// Answers a question in a conversation: rewrites it as a standalone question, retrieves documents, answers
/// from them.
///
/// Without earlier messages, the question is used unchanged, without that call. Only the answer is streamed.
///
/// ```
/// use fanweave::chains::{Conversational, FollowUp, RetrievalQa, qa::Qa};
/// use fanweave::{Context, stores::{MemoryStore, VectorIndex}, testing::{Fake, HashEmbedder}};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let index = VectorIndex::new(MemoryStore::store(), HashEmbedder::embedder()).limit(1);
/// index.add(["The Rance station has 24 turbines.".into()], &Context::new()).await?;
///
/// let model = Fake::script([Ok("How many turbines has the Rance station?"), Ok("24.")]).model();
/// let conversation = Conversational::new(model.clone(), RetrievalQa::new(index, Qa::stuff(model))).chain();
/// let history = [("When did the Rance station open?", "In 1966.")];
/// let answered = conversation.invoke(FollowUp::new("How many turbines has it?", history)).await?;
/// assert_eq!(answered.question, "How many turbines has the Rance station?");
/// assert_eq!(answered.text, "24.");
/// # Ok(())
/// # }) }
/// ```
#[derive(Debug, Clone)]
pub struct Conversational {
    condense: Chain<Vars, Prompt>,
    model: Model,
    answer: RetrievalQa,
    max_history_tokens: usize,
}

impl Conversational {
    /// Answers with `answer`; `model` writes the standalone questions.
    pub fn new(model: Model, answer: RetrievalQa) -> Self {
        Self { condense: prompt(CONDENSE_PROMPT), model, answer, max_history_tokens: MAX_HISTORY_TOKENS }
    }

    /// Replaces [`CONDENSE_PROMPT`]. Its variables are `history` and `question`.
    #[must_use]
    pub fn condense_prompt(self, prompt: Chain<Vars, Prompt>) -> Self {
        Self { condense: prompt, ..self }
    }

    /// Maximum tokens of history in the prompt, of four bytes each. The oldest messages are dropped first.
    /// Default: 2,000.
    #[must_use]
    pub fn history_tokens(self, tokens: usize) -> Self {
        Self { max_history_tokens: tokens, ..self }
    }

    /// The chain, to invoke, stream, batch and compose.
    pub fn chain(self) -> Chain<FollowUp, ConversationalAnswer> {
        chain(self).named("conversation")
    }

    /// The standalone question, and the token usage for it.
    async fn standalone(&self, input: FollowUp, cx: &Context) -> Result<(String, Usage)> {
        let history = written(&input.history, self.max_history_tokens);
        if history.is_empty() {
            return Ok((input.question, Usage::default()));
        }
        let vars = vars! { history: history, question: input.question };
        let message = self.model.run(self.condense.run(vars, cx).await?, cx).await;
        let message = message.map_err(|error| error.with_step("condense"))?;
        let usage = message.usage();
        let question = message.into_text().trim().to_owned();
        // Keep the original question if the model answers with nothing.
        Ok((if question.is_empty() { input.question } else { question }, usage))
    }
}

impl Runnable for Conversational {
    type Input = FollowUp;
    type Output = ConversationalAnswer;

    async fn run(&self, input: FollowUp, cx: &Context) -> Result<ConversationalAnswer> {
        let (question, mut usage) = self.standalone(input, &cx.without_deltas()).await?;
        let answer = self.answer.run(question.clone(), cx).await?;
        usage += answer.usage;
        Ok(ConversationalAnswer { text: answer.text, question, sources: answer.sources, usage })
    }

    fn streaming(&self) -> Streaming {
        Streaming::Deltas
    }

    fn describe(&self) -> Node {
        Node::sequence([Node::around("condense", [self.model.describe()]), self.answer.describe()])
    }
}

/// The last of `messages` that fit into `max` tokens, as lines of a conversation.
pub(super) fn written(messages: &[Message], max: usize) -> String {
    let calls = messages.iter().flat_map(Message::tool_calls);
    let names: HashMap<_, _> = calls.map(|call| (&*call.id, &*call.name)).collect();
    let mut left = max;
    let mut lines: Vec<_> = messages
        .iter()
        .rev()
        .map(|message| line(message, &names))
        .filter(|line| !line.is_empty())
        .take_while(|line| {
            let fits = line.len().div_ceil(4) <= left;
            left = left.saturating_sub(line.len().div_ceil(4));
            fits
        })
        .collect();
    lines.reverse();
    lines.join("\n")
}

/// A message as lines: its text, its tool calls and the results of tools, each with its author.
fn line(message: &Message, names: &HashMap<&str, &str>) -> String {
    let role = match message.role {
        Role::Assistant => "Assistant",
        Role::System => "System",
        Role::Tool => "Tool",
        _ => "User",
    };
    let text = message.text();
    let mut lines = Vec::new();
    if !text.is_empty() {
        lines.push(format!("{role}: {text}"));
    }
    for part in &message.parts {
        match part {
            Part::ToolCall(call) => {
                let arguments = excerpt(&call.arguments, MAX_TOOL_BYTES);
                lines.push(format!("{role} called {}({arguments})", call.name));
            }
            Part::ToolResult(result) => {
                let name = names.get(&*result.id).copied().unwrap_or(&result.id);
                let kind = if result.is_error { "Tool error" } else { "Tool result" };
                lines.push(format!("{kind} of {name}: {}", excerpt(&result.text(), MAX_TOOL_BYTES)));
            }
            _ => {}
        }
    }
    lines.join("\n")
}

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests {
    use futures::StreamExt;

    use super::*;
    use crate::model::fake::Fake;
    use crate::stores::{MemoryStore, VectorIndex};
    use crate::words::HashEmbedder;
    use crate::{ToolCall, ToolResult};

    const FACTS: [&str; 5] = [
        "The Rance station opened in 1966.",
        "The Rance station has 24 turbines.",
        "A polar bear weighs 450 kilograms.",
        "Comets have tails of dust.",
        "Tides turn every six hours.",
    ];

    async fn index() -> VectorIndex {
        let index = VectorIndex::new(MemoryStore::store(), HashEmbedder::embedder()).limit(2).threshold(0.2);
        index.add(FACTS.map(Document::from), &Context::new()).await.unwrap();
        index
    }

    fn conversation(index: VectorIndex, model: &Model) -> Chain<FollowUp, ConversationalAnswer> {
        let qa = Qa::stuff(model.clone()).prompt(prompt("{{ context }}"));
        Conversational::new(model.clone(), RetrievalQa::new(index, qa))
            .condense_prompt(prompt("{{ history }}|{{ question }}"))
            .chain()
    }

    #[tokio::test]
    async fn five_turns_each_retrieve_their_document() {
        let index = index().await;
        let model = Model::new(crate::sim::Sim::writer().without_latency());
        let conversation =
            Conversational::new(model.clone(), RetrievalQa::new(index, Qa::stuff(model))).chain();
        let questions = [
            ("When did the Rance station open?", FACTS[0]),
            ("And how many turbines does the Rance station have?", FACTS[1]),
            ("How much does a polar bear weigh?", FACTS[2]),
            ("What are the tails of comets made of?", FACTS[3]),
            ("When do tides turn?", FACTS[4]),
        ];
        let mut history: Vec<(String, String)> = Vec::new();
        for (question, expected) in questions {
            let answered = conversation.invoke(FollowUp::new(question, history.clone())).await.unwrap();
            assert_eq!(answered.text, expected, "{}", answered.question);
            assert!(answered.sources.iter().any(|source| source.text == expected));
            assert_eq!(answered.question == question, history.is_empty());
            history.push((question.to_owned(), answered.text));
        }
    }

    #[tokio::test]
    async fn an_empty_history_saves_a_call() {
        let model = Fake::echo().model();
        let answered = conversation(index().await, &model).invoke("When do tides turn?").await.unwrap();
        assert_eq!((answered.question.as_str(), answered.text.as_str()), ("When do tides turn?", FACTS[4]));
    }

    #[tokio::test]
    async fn the_history_is_before_the_model_in_either_form() {
        let model = Fake::echo().model();
        let pairs = vec![("tides?".to_owned(), "yes".to_owned())];
        let answered =
            conversation(index().await, &model).invoke(FollowUp::new("and?", pairs)).await.unwrap();
        assert_eq!(answered.question, "User: tides?\nAssistant: yes|and?");
    }

    #[test]
    fn of_a_long_history_the_end_is_kept() {
        let messages: Vec<_> = (0..100).map(|n| Message::user(format!("message {n:02}"))).collect();
        assert_eq!(written(&messages, 9), "User: message 98\nUser: message 99");
        assert_eq!(written(&messages, 1), "");
        let call = ToolCall::new("c1", "add", serde_json::json!({ "a": 1 }));
        let messages = [
            Message::system("Be brief."),
            Message::from_parts(Role::Assistant, vec![Part::ToolCall(call)]),
            Message::from_parts(Role::Tool, vec![Part::ToolResult(ToolResult::new("c1", "x".repeat(900)))]),
        ];
        let text = written(&messages, 1000);
        assert!(
            text.starts_with("System: Be brief.\nAssistant called add({\"a\":1})\nTool result of add: xxx"),
            "{text}"
        );
        assert!(text.len() < 650, "{text}");
    }

    #[tokio::test]
    async fn nothing_found_is_an_answer() {
        let model = Fake::echo().model();
        let answered = conversation(index().await, &model).invoke("Zebras?").await.unwrap();
        assert_eq!((answered.text.as_str(), answered.sources.len()), (super::super::qa::NO_DOCUMENTS, 0));
    }

    #[tokio::test]
    async fn only_the_answer_is_streamed() {
        let model = Fake::script([Ok("When do tides turn?"), Ok("every six hours")]).model();
        let history = [("tides?", "yes")];
        let run = conversation(index().await, &model).stream(FollowUp::new("when?", history));
        let deltas: Vec<_> = run.map(|delta| delta.unwrap().to_string()).collect().await;
        assert_eq!(deltas, ["every ", "six ", "hours"]);
    }

    #[tokio::test]
    async fn many_conversations_are_answered_in_a_batch() {
        let conversation = conversation(index().await, &Fake::echo().model());
        let rows = conversation.batch(["When do tides turn?", "Tails of comets?"]).collect().await;
        let texts: Vec<_> = rows.into_iter().map(|row| row.unwrap().sources[0].text.clone()).collect();
        assert_eq!(texts, [FACTS[4], FACTS[3]]);
    }
}

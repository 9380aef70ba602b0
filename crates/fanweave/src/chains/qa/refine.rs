//! An answer that is refined with each document.

use super::{Answer, Parts, Question, about};
use crate::{Chain, Context, Prompt, Result, Vars, prompt, vars};

/// The default prompt of [`Qa::refine`](super::Qa::refine) for the first document.
pub const FIRST_PROMPT: &str = super::STUFF_PROMPT;

/// The default prompt of [`Qa::refine`](super::Qa::refine) for every other document.
pub const REFINE_PROMPT: &str =
    "There is an answer to the question, and more context. Make the answer better with the \
context where it helps, or else repeat the answer as it is.

Answer so far:
{{ answer }}

Context:
{{ context }}

Question: {{ question }}
Better answer:";

#[derive(Clone)]
pub(super) struct Refine {
    pub(super) first: Chain<Vars, Prompt>,
    pub(super) refine: Chain<Vars, Prompt>,
}

impl Default for Refine {
    fn default() -> Self {
        Self { first: prompt(FIRST_PROMPT), refine: prompt(REFINE_PROMPT) }
    }
}

impl Refine {
    pub(super) async fn run(&self, parts: &Parts, question: Question, cx: &Context) -> Result<Answer> {
        let Question { question, documents } = question;
        parts.check_documents(&documents)?;
        let quiet = cx.without_deltas();
        let mut answer = Answer::default();
        for (index, document) in documents.iter().enumerate() {
            let (prompt, vars) = if index == 0 {
                (&self.first, vars! { question: question, context: document.text })
            } else {
                (&self.refine, vars! { question: question, context: document.text, answer: answer.text })
            };
            let is_last = index + 1 == documents.len();
            let output = parts.call(prompt, vars, if is_last { cx } else { &quiet }).await;
            let output = output.map_err(|error| error.with_step(about(index, document)))?;
            answer.text = output.text;
            answer.usage += output.usage;
        }
        answer.sources = documents;
        Ok(answer)
    }
}

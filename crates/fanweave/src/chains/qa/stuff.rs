//! All documents in one prompt.

use super::{Answer, Parts, Question, join};
use crate::{Chain, Context, Prompt, Result, Vars, prompt, vars};

/// The default prompt of [`Qa::stuff`](super::Qa::stuff).
pub const STUFF_PROMPT: &str =
    "Answer the question at the end from the context alone. Where the context does not hold \
the answer, say that you do not know.

Context:
{{ context }}

Question: {{ question }}
Answer:";

#[derive(Clone)]
pub(super) struct Stuff {
    pub(super) prompt: Chain<Vars, Prompt>,
}

impl Default for Stuff {
    fn default() -> Self {
        Self { prompt: prompt(STUFF_PROMPT) }
    }
}

impl Stuff {
    pub(super) async fn run(&self, parts: &Parts, question: Question, cx: &Context) -> Result<Answer> {
        let Question { question, documents } = question;
        let context = join(documents.iter().map(|document| &*document.text));
        parts.check(
            &context,
            || format!("the {} documents together have", documents.len()),
            "retrieve fewer, raise `max_tokens`, or use `map_reduce`",
        )?;
        let output = parts.call(&self.prompt, vars! { question: question, context: context }, cx).await?;
        Ok(Answer { text: output.text, sources: documents, usage: output.usage, ..Answer::default() })
    }
}

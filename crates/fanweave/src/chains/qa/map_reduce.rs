//! One call for each document, then one for the combined results.

use futures::{StreamExt, TryStreamExt, stream};

use super::{Answer, CallOutput, Parts, Question, SEPARATOR, join};
use crate::{Chain, Context, Error, ErrorKind, Prompt, Result, Usage, Vars, prompt, vars};

/// The default prompt of [`Qa::map_reduce`](super::Qa::map_reduce) for each document.
pub const MAP_PROMPT: &str =
    "Copy from the context what helps to answer the question, word for word and nothing else.

Context:
{{ context }}

Question: {{ question }}
Relevant text:";

/// The default prompt of [`Qa::map_reduce`](super::Qa::map_reduce) that shortens a group of results.
pub const COLLAPSE_PROMPT: &str = "Shorten the excerpts in the context to what helps to answer the question.

Context:
{{ context }}

Question: {{ question }}
Relevant text:";

/// The default prompt of [`Qa::map_reduce`](super::Qa::map_reduce) for the answer.
pub const REDUCE_PROMPT: &str =
    "Answer the question from the excerpts in the context alone. Where they do not hold the \
answer, say that you do not know.

Context:
{{ context }}

Question: {{ question }}
Answer:";

/// Maximum rounds of shortening. Each at least halves the number of texts, so this is enough for any list.
const MAX_ROUNDS: usize = 64;

#[derive(Clone)]
pub(super) struct MapReduce {
    pub(super) map: Chain<Vars, Prompt>,
    pub(super) collapse: Chain<Vars, Prompt>,
    pub(super) reduce: Chain<Vars, Prompt>,
}

impl Default for MapReduce {
    fn default() -> Self {
        Self { map: prompt(MAP_PROMPT), collapse: prompt(COLLAPSE_PROMPT), reduce: prompt(REDUCE_PROMPT) }
    }
}

impl MapReduce {
    pub(super) async fn run(&self, parts: &Parts, question: Question, cx: &Context) -> Result<Answer> {
        let Question { question, documents } = question;
        let quiet = &cx.without_deltas();
        let mut usage = Usage::default();
        let output = parts.call_each(&self.map, &question, &documents, quiet).await?;
        let mut found: Vec<_> = output.into_iter().map(|output| note(&mut usage, output)).collect();

        let mut round = 0;
        while parts.tokens(&join(found.iter().map(String::as_str))) > parts.max_tokens {
            round += 1;
            if round > MAX_ROUNDS {
                return Err(Error::new(ErrorKind::Parse, "the results for the documents do not get shorter"));
            }
            found = self.collapse(parts, &question, found, &mut usage, quiet).await?;
        }

        let context = join(found.iter().map(String::as_str));
        let output = parts.call(&self.reduce, vars! { question: question, context: context }, cx).await?;
        let text = note(&mut usage, output);
        Ok(Answer { text, sources: documents, usage, ..Answer::default() })
    }

    /// One round: adjacent texts that fit into a prompt together become one text, with a concurrent call per
    /// group.
    async fn collapse(
        &self,
        parts: &Parts,
        question: &str,
        found: Vec<String>,
        usage: &mut Usage,
        cx: &Context,
    ) -> Result<Vec<String>> {
        let before = found.len();
        let groups = groups(parts, found)?;
        if groups.len() == before {
            let message = format!(
                "the results for {before} documents cannot be grouped, as no two fit into the {} tokens of one \
                 prompt: raise `max_tokens`, or limit the length of the model's answers",
                parts.max_tokens
            );
            return Err(Error::new(ErrorKind::Input, message));
        }
        let calls: Vec<_> = groups
            .into_iter()
            .zip(0..)
            .map(|(group, n)| self.shorten(parts, question, group, cx.fork(n)))
            .collect();
        let output = stream::iter(calls).buffered(parts.concurrency.get());
        output.map_ok(|output| note(usage, output)).try_collect().await
    }

    /// Shortens a group to one text. A single text needs no call.
    async fn shorten(
        &self,
        parts: &Parts,
        question: &str,
        mut group: Vec<String>,
        cx: Context,
    ) -> Result<CallOutput> {
        if group.len() == 1 {
            return Ok(CallOutput { text: group.remove(0), usage: Usage::default() });
        }
        let vars = vars! { question: question, context: join(group.iter().map(String::as_str)) };
        parts.call(&self.collapse, vars, &cx).await.map_err(|error| error.with_step("collapse"))
    }
}

fn note(usage: &mut Usage, output: CallOutput) -> String {
    *usage += output.usage;
    output.text
}

/// Groups adjacent texts so that each group fits into a prompt.
fn groups(parts: &Parts, found: Vec<String>) -> Result<Vec<Vec<String>>> {
    let mut groups: Vec<Vec<String>> = Vec::new();
    let mut joined = String::new();
    for (index, text) in found.into_iter().enumerate() {
        let advice = "limit the length of the model's answers, or raise `max_tokens`";
        parts.check(&text, || format!("the result {index} alone has"), advice)?;
        let length = joined.len();
        if length > 0 {
            joined.push_str(SEPARATOR);
        }
        joined.push_str(&text);
        match groups.last_mut() {
            Some(group) if parts.tokens(&joined) <= parts.max_tokens => group.push(text),
            _ => {
                joined.clone_from(&text);
                groups.push(vec![text]);
            }
        }
    }
    Ok(groups)
}

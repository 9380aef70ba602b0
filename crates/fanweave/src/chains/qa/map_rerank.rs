//! A scored answer from each document. Selects the highest score.

use super::{Answer, Parts, Question, Skipped};
use crate::{Chain, Context, Delta, Error, ErrorKind, Prompt, Result, Vars, excerpt, prompt};

/// The default prompt of [`Qa::map_rerank`](super::Qa::map_rerank). A replacement must also request a last
/// line `Score: ` with a number.
pub const RERANK_PROMPT: &str =
    "Answer the question at the end from the context alone. Then write a last line `Score: ` \
with a number from 0, where the context does not hold the answer, to 100, where it answers the question fully.

Context:
{{ context }}

Question: {{ question }}
Answer:";

/// Maximum bytes of an answer without a score in [`Skipped`].
const MAX_EXCERPT_BYTES: usize = 200;

#[derive(Clone)]
pub(super) struct MapRerank {
    pub(super) prompt: Chain<Vars, Prompt>,
}

impl Default for MapRerank {
    fn default() -> Self {
        Self { prompt: prompt(RERANK_PROMPT) }
    }
}

impl MapRerank {
    pub(super) async fn run(&self, parts: &Parts, question: Question, cx: &Context) -> Result<Answer> {
        let Question { question, mut documents } = question;
        let output = parts.call_each(&self.prompt, &question, &documents, &cx.without_deltas()).await?;

        let mut answer = Answer::default();
        let mut best = None;
        for (index, output) in output.into_iter().enumerate() {
            answer.usage += output.usage;
            match scored(&output.text) {
                Some((text, score)) if answer.score.is_none_or(|highest| score > highest) => {
                    answer.text = text.to_owned();
                    answer.score = Some(score);
                    best = Some(index);
                }
                Some(_) => {}
                None => {
                    answer
                        .skipped
                        .push(Skipped { document: index, answer: excerpt(&output.text, MAX_EXCERPT_BYTES) });
                }
            }
        }
        let Some(best) = best else {
            let first = answer.skipped.first().map_or("", |skipped| &skipped.answer);
            let message = format!(
                "none of {} answers ends with a line `Score: ` and a number; the first one is: {first}",
                answer.skipped.len()
            );
            return Err(Error::new(ErrorKind::Parse, message));
        };
        answer.sources = vec![documents.swap_remove(best)];
        // The answer is known only now, so it is emitted as one delta.
        if cx.wants_deltas() {
            cx.delta(Delta::text(&*answer.text)).await;
        }
        Ok(answer)
    }
}

/// An answer and its score: the number after the last `Score:`, from 0 to 100. A number out of another is
/// scaled: `9/10`, `0.9 out of 1`.
fn scored(text: &str) -> Option<(&str, f32)> {
    let lower = text.to_ascii_lowercase();
    let at = lower.rfind("score:")?;
    let (score, rest) = number(&lower[at + "score:".len()..])?;
    let of =
        rest.strip_prefix('/').or_else(|| rest.strip_prefix("out of ")).or_else(|| rest.strip_prefix("of "));
    let score = match of.and_then(number) {
        Some((max, _)) if max > 0.0 => score / max * 100.0,
        Some(_) => return None,
        None => score,
    };
    let answer = text[..at].trim_end_matches(|c: char| c.is_whitespace() || "*`(".contains(c));
    (0.0..=100.0).contains(&score).then_some((answer, score))
}

/// The number at the start of `text`, and the text after it.
fn number(text: &str) -> Option<(f32, &str)> {
    let text = text.trim_start_matches([' ', '*', '`', '[', '(']);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    Some((text[..end].trim_end_matches('.').parse().ok()?, text[end..].trim_start_matches([' ', '*', '`'])))
}

#[cfg(test)]
mod tests {
    use super::scored;

    #[test]
    fn scores_are_read_as_models_write_them() {
        for (text, expected) in [
            ("In 1966.\nScore: 90", Some(("In 1966.", 90.0))),
            ("In 1966.\n**Score: 90/100**", Some(("In 1966.", 90.0))),
            ("In 1966. score:7.5.", Some(("In 1966.", 7.5))),
            ("The score: 3 to 1.\nScore: 80", Some(("The score: 3 to 1.", 80.0))),
            ("In 1966.", None),
            ("In 1966.\nScore: 9/10", Some(("In 1966.", 90.0))),
            ("In 1966.\nScore: **8.5** / 10.", Some(("In 1966.", 85.0))),
            ("In 1966.\nScore: 0.5 out of 1", Some(("In 1966.", 50.0))),
            ("In 1966.\nScore: 90 %", Some(("In 1966.", 90.0))),
            ("In 1966.\nScore: [4 of 5]", Some(("In 1966.", 80.0))),
            ("Score: 11/10", None),
            ("Score: 1/0", None),
            ("Score: high", None),
            ("Score: 101", None),
            ("Score: 1.2.3", None),
            ("", None),
        ] {
            assert_eq!(scored(text), expected, "{text}");
        }
    }
}

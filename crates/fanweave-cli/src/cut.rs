//! Answers that ended before the model had said everything: told at the end, for an answer that was cut looks like any other.

use std::sync::{Arc, Mutex, PoisonError};

use fanweave::{Context, Event, EventKind, FinishReason, Observer};

use crate::out::tell;

/// Notes which answers were cut.
#[derive(Debug, Default)]
pub(crate) struct TruncatedAnswers {
    /// Whether the steps are those of a file, which can be named to whoever wrote it.
    has_steps: bool,
    found: Mutex<Vec<Cut>>,
}

/// Answers of one step that were cut for one reason.
#[derive(Debug)]
struct Cut {
    /// The steps around the model. Empty where there is none.
    step: String,
    why: FinishReason,
    answers: u64,
}

impl TruncatedAnswers {
    pub(crate) fn of_chain() -> Self {
        Self { has_steps: true, ..Self::default() }
    }

    /// A run whose answers are looked at.
    pub(crate) fn watch(self: &Arc<Self>) -> Context {
        Context::new().with_observer(self.clone())
    }

    /// Says on standard error what was cut, and what to do.
    pub(crate) fn tell(&self) {
        for cut in &*self.found.lock().unwrap_or_else(PoisonError::into_inner) {
            tell!("note: {}", cut.text());
        }
    }
}

impl Observer for TruncatedAnswers {
    fn on_event(&self, event: &Event) {
        let EventKind::StepFinished { reply: Some(reply) } = &event.kind else { return };
        let Some(why) = &reply.finish_reason else { return };
        if !matches!(why, FinishReason::Length | FinishReason::ContentFilter | FinishReason::Refusal) {
            return;
        }
        let path = if self.has_steps { event.path.to_string() } else { String::new() };
        // The innermost name is that of the model.
        let step = path.rsplit_once(" > ").map_or("", |(steps, _)| steps);
        let mut cuts = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        match cuts.iter_mut().find(|cut| cut.step == step && cut.why == *why) {
            Some(cut) => cut.answers += 1,
            None => cuts.push(Cut { step: step.to_owned(), why: why.clone(), answers: 1 }),
        }
    }
}

impl Cut {
    fn text(&self) -> String {
        let whose = match (self.step.as_str(), self.answers) {
            ("", 1) => "the answer".to_owned(),
            ("", n) => format!("{n} answers"),
            (step, 1) => format!("the answer of {step}"),
            (step, n) => format!("{n} answers of {step}"),
        };
        let verb = if self.answers == 1 { "was" } else { "were" };
        match &self.why {
            FinishReason::Length if self.step.is_empty() => {
                format!("{whose} {verb} cut at the token limit: raise --max-tokens")
            }
            FinishReason::Length => format!(
                "{whose} {verb} cut at the token limit: raise `max_tokens` of the step, or --max-tokens where it has none"
            ),
            FinishReason::ContentFilter => {
                format!("{whose} {verb} cut by the provider's content filter: ask in other words")
            }
            _ => format!("{whose} {verb} declined by the model: ask in other words"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_cut_is_said_with_what_to_do() {
        let say = |step: &str, why, answers| Cut { step: step.to_owned(), why, answers }.text();
        assert_eq!(
            say("", FinishReason::Length, 1),
            "the answer was cut at the token limit: raise --max-tokens"
        );
        assert_eq!(
            say("article > section", FinishReason::Length, 3),
            "3 answers of article > section were cut at the token limit: raise `max_tokens` of the step, or --max-tokens \
             where it has none"
        );
        assert_eq!(
            say("", FinishReason::ContentFilter, 1),
            "the answer was cut by the provider's content filter: ask in other words"
        );
    }
}

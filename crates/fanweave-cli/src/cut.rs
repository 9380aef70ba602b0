//! Notes about truncated answers. Printed at the end, because a truncated answer looks like a complete one.

use std::sync::{Arc, Mutex, PoisonError};

use fanweave::{Context, Event, EventKind, events::Observer, messages::FinishReason};

use crate::out::tell;

/// Collects truncated answers.
#[derive(Debug, Default)]
pub(crate) struct TruncatedAnswers {
    /// Set if the steps come from a chain file: messages then name the step.
    has_steps: bool,
    found: Mutex<Vec<Cut>>,
}

/// Answers of one step that were truncated for the same reason.
#[derive(Debug)]
struct Cut {
    /// Path of the step that called the model. Empty without a chain file.
    step: String,
    why: FinishReason,
    answers: u64,
}

impl TruncatedAnswers {
    pub(crate) fn of_chain() -> Self {
        Self { has_steps: true, ..Self::default() }
    }

    /// A context that observes the answers of a run.
    pub(crate) fn watch(self: &Arc<Self>) -> Context {
        Context::new().with_observer(self.clone())
    }

    /// Prints a note for each group of truncated answers.
    pub(crate) fn report(&self) {
        for cut in &*self.found.lock().unwrap_or_else(PoisonError::into_inner) {
            tell!("note: {}", cut.text());
        }
    }
}

impl Observer for TruncatedAnswers {
    fn on_event(&self, event: &Event) {
        let EventKind::StepFinished { reply: Some(reply) } = &event.kind else { return };
        let Some(why) = reply.finish_reason.as_ref().and_then(|why| FinishReason::cut_by(why.as_str()))
        else {
            return;
        };
        let path = if self.has_steps { event.path.to_string() } else { String::new() };
        // The last name is the model.
        let step = path.rsplit_once(" > ").map_or("", |(steps, _)| steps);
        let mut cuts = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        match cuts.iter_mut().find(|cut| cut.step == step && cut.why == why) {
            Some(cut) => cut.answers += 1,
            None => cuts.push(Cut { step: step.to_owned(), why, answers: 1 }),
        }
    }
}

impl Cut {
    fn text(&self) -> String {
        let subject = match (self.step.as_str(), self.answers) {
            ("", 1) => "the answer".to_owned(),
            ("", n) => format!("{n} answers"),
            (step, 1) => format!("the answer of {step}"),
            (step, n) => format!("{n} answers of {step}"),
        };
        let verb = if self.answers == 1 { "was" } else { "were" };
        match &self.why {
            FinishReason::Length if self.step.is_empty() => {
                format!("{subject} {verb} truncated at the token limit: raise --max-tokens")
            }
            FinishReason::Length => format!(
                "{subject} {verb} truncated at the token limit: raise `max_tokens` of the step, or --max-tokens if it is unset"
            ),
            FinishReason::ContentFilter => {
                format!("{subject} {verb} stopped by the provider's content filter: rephrase the prompt")
            }
            FinishReason::Other(reason) => {
                format!("{subject} {verb} ended early by the provider ({reason}): continue the conversation")
            }
            _ => format!("{subject} {verb} refused by the model: rephrase the prompt"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_vendors_for_a_cut_answer_are_known() {
        for (name, expected) in [
            ("length", Some(FinishReason::Length)),
            ("model_length", Some(FinishReason::Length)),
            ("MAX_TOKENS", Some(FinishReason::Length)),
            ("model_context_window_exceeded", Some(FinishReason::Length)),
            ("sensitive", Some(FinishReason::ContentFilter)),
            ("LANGUAGE", Some(FinishReason::ContentFilter)),
            ("refusal", Some(FinishReason::Refusal)),
            ("pause_turn", Some(FinishReason::Other("pause_turn".to_owned()))),
            ("stop", None),
            ("tool_calls", None),
            ("eos", None),
        ] {
            assert_eq!(FinishReason::cut_by(name), expected, "{name}");
        }
    }

    #[test]
    fn notes_about_truncated_answers_have_advice() {
        let text = |step: &str, why, answers| Cut { step: step.to_owned(), why, answers }.text();
        assert_eq!(
            text("", FinishReason::Length, 1),
            "the answer was truncated at the token limit: raise --max-tokens"
        );
        assert_eq!(
            text("article > section", FinishReason::Length, 3),
            "3 answers of article > section were truncated at the token limit: raise `max_tokens` of the step, or \
             --max-tokens if it is unset"
        );
        assert_eq!(
            text("", FinishReason::ContentFilter, 1),
            "the answer was stopped by the provider's content filter: rephrase the prompt"
        );
    }
}

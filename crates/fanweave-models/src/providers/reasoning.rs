//! Reasoning in requests: the parameters of a call in the forms of the dialects.

#[cfg(test)]
mod tests;

use fanweave_core::{Error, ErrorKind, Parameters, Result};
use serde_json::{Map, Value, json};

/// Field of chat completions that sets the amount of reasoning.
///
/// ```
/// use fanweave::models::{Quirks, ReasoningField, Vendor};
///
/// let quirks = Quirks::new().reasoning(ReasoningField::Object);
/// let vendor = Vendor::new("acme", "https://api.acme.example/v1").quirks(quirks);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ReasoningField {
    /// A level in `reasoning_effort`.
    #[default]
    Effort,
    /// A level or a number of tokens in `reasoning`, an object.
    Object,
    /// On or off in `thinking`, an object.
    Thinking,
    /// On or off in `thinking`, and a level in `reasoning_effort`.
    ThinkingAndEffort,
    /// On or off in `enable_thinking`, and a number of tokens in `thinking_budget`.
    EnableThinking,
    /// On or off in `thinking` for models of Kimi K2 and before, and a level in `reasoning_effort` for later
    /// ones, which always reason.
    Kimi,
    /// On or off in `thinking`, and for models of GLM-5.2 and later a level in `reasoning_effort`.
    Glm,
}

impl ReasoningField {
    /// The form for a model of a server with several.
    fn of_model(self, model: &str) -> Self {
        let is_one_of = |names: &[&str]| names.iter().any(|name| model.starts_with(name));
        match self {
            // Source: an adapter of another project, 2026-10: `reasoning_effort` is low, high or max for
            // kimi-k3. The vendor has not confirmed it.
            Self::Kimi if is_one_of(&["kimi-k2", "kimi-latest", "kimi-thinking", "moonshot-"]) => {
                Self::Thinking
            }
            Self::Kimi => Self::Effort,
            // Source: docs.z.ai, 2026-07: `reasoning_effort` is for GLM-5.2 and later.
            Self::Glm
                if model == "glm-5" || is_one_of(&["glm-4", "glm-5-", "glm-5v", "glm-5.1", "glm-z"]) =>
            {
                Self::Thinking
            }
            Self::Glm => Self::ThinkingAndEffort,
            other => other,
        }
    }
}

/// The amount of reasoning that a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Amount<'a> {
    Off,
    Level(&'a str),
    Tokens(u32),
}

/// Returns true if a call sets anything of its reasoning.
pub(super) fn is_set(p: &Parameters) -> bool {
    p.reasoning_effort.is_some() || p.reasoning_budget.is_some() || p.reasoning_summary
}

/// The amount of reasoning that a call asks for. `None` leaves it to the provider.
///
/// # Errors
/// [`ErrorKind::Input`] if a level and a number of tokens are set.
pub(super) fn amount(p: &Parameters) -> Result<Option<Amount<'_>>> {
    Ok(match (p.reasoning_effort.as_deref(), p.reasoning_budget) {
        (None, None) => None,
        (Some("none"), None) | (None, Some(0)) => Some(Amount::Off),
        (Some(level), None) => Some(Amount::Level(level)),
        (None, Some(tokens)) => Some(Amount::Tokens(tokens)),
        (Some(_), Some(_)) => {
            let message = "`reasoning_effort` and `reasoning_budget` are both set: keep one of them";
            return Err(Error::new(ErrorKind::Input, message));
        }
    })
}

/// Tokens of a level, for models that take a number only. Source: Gemini's table for its API that is
/// compatible with OpenAI's.
///
/// # Errors
/// [`ErrorKind::Input`] with the levels, for any other.
pub(super) fn tokens(level: &str, api: &str) -> Result<u32> {
    match level {
        "minimal" | "low" => Ok(1024),
        "medium" => Ok(8192),
        "high" => Ok(24_576),
        _ => Err(unknown_level(level, "none, minimal, low, medium or high", api)),
    }
}

/// The error for a level that a dialect does not have.
pub(super) fn unknown_level(level: &str, known: &str, api: &str) -> Error {
    let level: String = level.chars().take(40).collect();
    let message = format!("{api} has no reasoning effort `{level}` for this model: use {known}");
    Error::new(ErrorKind::Input, message)
}

/// The error of a dialect without a number of tokens.
pub(super) fn no_budget(api: &str) -> Error {
    let message = format!("{api} takes no `reasoning_budget`: set `reasoning_effort`, such as low or high");
    Error::new(ErrorKind::Input, message)
}

/// The fields of a request to `model` for chat completions. `sends_reasoning` is set for servers that send it
/// anyway: all but those of OpenAI.
///
/// # Errors
/// [`ErrorKind::Input`] for what the server has no field for.
pub(super) fn chat_fields(
    p: &Parameters,
    field: ReasoningField,
    model: &str,
    sends_reasoning: bool,
) -> Result<Map<String, Value>> {
    const API: &str = "the Chat Completions API";
    let amount = amount(p)?;
    let effort = |level: &str| ("reasoning_effort", json!(level));
    let thinking = |is_on: bool| ("thinking", json!({ "type": if is_on { "enabled" } else { "disabled" } }));
    if p.reasoning_summary && !sends_reasoning {
        let message = format!(
            "{API} sends no summary of the reasoning: remove `reasoning_summary`, or use openai-responses/"
        );
        return Err(Error::new(ErrorKind::Input, message));
    }
    let fields = match (field.of_model(model), amount) {
        (_, None) => vec![],
        (ReasoningField::Effort, Some(Amount::Off)) => vec![effort("none")],
        (ReasoningField::Effort, Some(Amount::Level(level))) => vec![effort(level)],
        (ReasoningField::Object, Some(amount)) => vec![(
            "reasoning",
            match amount {
                Amount::Off => json!({ "effort": "none" }),
                Amount::Level(level) => json!({ "effort": level }),
                Amount::Tokens(tokens) => json!({ "max_tokens": tokens }),
            },
        )],
        (ReasoningField::Thinking | ReasoningField::ThinkingAndEffort, Some(Amount::Off)) => {
            vec![thinking(false)]
        }
        (ReasoningField::Thinking, Some(Amount::Level(_))) => vec![thinking(true)],
        (ReasoningField::ThinkingAndEffort, Some(Amount::Level(level))) => {
            vec![thinking(true), effort(level)]
        }
        (ReasoningField::EnableThinking, Some(Amount::Off)) => vec![("enable_thinking", false.into())],
        (ReasoningField::EnableThinking, Some(amount)) => {
            let budget = match amount {
                Amount::Level(level) => tokens(level, API)?,
                Amount::Tokens(tokens) => tokens,
                Amount::Off => 0,
            };
            vec![("enable_thinking", true.into()), ("thinking_budget", budget.into())]
        }
        (_, Some(Amount::Tokens(_))) => return Err(no_budget(API)),
        (ReasoningField::Kimi | ReasoningField::Glm, Some(_)) => unreachable!("it depends on the model"),
    };
    Ok(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

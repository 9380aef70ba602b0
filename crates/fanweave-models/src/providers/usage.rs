//! Counts of tokens, under the names of all dialects.

use fanweave_core::Usage;
use serde_json::{Map, Value};

use super::json::count;
use super::triage::largest;

/// Maximum number of objects that are read from a list.
const MAX_OBJECTS: usize = 64;

/// The counts of an object.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    /// Tokens of the input.
    pub(super) input: u64,
    /// Tokens of the output.
    pub(super) output: u64,
    /// Tokens of both, and of what is counted nowhere else.
    pub(super) total: u64,
    pub(super) cached: u64,
    pub(super) reasoning: u64,
}

impl Counts {
    /// The counts in an object, whichever names it has. All of them are 0 for any other value.
    pub(super) fn of(usage: &Value) -> Self {
        let mut counts = Self::default();
        // Each field is looked at once: to look for each name would cost more than to parse the object.
        for (name, value) in usage.as_object().into_iter().flatten() {
            let (field, value) = match name.as_str() {
                "input_tokens" | "prompt_tokens" | "inputTokens" | "promptTokens" | "promptTokenCount"
                | "prompt_token_count" => (&mut counts.input, value),
                "output_tokens"
                | "completion_tokens"
                | "outputTokens"
                | "completionTokens"
                | "candidatesTokenCount"
                | "candidates_token_count" => (&mut counts.output, value),
                "total_tokens" | "totalTokens" | "totalTokenCount" | "total_token_count" => {
                    (&mut counts.total, value)
                }
                "input_tokens_details" | "prompt_tokens_details" => {
                    (&mut counts.cached, &value["cached_tokens"])
                }
                "output_tokens_details" | "completion_tokens_details" => {
                    (&mut counts.reasoning, &value["reasoning_tokens"])
                }
                "prompt_cache_hit_tokens" => (&mut counts.cached, value),
                _ => continue,
            };
            *field = (*field).max(count(value));
        }
        counts
    }

    fn usage(self) -> Usage {
        with_total(self.input, self.output, self.total)
            .cached_tokens(self.cached)
            .reasoning_tokens(self.reasoning)
    }
}

/// The usage in an object, whichever names it has. Of a list, the largest counts. Cached tokens are part of
/// the input.
pub(super) fn read(usage: &Value) -> Usage {
    match usage {
        Value::Array(list) => {
            let objects = list.iter().take(MAX_OBJECTS).filter(|usage| usage.is_object());
            objects.map(read).fold(Usage::default(), largest)
        }
        usage => counted(usage).1,
    }
}

/// The counts in an object, and the usage.
pub(super) fn counted(usage: &Value) -> (Counts, Usage) {
    let counts = Counts::of(usage);
    let own = counts.usage();
    let usage = usage.as_object().and_then(wrapped).map_or(own, |inner| {
        let Counts { input, output, total, .. } = Counts::of(inner);
        largest(own, with_total(input, output, total))
    });
    (counts, usage)
}

/// The object that Cohere has the counts in.
fn wrapped(fields: &Map<String, Value>) -> Option<&Value> {
    let found = fields.iter().find(|(name, _)| *name == "tokens");
    found.map(|(_, inner)| inner).filter(|inner| inner.is_object())
}

/// The usage with this total, if it is larger than the counts: it has tokens that are counted nowhere else,
/// such as those of reasoning.
pub(super) fn with_total(input: u64, output: u64, total: u64) -> Usage {
    let missing = total.saturating_sub(input.saturating_add(output));
    if input == 0 && output > 0 {
        Usage::new(missing, output)
    } else {
        Usage::new(input, output.saturating_add(missing))
    }
}

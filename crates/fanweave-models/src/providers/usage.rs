//! Counts of tokens, under the names of all dialects.

use fanweave_core::Usage;
use serde_json::Value;

use super::json::count;
use super::triage::largest;

/// Names of the counts, in all dialects.
const INPUT: [&str; 6] = [
    "input_tokens",
    "prompt_tokens",
    "inputTokens",
    "promptTokens",
    "promptTokenCount",
    "prompt_token_count",
];
const OUTPUT: [&str; 6] = [
    "output_tokens",
    "completion_tokens",
    "outputTokens",
    "completionTokens",
    "candidatesTokenCount",
    "candidates_token_count",
];
const TOTAL: [&str; 4] = ["total_tokens", "totalTokens", "totalTokenCount", "total_token_count"];

/// Objects that have the counts in them: Cohere's.
const WRAPPERS: [&str; 1] = ["tokens"];

/// Maximum number of objects that are read from a list.
const MAX_OBJECTS: usize = 64;

/// The usage in an object, whichever names it has. Of a list, the largest counts. Cached tokens are part of
/// the input.
pub(super) fn read(usage: &Value) -> Usage {
    if let Value::Array(list) = usage {
        let objects = list.iter().take(MAX_OBJECTS).filter(|usage| usage.is_object());
        return objects.map(read).fold(Usage::default(), largest);
    }
    let own = with_total(input(usage), output(usage), total(usage));
    let details =
        |one: &str, other: &str, name: &str| count(&usage[one][name]).max(count(&usage[other][name]));
    let cached = details("input_tokens_details", "prompt_tokens_details", "cached_tokens");
    let reasoning = details("output_tokens_details", "completion_tokens_details", "reasoning_tokens");
    let own =
        own.cached_tokens(cached.max(count(&usage["prompt_cache_hit_tokens"]))).reasoning_tokens(reasoning);
    let wrapped = WRAPPERS.iter().filter_map(|name| usage.get(*name)).filter(|usage| usage.is_object());
    wrapped.map(|inner| with_total(input(inner), output(inner), total(inner))).fold(own, largest)
}

fn max_of(usage: &Value, names: &[&str]) -> u64 {
    names.iter().filter_map(|name| usage.get(*name)).map(count).max().unwrap_or_default()
}

/// The tokens of the input.
pub(super) fn input(usage: &Value) -> u64 {
    max_of(usage, &INPUT)
}

/// The tokens of the output.
pub(super) fn output(usage: &Value) -> u64 {
    max_of(usage, &OUTPUT)
}

/// The tokens of input and output.
pub(super) fn total(usage: &Value) -> u64 {
    max_of(usage, &TOTAL)
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

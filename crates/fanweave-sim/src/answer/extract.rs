//! Answers taken from the prompt itself: from its context, from the text to summarise, from a tool's result.

use std::collections::HashSet;

use serde_json::Value;

use super::words;

/// Labels of questions about the context that precedes them.
const QUESTION_LABELS: [&str; 3] = ["question:", "query:", "input:"];

/// Phrases that announce a context in the prompt.
const CONTEXT_LABELS: [&str; 4] = ["context", "passage", "documents", "excerpts"];

/// The sentence of the context that shares the most words with the question. `None` if `prompt` has no
/// context, or the question shares no word with it.
pub(super) fn from_context(prompt: &str) -> Option<String> {
    let lower = prompt.to_ascii_lowercase();
    CONTEXT_LABELS.iter().find(|label| lower.contains(**label))?;
    let (label_at, label) =
        QUESTION_LABELS.iter().filter_map(|label| Some((lower.rfind(label)?, label))).max()?;
    let question = prompt[label_at + label.len()..].lines().find(|line| !line.trim().is_empty())?;
    let wanted: HashSet<String> = words::telling_words(question).map(stem).collect();
    // A question may also precede its context.
    let rest = prompt[label_at..].split_once('\n').map_or("", |(_, rest)| rest);
    let shared = |sentence: &&str| {
        words::telling_words(sentence).map(stem).filter(|word| wanted.contains(word)).count()
    };
    words::sentences(&prompt[..label_at])
        .chain(words::sentences(rest))
        .filter(|sentence| shared(sentence) > 0 && !sentence.ends_with([':', '?']))
        // `max_by_key` would return the last of several maxima.
        .reduce(|best, sentence| if shared(&sentence) > shared(&best) { sentence } else { best })
        .map(|sentence| sentence.trim_start_matches(['-', '*', ' ']).to_owned())
}

/// A crude stem: enough for `tides` to match `tide`.
pub(super) fn stem(mut word: String) -> String {
    if word.len() > 3 && word.ends_with('s') {
        word.pop();
    }
    word
}

/// The first sentence of the text to summarise: the text after the first colon or the first line of `prompt`.
pub(super) fn summary(prompt: &str) -> Option<String> {
    let material =
        prompt.split_once(":\n").or_else(|| prompt.split_once(": ")).or_else(|| prompt.split_once('\n'))?.1;
    words::sentences(material).find(|sentence| sentence.len() > 2).map(|sentence| {
        let sentence = sentence.trim_end_matches(['.', '!', '?']);
        format!("In short: {sentence}.")
    })
}

/// A sentence that reports the results of tools.
pub(super) fn from_tools(results: &[&str]) -> String {
    let readable: Vec<String> = results.iter().map(|result| readable(result)).collect();
    match &*readable {
        [only] => format!("Here is what I found: {only}."),
        several => format!("Here is what I found: {}.", several.join("; ")),
    }
}

/// `{"city":"Paris","celsius":18}` as `city Paris, celsius 18`; other text as it is.
fn readable(result: &str) -> String {
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match serde_json::from_str::<Value>(result) {
        Ok(Value::Object(fields)) => fields
            .iter()
            .map(|(name, value)| format!("{name} {}", plain(value)))
            .collect::<Vec<_>>()
            .join(", "),
        Ok(Value::String(text)) => text,
        _ => result.trim().trim_end_matches('.').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_answered_from_its_context() {
        let prompt = "Use the following pieces of context to answer the question at the end.\n\n\
                      Tidal range is the height between low and high water. The Rance station opened in 1966. It has \
                      24 turbines.\n\nQuestion: When did the Rance station open?\nHelpful Answer:";
        assert_eq!(from_context(prompt).as_deref(), Some("The Rance station opened in 1966."));
        assert_eq!(from_context("Question: what is a tide?"), None);
    }

    #[test]
    fn a_summary_is_the_first_sentence_of_the_material() {
        let prompt = "Summarize this text:\nTides follow the moon. They rise twice a day.";
        assert_eq!(summary(prompt).as_deref(), Some("In short: Tides follow the moon."));
    }

    #[test]
    fn a_tools_json_is_put_into_words() {
        assert_eq!(
            from_tools(&[r#"{"city":"Paris","celsius":18}"#]),
            "Here is what I found: city Paris, celsius 18."
        );
    }
}

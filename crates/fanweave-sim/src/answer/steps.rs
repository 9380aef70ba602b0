//! Prompts of ready-made chains: a score, a standalone question, an expression for a calculator.

use super::{extract, topic, words};

/// The answer to a prompt that is a step of a ready-made chain. `None` for other prompts.
pub(super) fn answer(prompt: &str) -> Option<String> {
    scored(prompt).or_else(|| standalone(prompt)).or_else(|| expression(prompt))
}

/// An answer from the context, scored by the share of the question's words in it, from 0 to 100.
fn scored(prompt: &str) -> Option<String> {
    if !prompt.contains("`Score: `") {
        return None;
    }
    let Some(answer) = extract::from_context(prompt) else {
        return Some("The context does not say.\nScore: 0".to_owned());
    };
    let question = after(prompt, "Question:")?;
    let wanted: Vec<_> = words::telling_words(question).map(extract::stem).collect();
    let has: Vec<_> = words::telling_words(&answer).map(extract::stem).collect();
    let shared = wanted.iter().filter(|word| has.contains(word)).count();
    Some(format!("{answer}\nScore: {}", shared * 100 / wanted.len().max(1)))
}

/// The follow-up question, with the topic of the previous question if it only refers to it as `it`.
fn standalone(prompt: &str) -> Option<String> {
    if !prompt.to_ascii_lowercase().contains("standalone question") {
        return None;
    }
    let question = after(prompt, "Follow-up:")?.trim_end_matches('?');
    let earlier = prompt.lines().rev().find_map(|line| line.strip_prefix("User:"));
    let alone = question.split(' ').any(|word| matches!(word, "it" | "they" | "them" | "its" | "their"));
    match earlier.and_then(topic::topic) {
        Some(topic) if alone => Some(format!("Regarding {topic}: {question}?")),
        _ => Some(format!("{question}, please?")),
    }
}

/// The numbers and operators of the question, in a code fence.
fn expression(prompt: &str) -> Option<String> {
    if !prompt.contains("expression that a calculator can evaluate") {
        return None;
    }
    let question = after(prompt, "Question:")?.trim_end_matches(['?', '.']).to_lowercase();
    let mut question = format!(" {question} ");
    for (phrase, sign) in [
        ("to the power of", "**"),
        ("multiplied by", "*"),
        ("divided by", "/"),
        ("percent of", "/ 100 *"),
        ("plus", "+"),
        ("minus", "-"),
        ("times", "*"),
        ("over", "/"),
    ] {
        question = question.replace(&format!(" {phrase} "), &format!(" {sign} "));
    }
    let is_sign = |word: &&str| matches!(*word, "**" | "*" | "/" | "+" | "-" | "%" | "//");
    let is_number = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit() || c == '(');
    let parts: Vec<_> = question.split_whitespace().filter(|word| is_sign(word) || is_number(word)).collect();
    (!parts.is_empty()).then(|| format!("```\n{}\n```", parts.join(" ")))
}

/// The rest of the last line that begins with `label`.
fn after<'a>(prompt: &'a str, label: &str) -> Option<&'a str> {
    prompt.lines().rev().find_map(|line| line.strip_prefix(label)).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::answer;

    #[test]
    fn steps_of_chains_get_what_they_ask_for() {
        let score = "Then write a last line `Score: ` with a number.\n\nContext:\nThe Rance station opened in 1966.\n\n\
                     Question: When did the Rance station open?\nAnswer:";
        assert_eq!(answer(score).as_deref(), Some("The Rance station opened in 1966.\nScore: 66"));
        let follow = "Rephrase the follow-up as a standalone question.\n\nConversation:\nUser: What is a tide?\n\
                      Assistant: Water.\n\nFollow-up: How high is it?\nStandalone question:";
        assert_eq!(answer(follow).as_deref(), Some("Regarding tide: How high is it?"));
        let sum = "Translate the question into one expression that a calculator can evaluate.\n\n\
                   Question: What is 12 times 7 plus 3?";
        assert_eq!(answer(sum).as_deref(), Some("```\n12 * 7 + 3\n```"));
        assert_eq!(answer("Question: What is a tide?"), None);
    }
}

//! Answers that follow directly from the prompt: a quotation, a translation, a choice, a calculation.

use super::Form;
use crate::answer::topic::LANGUAGES;

/// Text to repeat verbatim: `Reply with exactly: ready`, `Say "hello"`.
pub(super) fn verbatim(prompt: &str, lower: &str) -> Option<String> {
    const ORDERS: [&str; 6] = [
        "reply with exactly",
        "respond with exactly",
        "answer with exactly",
        "say exactly",
        "repeat after me",
        "just say",
    ];
    let order = ORDERS.iter().find_map(|order| lower.find(order).map(|at| at + order.len()));
    let after = order.or_else(|| lower.starts_with("say \"").then_some("say ".len()))?;
    let text = prompt.get(after..)?.trim_start_matches([':', ',', ' ']).trim();
    let text = text.strip_suffix('.').unwrap_or(text).trim_matches(['"', '\'', '“', '”', '`']);
    (!text.is_empty()).then(|| text.to_owned())
}

/// `Translate "good morning" to French`, or the text after a colon.
pub(super) fn translation(prompt: &str, lower: &str) -> Option<Form> {
    let after = &prompt[lower.find("translate")? + "translate".len()..];
    let language = LANGUAGES.into_iter().find(|language| after.contains(language)).unwrap_or("English");
    let text = match after.split_once(':') {
        Some((_, text)) => text,
        None => after.split(" into ").next().and_then(|text| text.split(" to ").next()).unwrap_or(after),
    };
    let text = text.trim().trim_matches(['"', '\'', '“', '”']).trim_end_matches('.').to_owned();
    Some(Form::Translation { text, language })
}

/// `one of: red, green or blue`, `as positive, negative or neutral`.
pub(super) fn options(prompt: &str, lower: &str) -> Option<Vec<String>> {
    let is_choice = lower.contains("one of") || lower.contains("classify") || lower.contains("label");
    let start = ["one of the following:", "one of these:", "one of:", "one of", " as either ", " as "]
        .iter()
        .find_map(|start| lower.find(start).map(|at| at + start.len()))
        .filter(|_| is_choice)?;
    let clause = prompt.get(start..)?.split(['.', ';', '\n', ':', '?']).next()?;
    let options: Vec<String> = clause
        .replace(", or ", ", ")
        .replace(" or ", ", ")
        .replace(", and ", ", ")
        .replace(" and ", ", ")
        .split(',')
        .map(|option| option.trim().trim_matches(['"', '\'', '(', ')', '[', ']']).to_owned())
        .filter(|option| !option.is_empty())
        .collect();
    (options.len() > 1 && options.iter().all(|option| option.split(' ').count() <= 3)).then_some(options)
}

/// The result of `12 * 7`, `2 plus 2`, `13 raised to the .3432 power`.
pub(super) fn arithmetic(words: &[&str], prompt: &str) -> Option<f64> {
    let mut spaced = prompt.to_lowercase();
    for operator in ["+", "*", "/", "^", "×", "÷", "−"] {
        spaced = spaced.replace(operator, &format!(" {operator} "));
    }
    let tokens: Vec<&str> =
        spaced.split_whitespace().map(|token| token.trim_end_matches(['?', '.', ',', '!', '='])).collect();
    let is_question = words
        .iter()
        .any(|word| matches!(*word, "what" | "what's" | "calculate" | "compute" | "much" | "evaluate"));
    let number_at = |at: usize| tokens.get(at)?.parse::<f64>().ok().filter(|number| number.is_finite());
    (0..tokens.len()).find_map(|at| {
        let left = number_at(at)?;
        let operator = *tokens.get(at + 1)?;
        if operator == "raised" {
            let power = (at + 2..tokens.len()).find_map(number_at)?;
            return Some(left.powf(power));
        }
        let right = number_at(at + 2).or_else(|| number_at(at + 3))?;
        let is_bare = tokens.len() <= 4;
        (is_question || is_bare).then_some(())?;
        match operator {
            "+" | "plus" => Some(left + right),
            "-" | "−" | "minus" => Some(left - right),
            "*" | "x" | "×" | "times" | "multiplied" => Some(left * right),
            "/" | "÷" | "divided" if right != 0.0 => Some(left / right),
            "^" => Some(left.powf(right)),
            _ => None,
        }
    })
}

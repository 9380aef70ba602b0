//! Form of the answer that a prompt requests: five lines, a name, yes or no.

mod count;
mod given;

use super::stock::Category;
use super::words;
use count::{counted, item_noun, items, layout};
use given::{arithmetic, options, translation, verbatim};

/// A recognised request.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Form {
    /// A number of items, in a layout.
    Items {
        count: usize,
        noun: Noun,
        layout: Layout,
    },
    Sentences(usize),
    Paragraphs(usize),
    /// Exactly this number of words.
    Words(usize),
    YesNo,
    TrueFalse,
    Haiku,
    Joke,
    Greeting,
    /// One of these options.
    Choice(Vec<String>),
    /// Exactly this text.
    Say(String),
    /// The text, in this language.
    Translation {
        text: String,
        language: &'static str,
    },
    /// A short form of the material in the prompt.
    Summary,
    /// The result of a calculation.
    Number(f64),
}

/// Kind of an item.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Noun {
    Title,
    Company,
    Person,
    Question,
    Sentence,
    Idea,
    Book,
    Line,
    Word,
    /// A member of a well-known class, such as colours.
    Member(&'static Category),
}

/// Layout of several items.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Layout {
    /// One per line.
    Lines,
    /// `1. ` and so on, one per line.
    Numbered,
    /// `- `, one per line.
    Bulleted,
    /// All in one line.
    Commas,
    /// A JSON array of strings.
    Json,
}

/// The form requested by the message, or else by the instructions. An exact form in one of them takes
/// precedence over a vague form in the other: "an outline" is three titles if the instructions say so.
pub(super) fn recognise(message: &str, instructions: &str) -> Option<Form> {
    exact(message).or_else(|| exact(instructions)).or_else(|| vague(message)).or_else(|| vague(instructions))
}

/// A form that `prompt` requests explicitly.
fn exact(prompt: &str) -> Option<Form> {
    // ASCII only, so that offsets are valid in both strings.
    let lower = prompt.to_ascii_lowercase();
    let words: Vec<&str> = words::words(&lower).collect();
    let contains = |phrase: &str| lower.contains(phrase);

    if let Some(text) = verbatim(prompt, &lower) {
        return Some(Form::Say(text));
    }
    if contains("yes or no") || contains("yes/no") {
        return Some(Form::YesNo);
    }
    if contains("true or false") || contains("true/false") {
        return Some(Form::TrueFalse);
    }
    if let Some(translation) = translation(prompt, &lower) {
        return Some(translation);
    }
    if let Some(options) = options(prompt, &lower) {
        return Some(Form::Choice(options));
    }
    if words.contains(&"haiku") {
        return Some(Form::Haiku);
    }
    if words.contains(&"joke") {
        return Some(Form::Joke);
    }
    if let Some(counted) = counted(&words, &lower) {
        return Some(counted);
    }
    if let Some(result) = arithmetic(&words, prompt) {
        return Some(Form::Number(result));
    }
    if words.iter().any(|word| word.starts_with("summar")) || contains("tl;dr") {
        return Some(Form::Summary);
    }
    let is_greeting = matches!(words.first(), Some(&("hello" | "hi" | "hey"))) && words.len() <= 6;
    is_greeting.then_some(Form::Greeting)
}

/// A form without a number: a list, an essay, a book.
fn vague(prompt: &str) -> Option<Form> {
    const USUAL_COUNT: usize = 5;
    let lower = &*prompt.to_lowercase();
    let words: Vec<&str> = words::words(lower).collect();
    let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(word));
    if layout(lower) != Layout::Lines || has(&["list", "outline"]) {
        let noun = words.iter().find_map(|word| item_noun(word, lower));
        let usual = if has(&["outline"]) { Noun::Title } else { Noun::Idea };
        return Some(items(USUAL_COUNT, noun.unwrap_or(usual), lower));
    }
    if has(&["essay", "article", "post", "report"]) && has(&["write", "draft", "compose"]) {
        return Some(Form::Paragraphs(if has(&["section", "introduction", "opening", "intro"]) {
            1
        } else {
            3
        }));
    }
    if has(&["story", "tale", "letter", "email"]) {
        return Some(Form::Paragraphs(2));
    }
    if has(&["paragraph", "section", "opening", "introduction"]) {
        return Some(Form::Paragraphs(1));
    }
    if has(&["poem", "verse", "song"]) {
        return Some(items(4, Noun::Line, lower));
    }
    if has(&["briefly", "short", "concise"]) {
        return Some(Form::Sentences(1));
    }
    let asks_for_one = has(&["name", "recommend", "suggest", "give", "pick", "choose"]);
    let noun = words.iter().find_map(|word| item_noun(word, lower).filter(|noun| *noun != Noun::Line))?;
    asks_for_one.then(|| items(1, noun, lower))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(count: usize, noun: Noun, layout: Layout) -> Option<Form> {
        Some(Form::Items { count, noun, layout })
    }

    #[test]
    fn counts_are_recognised_with_their_noun() {
        for (prompt, form) in [
            ("Write five lines about the sea.", list(5, Noun::Line, Layout::Lines)),
            ("Return a numbered list of 3 section titles.", list(3, Noun::Title, Layout::Numbered)),
            ("Give me ten questions, comma-separated", list(10, Noun::Question, Layout::Commas)),
            ("What is a good name for a company that makes socks?", list(1, Noun::Company, Layout::Lines)),
            ("Recommend a fantasy book", list(1, Noun::Book, Layout::Lines)),
            ("Return a JSON array of 4 ideas", list(4, Noun::Idea, Layout::Json)),
            ("Write a two-sentence intro for this article.", Some(Form::Sentences(2))),
            ("Explain tides in one sentence.", Some(Form::Sentences(1))),
            ("Describe the sea in exactly 20 words.", Some(Form::Words(20))),
            ("Write one detailed paragraph for the given section.", Some(Form::Paragraphs(1))),
        ] {
            assert_eq!(recognise(prompt, ""), form, "{prompt}");
        }
    }

    #[test]
    fn short_answers_are_recognised() {
        for (prompt, form) in [
            ("Is the sea salty? Answer yes or no.", Some(Form::YesNo)),
            ("Reply with exactly: ready.", Some(Form::Say("ready".into()))),
            ("What is 12 * 7?", Some(Form::Number(84.0))),
            ("What is 2+2", Some(Form::Number(4.0))),
            ("Hello, how are you?", Some(Form::Greeting)),
            (
                "Classify this review as positive, negative or neutral: great!",
                Some(Form::Choice(vec!["positive".into(), "negative".into(), "neutral".into()])),
            ),
            (
                "Translate \"good morning\" to French",
                Some(Form::Translation { text: "good morning".into(), language: "French" }),
            ),
            ("Why is the sky blue?", None),
        ] {
            assert_eq!(recognise(prompt, ""), form, "{prompt}");
        }
        let Some(Form::Number(power)) = recognise("What is 13 raised to the .3432 power?", "") else {
            panic!("no number")
        };
        assert!((power - 2.4116).abs() < 1e-3);
    }
}

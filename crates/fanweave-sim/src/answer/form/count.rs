//! Counted answers: five lines, a name, a list of titles.

use super::{Form, Layout, Noun};
use crate::answer::stock;
use crate::answer::words::number;

/// Maximum items, sentences or paragraphs, whatever the prompt requests.
const MAX_COUNT: usize = 200;

/// Maximum words, whatever the prompt requests.
const MAX_WORDS: usize = 5_000;

/// `five lines`, `3 section titles`, `a two-sentence intro`, `50 words`.
pub(super) fn counted(words: &[&str], lower: &str) -> Option<Form> {
    words.iter().enumerate().find_map(|(at, word)| {
        let count = number(word).filter(|count| *count > 0)?;
        // An article counts as one only directly before its noun: "a good name", but not "a list of names".
        let is_article = matches!(*word, "a" | "an");
        // "You are a writer" describes a role and counts nothing.
        if is_article && at > 0 && matches!(words[at - 1], "are" | "as" | "be") {
            return None;
        }
        let reach = if is_article { 2 } else { 3 };
        let after = &words[at + 1..words.len().min(at + 1 + reach)];
        let ends = |word: &&str| {
            matches!(*word, "for" | "of" | "about" | "that" | "to" | "with") || number(word).is_some()
        };
        let after = after.split(ends).next()?;
        after.iter().find_map(|noun| measure(noun, count, lower)).or_else(|| {
            let is_listing = words[..at]
                .iter()
                .rev()
                .take(3)
                .any(|verb| matches!(*verb, "list" | "give" | "name" | "suggest"));
            let is_plural = after.last().is_some_and(|noun| noun.len() > 3 && noun.ends_with('s'));
            (is_listing && is_plural && count > 1).then(|| items(count, Noun::Idea, lower))
        })
    })
}

/// This number of the items that a noun names.
fn measure(noun: &str, count: usize, lower: &str) -> Option<Form> {
    let few = count.min(MAX_COUNT);
    Some(match noun {
        "sentence" | "sentences" => Form::Sentences(few),
        "paragraph" | "paragraphs" => Form::Paragraphs(few),
        "word" | "words" => Form::Words(count.min(MAX_WORDS)),
        _ => items(few, item_noun(noun, lower)?, lower),
    })
}

pub(super) fn items(count: usize, noun: Noun, lower: &str) -> Form {
    Form::Items { count, noun, layout: layout(lower) }
}

/// Kind of item that a noun names.
pub(super) fn item_noun(noun: &str, lower: &str) -> Option<Noun> {
    if let Some(category) = stock::CATEGORIES.iter().find(|category| category.nouns.contains(&noun)) {
        return Some(Noun::Member(category));
    }
    Some(match noun {
        "title" | "titles" | "heading" | "headings" | "headline" | "headlines" | "chapters" | "sections"
        | "topics" | "subtopics" => Noun::Title,
        "company" | "companies" | "business" | "brand" | "brands" | "startup" | "startups" | "slogan" => {
            Noun::Company
        }
        "name" | "names" if !is_about_business(lower) => Noun::Person,
        "name" | "names" => Noun::Company,
        "question" | "questions" => Noun::Question,
        "fact" | "facts" | "reason" | "reasons" | "benefits" | "advantages" | "points" | "takeaways"
        | "bullets" | "bullet" => Noun::Sentence,
        "idea" | "ideas" | "tip" | "tips" | "step" | "steps" | "suggestions" | "examples" | "items"
        | "ways" | "things" => Noun::Idea,
        "book" | "books" | "novel" | "novels" => Noun::Book,
        "line" | "lines" => Noun::Line,
        "keywords" | "tags" => Noun::Word,
        _ => return None,
    })
}

fn is_about_business(lower: &str) -> bool {
    ["company", "business", "brand", "startup", "shop", "store", "product", "app", "agency"]
        .iter()
        .any(|word| lower.contains(word))
}

pub(super) fn layout(lower: &str) -> Layout {
    let contains = |phrase: &str| lower.contains(phrase);
    if contains("json") {
        Layout::Json
    } else if contains("comma") {
        Layout::Commas
    } else if contains("numbered") {
        Layout::Numbered
    } else if contains("bullet") {
        Layout::Bulleted
    } else {
        Layout::Lines
    }
}

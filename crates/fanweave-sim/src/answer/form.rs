//! What shape of answer a prompt asks for: five lines, a name, yes or no.

use super::stock::{self, Category};
use super::topic::LANGUAGES;
use super::{words, words::number};

/// A recognised request.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Form {
    /// So many of something, laid out somehow.
    Items {
        count: usize,
        noun: Noun,
        layout: Layout,
    },
    Sentences(usize),
    Paragraphs(usize),
    /// Exactly so many words.
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
    /// The text, in the language.
    Translation {
        text: String,
        language: &'static str,
    },
    /// A short form of the material in the prompt.
    Summary,
    /// The result of a calculation.
    Number(f64),
}

/// What an item is.
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
    /// One of a class that everybody knows members of, such as colours.
    Member(&'static Category),
}

/// How several items are laid out.
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

/// Most items, sentences or paragraphs given, whatever a prompt asks for.
const MOST: usize = 200;

/// Most words given, whatever a prompt asks for.
const MOST_WORDS: usize = 5_000;

/// The form that the message asks for, or else the instructions. Where one of them is exact, the other's vague wish does
/// not matter: "an outline" is three titles if the instructions say so.
pub(super) fn recognise(message: &str, instructions: &str) -> Option<Form> {
    exact(message).or_else(|| exact(instructions)).or_else(|| vague(message)).or_else(|| vague(instructions))
}

/// A form that `prompt` spells out.
fn exact(prompt: &str) -> Option<Form> {
    let lower = prompt.to_lowercase();
    let words: Vec<&str> = words::words(&lower).collect();
    let says = |phrase: &str| lower.contains(phrase);

    if let Some(text) = verbatim(prompt, &lower) {
        return Some(Form::Say(text));
    }
    if says("yes or no") || says("yes/no") {
        return Some(Form::YesNo);
    }
    if says("true or false") || says("true/false") {
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
    if words.iter().any(|word| word.starts_with("summar")) || says("tl;dr") {
        return Some(Form::Summary);
    }
    let is_greeting = matches!(words.first(), Some(&("hello" | "hi" | "hey"))) && words.len() <= 6;
    is_greeting.then_some(Form::Greeting)
}

/// `five lines`, `3 section titles`, `a two-sentence intro`, `50 words`.
fn counted(words: &[&str], lower: &str) -> Option<Form> {
    words.iter().enumerate().find_map(|(at, word)| {
        let count = number(word).filter(|count| *count > 0)?;
        // An article counts one only right before its noun: "a good name", but not "a list of names".
        let is_article = matches!(*word, "a" | "an");
        // "You are a writer": a part to play, nothing to count.
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

/// So many of what a noun names.
fn measure(noun: &str, count: usize, lower: &str) -> Option<Form> {
    let few = count.min(MOST);
    Some(match noun {
        "sentence" | "sentences" => Form::Sentences(few),
        "paragraph" | "paragraphs" => Form::Paragraphs(few),
        "word" | "words" => Form::Words(count.min(MOST_WORDS)),
        _ => items(few, item_noun(noun, lower)?, lower),
    })
}

fn items(count: usize, noun: Noun, lower: &str) -> Form {
    Form::Items { count, noun, layout: layout(lower) }
}

/// What kind of item a noun names.
fn item_noun(noun: &str, lower: &str) -> Option<Noun> {
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

fn layout(lower: &str) -> Layout {
    let says = |phrase: &str| lower.contains(phrase);
    if says("json") {
        Layout::Json
    } else if says("comma") {
        Layout::Commas
    } else if says("numbered") {
        Layout::Numbered
    } else if says("bullet") {
        Layout::Bulleted
    } else {
        Layout::Lines
    }
}

/// A form that comes without a number: a list, an essay, a book.
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

/// What the model shall say word for word: `Reply with exactly: ready`, `Say "hello"`.
fn verbatim(prompt: &str, lower: &str) -> Option<String> {
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
fn translation(prompt: &str, lower: &str) -> Option<Form> {
    let after =
        &prompt[lower.find("translate").filter(|_| lower.len() == prompt.len())? + "translate".len()..];
    let language = LANGUAGES.into_iter().find(|language| after.contains(language)).unwrap_or("English");
    let text = match after.split_once(':') {
        Some((_, text)) => text,
        None => after.split(" into ").next().and_then(|text| text.split(" to ").next()).unwrap_or(after),
    };
    let text = text.trim().trim_matches(['"', '\'', '“', '”']).trim_end_matches('.').to_owned();
    Some(Form::Translation { text, language })
}

/// `one of: red, green or blue`, `as positive, negative or neutral`.
fn options(prompt: &str, lower: &str) -> Option<Vec<String>> {
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
fn arithmetic(words: &[&str], prompt: &str) -> Option<f64> {
    let spaced: String = prompt
        .chars()
        .flat_map(|c| {
            let is_operator = matches!(c, '+' | '*' | '/' | '^' | '×' | '÷' | '−');
            if is_operator { [' ', c, ' '] } else { [c, '\0', '\0'] }
        })
        .filter(|c| *c != '\0')
        .collect::<String>()
        .to_lowercase();
    let tokens: Vec<&str> =
        spaced.split_whitespace().map(|token| token.trim_end_matches(['?', '.', ',', '!', '='])).collect();
    let is_question = words
        .iter()
        .any(|word| matches!(*word, "what" | "what's" | "calculate" | "compute" | "much" | "evaluate"));
    let number_at = |at: usize| tokens.get(at)?.parse::<f64>().ok();
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

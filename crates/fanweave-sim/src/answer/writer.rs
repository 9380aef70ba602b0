//! The writer: recognises the task in a prompt and answers it.

use serde_json::{Value, json};

use super::form::{self, Form, Layout, Noun};
use super::prose::{self, Topic};
use super::schema::{self, Hints};
use super::{ChatRequest, Role, extract, steps, stock, topic, words};
use crate::draw::Rng;

/// The writer's text for `request`.
pub(super) fn write(request: &ChatRequest<'_>, rng: &mut Rng) -> String {
    let results = tool_results(request);
    if !results.is_empty() {
        return extract::from_tools(&results);
    }
    let prompt = request.last_user_text();
    if let Some(step) = steps::answer(prompt) {
        return step;
    }
    if let Some(found) = extract::from_context(prompt) {
        return found;
    }
    let topic = topic_of(request);
    match form_of(request) {
        Some(form) => write_form(form, prompt, &topic, rng),
        None if prompt.trim_end().ends_with('?') => {
            let explanation = topic.fill_sentence(rng.pick(stock::EXPLANATIONS));
            format!("{explanation} {}", topic.fill_sentence(rng.pick(stock::MIDDLES)))
        }
        None => prose::sentences(3, &topic, rng).join(" "),
    }
}

/// A JSON object with the keys that the prompt names, or with the text under `answer`.
pub(super) fn write_json_object(request: &ChatRequest<'_>, rng: &mut Rng) -> String {
    let keys = named_keys(request.last_user_text());
    if keys.is_empty() {
        return json!({ "answer": write(request, rng) }).to_string();
    }
    let properties: serde_json::Map<String, Value> =
        keys.into_iter().map(|key| (key, json!({ "type": "string" }))).collect();
    schema::instance(&json!({ "type": "object", "properties": properties }), &Hints::of(request), rng)
        .to_string()
}

/// The results of the tools called last, if they have not been answered yet.
fn tool_results<'a>(request: &'a ChatRequest<'_>) -> Vec<&'a str> {
    let trailing = request.messages.iter().rev().take_while(|message| message.role == Role::Tool).count();
    request.messages[request.messages.len() - trailing..].iter().map(|message| &*message.text).collect()
}

/// The topic of the last message, or else of the instructions.
pub(super) fn topic_of(request: &ChatRequest<'_>) -> Topic {
    let system = request.messages.iter().find(|message| message.role == Role::System);
    Topic::new(topic::topic(request.last_user_text()).or_else(|| topic::topic(&system?.text)))
}

/// The form requested by the last message, or else by the instructions.
pub(super) fn form_of(request: &ChatRequest<'_>) -> Option<Form> {
    let system = request.messages.iter().find(|message| message.role == Role::System);
    form::recognise(
        &instruction(request.last_user_text()),
        &instruction(system.map_or("", |message| &message.text)),
    )
}

/// The instruction in `prompt`: its first paragraph and a short last line, without the material in between.
fn instruction(prompt: &str) -> String {
    const MAX_LINE_BYTES: usize = 300;
    let prompt = prompt.trim();
    let Some((first, rest)) = prompt.split_once("\n\n") else { return prompt.to_owned() };
    let last = rest.lines().last().filter(|line| line.len() <= MAX_LINE_BYTES).unwrap_or_default();
    format!("{first}\n{last}")
}

/// The keys in `as JSON with the keys name, age and city`.
fn named_keys(prompt: &str) -> Vec<String> {
    let lower = prompt.to_ascii_lowercase();
    let after = ["keys", "fields", "properties", "key", "field"]
        .iter()
        .find_map(|label| lower.find(label).map(|at| &prompt[at + label.len()..]))
        .unwrap_or_default();
    let clause = after.split(['.', '?', '!', '\n']).next().unwrap_or_default();
    words::words(&clause.replace('_', "\u{200b}"))
        .filter(|word| !matches!(*word, "and" | "or" | "the" | "for"))
        .map(str::to_owned)
        .collect()
}

fn write_form(form: Form, prompt: &str, topic: &Topic, rng: &mut Rng) -> String {
    match form {
        Form::Items { count, noun, layout } => lay_out(layout, &items(count, noun, topic, rng)),
        Form::Sentences(count) => prose::sentences(count, topic, rng).join(" "),
        Form::Paragraphs(1) => prose::paragraph(topic, rng),
        Form::Paragraphs(count) => prose::paragraphs(count, topic, rng).join("\n\n"),
        Form::Words(count) => prose::exactly_words(count, topic, rng),
        Form::YesNo => rng.pick(&["Yes", "No"]).to_owned(),
        Form::TrueFalse => rng.pick(&["True", "False"]).to_owned(),
        Form::Haiku => stock::HAIKU
            .iter()
            .map(|lines| topic.fill_sentence(rng.pick(lines)))
            .collect::<Vec<_>>()
            .join("\n"),
        Form::Joke => topic.fill_sentence(rng.pick(stock::JOKES)),
        Form::Greeting => rng
            .pick(&[
                "Hello! I am doing well, thank you. How can I help you today?",
                "Hi there! All is well on my side. What are you working on?",
                "Hello! It is good to hear from you. What can I do for you?",
            ])
            .to_owned(),
        Form::Choice(options) => options[rng.below(options.len())].clone(),
        Form::Say(text) => text,
        Form::Translation { text, language } => format!("{text} ({})", in_language(language)),
        Form::Summary => {
            extract::summary(prompt).unwrap_or_else(|| prose::sentences(2, topic, rng).join(" "))
        }
        Form::Number(number) => format!("{}", (number * 1e6).round() / 1e6),
    }
}

/// The name of a language in that language. The actual translation is omitted.
fn in_language(language: &str) -> &'static str {
    match language {
        "French" => "en français",
        "German" => "auf Deutsch",
        "Spanish" => "en español",
        "Italian" => "in italiano",
        "Portuguese" => "em português",
        "Dutch" => "in het Nederlands",
        "Latin" => "Latine",
        _ => "in English",
    }
}

/// `count` different items, if the stock has enough.
fn items(count: usize, noun: Noun, topic: &Topic, rng: &mut Rng) -> Vec<String> {
    let of = |templates: &[&'static str], rng: &mut Rng| -> Vec<String> {
        rng.cycle(templates).take(count).map(|template| topic.fill_sentence(template)).collect()
    };
    let mut items = match noun {
        Noun::Title => of(stock::TITLES, rng),
        Noun::Company => {
            let product = topic.phrase().split_whitespace().last().unwrap_or_default();
            let product = Topic::new(Some(product.to_owned()));
            rng.cycle(stock::COMPANIES).take(count).map(|template| product.fill(template)).collect()
        }
        Noun::Person => of(stock::PEOPLE, rng),
        Noun::Question => of(stock::QUESTIONS, rng),
        Noun::Sentence => of(stock::MIDDLES, rng),
        Noun::Idea => of(stock::IDEAS, rng),
        // The lines of a poem keep their order.
        Noun::Line => stock::LINES.iter().cycle().take(count).map(|line| topic.fill_sentence(line)).collect(),
        Noun::Word => {
            let own = topic.phrase().split_whitespace().map(str::to_lowercase);
            own.chain(
                rng.cycle(&["craft", "future", "history", "practice", "people", "place", "time"])
                    .map(str::to_owned),
            )
            .take(count)
            .collect()
        }
        Noun::Member(category) => rng.cycle(category.members).take(count).map(str::to_owned).collect(),
        Noun::Book => {
            let authors = rng.cycle(stock::PEOPLE);
            let reason = rng.pick(stock::BOOK_REASONS);
            let books = rng.cycle(stock::BOOKS).zip(authors).take(count);
            let mut books: Vec<String> =
                books.map(|(book, author)| format!("\"{book}\" by {author}")).collect();
            if let [only] = &mut *books {
                only.push_str(&format!(": {reason}."));
            }
            books
        }
    };
    number_repeats(&mut items);
    items
}

/// Numbers items that are repeated because the stock is exhausted: `The Future of Tides (2)`.
fn number_repeats(items: &mut [String]) {
    let mut seen = std::collections::HashMap::new();
    for item in items {
        let times = seen.entry(item.clone()).and_modify(|times| *times += 1).or_insert(1);
        if *times > 1 {
            item.push_str(&format!(" ({times})"));
        }
    }
}

fn lay_out(layout: Layout, items: &[String]) -> String {
    let lines = |prefix: &dyn Fn(usize) -> String| {
        items.iter().enumerate().map(|(index, item)| prefix(index) + item).collect::<Vec<_>>().join("\n")
    };
    match layout {
        Layout::Lines => items.join("\n"),
        Layout::Numbered => lines(&|index| format!("{}. ", index + 1)),
        Layout::Bulleted => lines(&|_| "- ".to_owned()),
        Layout::Commas => items.join(", "),
        Layout::Json => Value::from(items).to_string(),
    }
}

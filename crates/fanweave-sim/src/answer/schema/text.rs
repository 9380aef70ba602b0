//! Texts that fit their name, format, pattern and length.

use regex_syntax::hir::{Class, Hir, HirKind};
use serde_json::{Map, Value};

use super::{Hints, object};
use crate::answer::{prose, stock, words};
use crate::draw::Rng;

/// A text that conforms to `keywords` and suits a property called `key`. `None` where the pattern or the bounds admit
/// none that could be found.
pub(super) fn instance(
    keywords: &Map<String, Value>,
    key: &str,
    hints: &Hints,
    rng: &mut Rng,
) -> Option<String> {
    let keyword = |name: &str| keywords.get(name).and_then(Value::as_str);
    if let Some(text) = keyword("format").and_then(|format| formatted(format, rng)) {
        return Some(text);
    }
    let least = object::bound(keywords, "minLength").unwrap_or(0);
    let most = object::bound(keywords, "maxLength").unwrap_or(usize::MAX);
    if let Some(pattern) = keyword("pattern") {
        return matching(pattern, least, rng);
    }
    (least <= most).then(|| fit(suiting(key, hints, rng), least, most, hints, rng))
}

/// A text in one of the formats of JSON schema; `None` for one that is not known.
fn formatted(format: &str, rng: &mut Rng) -> Option<String> {
    let (year, month, day) = (2000 + rng.below(26), 1 + rng.below(12), 1 + rng.below(28));
    let (hour, minute) = (rng.below(24), rng.below(60));
    Some(match format {
        "date" => format!("{year}-{month:02}-{day:02}"),
        "time" => format!("{hour:02}:{minute:02}:00Z"),
        "date-time" => format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:00Z"),
        "duration" => format!("PT{}M", 1 + minute),
        "email" | "idn-email" => {
            let name = rng.pick(stock::PEOPLE).to_lowercase().replace(' ', ".");
            format!("{name}@example.com")
        }
        "hostname" | "idn-hostname" => format!("host{}.example.com", rng.below(100)),
        "ipv4" => format!("192.0.2.{}", 1 + rng.below(254)),
        "ipv6" => format!("2001:db8::{:x}", 1 + rng.below(0xFFFE)),
        "uri" | "url" | "iri" | "uri-reference" => format!("https://example.com/{:06x}", rng.below(1 << 24)),
        "uuid" => {
            let (high, low) = (rng.bits(), rng.bits());
            format!(
                "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
                high >> 32,
                high >> 16 & 0xFFFF,
                high & 0xFFF,
                low >> 52,
                low & 0xFFFF_FFFF_FFFF
            )
        }
        _ => return None,
    })
}

/// A text that a property of this name could have.
fn suiting(key: &str, hints: &Hints, rng: &mut Rng) -> String {
    let topic = &hints.topic;
    let key = key.to_lowercase();
    let is = |names: &[&str]| names.iter().any(|name| key.contains(name));
    let named = |otherwise: &[&str], rng: &mut Rng| {
        hints.names.first().cloned().unwrap_or_else(|| rng.pick(otherwise).to_owned())
    };
    if is(&["email"]) {
        formatted("email", rng).unwrap_or_default()
    } else if is(&["url", "link", "website"]) {
        formatted("uri", rng).unwrap_or_default()
    } else if key == "date" || key.ends_with("_date") {
        formatted("date", rng).unwrap_or_default()
    } else if is(&["city", "location", "place", "country", "destination", "town"]) {
        named(stock::CATEGORIES[4].members, rng)
    } else if is(&["author", "writer"]) {
        rng.pick(stock::PEOPLE).to_owned()
    } else if is(&["book"]) {
        rng.pick(stock::BOOKS).to_owned()
    } else if is(&["name", "person", "character"]) {
        named(stock::PEOPLE, rng)
    } else if is(&["genre", "topic", "subject", "query", "search", "keyword", "product"]) {
        topic.phrase().to_owned()
    } else if is(&["question"]) {
        topic.fill_sentence(rng.pick(stock::QUESTIONS))
    } else if is(&["color", "colour"]) {
        rng.pick(stock::CATEGORIES[0].members).to_owned()
    } else if is(&["tag", "word", "id", "code"]) {
        let word = words::telling_words(topic.phrase()).next().unwrap_or_else(|| "item".to_owned());
        format!("{word}-{}", 1 + rng.below(99))
    } else if is(&["step", "idea", "tip", "action", "suggestion", "task"]) {
        topic.fill_sentence(rng.pick(stock::IDEAS))
    } else if is(&[
        "summary",
        "description",
        "text",
        "content",
        "body",
        "answer",
        "reason",
        "explanation",
        "message",
        "fact",
        "point",
        "sentence",
        "note",
        "comment",
    ]) {
        prose::sentences(1, topic, rng).concat()
    } else {
        topic.fill_sentence(rng.pick(stock::TITLES))
    }
}

/// `text`, made longer with more sentences or cut, so that it has from `least` to `most` characters.
fn fit(mut text: String, least: usize, most: usize, hints: &Hints, rng: &mut Rng) -> String {
    let mut length = text.chars().count();
    while length < least {
        let more = format!(" {}", prose::paragraph(&hints.topic, rng));
        length += more.chars().count();
        text.push_str(&more);
    }
    if length > most {
        let end = text.char_indices().nth(most).map_or(text.len(), |(at, _)| at);
        text.truncate(end);
        if text.ends_with(' ') {
            text.pop();
            text.push('.');
        }
    }
    text
}

/// A text in which `pattern` matches. Look-arounds are not understood.
fn matching(pattern: &str, least: usize, rng: &mut Rng) -> Option<String> {
    let hir = regex_syntax::Parser::new().parse(pattern).ok()?;
    let mut text = String::new();
    write_match(&hir, least, &mut text, rng);
    Some(text)
}

/// Appends something that `hir` matches; open repetitions go on until the text has `least` characters.
fn write_match(hir: &Hir, least: usize, text: &mut String, rng: &mut Rng) {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => text.push_str(&String::from_utf8_lossy(&literal.0)),
        HirKind::Class(Class::Unicode(class)) => {
            // Letters and digits read better than whatever else a class contains.
            let pleasant = ('a'..='z').chain('A'..='Z').chain('0'..='9');
            let contains =
                |c: &char| class.ranges().iter().any(|range| (range.start()..=range.end()).contains(c));
            let pleasant: Vec<char> = pleasant.filter(contains).collect();
            let first = class.ranges().first().map(regex_syntax::hir::ClassUnicodeRange::start);
            text.extend(pleasant.get(rng.below(pleasant.len())).copied().or(first));
        }
        HirKind::Class(Class::Bytes(class)) => {
            text.extend(class.ranges().first().map(|range| char::from(range.start())));
        }
        HirKind::Repetition(repetition) => {
            let most = repetition.max.unwrap_or(u32::MAX).min(repetition.min.saturating_add(4096));
            let wanted = repetition.min.max(1).min(most);
            for turn in 0..most {
                if turn >= wanted && text.chars().count() >= least {
                    break;
                }
                write_match(&repetition.sub, least, text, rng);
            }
        }
        HirKind::Capture(capture) => write_match(&capture.sub, least, text, rng),
        HirKind::Concat(parts) => parts.iter().for_each(|part| write_match(part, least, text, rng)),
        HirKind::Alternation(choices) => write_match(&choices[rng.below(choices.len())], least, text, rng),
    }
}

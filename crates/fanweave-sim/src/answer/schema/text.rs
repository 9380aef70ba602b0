//! Strings that fit their name, format, pattern and length.

use std::collections::HashMap;

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind};
use serde_json::{Map, Value};

use super::{Hints, object};
use crate::answer::{prose, stock, words};
use crate::draw::Rng;

/// A string that conforms to `keywords` and suits a property called `key`. `None` if no string within the
/// pattern, the bounds and about `room` bytes is found.
pub(super) fn instance(
    keywords: &Map<String, Value>,
    key: &str,
    room: usize,
    hints: &Hints,
    rng: &mut Rng,
) -> Option<String> {
    let keyword = |name: &str| keywords.get(name).and_then(Value::as_str);
    if let Some(text) = keyword("format").and_then(|format| formatted(format, rng)) {
        return Some(text);
    }
    let min = object::bound(keywords, "minLength").unwrap_or(0);
    let max = object::bound(keywords, "maxLength").unwrap_or(usize::MAX);
    if let Some(pattern) = keyword("pattern") {
        return matching(pattern, min, room, rng);
    }
    (min <= max.min(room)).then(|| fit(suiting(key, hints, rng), min, max, hints, rng))
}

/// A string in one of the formats of JSON Schema; `None` for an unknown format.
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

/// A plausible string for a property of this name.
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

/// `text`, extended with more sentences or cut to between `min` and `max` characters.
fn fit(mut text: String, min: usize, max: usize, hints: &Hints, rng: &mut Rng) -> String {
    let mut length = text.chars().count();
    while length < min {
        let more = format!(" {}", prose::paragraph(&hints.topic, rng));
        length += more.chars().count();
        text.push_str(&more);
    }
    if length > max {
        let end = text.char_indices().nth(max).map_or(text.len(), |(at, _)| at);
        text.truncate(end);
        if text.ends_with(' ') {
            text.pop();
            text.push('.');
        }
    }
    text
}

/// Maximum parts of a pattern per string, counting repetitions.
const MAX_PARTS: u32 = 1 << 20;

/// A string that matches `pattern`. Look-arounds are not supported.
fn matching(pattern: &str, min: usize, room: usize, rng: &mut Rng) -> Option<String> {
    let hir = regex_syntax::Parser::new().parse(pattern).ok()?;
    let mut writer =
        Match { text: String::new(), length: 0, min, room, parts: MAX_PARTS, pleasant: HashMap::new(), rng };
    writer.write(&hir)?;
    Some(writer.text)
}

/// A matching string under construction.
struct Match<'a> {
    text: String,
    /// Number of characters so far.
    length: usize,
    /// Open repetitions continue up to this length.
    min: usize,
    /// Maximum bytes.
    room: usize,
    /// Remaining parts.
    parts: u32,
    /// Preferred characters of the classes seen so far, by their address in the pattern.
    pleasant: HashMap<*const ClassUnicode, Vec<char>>,
    rng: &'a mut Rng,
}

impl Match<'_> {
    fn push(&mut self, text: &str) -> Option<()> {
        self.text.push_str(text);
        self.length += text.chars().count();
        (self.text.len() <= self.room).then_some(())
    }

    /// Appends text that `hir` matches. `None` if it exceeds the limits.
    fn write(&mut self, hir: &Hir) -> Option<()> {
        self.parts = self.parts.checked_sub(1)?;
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => Some(()),
            HirKind::Literal(literal) => self.push(&String::from_utf8_lossy(&literal.0)),
            HirKind::Class(Class::Unicode(class)) => {
                let pleasant =
                    self.pleasant.entry(std::ptr::from_ref(class)).or_insert_with(|| pleasant(class));
                let first = class.ranges().first().map(ClassUnicodeRange::start);
                let one = pleasant.get(self.rng.below(pleasant.len())).copied().or(first);
                one.map_or(Some(()), |c| self.push(c.encode_utf8(&mut [0; 4])))
            }
            HirKind::Class(Class::Bytes(class)) => {
                let first = class.ranges().first().map(|range| char::from(range.start()));
                first.map_or(Some(()), |c| self.push(c.encode_utf8(&mut [0; 4])))
            }
            HirKind::Repetition(repetition) => {
                let max = repetition.max.unwrap_or(u32::MAX).min(repetition.min.saturating_add(4096));
                let target = repetition.min.max(1).min(max);
                for count in 0..max {
                    if count >= target && self.length >= self.min {
                        break;
                    }
                    self.write(&repetition.sub)?;
                }
                Some(())
            }
            HirKind::Capture(capture) => self.write(&capture.sub),
            HirKind::Concat(parts) => parts.iter().try_for_each(|part| self.write(part)),
            HirKind::Alternation(choices) => {
                let choice = self.rng.below(choices.len());
                self.write(&choices[choice])
            }
        }
    }
}

/// The letters and digits of a class, preferred for readability.
fn pleasant(class: &ClassUnicode) -> Vec<char> {
    let all = ('a'..='z').chain('A'..='Z').chain('0'..='9');
    all.filter(|c| class.ranges().iter().any(|range| (range.start()..=range.end()).contains(c))).collect()
}

//! Events that repeat the one before with another piece of text.
//!
//! Nearly all events of a stream differ from the one before in their text alone. Once the dialect has read
//! one of them, those after it are compared with its bytes, and only their text is read.

use std::borrow::Cow;

use fanweave_core::{Delta, Usage};
use memchr::{memchr, memchr2, memmem};

use crate::protocol::SseEvent;

/// Fields with a piece of text, in all dialects.
const TEXTS: [&str; 8] = [
    "content",
    "text",
    "delta",
    "thinking",
    "reasoning_content",
    "reasoning",
    "response",
    "thinking_content",
];

/// Fields that no dialect reads in an event with a piece of text, and whose values change with each event.
const IGNORED: [&str; 5] = ["created", "created_at", "obfuscation", "sequence_number", "p"];

/// Fields with the usage so far.
const USAGES: [&str; 2] = ["usage", "usageMetadata"];

/// Maximum number of events that are remembered without a repetition of any: no more of the stream is then.
const MAX_MISSES: u8 = 8;

/// Reads the counts in a field with the usage.
type ReadUsage<'f> = &'f dyn Fn(&str) -> Option<Usage>;

/// The last event of a stream, if it can be repeated.
#[derive(Default)]
pub(super) struct Repeated {
    is_set: bool,
    name: String,
    /// The pieces of the event, in its order.
    pieces: Vec<Piece>,
    /// The bytes of all literals.
    literals: Vec<u8>,
    /// The usage in the event.
    usage: String,
    is_reasoning: bool,
    part: u32,
    /// Number of events remembered since the last one that was repeated.
    misses: u8,
}

/// A piece of an event.
#[derive(Clone, Copy)]
enum Piece {
    /// So many bytes that are the same in all events.
    Literal(usize),
    /// A value that is not read: a number, or a string without escapes.
    Ignored,
    /// An object with the usage.
    Usage,
    /// The text, up to its closing quote.
    Text,
}

/// The text and usage of an event that repeats the last one.
pub(super) struct Repetition<'e> {
    pub(super) delta: Delta,
    /// The usage, if it has changed.
    pub(super) usage: Option<&'e str>,
}

impl Repeated {
    /// The text and usage of an event that is like the last one.
    pub(super) fn read<'e>(&mut self, event: &SseEvent<'e>) -> Option<Repetition<'e>> {
        if !self.is_set || event.name != self.name {
            return None;
        }
        let (mut text, mut usage) = (None, None);
        let (mut rest, mut literals) = (event.data, &*self.literals);
        for piece in &self.pieces {
            let len = match *piece {
                Piece::Literal(len) => {
                    let (literal, after) = literals.split_at(len);
                    literals = after;
                    if !rest.as_bytes().starts_with(literal) {
                        return None;
                    }
                    len
                }
                Piece::Ignored => ignored(rest)?,
                Piece::Usage => {
                    let len = object(rest)?;
                    usage = Some(&rest[..len]);
                    len
                }
                Piece::Text => {
                    let (len, content) = string(rest)?;
                    text = Some(content);
                    len
                }
            };
            rest = rest.get(len..)?;
        }
        let text = text.filter(|text| !text.is_empty() && rest.is_empty())?;
        self.misses = 0;
        let (part, text) = (self.part, text.into_owned());
        let delta = match self.is_reasoning {
            true => Delta::Reasoning { part, text, signature: None },
            false => Delta::Text { part, text },
        };
        let usage = usage.filter(|usage| **usage != *self.usage);
        if let Some(usage) = usage {
            usage.clone_into(&mut self.usage);
        }
        Some(Repetition { delta, usage })
    }

    /// Forgets the last event.
    pub(super) fn forget(&mut self) {
        self.is_set = false;
    }

    /// Remembers an event by its deltas, if the only ones are a text and, after it, a usage that
    /// `reads_usage` reads apart from the event.
    pub(super) fn remember(
        &mut self,
        event: &SseEvent<'_>,
        deltas: &[Delta],
        reads_usage: impl Fn(&str) -> Option<Usage>,
    ) {
        let (first, counts) = match deltas {
            [first] => (first, None),
            [first, Delta::Usage(counts)] => (first, Some(*counts)),
            _ => return,
        };
        let (is_reasoning, part, text) = match first {
            Delta::Text { part, text } => (false, *part, text),
            Delta::Reasoning { part, text, signature: None } => (true, *part, text),
            _ => return,
        };
        if text.is_empty() || self.misses == MAX_MISSES {
            return;
        }
        let quoted = format!("\"{text}\"");
        let mut found = memmem::find_iter(event.data.as_bytes(), quoted.as_bytes());
        let (Some(at), None) = (found.next(), found.next()) else { return };
        if !TEXTS.iter().any(|name| is_field(&event.data[..at], name)) {
            return;
        }
        self.pieces.clear();
        self.literals.clear();
        self.usage.clear();
        let (start, end) = (at + 1, at + quoted.len() - 1);
        let usage_field = counts.map(|counts| (counts, &reads_usage as ReadUsage<'_>));
        self.literal(&event.data[..start], usage_field);
        self.pieces.push(Piece::Text);
        self.literal(&event.data[end..], usage_field);
        event.name.clone_into(&mut self.name);
        (self.is_reasoning, self.part) = (is_reasoning, part);
        self.misses += 1;
        self.is_set = true;
    }

    /// Adds the pieces of a text before or after the one that is read.
    fn literal(&mut self, text: &str, usage: Option<(Usage, ReadUsage<'_>)>) {
        let (mut begun, mut from) = (0, 0);
        // The value of each field follows a colon.
        while let Some(colon) = memchr(b':', &text.as_bytes()[from..]).map(|at| from + at) {
            from = colon + 1;
            let start = from + usize::from(text[from..].starts_with(' '));
            let (name, value) = (&text[..start], &text[start..]);
            let piece = if IGNORED.iter().any(|ignored| is_field(name, ignored)) {
                ignored(value).map(|len| (Piece::Ignored, len))
            } else if let Some((counts, reads_usage)) = usage
                && self.usage.is_empty()
                && USAGES.iter().any(|usage| is_field(name, usage))
            {
                let len = object(value).filter(|len| reads_usage(&value[..*len]) == Some(counts));
                len.map(|len| (Piece::Usage, len))
            } else {
                None
            };
            let Some((piece, len)) = piece else { continue };
            self.push(&text[begun..start]);
            self.pieces.push(piece);
            if matches!(piece, Piece::Usage) {
                self.usage.push_str(&value[..len]);
            }
            begun = start + len;
            from = begun;
        }
        self.push(&text[begun..]);
    }

    fn push(&mut self, literal: &str) {
        self.pieces.push(Piece::Literal(literal.len()));
        self.literals.extend_from_slice(literal.as_bytes());
    }
}

/// Returns true if `text` ends in the name of this field and a colon. An escaped quote is not that of a name.
fn is_field(text: &str, name: &str) -> bool {
    let text = text.strip_suffix(' ').unwrap_or(text);
    let before = text.strip_suffix("\":").and_then(|text| text.strip_suffix(name));
    before.is_some_and(|before| before.ends_with('"') && !before.ends_with("\\\""))
}

/// The length of a number, or of a string without escapes.
fn ignored(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    match bytes.first()? {
        b'"' => {
            let end = memchr2(b'"', b'\\', &bytes[1..])? + 1;
            (bytes[end] == b'"').then_some(end + 1)
        }
        b'0'..=b'9' => bytes.iter().position(|byte| !byte.is_ascii_digit()),
        _ => None,
    }
}

/// The length of an object without escapes in its strings.
fn object(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            b'\\' => return None,
            _ if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// The length of a string up to its closing quote, and its text. `None` if it is not valid.
fn string(text: &str) -> Option<(usize, Cow<'_, str>)> {
    let bytes = text.as_bytes();
    let end = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | ..0x20))?;
    if bytes[end] == b'"' {
        return Some((end, Cow::Borrowed(&text[..end])));
    }
    let (mut at, mut is_escaped) = (end, false);
    loop {
        match bytes.get(at)? {
            b'"' if !is_escaped => break,
            b'\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
        at += 1;
    }
    let quoted = format!("\"{}\"", &text[..at]);
    Some((at, Cow::Owned(serde_json::from_str(&quoted).ok()?)))
}

#[cfg(test)]
mod tests;

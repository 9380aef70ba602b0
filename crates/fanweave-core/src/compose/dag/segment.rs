//! Splits the template of the output into segments, so that its text can be streamed while its parts arrive.

use std::sync::Arc;

use crate::Template;

/// A part of a template.
#[derive(Clone)]
pub(super) enum Segment {
    /// Text without expressions.
    Literal(String),
    /// `{{ steps.NAME.output }}`.
    Output { step: usize, template: Template },
    /// `{{ steps.NAME.output | join('..') }}`.
    Joined { step: usize, separator: String, template: Template },
    /// Any other expression.
    Other(Template),
}

impl Segment {
    /// The step whose output arrives in this segment.
    pub(super) fn step(&self) -> Option<usize> {
        match self {
            Segment::Output { step, .. } | Segment::Joined { step, .. } => Some(*step),
            Segment::Literal(_) | Segment::Other(_) => None,
        }
    }
}

/// Maximum literals and expressions of an output that is streamed part by part.
const MAX_SEGMENTS: usize = 512;

/// Splits a template into segments whose texts, joined, are the text of the template. `None` if it has
/// statements, comments or whitespace control, which affect the text around them.
///
/// `None` beyond [`MAX_SEGMENTS`], too: each is a template of its own, and is looked up among all steps.
pub(super) fn segments(text: &str, names: &[Arc<str>]) -> Option<Vec<Segment>> {
    // Jinja drops one trailing line break, including CRLF.
    let mut rest = text.strip_suffix('\n').unwrap_or(text);
    rest = rest.strip_suffix('\r').unwrap_or(rest);
    let mut segments = Vec::new();
    loop {
        let Some(open) =
            rest.find('{').filter(|_| rest.contains("{{") || rest.contains("{%") || rest.contains("{#"))
        else {
            segments.push(Segment::Literal(rest.to_owned()));
            return Some(segments);
        };
        if segments.len() >= MAX_SEGMENTS {
            return None;
        }
        let (literal, tail) = rest.split_at(open);
        if tail.starts_with("{%")
            || tail.starts_with("{#")
            || tail.starts_with("{{-")
            || tail.starts_with("{{+")
        {
            return None;
        }
        let Some(inside) = tail.strip_prefix("{{") else {
            segments.push(Segment::Literal(rest[..=open].to_owned()));
            rest = &rest[open + 1..];
            continue;
        };
        let end = close(inside)?;
        let expression = &inside[..end];
        if expression.ends_with('-') || expression.ends_with('+') {
            return None;
        }
        segments.push(Segment::Literal(literal.to_owned()));
        segments.push(segment(expression, names)?);
        rest = &inside[end + 2..];
    }
}

/// Offset of the end of the expression: the first `}}` outside of quotes and braces.
fn close(text: &str) -> Option<usize> {
    let (mut quote, mut depth, mut escaped) = (None, 0usize, false);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') if depth > 0 => depth -= 1,
            (None, '}') => return text[at..].starts_with("}}").then_some(at),
            (None, _) => {}
        }
    }
    None
}

fn segment(expression: &str, names: &[Arc<str>]) -> Option<Segment> {
    let template = Template::parse(format!("{{{{{expression}}}}}")).ok()?;
    let bare = expression.trim();
    if let Some(step) = output_of(bare, names) {
        return Some(Segment::Output { step, template });
    }
    if let Some((list, join)) = bare.split_once('|')
        && let Some(step) = output_of(list.trim(), names)
        && let Some(separator) = separator(join.trim())
    {
        return Some(Segment::Joined { step, separator, template });
    }
    Some(Segment::Other(template))
}

/// The step of `steps.NAME.output`.
fn output_of(path: &str, names: &[Arc<str>]) -> Option<usize> {
    let name = path.strip_prefix("steps.")?.strip_suffix(".output")?;
    names.iter().position(|known| **known == *name)
}

/// The separator of `join('..')`. `None` if it has escapes other than `\n`.
fn separator(join: &str) -> Option<String> {
    let inside = join.strip_prefix("join")?.trim().strip_prefix('(')?.strip_suffix(')')?.trim();
    let quote = inside.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let text = inside.strip_prefix(quote)?.strip_suffix(quote)?;
    let plain = text.replace("\\n", "\n");
    (!plain.contains('\\') && !plain.contains(quote)).then_some(plain)
}

//! Reads what models write in place of JSON: other quotes, missing commas, comments, literals of Python.
//!
//! Nothing is made up: a text, list or object without an end, a missing value and a missing colon are errors.

use serde_json::{Map, Number, Value};

use super::MAX_DEPTH;
use super::candidates::comment_len;

/// Maximum characters of a key that is looked for after a comma.
const MAX_KEY_LEN: usize = 128;

/// Maximum bytes of a literal or number before a comma. 64: the longest double has 24.
const MAX_LITERAL_LEN: usize = 64;

/// Characters that look-ahead may read for each character of the text. 16: real answers need 2. It bounds the
/// time to read a text in which every quote is ambiguous.
const LOOK_AHEAD: usize = 16;

/// The reason why a text cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failed {
    /// Offset in the text.
    pub at: usize,
    pub why: &'static str,
}

/// Reads a text that is meant as one JSON value.
pub(crate) fn whole(text: &str) -> Option<Value> {
    let text = text.trim();
    let (value, len) = read(text).ok()?;
    (len == text.len()).then_some(value)
}

/// Reads the object, array or tuple that begins `text`. Returns its length too: the rest is prose.
pub(super) fn read(text: &str) -> Result<(Value, usize), Failed> {
    if !text.starts_with(['{', '[', '(']) {
        return Err(Failed { at: 0, why: NO_VALUE });
    }
    let mut parser =
        Parser { text, at: 0, stack: Vec::new(), root: None, fuel: text.len() * LOOK_AHEAD + 1_000 };
    parser.run()?;
    let at = parser.at;
    parser.root.map(|root| (root, at)).ok_or(Failed { at, why: TRUNCATED })
}

/// Reads a whole text that is a tuple, a literal or a number.
pub(super) fn read_whole(text: &str) -> Option<Value> {
    let text = text.trim();
    if let Some(value) = scalar(text) {
        return Some(value);
    }
    if !text.starts_with('(') {
        return None;
    }
    // Read as the only item of a list, because a value in parentheses may be a scalar.
    let list = format!("[{text}]");
    let (value, len) = read(&list).ok()?;
    let Value::Array(mut items) = value else { return None };
    (len == list.len() && items.len() == 1).then(|| items.remove(0))
}

const TRUNCATED: &str = "the JSON is truncated";
const NO_COLON: &str = "expected a colon after the key";
const NO_VALUE: &str = "expected a value";

enum Frame {
    Array { items: Vec<Value>, open: char, has_comma: bool },
    Object { fields: Map<String, Value>, key: Option<String>, kind: ObjectKind },
}

#[derive(Clone, Copy, PartialEq)]
enum ObjectKind {
    Plain,
    /// Written with two braces, as in templates.
    Doubled,
    /// A member within a list: `["a": 1]`.
    Implied,
}

/// The kind of value that surrounds a position.
#[derive(Clone, Copy, PartialEq)]
enum Within {
    Array,
    Object,
}

#[derive(Clone, Copy, PartialEq)]
enum Next {
    Value,
    Key,
    Comma,
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    stack: Vec<Frame>,
    root: Option<Value>,
    fuel: usize,
}

impl Parser<'_> {
    fn run(&mut self) -> Result<(), Failed> {
        let mut next = Next::Value;
        loop {
            self.at = self.skip(self.at);
            let Some(c) = self.char(self.at) else { return Err(self.failed(TRUNCATED)) };
            next = match next {
                Next::Value => self.value(c)?,
                Next::Key => self.key(c)?,
                Next::Comma => self.comma(c)?,
            };
            if self.stack.is_empty() {
                return Ok(());
            }
        }
    }

    fn failed(&self, why: &'static str) -> Failed {
        Failed { at: self.at, why }
    }

    fn char(&self, at: usize) -> Option<char> {
        self.text[at..].chars().next()
    }

    /// The offset after white space and comments.
    fn skip(&self, mut at: usize) -> usize {
        loop {
            let rest = &self.text[at..];
            let trimmed = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
            at += rest.len() - trimmed.len();
            match comment_len(trimmed) {
                0 => return at,
                len => at += len,
            }
        }
    }

    /// Like [`skip`](Self::skip), for look-ahead.
    fn look(&mut self, at: usize) -> Result<usize, Failed> {
        let end = self.skip(at);
        self.spend(end - at + 1)?;
        Ok(end)
    }

    fn spend(&mut self, len: usize) -> Result<(), Failed> {
        self.fuel = self.fuel.checked_sub(len).ok_or_else(|| self.failed("too many ambiguous quotes"))?;
        Ok(())
    }

    fn within(&self) -> Within {
        match self.stack.last() {
            Some(Frame::Object { .. }) => Within::Object,
            _ => Within::Array,
        }
    }

    fn value(&mut self, c: char) -> Result<Next, Failed> {
        match c {
            '{' | '[' | '(' => {
                if self.stack.len() >= MAX_DEPTH {
                    return Err(self.failed("the JSON is nested too deeply"));
                }
                self.at += 1;
                if c == '{' {
                    self.stack.push(Frame::Object { fields: Map::new(), key: None, kind: ObjectKind::Plain });
                    return Ok(Next::Key);
                }
                self.stack.push(Frame::Array { items: Vec::new(), open: c, has_comma: false });
                Ok(Next::Value)
            }
            '}' | ']' | ')' | ',' if self.within() == Within::Object => Err(self.failed(NO_VALUE)),
            '}' | ']' | ')' => self.close(c),
            ',' => {
                self.at += 1;
                Ok(Next::Value)
            }
            '.' | '…' if self.within() == Within::Array && self.ellipsis()? => Ok(Next::Value),
            _ => {
                let value = match self.quote_at(self.at) {
                    Some(quote) => Value::String(self.string(&quote, false)?),
                    None => self.bare()?,
                };
                self.add(value);
                Ok(Next::Comma)
            }
        }
    }

    /// Skips an ellipsis in place of an item or member.
    fn ellipsis(&mut self) -> Result<bool, Failed> {
        let rest = &self.text[self.at..];
        let Some(rest) = rest.strip_prefix("...").or_else(|| rest.strip_prefix('…')) else {
            return Ok(false);
        };
        let end = self.text.len() - rest.len();
        let next = self.look(end)?;
        let is_ellipsis = self.text[next..].starts_with([',', ']', '}', ')']);
        if is_ellipsis {
            self.at = end;
        }
        Ok(is_ellipsis)
    }

    fn key(&mut self, c: char) -> Result<Next, Failed> {
        match c {
            '}' | ']' | ')' => return self.close(c),
            ',' => {
                self.at += 1;
                return Ok(Next::Key);
            }
            '.' | '…' if self.ellipsis()? => return Ok(Next::Key),
            '{' => {
                let Some(Frame::Object { fields, kind, .. }) = self.stack.last_mut() else {
                    return Err(self.failed(NO_COLON));
                };
                if !fields.is_empty() || *kind != ObjectKind::Plain {
                    return Err(self.failed("expected a key"));
                }
                *kind = ObjectKind::Doubled;
                self.at += 1;
                return Ok(Next::Key);
            }
            '[' | '(' | ':' => return Err(self.failed("expected a key")),
            _ => {}
        }
        let (key, is_item) = match self.quote_at(self.at) {
            Some(quote) => (self.string(&quote, true)?, true),
            None => {
                let rest = &self.text[self.at..];
                let end =
                    rest.find(['"', '\'', '“', ':', ',', '{', '}', '[', ']', '\n']).unwrap_or(rest.len());
                let word = rest[..end].trim();
                if rest[end..].starts_with(['"', '\'', '“']) && self.key_follows(self.at + end)? {
                    // A word before a key is a remark.
                    self.at += end;
                    return Ok(Next::Key);
                }
                let (key, is_item) = (word.to_owned(), number(word).is_some());
                self.at += end;
                (key, is_item)
            }
        };
        self.at = self.skip(self.at);
        let rest = &self.text[self.at..];
        let after = rest.trim_start_matches(|c: char| c == ':' || c.is_whitespace());
        let has_colon = rest.starts_with(':');
        let Some(Frame::Object { fields, key: pending, kind }) = self.stack.last_mut() else {
            return Err(self.failed(NO_COLON));
        };
        if has_colon {
            *pending = Some(key);
            self.at = self.text.len() - after.len();
            return Ok(Next::Value);
        }
        if rest.is_empty() {
            return Err(self.failed(TRUNCATED));
        }
        // A set of Python.
        if rest.starts_with(',') && is_item && fields.is_empty() && *kind == ObjectKind::Plain {
            let item = number(&key).unwrap_or(Value::String(key));
            self.stack.pop();
            self.stack.push(Frame::Array { items: vec![item], open: '{', has_comma: true });
            return Ok(Next::Comma);
        }
        Err(self.failed(NO_COLON))
    }

    fn comma(&mut self, c: char) -> Result<Next, Failed> {
        let next = if self.within() == Within::Object { Next::Key } else { Next::Value };
        match c {
            ',' => {
                self.at += 1;
                if let Some(Frame::Array { has_comma, .. }) = self.stack.last_mut() {
                    *has_comma = true;
                }
                Ok(next)
            }
            '}' | ']' | ')' => self.close(c),
            ':' => {
                let Some(Frame::Array { items, .. }) = self.stack.last_mut() else {
                    return Err(self.failed("expected a comma"));
                };
                let Some(Value::String(key)) = items.pop() else {
                    return Err(self.failed("expected a comma"));
                };
                if self.stack.len() >= MAX_DEPTH {
                    return Err(self.failed("the JSON is nested too deeply"));
                }
                self.stack.push(Frame::Object {
                    fields: Map::new(),
                    key: Some(key),
                    kind: ObjectKind::Implied,
                });
                self.at += 1;
                Ok(Next::Value)
            }
            _ => Ok(next),
        }
    }

    fn add(&mut self, value: Value) {
        match self.stack.last_mut() {
            Some(Frame::Array { items, .. }) => items.push(value),
            Some(Frame::Object { fields, key, .. }) => {
                fields.insert(key.take().unwrap_or_default(), value);
            }
            None => self.root = Some(value),
        }
    }

    fn pop(&mut self) {
        let value = match self.stack.pop() {
            Some(Frame::Array { mut items, open: '(', has_comma: false }) if items.len() == 1 => {
                items.remove(0)
            }
            Some(Frame::Array { items, .. }) => Value::Array(items),
            Some(Frame::Object { fields, .. }) => Value::Object(fields),
            None => return,
        };
        self.add(value);
    }

    /// Returns true if `c` closes the frame at `index`.
    fn closes(&self, index: usize, c: char) -> bool {
        match &self.stack[index] {
            Frame::Array { open: '{', .. } | Frame::Object { .. } => c == '}',
            Frame::Array { .. } => c != '}',
        }
    }

    fn is_implied(&self, index: usize) -> bool {
        matches!(self.stack[index], Frame::Object { kind: ObjectKind::Implied, .. })
    }

    fn within_at(&self, index: usize) -> Within {
        if matches!(self.stack[index], Frame::Object { .. }) { Within::Object } else { Within::Array }
    }

    /// Closes the value that a bracket is meant to close. If it is not the innermost one, the text after it
    /// decides: the bracket may end several values, be another bracket than intended, or one too many.
    fn close(&mut self, c: char) -> Result<Next, Failed> {
        let bracket = self.at;
        self.at += 1;
        let innermost = self.stack.len() - 1;
        if self.is_implied(innermost) && c != '}' {
            self.pop();
            self.at = bracket;
            return Ok(Next::Comma);
        }
        if self.closes(innermost, c) {
            if matches!(self.stack[innermost], Frame::Object { kind: ObjectKind::Doubled, .. }) {
                if !self.text[self.at..].starts_with('}') {
                    return Err(self.failed("expected a second brace"));
                }
                self.at += 1;
            }
            if innermost == 0 && c == '}' && super::candidates::continues(&self.text[self.at..]) {
                // The object was closed too early.
                let comma = self.look(self.at)?;
                return if self.key_follows(comma + 1)? {
                    Ok(Next::Comma)
                } else {
                    Err(self.failed(NO_COLON))
                };
            }
            self.pop();
            return Ok(Next::Comma);
        }
        let after = self.look(self.at)?;
        let mut wanted = None;
        if self.text[after..].starts_with(',') {
            let after = self.look(after + 1)?;
            if !self.text[after..].starts_with([']', '}', ')']) {
                wanted = Some(if self.key_follows(after)? { Within::Object } else { Within::Array });
            }
        }
        let fits = |len: usize| wanted.is_none_or(|wanted| len > 0 && self.within_at(len - 1) == wanted);
        let matching = (0..innermost).rev().find(|index| self.closes(*index, c));
        let len = match matching {
            Some(index) if fits(index) => index,
            _ if fits(innermost) => innermost,
            _ => self.stack.len(),
        };
        while self.stack.len() > len {
            if let Some(Frame::Object { key: Some(_), .. }) = self.stack.last() {
                return Err(self.failed(NO_VALUE));
            }
            self.pop();
        }
        Ok(Next::Comma)
    }

    /// The quote that begins a text at `at`, with what precedes it.
    fn quote_at(&self, at: usize) -> Option<Quote> {
        let rest = &self.text[at..];
        for quotes in ["\"\"\"", "'''"] {
            if rest.starts_with(quotes) {
                return Some(Quote { prefix: 0, open: quotes.to_owned(), closing: Closing::Triple(quotes) });
            }
        }
        if rest.starts_with("\\\"") {
            return Some(Quote { prefix: 0, open: "\\\"".to_owned(), closing: Closing::Escaped });
        }
        let prefix = usize::from(
            rest.starts_with(['u', 'U', 'b', 'B', 'r', 'R']) && rest[1..].starts_with(['\'', '"']),
        );
        let open = rest[prefix..].chars().next()?;
        let closing: &[char] = match open {
            '"' => &['"'],
            '\'' => &['\''],
            '“' | '”' | '„' => &['”', '“', '"'],
            '‘' | '’' => &['’', '‘', '\''],
            _ => return None,
        };
        Some(Quote { prefix, open: open.to_string(), closing: Closing::Any(closing) })
    }

    /// Reads a text. A quote within it that does not end it is a part of it.
    fn string(&mut self, quote: &Quote, is_key: bool) -> Result<String, Failed> {
        let start = self.at;
        self.at += quote.prefix + quote.open.len();
        if let Closing::Triple(quotes) = quote.closing {
            let rest = &self.text[self.at..];
            let end = rest.find(quotes).ok_or_else(|| self.failed(TRUNCATED))?;
            self.at += end + quotes.len();
            return Ok(rest[..end].to_owned());
        }
        let mut is_doubled = false;
        if self.text[self.at..].starts_with(quote.open.as_str()) && matches!(quote.closing, Closing::Any(_)) {
            let after = self.at + quote.open.len();
            if self.ends(after, is_key, true, 0)? {
                self.at = after;
                return Ok(String::new());
            }
            is_doubled = true;
            self.at = after;
        }
        let (mut content, mut inner) = (String::new(), 0usize);
        loop {
            let Some(c) = self.char(self.at) else {
                self.at = start;
                return Err(self.failed(TRUNCATED));
            };
            let closing = quote.closing.len_at(&self.text[self.at..]);
            if closing == 0 {
                self.at += c.len_utf8();
                if c == '\\' {
                    self.escape(&mut content)?;
                } else {
                    content.push(c);
                }
                continue;
            }
            let mut after = self.at + closing;
            if is_doubled {
                after += quote.closing.len_at(&self.text[after..]);
            }
            if self.ends(after, is_key, false, inner)? {
                self.at = after;
                return Ok(content);
            }
            let trimmed = content.trim_end();
            if is_key && trimmed.ends_with(':') {
                // The quote begins the value of a key without a second quote.
                let key = trimmed.trim_end_matches(':').trim_end().to_owned();
                self.at -= self.text[start..self.at].len()
                    - self.text[start..self.at].rfind(':').unwrap_or_default();
                return Ok(key);
            }
            if !is_key
                && trimmed.ends_with(',')
                && self.within() == Within::Object
                && self.key_follows(self.at)?
            {
                // The quote begins the next key: this text has no second quote.
                content.truncate(trimmed.len() - 1);
                return Ok(content);
            }
            inner += 1;
            content.push(if closing == 1 || quote.closing == Closing::Escaped {
                self.text[..after].chars().next_back().unwrap_or(c)
            } else {
                c
            });
            self.at += closing;
        }
    }

    /// Reads what follows a backslash.
    fn escape(&mut self, content: &mut String) -> Result<(), Failed> {
        let Some(c) = self.char(self.at) else { return Err(self.failed(TRUNCATED)) };
        self.at += c.len_utf8();
        match c {
            'n' => content.push('\n'),
            't' => content.push('\t'),
            'r' => content.push('\r'),
            'b' => content.push('\u{8}'),
            'f' => content.push('\u{c}'),
            '"' | '\\' | '/' | '\'' | '`' => content.push(c),
            'u' => match self.unicode(self.at) {
                Some((high @ 0xD800..=0xDBFF, end)) => {
                    let low = self.text[end..].starts_with("\\u").then(|| self.unicode(end + 2)).flatten();
                    let pair =
                        low.filter(|(low, _)| matches!(low, 0xDC00..=0xDFFF)).and_then(|(low, end)| {
                            Some((char::from_u32(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))?, end))
                        });
                    let (c, end) = pair.unwrap_or((char::REPLACEMENT_CHARACTER, end));
                    content.push(c);
                    self.at = end;
                }
                Some((code, end)) => {
                    content.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                    self.at = end;
                }
                None => content.push_str("\\u"),
            },
            c if c.is_ascii() => content.extend(['\\', c]),
            c => content.push(c),
        }
        Ok(())
    }

    /// The four digits at `at`, and the offset after them.
    fn unicode(&self, at: usize) -> Option<(u32, usize)> {
        let digits =
            self.text.get(at..at + 4).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        Some((u32::from_str_radix(digits, 16).ok()?, at + 4))
    }

    /// Returns true if a quote whose end is `after` ends a key or a value: what follows belongs to the
    /// structure around it, up to the next key or item.
    fn ends(&mut self, after: usize, is_key: bool, is_empty: bool, inner: usize) -> Result<bool, Failed> {
        let at = self.look(after)?;
        let Some(next) = self.char(at) else { return Ok(true) };
        if is_key {
            let is_first =
                matches!(self.stack.last(), Some(Frame::Object { fields, .. }) if fields.is_empty());
            return Ok(matches!(next, ':' | '}') || (is_first && next == ','));
        }
        match next {
            '}' | ']' | ')' => self.closers_end(at),
            ',' => self.member_follows(at + 1, self.stack.len()),
            ':' => Ok(matches!(self.stack.last(), Some(Frame::Array { items, .. }) if items.is_empty())),
            _ if self.quote_at(at).is_some_and(|quote| quote.prefix == 0) => {
                if self.within() == Within::Object {
                    return self.key_follows(at);
                }
                // An opening quote has text after it.
                let inside = self.text[at..].chars().nth(1);
                Ok(is_empty
                    || inside.is_some_and(|c| !c.is_whitespace() && !matches!(c, ',' | ']' | '}' | ')')))
            }
            '{' | '[' => Ok(self.within() == Within::Array),
            _ if self.within() == Within::Array && inner == 0 && next.is_alphanumeric() => {
                let is_unit = self.text[..after].chars().rev().nth(1).is_some_and(|c| c.is_ascii_digit());
                self.spend(MAX_KEY_LEN)?;
                let rest = &self.text[at..];
                let word = rest
                    .chars()
                    .take(MAX_KEY_LEN)
                    .take_while(|c| !matches!(c, ',' | '"' | '\'' | ']' | '\n'));
                let end = at + word.map(char::len_utf8).sum::<usize>();
                match self.char(end) {
                    Some(']') => Ok(true),
                    Some('"' | '\'') if !is_unit => {
                        let after = self.look(end + 1)?;
                        Ok(self.text[after..].starts_with([',', ']']))
                    }
                    _ => Ok(false),
                }
            }
            _ => Ok(false),
        }
    }

    /// Returns true if the brackets at `at` close the values around it, and what follows them continues the
    /// structure.
    fn closers_end(&mut self, mut at: usize) -> Result<bool, Failed> {
        let mut len = self.stack.len();
        loop {
            let Some(c) = self.char(at) else { return Ok(true) };
            match c {
                '}' | ']' | ')' => {
                    while len > 0 && self.is_implied(len - 1) && c != '}' {
                        len -= 1;
                    }
                    if len == 0 {
                        return Ok(true);
                    }
                    let is_match = self.closes(len - 1, c);
                    at = self.look(at + 1)?;
                    if !is_match {
                        // Another bracket than intended: the text after it must be certain.
                        return Ok(match self.char(at) {
                            None | Some('}' | ']' | ')') => true,
                            Some(',') => {
                                let after = self.look(at + 1)?;
                                self.key_follows(after)? || self.text[after..].starts_with(['{', '[', '"'])
                            }
                            Some(_) => false,
                        });
                    }
                    len -= 1;
                }
                ',' => {
                    let after = self.look(at + 1)?;
                    // Text that does not fit is an error of the structure, not a part of the text.
                    let is_structure = self.text[after..].starts_with(['{', '[', '"']);
                    return Ok(is_structure
                        || if len == 0 {
                            self.key_follows(after)?
                        } else {
                            self.member_follows(at + 1, len)?
                        });
                }
                '"' if len == 0 => {
                    let after = self.look(at + 1)?;
                    return Ok(!self.text[after..].starts_with(['}', ']', ')', ',']));
                }
                _ => return Ok(len == 0 || matches!(c, '{' | '[' | '"')),
            }
        }
    }

    /// Returns true if an item or member of the value at that depth follows a comma.
    fn member_follows(&mut self, at: usize, len: usize) -> Result<bool, Failed> {
        let at = self.look(at)?;
        let Some(c) = self.char(at) else { return Ok(true) };
        if matches!(c, '}' | ']' | ')') || self.text[at..].starts_with("...") {
            return Ok(true);
        }
        if len > 0 && self.within_at(len - 1) == Within::Object && !self.is_implied(len - 1) {
            return Ok(matches!(c, '{' | '[') || self.key_follows(at)? || self.remark_follows(at)?);
        }
        if matches!(c, '{' | '[' | '(' | '-' | '0'..='9') || self.quote_at(at).is_some() {
            return Ok(true);
        }
        // A bare word, if no quote follows before the next comma.
        self.spend(MAX_KEY_LEN)?;
        let word =
            self.text[at..].chars().take(MAX_KEY_LEN).take_while(|c| !matches!(c, ',' | ']' | '"' | '\n'));
        let end = at + word.map(char::len_utf8).sum::<usize>();
        let after = self.look(end)?;
        Ok(self.text[after..].starts_with([',', ']']))
    }

    /// Returns true if a key and its colon are at `at`.
    fn key_follows(&mut self, at: usize) -> Result<bool, Failed> {
        let at = self.look(at.min(self.text.len()))?;
        let rest = self.text[at..].trim_start_matches('\\');
        let Some(first) = rest.chars().next() else { return Ok(false) };
        self.spend(MAX_KEY_LEN)?;
        let closing: &[char] = match first {
            '"' => &['"'],
            '\'' => &['\''],
            '“' | '”' => &['”', '“'],
            _ => {
                let is_key = |c: &char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '$');
                let len: usize = rest.chars().take(MAX_KEY_LEN).take_while(is_key).map(char::len_utf8).sum();
                let after = rest[len..].trim_start_matches([' ', '\t']);
                return Ok(len > 0 && after.starts_with(':') && !after.starts_with("://"));
            }
        };
        let inside = rest[first.len_utf8()..].trim_start_matches(closing);
        if inside.trim_start().starts_with(':') && rest.len() - inside.len() > first.len_utf8() {
            return Ok(true);
        }
        let is_escaped_document = rest.len() < self.text.len() - at;
        let mut is_escaped = false;
        let end = inside.char_indices().take(MAX_KEY_LEN).find(|(_, c)| {
            let is_end = *c == '\n' || (closing.contains(c) && (is_escaped_document || !is_escaped));
            is_escaped = *c == '\\' && !is_escaped;
            is_end
        });
        let Some((end, _)) = end.filter(|(_, c)| *c != '\n') else { return Ok(false) };
        let after = inside[end..].trim_start_matches(closing);
        Ok(after.trim_start().starts_with(':'))
    }

    /// Returns true if a word and then a quoted key are at `at`.
    fn remark_follows(&mut self, at: usize) -> Result<bool, Failed> {
        let word = self.text[at..].chars().take(MAX_KEY_LEN).take_while(|c| c.is_alphanumeric() || *c == '_');
        let len: usize = word.map(char::len_utf8).sum();
        self.spend(len)?;
        let after = self.look(at + len)?;
        Ok(len > 0 && after > at + len && self.text[after..].starts_with('"') && self.key_follows(after)?)
    }

    /// Reads a number, literal or text without quotes.
    fn bare(&mut self) -> Result<Value, Failed> {
        let start = self.at;
        let within = self.within();
        let mut depth = 0usize;
        let mut is_quoted = false;
        let end = loop {
            let at = self.at;
            let Some(c) = self.char(at) else { return Err(self.failed(TRUNCATED)) };
            self.at += c.len_utf8();
            let is_start = self.text[start..at].trim().is_empty();
            match c {
                '{' | '[' | '(' => depth += 1,
                '}' | ']' | ')' if depth > 0 => depth -= 1,
                '}' | ']' => break at,
                ')' if within == Within::Array => break at,
                ',' if depth > 0 => {}
                ',' if at - start <= MAX_LITERAL_LEN && scalar(&self.text[start..at]).is_some() => break at,
                ',' if within == Within::Array || self.member_follows(at + 1, self.stack.len())? => break at,
                '\n' if depth == 0 => {
                    let next = self.look(at)?;
                    let is_end = self.text[next..].starts_with(['}', ']']);
                    if is_end || (within == Within::Object && self.key_follows(next)?) {
                        break at;
                    }
                }
                '/' | '#'
                    if !is_start && self.text[..at].ends_with(char::is_whitespace) && self.skip(at) > at =>
                {
                    break at;
                }
                '"' if within == Within::Object && self.key_follows(at)? => break at,
                '"' if depth == 0 && self.ends(at + 1, false, false, 1)? => {
                    is_quoted = true;
                    break at;
                }
                _ => {}
            }
        };
        let text = self.text[start..end].trim();
        self.at = end + usize::from(is_quoted);
        if text.is_empty() {
            self.at = start;
            return Err(self.failed(NO_VALUE));
        }
        Ok(scalar(text).unwrap_or_else(|| Value::String(text.to_owned())))
    }
}

struct Quote {
    /// Length of what precedes the quote: the `u` of Python's `u'..'`.
    prefix: usize,
    open: String,
    closing: Closing,
}

#[derive(Clone, Copy, PartialEq)]
enum Closing {
    Any(&'static [char]),
    /// A backslash and a quote, in a document that was escaped as a whole.
    Escaped,
    Triple(&'static str),
}

impl Closing {
    /// Length of the closing quote that begins `text`. 0 without one.
    fn len_at(self, text: &str) -> usize {
        match self {
            Closing::Any(quotes) => {
                text.chars().next().filter(|c| quotes.contains(c)).map_or(0, char::len_utf8)
            }
            Closing::Escaped => {
                if text.starts_with("\\\"") {
                    2
                } else {
                    0
                }
            }
            Closing::Triple(quotes) => {
                if text.starts_with(quotes) {
                    3
                } else {
                    0
                }
            }
        }
    }
}

/// The value of a literal or number, with white space around it.
fn scalar(text: &str) -> Option<Value> {
    let text = text.trim();
    literal(text).or_else(|| number(text))
}

/// The value of a literal of JSON, Python or JavaScript.
fn literal(text: &str) -> Option<Value> {
    Some(match text.to_ascii_lowercase().as_str() {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "null" | "none" | "nil" | "undefined" | "nan" | "infinity" | "+infinity" | "-infinity" => Value::Null,
        _ => return None,
    })
}

/// The value of a number of JSON, Python or JavaScript.
fn number(text: &str) -> Option<Value> {
    if let Ok(number) = serde_json::from_str::<Number>(text) {
        return Some(Value::Number(number));
    }
    let unsigned = text.trim_start_matches(['+', '-']);
    if text.len() - unsigned.len() > 1 || !unsigned.bytes().any(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if let Some(digits) = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")) {
        // `from_str_radix` accepts a second sign.
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let value = u64::from_str_radix(digits, 16).ok()?;
        return match text.starts_with('-') {
            true => 0i64.checked_sub_unsigned(value).map(Into::into),
            false => Some(value.into()),
        };
    }
    // An underscore stands between two digits.
    let bytes = text.as_bytes();
    let is_separator = |at: usize| {
        at > 0 && bytes[at - 1].is_ascii_digit() && bytes.get(at + 1).is_some_and(u8::is_ascii_digit)
    };
    if (0..bytes.len()).any(|at| bytes[at] == b'_' && !is_separator(at)) {
        return None;
    }
    let mut digits = unsigned.replace('_', "");
    if digits.starts_with('.') {
        digits.insert(0, '0');
    }
    if let Some(whole) = digits.strip_suffix('.') {
        digits = format!("{whole}.0");
    }
    let sign = if text.starts_with('-') { "-" } else { "" };
    serde_json::from_str::<Number>(&format!("{sign}{digits}")).ok().map(Value::Number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn value(text: &str) -> Result<Value, &'static str> {
        read(text).map(|(value, _)| value).map_err(|failed| failed.why)
    }

    #[test]
    fn forms_of_other_languages_are_read() {
        for (text, expected) in [
            (
                "{'a': u'x', 'b': b'y', 'c': \"\"\"z \"q\" \"\"\"}",
                json!({"a": "x", "b": "y", "c": "z \"q\" "}),
            ),
            (
                "[+1, .5, 1., 0x1F, 1_000, NaN, -Infinity, undefined]",
                json!([1, 0.5, 1.0, 31, 1000, null, null, null]),
            ),
            ("{{\"a\": {\"b\": 1}}}", json!({"a": {"b": 1}})),
            ("{\"a\":: 1}", json!({"a": 1})),
            ("[\"\\x\", \"\\ud83d\\ude00\", \"\\u12\"]", json!(["\\x", "😀", "\\u12"])),
            ("{\"a\": 1, ...}", json!({"a": 1})),
            ("{a: http://example.org, b: 2}", json!({"a": "http://example.org", "b": 2})),
            ("(1,)", json!([1])),
            ("[“a”, “b” ”c”]", json!(["a", "b", "c"])),
        ] {
            assert_eq!(value(text), Ok(expected), "{text}");
        }
        // Quotes of several bytes.
        assert_eq!(value("(““true"), Err(TRUNCATED));
    }

    #[test]
    fn a_hexadecimal_number_has_one_sign_and_fits() {
        for (text, expected) in [
            ("0xFF", json!(255)),
            ("-0x1f", json!(-31)),
            ("0xffffffffffffffff", json!(u64::MAX)),
            ("-0x8000000000000000", json!(i64::MIN)),
            ("0x-5", json!("0x-5")),
            ("0x+5", json!("0x+5")),
            ("-0x-8000000000000000", json!("-0x-8000000000000000")),
            ("0x-8000000000000000", json!("0x-8000000000000000")),
            ("-0x8000000000000001", json!("-0x8000000000000001")),
            ("0x10000000000000000", json!("0x10000000000000000")),
            ("0x", json!("0x")),
        ] {
            assert_eq!(value(&format!("[{text}]")), Ok(json!([expected])), "{text}");
        }
    }

    #[test]
    fn missing_parts_are_errors() {
        for (text, why) in [
            ("{\"a\": \"b", TRUNCATED),
            ("{\"a\": [1, 2", TRUNCATED),
            ("{\"a\": }", NO_VALUE),
            ("{a}", NO_COLON),
            ("{\"a\": 1, \"b\"}", NO_COLON),
            ("{{\"a\": 1}, {\"b\": 1}}", "expected a second brace"),
        ] {
            assert_eq!(value(text), Err(why), "{text}");
        }
        let deep = "[".repeat(200) + &"]".repeat(200);
        assert_eq!(value(&deep), Err("the JSON is nested too deeply"));
    }

    #[test]
    fn the_time_is_linear() {
        for part in [
            "\"",
            "\"a\" ",
            "\", ",
            "\"//",
            "[\"a\" b ",
            "{a: ",
            "x\"}, ",
            "\" \"",
            ",\"a",
            "a,",
            "'",
            "\"]",
            "#",
        ] {
            let time = |n: usize| {
                let text = format!("[\"{}", part.repeat(n));
                let start = std::time::Instant::now();
                let _ = read(&text);
                start.elapsed()
            };
            let (short, long) = (time(10_000), time(80_000));
            assert!(
                long < short * 40 + std::time::Duration::from_millis(300),
                "{part}: {short:?}, then {long:?}"
            );
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-z \\\\/#\n'.:é]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[a-z \"\\\\]{0,4}", inner, 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_text_ends_without_a_panic(text in "([\\[{(]|[\\]})]|[\"'“„\\\\]|[:,]|//|/\\*|#|\\.\\.\\.|true|None|-?[0-9]{1,2}|[-+]?0x[-+]?[0-9a-f]{0,17}|[-+._]{1,2}|[a-z é\n]|```){0,40}") {
            let _ = read(&text);
            let _ = read_whole(&text);
        }

        #[test]
        fn json_reads_as_itself(value in any_json()) {
            let list = json!([value]);
            for text in [list.to_string(), serde_json::to_string_pretty(&list).unwrap()] {
                let len = text.len();
                prop_assert_eq!(read(&(text + " and prose")), Ok((list.clone(), len)));
            }
        }
    }
}

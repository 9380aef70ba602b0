//! A parser for JSON that is still incomplete.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::MAX_DEPTH;

/// Size from which copies are made less often. 16 KiB: the values of longer texts exceed the CPU cache, and 8
/// times the text would cost more than 9 times as much.
const LONG: usize = 16 * 1024;

/// Reads an object or array from text that arrives in chunks. Text before it is prose, as are brackets such
/// as `[as asked]` and `{name}`.
///
/// Nothing is shown before it is certain not to be prose: at the first quote if it begins the text or a
/// fence, otherwise at the colon after the first key, after the first item, and after the second one if the
/// first is a number, because `[1]` may be a footnote.
///
/// Numbers, literals and keys appear once complete, strings as they grow: nothing that was shown is taken
/// back. Each value shown is a copy, so the next one waits until the text has grown by an eighth, or by a
/// half if it is long. The copies then add up to a few times the last one, and the total cost is linear in
/// the text.
#[derive(Default)]
pub(crate) struct Partial {
    state: State,
    stack: Vec<Frame>,
    text: String,
    high: Option<u32>,
    root: Option<Value>,
    size: usize,
    shown: usize,
    changed: bool,
    /// Items to emit, if they are wanted one by one, and the depth of their array.
    items: Option<Vec<Value>>,
    depth: usize,
    /// Name of their array in the top-level object. Default: that of the first array.
    field: Option<Arc<str>>,
    closed: bool,
    /// Backticks before the next character, while seeking.
    ticks: usize,
    position: Position,
    /// Set once the value cannot be prose.
    is_certain: bool,
    /// Items of the first array within prose that has at most one number.
    footnote: Option<Vec<Value>>,
}

/// The text before the next character, while seeking.
#[derive(Default, Clone, Copy, PartialEq)]
enum Position {
    /// Nothing but white space since the beginning of the text or of a fence.
    #[default]
    Begin,
    /// The tag of a fence.
    Tag,
    Prose,
}

#[derive(Default, Clone, Copy)]
enum State {
    #[default]
    Seek,
    Between,
    Scalar,
    Text,
    Escape,
    Unicode(u32, u8),
    /// Complete, or not JSON: the parser of the whole answer reports which.
    Ended,
}

#[derive(Clone)]
enum Frame {
    Array(Vec<Value>),
    Object(Map<String, Value>, Option<String>),
}

impl Frame {
    fn add(&mut self, value: Value) {
        match self {
            Frame::Array(items) => items.push(value),
            Frame::Object(fields, key) => {
                if let Some(key) = key.take() {
                    fields.insert(key, value);
                }
            }
        }
    }

    fn into_value(self) -> Value {
        match self {
            Frame::Array(items) => Value::Array(items),
            Frame::Object(fields, _) => Value::Object(fields),
        }
    }
}

impl Partial {
    /// For the items of the top-level array, or of the first array in the top-level object.
    pub(crate) fn of_items() -> Self {
        Self { items: Some(Vec::new()), ..Self::default() }
    }

    /// For the items of the array with this name in the top-level object.
    pub(crate) fn of_items_in(field: Arc<str>) -> Self {
        Self { field: Some(field), ..Self::of_items() }
    }

    /// Reads a chunk. Returns the items that are complete now.
    pub(crate) fn take_items(&mut self, chunk: &str) -> Vec<Value> {
        chunk.chars().for_each(|c| self.read(c));
        let certain = self.items.as_mut().filter(|_| self.is_certain);
        certain.map(std::mem::take).unwrap_or_default()
    }

    /// Returns the items of an array that looked like a footnote, if no other value came. The text has ended.
    pub(crate) fn last_items(&mut self) -> Vec<Value> {
        if self.is_certain {
            return Vec::new();
        }
        self.closed |= self.footnote.is_some();
        self.footnote.take().unwrap_or_default()
    }

    /// Returns true if the array is complete.
    pub(crate) fn items_ended(&self) -> bool {
        self.closed
    }

    /// Returns true if the value is complete, or the input was not JSON.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Returns true if the input was not JSON.
    pub(crate) fn is_broken(&self) -> bool {
        self.has_ended() && !self.stack.is_empty()
    }

    /// Looks for another value.
    pub(crate) fn restart(&mut self) {
        let items = self.items.as_ref().map(|_| Vec::new());
        *self = Self { items, field: self.field.take(), ..Self::default() };
    }

    /// Reads a chunk. Returns the value so far if enough of it is new.
    pub(crate) fn push(&mut self, chunk: &str) -> Option<Value> {
        chunk.chars().for_each(|c| self.read(c));
        self.size += chunk.len();
        if let Some(root) = self.root.take() {
            return Some(root);
        }
        let enough = if self.shown < LONG { self.shown / 8 } else { self.shown / 2 };
        if !self.changed || !self.is_certain || self.size - self.shown < enough {
            return None;
        }
        (self.changed, self.shown) = (false, self.size);
        let text = matches!(self.state, State::Text | State::Escape | State::Unicode(..)) && !self.at_key();
        let mut value = text.then(|| Value::String(self.text.clone()));
        for frame in self.stack.iter().rev() {
            let mut frame = frame.clone();
            if let Some(value) = value {
                frame.add(value);
            }
            value = Some(frame.into_value());
        }
        value
    }

    fn at_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame::Object(_, None)))
    }

    fn read(&mut self, c: char) {
        if matches!(self.state, State::Seek) {
            return self.seek(c);
        }
        if self.next(c).is_some() {
            return;
        }
        if self.is_certain {
            self.state = State::Ended;
            return;
        }
        // The brackets belong to prose.
        self.reject();
        self.seek(c);
    }

    /// Drops what was read as a value: it belongs to prose.
    fn reject(&mut self) {
        *self = Self {
            items: self.items.as_ref().map(|_| Vec::new()),
            field: self.field.take(),
            size: self.size,
            position: Position::Prose,
            footnote: self.footnote.take(),
            ..Self::default()
        };
    }

    /// Reads a character before the value.
    fn seek(&mut self, c: char) {
        let ticks = std::mem::take(&mut self.ticks);
        match c {
            '{' | '[' => {
                self.state = State::Between;
                self.between(c);
            }
            '`' => self.ticks = ticks + 1,
            _ if ticks >= 3 => {
                self.position = if c.is_alphanumeric() { Position::Tag } else { Position::Begin }
            }
            _ if c.is_whitespace() && self.position != Position::Prose => self.position = Position::Begin,
            _ if c.is_alphanumeric() && self.position == Position::Tag => {}
            _ => self.position = Position::Prose,
        }
    }

    /// Reads one character of the value. `None` if it is not valid JSON.
    fn next(&mut self, c: char) -> Option<()> {
        match self.state {
            State::Ended | State::Seek => {}
            State::Between => self.between(c)?,
            State::Scalar if matches!(c, ',' | ']' | '}') || c.is_whitespace() => {
                let value = serde_json::from_str(&self.text).ok()?;
                self.add(value);
                self.between(c)?;
            }
            State::Scalar if matches!(c, '{' | '[' | '"' | '`') => return None,
            State::Scalar => self.text.push(c),
            State::Text => match c {
                '\\' => self.state = State::Escape,
                _ if self.high.is_some() => return None,
                '"' if self.at_key() => {
                    let text = std::mem::take(&mut self.text);
                    let Some(Frame::Object(_, key)) = self.stack.last_mut() else { return None };
                    *key = Some(text);
                    self.state = State::Between;
                }
                '"' => {
                    let text = std::mem::take(&mut self.text);
                    // Its end changes nothing that is shown.
                    let is_changed = self.changed;
                    self.add(Value::String(text));
                    self.changed = is_changed;
                }
                c => self.append(c),
            },
            State::Escape => {
                self.state = State::Text;
                match c {
                    'u' => self.state = State::Unicode(0, 0),
                    _ if self.high.is_some() => return None,
                    'n' => self.append('\n'),
                    't' => self.append('\t'),
                    'r' => self.append('\r'),
                    'b' => self.append('\u{8}'),
                    'f' => self.append('\u{c}'),
                    '"' | '\\' | '/' => self.append(c),
                    _ => return None,
                }
            }
            State::Unicode(code, digits) => {
                let code = code * 16 + c.to_digit(16)?;
                self.state = State::Unicode(code, digits + 1);
                if digits == 3 {
                    self.state = State::Text;
                    match (self.high.take(), code) {
                        (None, 0xD800..=0xDBFF) => self.high = Some(code),
                        (None, _) => self.append(char::from_u32(code)?),
                        (Some(high), 0xDC00..=0xDFFF) => {
                            let code = 0x10000 + ((high - 0xD800) << 10) + (code - 0xDC00);
                            self.append(char::from_u32(code)?);
                        }
                        _ => return None,
                    }
                }
            }
        }
        Some(())
    }

    fn between(&mut self, c: char) -> Option<()> {
        self.state = State::Between;
        match (c, self.stack.last()) {
            ('{' | '[', _) if self.stack.len() < MAX_DEPTH && (!self.at_key() || self.stack.is_empty()) => {
                let object = Frame::Object(Map::new(), None);
                self.stack.push(if c == '{' { object } else { Frame::Array(Vec::new()) });
                self.changed = true;
                let array = c == '[' && self.stack.len() <= 2;
                let is_wanted = match (&self.stack[0], &self.field) {
                    (Frame::Object(_, key), Some(field)) => {
                        self.stack.len() == 2 && key.as_deref() == Some(&**field)
                    }
                    (Frame::Array(_), Some(_)) => false,
                    (first, None) => matches!(first, Frame::Object(..)) == (self.stack.len() == 2),
                };
                if array && self.depth == 0 && is_wanted {
                    self.depth = self.stack.len();
                }
            }
            ('}', Some(Frame::Object(_, None))) | (']', Some(Frame::Array(_))) => {
                let value = self.stack.pop()?.into_value();
                if self.stack.is_empty() && !self.is_certain && self.position == Position::Prose {
                    let items =
                        value.as_array().map(|items| self.items.clone().unwrap_or_else(|| items.clone()));
                    self.footnote = self.footnote.take().or(items);
                    self.reject();
                    return Some(());
                }
                self.is_certain |= self.stack.is_empty();
                self.closed |= self.stack.len() + 1 == self.depth;
                self.add(value);
            }
            (':', Some(Frame::Object(_, Some(_)))) => self.is_certain = true,
            (',', Some(Frame::Array(_))) => self.is_certain |= self.position != Position::Prose,
            (',' | ':', _) => {}
            ('"', _) => {
                self.is_certain |= self.position != Position::Prose;
                self.state = State::Text;
                self.changed |= !self.at_key();
            }
            _ if c.is_whitespace() => {}
            ('{' | '[' | '}' | ']', _) => return None,
            _ if self.at_key() => return None,
            _ => {
                self.state = State::Scalar;
                self.text.push(c);
            }
        }
        Some(())
    }

    fn append(&mut self, c: char) {
        self.text.push(c);
        self.changed |= !self.at_key();
    }

    fn add(&mut self, value: Value) {
        self.text.clear();
        self.changed = true;
        self.state = State::Between;
        if let Some(items) = &mut self.items
            && self.stack.len() == self.depth
            && self.depth > 0
            && !self.closed
        {
            self.is_certain |= !value.is_number() || !items.is_empty();
            items.push(value);
            return;
        }
        match self.stack.last_mut() {
            Some(frame) => {
                let is_first = matches!(frame, Frame::Array(items) if items.is_empty());
                self.is_certain |= !value.is_number() || !is_first;
                frame.add(value);
            }
            None => {
                self.root = Some(value);
                self.state = State::Ended;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn last(text: &str) -> Option<Value> {
        let mut partial = Partial::default();
        text.chars().filter_map(|c| partial.push(c.encode_utf8(&mut [0; 4]))).last()
    }

    #[test]
    fn incomplete_values_are_not_shown_and_prose_is_skipped() {
        assert_eq!(last(r#"{"a": tru"#), Some(json!({})));
        assert_eq!(last(r#"{"a": 1."#), Some(json!({})));
        assert_eq!(last("Sure:\n```json\n{\"a\": 1}}\n```"), Some(json!({"a": 1})));
        assert_eq!(last("{\"a\": \"x\ny"), Some(json!({"a": "x\ny"})));
        assert_eq!(last(r#"["\u00e9\ud83d\ude00\ud8"#), Some(json!(["é😀"])));
        assert!(last(&"[[[".repeat(100_000)).is_none());
        assert!(last(&r#"{"a":"#.repeat(100_000)).is_some());
    }

    #[test]
    fn brackets_of_prose_are_not_shown() {
        for prose in
            ["[as asked]", "{name}", "[a](b)", "See [1]", "[x[y", "A {\"name\"}", "[[note]]", "no [] yet"]
        {
            assert_eq!(last(prose), None, "{prose}");
            assert_eq!(last(&format!("{prose}: {{\"a\": 1}}")), Some(json!({"a": 1})), "{prose}");
            assert_eq!(last(&format!("{prose}:\n```json\n[1, 2]\n```")), Some(json!([1, 2])), "{prose}");
        }
        assert_eq!(last("It is [1, 2"), None);
        assert_eq!(last("It is [1, 2, 3"), Some(json!([1, 2])));
        assert_eq!(last("It is {\"a\": \"b"), Some(json!({"a": "b"})));
    }

    #[test]
    fn eight_times_the_text_copies_at_most_nine_times_as_much() {
        let copied = |n: usize| {
            let text = format!("[{}]", "\"some words\",".repeat(n));
            let mut partial = Partial::default();
            let chunks =
                text.as_bytes().chunks(4).filter_map(|c| partial.push(std::str::from_utf8(c).unwrap()));
            chunks.map(|value| value.as_array().map_or(0, Vec::len)).sum::<usize>()
        };
        assert!(copied(80_000) <= 9 * copied(10_000));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(".{0,4}", inner, 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    fn grows(before: &Value, after: &Value) -> bool {
        match (before, after) {
            (Value::String(a), Value::String(b)) => b.starts_with(a.as_str()),
            (Value::Array(a), Value::Array(b)) => {
                a.len() <= b.len() && a.iter().zip(b).all(|(a, b)| grows(a, b))
            }
            (Value::Object(a), Value::Object(b)) => {
                a.iter().all(|(key, a)| b.get(key).is_some_and(|b| grows(a, b)))
            }
            (a, b) => a == b,
        }
    }

    proptest! {
        #[test]
        fn partials_only_grow_and_end_with_the_value(value in any_json(), width in 1usize..9) {
            let value = json!([value]);
            let chars: Vec<char> = value.to_string().chars().collect();
            let mut partial = Partial::default();
            let mut shown = json!([]);
            for chunk in chars.chunks(width) {
                if let Some(next) = partial.push(&chunk.iter().collect::<String>()) {
                    prop_assert!(grows(&shown, &next), "{shown} then {next}");
                    shown = next;
                }
            }
            prop_assert_eq!(shown, value);
        }
    }
}

//! Finds unknown filters and tests of a template when it is parsed, not when it is rendered.

use minijinja::{Environment, ErrorKind, Value};

use crate::closest;

/// The first unknown filter or test: its line, and a message.
pub(super) fn unknown(env: &Environment<'_>, text: &str) -> Option<(usize, String)> {
    let mut state = env.empty_state();
    let mut raw = Raw::default();
    for (line, code) in code(text) {
        let is_raw = raw.holds(&code);
        for word in names(&code).filter(|_| !is_raw) {
            let (error, kind) = match word {
                Word::Filter(name) => {
                    (state.apply_filter(name, &[Value::UNDEFINED]).err(), ErrorKind::UnknownFilter)
                }
                Word::Test(name) => {
                    (state.perform_test(name, &[Value::UNDEFINED]).err(), ErrorKind::UnknownTest)
                }
            };
            if error.is_some_and(|error| error.kind() == kind) {
                return Some((line, word.missing()));
            }
        }
    }
    None
}

/// Set within a `raw` block, in which code is text.
#[derive(Default)]
struct Raw(bool);

impl Raw {
    /// Reads the next code. Returns true if it is text.
    fn holds(&mut self, code: &str) -> bool {
        match code.trim_matches(['-', '+', ' ']) {
            "raw" => self.0 = true,
            "endraw" => self.0 = false,
            _ => {}
        }
        self.0
    }
}

/// Maximum tokens between `{{` and `}}`. The template parser recurses for each of them, and the stack of a
/// thread is limited.
pub(super) const MAX_CODE_TOKENS: usize = 1_000;

/// The line of the first expression that has more tokens than [`MAX_CODE_TOKENS`].
pub(super) fn too_long(text: &str) -> Option<usize> {
    let size = |code: &str| {
        let (mut size, mut in_word) = (0, false);
        for c in code.chars() {
            let is_word = c.is_alphanumeric() || c == '_';
            size += usize::from(!(c.is_whitespace() || is_word && in_word));
            in_word = is_word;
        }
        size
    };
    let mut raw = Raw::default();
    code(text).find(|(_, code)| !raw.holds(code) && size(code) > MAX_CODE_TOKENS).map(|(line, _)| line)
}

/// Filters of other template languages, with their replacement here.
const COMMON: [&str; 22] = [
    "abs",
    "capitalize",
    "default",
    "first",
    "float",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "max",
    "min",
    "replace",
    "reverse",
    "round",
    "sort",
    "title",
    "tojson",
    "trim",
    "upper",
];

#[derive(Clone, Copy)]
enum Word<'a> {
    Filter(&'a str),
    Test(&'a str),
}

impl Word<'_> {
    fn missing(self) -> String {
        match self {
            Word::Filter(name) => {
                let hint = closest(name, COMMON).map(|near| format!(": did you mean `{near}`?"));
                format!("unknown filter `{name}`{}", hint.unwrap_or_default())
            }
            Word::Test(name) => format!("unknown test `{name}`"),
        }
    }
}

/// The code within `{{ .. }}` and `{% .. %}`, with its line, and without the contents of its strings.
fn code(text: &str) -> impl Iterator<Item = (usize, String)> {
    let (mut rest, mut line) = (text, 1);
    std::iter::from_fn(move || {
        loop {
            let open = rest.find('{')?;
            line += rest[..open].matches('\n').count();
            rest = &rest[open + 1..];
            let end = match rest.chars().next()? {
                '#' => {
                    let end = rest.find("#}")?;
                    line += rest[..end].matches('\n').count();
                    rest = &rest[end..];
                    continue;
                }
                '{' => "}}",
                '%' => "%}",
                _ => continue,
            };
            rest = &rest[1..];
            let (inside, after) = without_strings(rest, end);
            let found = (line, inside);
            line += rest[..rest.len() - after.len()].matches('\n').count();
            rest = after;
            return Some(found);
        }
    })
}

/// The code before `end` with its strings emptied, and the rest.
fn without_strings<'a>(text: &'a str, end: &str) -> (String, &'a str) {
    let (mut inside, mut quote, mut escaped) = (String::new(), None, false);
    for (at, c) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => {
                quote = None;
                inside.push(c);
            }
            Some(_) => {}
            None if text[at..].starts_with(end) => return (inside, &text[at + end.len()..]),
            None => {
                quote = matches!(c, '"' | '\'').then_some(c);
                inside.push(c);
            }
        }
    }
    (inside, "")
}

/// The filters and tests of an expression.
fn names(code: &str) -> impl Iterator<Item = Word<'_>> {
    let filters = code.match_indices('|').filter_map(|(at, _)| name(&code[at + 1..]).map(Word::Filter));
    let tests = code.match_indices(" is ").filter_map(|(at, _)| {
        let rest = code[at + 4..].trim_start();
        name(rest.strip_prefix("not ").unwrap_or(rest)).map(Word::Test)
    });
    filters.chain(tests)
}

fn name(text: &str) -> Option<&str> {
    let text = text.trim_start();
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let starts_well = text.starts_with(|c: char| c.is_alphabetic() || c == '_');
    (end > 0 && starts_well).then(|| &text[..end])
}

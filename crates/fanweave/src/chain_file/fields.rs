//! Reads the fields of a table, each once. The remaining fields are reported as unknown.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::problem::Problem;
use super::spanned::Spanned;
use super::tree::{Key, Node, Tree};
use crate::closest;

pub(crate) struct Fields<'n, 'p> {
    /// Name of the table in error messages.
    what: String,
    fields: &'n [(Key, Node)],
    /// Field names that were read.
    known: Vec<&'static str>,
    pub(crate) found: &'p mut Vec<Problem>,
}

impl<'n, 'p> Fields<'n, 'p> {
    /// The fields of a table. Reports a problem for any other value.
    pub(crate) fn of(node: &'n Node, what: &str, found: &'p mut Vec<Problem>) -> Option<Self> {
        match &node.value {
            Tree::Map(fields) => Some(Self { what: what.to_owned(), fields, known: Vec::new(), found }),
            _ => {
                let message = format!("{what} must be a table of fields, got {}", node.kind());
                found.push(Problem::at(node.at, message));
                None
            }
        }
    }

    pub(crate) fn problem(&mut self, at: usize, message: impl Into<String>) {
        self.found.push(Problem::at(at, message.into()));
    }

    /// The field of that name. Marks the name as known.
    pub(crate) fn take(&mut self, name: &'static str) -> Option<&'n Node> {
        self.known.push(name);
        self.fields.iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
    }

    /// Offset of a field that is not allowed. Marks the name as known, so that it is reported once.
    pub(crate) fn offset(&mut self, name: &'static str) -> Option<usize> {
        self.known.push(name);
        self.fields.iter().find(|(key, _)| key.name == name).map(|(key, _)| key.at)
    }

    /// Returns true if one of these fields is present.
    pub(crate) fn named(&self, names: &[&str]) -> bool {
        self.fields.iter().any(|(key, _)| names.contains(&key.name.as_str()))
    }

    pub(crate) fn text(&mut self, name: &'static str) -> Option<Spanned<String>> {
        let node = self.take(name)?;
        self.as_text(name, node)
    }

    pub(crate) fn as_text(&mut self, name: &str, node: &Node) -> Option<Spanned<String>> {
        match &node.value {
            Tree::Text(text) => Some(Spanned::new(node.at, text.clone())),
            _ => {
                let hint = match node.value {
                    Tree::Number(_) | Tree::Bool(_) => ": put it in quotes",
                    Tree::Map(_) => ": quote it if it begins with `{{`",
                    _ => "",
                };
                self.problem(node.at, format!("`{name}` must be a string, got {}{hint}", node.kind()));
                None
            }
        }
    }

    /// A string or a list of strings.
    pub(crate) fn texts(&mut self, name: &str, node: &Node) -> Vec<String> {
        let nodes: Vec<&Node> = match &node.value {
            Tree::List(items) => items.iter().collect(),
            _ => vec![node],
        };
        nodes.into_iter().filter_map(|node| self.as_text(name, node)).map(|text| text.value).collect()
    }

    pub(crate) fn whole(&mut self, name: &str, node: &Node) -> Option<i64> {
        let whole = match &node.value {
            Tree::Number(n) => n.as_i64(),
            _ => None,
        };
        if whole.is_none() {
            self.problem(node.at, format!("`{name}` must be an integer, got {}", shown(node)));
        }
        whole
    }

    pub(crate) fn at_least(&mut self, name: &'static str, least: u32) -> Option<u32> {
        let node = self.take(name)?;
        let whole = match &node.value {
            Tree::Number(n) => n.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| *n >= least),
            _ => None,
        };
        if whole.is_none() {
            let message = format!("`{name}` must be an integer of at least {least}, got {}", shown(node));
            self.problem(node.at, message);
        }
        whole
    }

    /// `true` or `false`. `None` if the field is missing or invalid.
    pub(crate) fn flag(&mut self, name: &'static str) -> Option<bool> {
        let node = self.take(name)?;
        let Tree::Bool(is_set) = &node.value else {
            self.problem(node.at, format!("`{name}` must be true or false, got {}", shown(node)));
            return None;
        };
        Some(*is_set)
    }

    pub(crate) fn number(&mut self, name: &'static str, range: RangeInclusive<f64>) -> Option<f64> {
        let node = self.take(name)?;
        let number = match &node.value {
            Tree::Number(n) => n.as_f64().filter(|n| range.contains(n)),
            _ => None,
        };
        if number.is_none() {
            let (from, to) = (range.start(), range.end());
            self.problem(
                node.at,
                format!("`{name}` must be a number from {from} to {to}, got {}", shown(node)),
            );
        }
        number
    }

    /// A positive amount in US dollars, such as `0.50`.
    pub(crate) fn dollars(&mut self, name: &'static str) -> Option<f64> {
        let node = self.take(name)?;
        let usd = match &node.value {
            Tree::Number(n) => n.as_f64().filter(|usd| usd.is_finite() && *usd > 0.0),
            _ => None,
        };
        if usd.is_none() {
            let message = format!(
                "`{name}` must be a positive amount in US dollars, such as 0.50, got {}",
                shown(node)
            );
            self.problem(node.at, message);
        }
        usd
    }

    /// A duration, such as `30s`.
    pub(crate) fn duration(&mut self, name: &'static str) -> Option<Duration> {
        let node = self.take(name)?;
        let time = match &node.value {
            Tree::Text(text) => humantime::parse_duration(text).ok().filter(|time| !time.is_zero()),
            _ => None,
        };
        if time.is_none() {
            let message =
                format!("`{name}` must be a duration such as 500ms, 30s or 2m, got {}", shown(node));
            self.problem(node.at, message);
        }
        time
    }

    pub(crate) fn choice<T: Copy>(&mut self, name: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let node = self.take(name)?;
        // YAML parses an unquoted `null` as a null value.
        let word = match &node.value {
            Tree::Text(text) => text.as_str(),
            Tree::Null => "null",
            _ => "",
        };
        let choice = choices.iter().find(|(choice, _)| *choice == word).map(|(_, value)| *value);
        if choice.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            let hint = closest(word, names.iter()).map(|near| format!("; did you mean `{near}`?"));
            let (names, hint) = (names.join(", "), hint.unwrap_or_default());
            self.problem(node.at, format!("`{name}` must be one of {names}, got {}{hint}", shown(node)));
        }
        choice
    }

    /// Reports every field that was not read.
    pub(crate) fn end(self) {
        for (key, _) in self.fields {
            if self.known.contains(&key.name.as_str()) {
                continue;
            }
            let hint = match closest(&key.name, self.known.iter()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("its fields are {}", self.known.join(", ")),
            };
            self.found
                .push(Problem::at(key.at, format!("{} has no field `{}`: {hint}", self.what, key.name)));
        }
    }
}

/// The value or its kind, shortened for a message.
fn shown(node: &Node) -> String {
    match &node.value {
        Tree::Text(text) => format!("`{}`", crate::excerpt(text, 40)),
        Tree::Number(n) => format!("`{n}`"),
        _ => node.kind().to_owned(),
    }
}

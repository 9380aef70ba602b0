//! Manifest: the first line of a journal, which identifies its run. If the input changes, another manifest
//! follows later.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fanweave_core::excerpt;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::columns::Columns;
use crate::fingerprint::Fingerprint;
use crate::key::Key;
use crate::source::InputOptions;

/// The version of the journal's format that this crate writes and reads.
///
/// Version 2 identifies rows by their request in canonical form; version 1 used the bytes of their lines.
pub(super) const VERSION: u32 = 2;
/// Maximum length in bytes of a value in a message.
const MAX_SHOWN_BYTES: usize = 80;
/// Maximum length in bytes of what two values have in common before a difference that is shown.
const MAX_EQUAL_BYTES: usize = 20;
/// Maximum number of fields of one value in a message.
const MAX_FIELDS: usize = 4;

/// Identity of the run that a journal belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Version of the format.
    journal: u32,
    /// Version of fanweave that created the journal. Informational: another version may resume it.
    fanweave: String,
    /// Everything that changes the answers to rows, by name.
    fingerprint: BTreeMap<String, String>,
    /// Version of the way in which these values were computed.
    #[serde(default = "first_version", skip_serializing_if = "is_first_version")]
    fingerprint_version: u32,
    /// The values for a comparison with journals of earlier versions.
    #[serde(skip)]
    known: Fingerprint,
    /// Hash of the input file. `None` for standard input, which cannot be read twice.
    input: Option<Key>,
    /// Path of the input file, for tools that read the run later. A file that was moved is still the same
    /// input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    input_path: Option<PathBuf>,
    /// The input's columns in the output, which do not change the answers. `None` in journals of versions
    /// without them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) columns: Option<Columns>,
    /// Set if a table has columns of cached tokens and of reasoning. `false` in journals of versions without
    /// them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) has_token_details: bool,
    /// Set if the columns were chosen by the user, so that they replace those of the journal.
    #[serde(skip)]
    pub(crate) chooses_columns: bool,
}

fn first_version() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_first_version(version: &u32) -> bool {
    *version == first_version()
}

impl Manifest {
    pub(crate) fn new(fingerprint: impl Into<Fingerprint>, input: Option<Key>) -> Self {
        let known = fingerprint.into();
        Self {
            journal: VERSION,
            fanweave: env!("CARGO_PKG_VERSION").to_owned(),
            fingerprint: known.values.clone(),
            fingerprint_version: known.version,
            known,
            input,
            input_path: None,
            columns: None,
            has_token_details: false,
            chooses_columns: false,
        }
    }

    /// Returns true if a journal with this manifest needs another one, because it records other values for
    /// the same run.
    pub(super) fn is_outdated(&self, now: &Manifest) -> bool {
        self.has_other_input(now)
            || self.fingerprint_version < now.fingerprint_version
            || self.columns != now.columns
    }

    /// Adds the path of the input file.
    pub(crate) fn of_file(self, path: Option<&Path>) -> Self {
        // A path that is not valid UTF-8 cannot be stored.
        let path =
            path.and_then(|path| std::path::absolute(path).ok()).filter(|path| path.to_str().is_some());
        Self { input_path: path, ..self }
    }

    /// Path and hash of the input file.
    pub(crate) fn origin(self) -> Option<(PathBuf, Key)> {
        self.input_path.zip(self.input)
    }

    /// Options that the input was read with.
    pub(crate) fn input_options(&self) -> InputOptions {
        let value = |name: &str| self.fingerprint.get(name).cloned();
        let mut options = InputOptions::new();
        options.format = value("input format").and_then(|format| format.parse().ok());
        options.delimiter = value("delimiter").and_then(|text| text.chars().next());
        options.encoding = value("encoding").and_then(|name| name.parse().ok());
        options.id_column = value("id column");
        options.sheet = value("sheet");
        // That of several files is not the format of each.
        if self.input_path.is_none() {
            options.format = None;
        }
        options
    }

    /// Keeps the columns of the manifest `before`. The user may have chosen others of the input.
    pub(super) fn keep_columns(&mut self, before: &Manifest) {
        self.has_token_details = before.has_token_details;
        if !self.chooses_columns {
            self.columns.clone_from(&before.columns);
        }
    }

    pub(super) fn has_other_input(&self, now: &Manifest) -> bool {
        self.input != now.input
    }

    pub(super) fn is_readable(&self) -> bool {
        self.journal == VERSION
    }

    /// Description of the program that wrote it, for messages.
    pub(super) fn writer(&self) -> String {
        format!("fanweave {} (journal format {})", self.fanweave, self.journal)
    }

    /// Differences to `now`, each as the end of a sentence.
    pub(super) fn differences(&self, now: &Manifest, changed_input: bool) -> Vec<String> {
        let values = now.known.for_version(self.fingerprint_version);
        let names = self.fingerprint.keys().chain(values.keys());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names.dedup();
        let mut all: Vec<_> = names.into_iter().flat_map(|name| self.difference(values, name)).collect();
        if !changed_input && self.has_other_input(now) {
            all.push(match (self.input, now.input) {
                (Some(_), None) => "the input was a file and is now standard input".to_owned(),
                (None, _) => "the input was standard input and is now a file".to_owned(),
                _ => "the input file has changed".to_owned(),
            });
        }
        all
    }

    /// Differences of the value `name`: of its fields, if it is JSON.
    fn difference(&self, now: &BTreeMap<String, String>, name: &str) -> Vec<String> {
        let (was, is) = (self.fingerprint.get(name), now.get(name));
        if was == is {
            return Vec::new();
        }
        if let (Some(was), Some(is)) = (was.and_then(|was| object(was)), is.and_then(|is| object(is))) {
            let mut all = Vec::new();
            fields(name, "", Some(&was), Some(&is), &mut all);
            let more = all.len().saturating_sub(MAX_FIELDS);
            all.truncate(MAX_FIELDS);
            if more > 0 {
                all.push(format!("{name} differs in {more} more fields"));
            }
            return all;
        }
        let (was, is) = (was.map(|was| was.as_str().into()), is.map(|is| is.as_str().into()));
        vec![changed(name, was, is)]
    }
}

/// A value that is an object. Other values are shown as they are written.
fn object(value: &str) -> Option<Value> {
    value.starts_with('{').then(|| serde_json::from_str(value).ok())?
}

/// Adds the fields in which two JSON values differ.
fn fields(name: &str, path: &str, was: Option<&Value>, is: Option<&Value>, all: &mut Vec<String>) {
    if was == is {
        return;
    }
    match (was, is) {
        (Some(Value::Object(was)), Some(Value::Object(is))) => {
            for field in was.keys().chain(is.keys().filter(|field| !was.contains_key(*field))) {
                // The fields of a step of a chain file are one level deeper than in the file.
                let path = match path {
                    "" | "action" => field.clone(),
                    path => format!("{path}.{field}"),
                };
                fields(name, &path, was.get(field), is.get(field), all);
            }
        }
        (Some(Value::Array(was)), Some(Value::Array(is))) if was.len() == is.len() => {
            for (at, (was, is)) in was.iter().zip(is).enumerate() {
                fields(name, &format!("{path}[{at}]"), Some(was), Some(is), all);
            }
        }
        _ => {
            let text = |value: Option<&Value>| -> Option<Cow<'static, str>> {
                match value {
                    None | Some(Value::Null) => None,
                    Some(Value::String(text)) => Some(Cow::Owned(text.clone())),
                    Some(other) => Some(Cow::Owned(other.to_string())),
                }
            };
            all.push(changed(&format!("{name}: {path}"), text(was), text(is)));
        }
    }
}

/// A difference as the end of a sentence.
fn changed(name: &str, was: Option<Cow<'_, str>>, is: Option<Cow<'_, str>>) -> String {
    let show = |value: &str| format!("`{}`", excerpt(value, MAX_SHOWN_BYTES));
    match (was, is) {
        (Some(was), Some(is)) => {
            let (was, is) = from_difference(&was, &is);
            format!("{name} was {}, now {}", show(&was), show(&is))
        }
        (Some(was), None) => format!("{name} was {}, now unset", show(&was)),
        (None, Some(is)) => format!("{name} was unset, now {}", show(&is)),
        (None, None) => format!("{name} has changed"),
    }
}

/// Two texts from shortly before their first difference, if their beginnings are equal for longer
/// than a message shows.
fn from_difference<'a>(was: &'a str, is: &'a str) -> (Cow<'a, str>, Cow<'a, str>) {
    let equal = was.bytes().zip(is.bytes()).take_while(|(a, b)| a == b).count();
    if equal <= MAX_SHOWN_BYTES / 2 {
        return (was.into(), is.into());
    }
    let from = |text: &str| format!("..{}", &text[text.floor_char_boundary(equal - MAX_EQUAL_BYTES)..]);
    (from(was).into(), from(is).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The differences between two values of `name`.
    fn differences(name: &str, was: &str, is: &str) -> Vec<String> {
        let manifest = |value: &str| Manifest::new(Fingerprint::new().set(name, value), None);
        manifest(was).differences(&manifest(is), false)
    }

    #[test]
    fn a_changed_step_names_the_field_that_differs() {
        let step = |text: &str, temperature: &str| {
            format!(
                r#"{{"action":{{"messages":[{{"role":"user","text":"{text}"}}],"parameters":{{{temperature}}}}}}}"#
            )
        };
        let name = "step score";
        assert_eq!(
            differences(name, &step("a", r#""temperature":0.5"#), &step("a", r#""temperature":0.7"#)),
            ["step score: parameters.temperature was `0.5`, now `0.7`"]
        );
        assert_eq!(
            differences(name, &step("a", ""), &step("b", r#""seed":1"#)),
            [
                "step score: messages[0].text was `a`, now `b`",
                "step score: parameters.seed was unset, now `1`",
            ]
        );
        let many =
            |n: u8| format!("{{{}}}", (0..9).map(|i| format!("\"{i}\":{n}")).collect::<Vec<_>>().join(","));
        let all = differences(name, &many(1), &many(2));
        assert_eq!((all.len(), all.last().unwrap().as_str()), (5, "step score differs in 5 more fields"));
    }

    #[test]
    fn long_values_are_shown_from_where_they_differ() {
        let long = |end: &str| format!("{} {end}", "Ä".repeat(100));
        let shown = differences("prompt", &long("one"), &long("two"));
        assert!(shown[0].contains("Ä one`, now `..Ä") && shown[0].ends_with("Ä two`"), "{shown:?}");
    }
}

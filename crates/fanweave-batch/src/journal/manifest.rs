//! Manifest: the first line of a journal, which identifies its run. If the input changes, another manifest
//! follows later.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fanweave_core::excerpt;
use serde::{Deserialize, Serialize};

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

    /// Keeps the columns of the manifest `before`, unless the user has chosen others.
    pub(super) fn keep_columns(&mut self, before: &Manifest) {
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
        let mut all: Vec<_> = names.into_iter().filter_map(|name| self.difference(values, name)).collect();
        if !changed_input && self.has_other_input(now) {
            all.push(match (self.input, now.input) {
                (Some(_), None) => "the input was a file and is now standard input".to_owned(),
                (None, _) => "the input was standard input and is now a file".to_owned(),
                _ => "the input file has changed".to_owned(),
            });
        }
        all
    }

    fn difference(&self, now: &BTreeMap<String, String>, name: &str) -> Option<String> {
        let show = |value: &String| format!("`{}`", excerpt(value, MAX_SHOWN_BYTES));
        match (self.fingerprint.get(name), now.get(name)) {
            (Some(was), Some(is)) if was == is => None,
            (Some(was), Some(is)) => Some(format!("{name} was {}, now {}", show(was), show(is))),
            (Some(was), None) => Some(format!("{name} was {}, now unset", show(was))),
            (None, Some(is)) => Some(format!("{name} was unset, now {}", show(is))),
            (None, None) => None,
        }
    }
}

//! The first line of a journal: which run it belongs to. Where its input has changed, there is another one further on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fanweave_core::excerpt;
use serde::{Deserialize, Serialize};

use crate::key::Key;

/// The version of the journal's format that this crate writes and reads.
///
/// 2: rows are known by what they ask in canonical form; in 1 it was by the bytes of their lines.
pub(super) const VERSION: u32 = 2;
/// Most bytes of a value that a message shows.
const SHOWN: usize = 80;

/// Which run a journal belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Version of the format.
    journal: u32,
    /// Version of fanweave that began it. For people: another one may go on.
    fanweave: String,
    /// Everything that changes what rows are answered, by name.
    fingerprint: BTreeMap<String, String>,
    /// Hash of the input file. `None` for standard input, which cannot be read twice.
    input: Option<Key>,
    /// Where the input file was, for whoever looks at the run later. A file that moves stays the same input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    input_path: Option<PathBuf>,
}

impl Manifest {
    pub(crate) fn new(fingerprint: BTreeMap<String, String>, input: Option<Key>) -> Self {
        let fanweave = env!("CARGO_PKG_VERSION").to_owned();
        Self { journal: VERSION, fanweave, fingerprint, input, input_path: None }
    }

    /// The same, which says where its input file is.
    pub(crate) fn of_file(self, path: Option<&Path>) -> Self {
        // A path that is no text cannot be written down.
        let path =
            path.and_then(|path| std::path::absolute(path).ok()).filter(|path| path.to_str().is_some());
        Self { input_path: path, ..self }
    }

    /// Where its input was, and what that is known by.
    pub(crate) fn origin(self) -> Option<(PathBuf, Key)> {
        self.input_path.zip(self.input)
    }

    pub(super) fn has_other_input(&self, now: &Manifest) -> bool {
        self.input != now.input
    }

    pub(super) fn is_readable(&self) -> bool {
        self.journal == VERSION
    }

    /// Who wrote it, for people.
    pub(super) fn writer(&self) -> String {
        format!("fanweave {} (journal format {})", self.fanweave, self.journal)
    }

    /// What is different in `now`, each as the end of a sentence.
    pub(super) fn differences(&self, now: &Manifest, changed_input: bool) -> Vec<String> {
        let names = self.fingerprint.keys().chain(now.fingerprint.keys());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names.dedup();
        let mut all: Vec<_> = names.into_iter().filter_map(|name| self.difference(now, name)).collect();
        if !changed_input && self.has_other_input(now) {
            all.push(match (self.input, now.input) {
                (Some(_), None) => "the input was a file, now it is standard input".to_owned(),
                (None, _) => "the input was standard input, now it is a file".to_owned(),
                _ => "the input file has changed since".to_owned(),
            });
        }
        all
    }

    fn difference(&self, now: &Manifest, name: &str) -> Option<String> {
        let show = |value: &String| format!("`{}`", excerpt(value, SHOWN));
        match (self.fingerprint.get(name), now.fingerprint.get(name)) {
            (Some(was), Some(is)) if was == is => None,
            (Some(was), Some(is)) => Some(format!("{name} was {}, now {}", show(was), show(is))),
            (Some(was), None) => Some(format!("{name} was {}, now nothing", show(was))),
            (None, Some(is)) => Some(format!("{name} was nothing, now {}", show(is))),
            (None, None) => None,
        }
    }
}

//! Files that a chain file refers to.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::fields::Fields;
use super::spanned::Spanned;
use super::tree::{Node, Tree};

/// Origin of the files that a chain file refers to.
#[derive(Clone, Copy)]
pub(super) enum Files<'a> {
    /// No files: referring to one is a problem.
    None,
    /// Files of this folder and its subfolders.
    Below(&'a Path),
    /// Texts by path, as written in the chain file.
    Given(&'a BTreeMap<String, String>),
    /// Empty texts. Collects the paths.
    Listed(&'a RefCell<BTreeSet<String>>),
}

/// Maximum size of a file that a chain file refers to. 1 MiB: prompts, not data sets.
const MAX_FILE: u64 = 1 << 20;

/// A string, or `{ file: path }`: a file that `files` has.
pub(super) fn text_or_file(
    fields: &mut Fields<'_, '_>,
    name: &str,
    node: &Node,
    files: Files<'_>,
) -> Option<Spanned<String>> {
    let Tree::Map(pairs) = &node.value else { return fields.as_text(name, node) };
    let [(key, file)] = pairs.as_slice() else {
        fields.problem(node.at, format!("`{name}` must be a string or `{{ file: PATH }}`"));
        return None;
    };
    if key.name != "file" {
        fields.problem(
            key.at,
            format!("`{name}` must be a string or `{{ file: PATH }}`: unknown field `{}`", key.name),
        );
        return None;
    }
    let path = fields.as_text("file", file)?;
    match files.text(&path.value) {
        Ok(value) => Some(Spanned { at: file.at, value, file: Some(path.value) }),
        Err(why) => {
            fields.problem(file.at, why);
            None
        }
    }
}

impl Files<'_> {
    /// The text of the file that the chain file refers to as `path`.
    fn text(self, path: &str) -> Result<String, String> {
        match self {
            Self::None => Err("cannot read files: a chain parsed from a string has no folder".to_owned()),
            Self::Below(folder) => below(folder, path),
            Self::Given(files) => {
                let text = files.get(path).ok_or_else(|| format!("`{path}` is not among the given files"))?;
                check_length(path, text.len() as u64)?;
                Ok(without_mark(text).to_owned())
            }
            Self::Listed(paths) => {
                paths.borrow_mut().insert(path.to_owned());
                Ok(String::new())
            }
        }
    }
}

/// Reads the file at `path`, which must be inside `folder`.
fn below(folder: &Path, path: &str) -> Result<String, String> {
    let cannot = |e: std::io::Error| format!("cannot read `{path}`: {e}");
    let folder = folder.canonicalize().map_err(cannot)?;
    // Resolve links first: a link must not lead outside the folder.
    let file = folder.join(path).canonicalize().map_err(cannot)?;
    if !file.starts_with(&folder) {
        return Err(format!("`{path}` is outside the folder of the chain file: move it into that folder"));
    }
    let about = file.metadata().map_err(cannot)?;
    // Reading a pipe might block forever.
    if !about.is_file() {
        return Err(format!("`{path}` is not a file"));
    }
    check_length(path, about.len())?;
    let text = crate::regular::read(&file).map_err(cannot)?;
    Ok(without_mark(&text).to_owned())
}

fn check_length(path: &str, length: u64) -> Result<(), String> {
    match length {
        ..=MAX_FILE => Ok(()),
        _ => Err(format!("`{path}` is too large: {length} bytes, the maximum is {MAX_FILE}")),
    }
}

/// Drops the byte order mark that some editors write.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

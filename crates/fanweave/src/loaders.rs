//! Loads documents from files.
//!
//! | file | documents |
//! |---|---|
//! | `.csv`, `.tsv` | one for each row: a line `column: value` for each column |
//! | `.jsonl`, `.ndjson` | one for each line |
//! | `.json` | one for each element of an array, or one |
//! | any other, such as `.txt` and `.md` | one |
//!
//! A JSON object with a field `text` or `content` becomes a document with that text; its other fields are the
//! metadata. Any other value becomes a document of its JSON. The metadata of every document contain its file
//! as `source`; those of rows, lines and elements also contain their number, from 1, as `row`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::retrieve::Document;
use crate::{Error, ErrorKind, Result};

/// Maximum size of a file. Files are read into memory.
const MAX_BYTES: u64 = 1 << 30;

/// Extensions of the files that [`load`] reads from a folder.
const EXTENSIONS: [&str; 9] = ["txt", "md", "markdown", "rst", "csv", "tsv", "json", "jsonl", "ndjson"];

/// Loads the documents of a file, or of all text files in a folder and its subfolders, sorted by path. Hidden
/// files and folders are skipped, and so are links that lead out of the folder: see [`Loader`].
///
/// ```
/// # let folder = std::env::temp_dir().join(module_path!().replace("::", "-"));
/// # std::fs::create_dir_all(&folder).unwrap();
/// # let path = &folder;
/// std::fs::write(path.join("tides.md"), "# Tides").unwrap();
/// std::fs::write(path.join("bears.csv"), "name,weight\npolar,450\nbrown,300\n").unwrap();
/// let documents = fanweave::loaders::load(path)?;
/// assert_eq!(documents.len(), 3);
/// assert_eq!(documents[1].text, "name: brown\nweight: 300");
/// assert_eq!(documents[2].text, "# Tides");
/// # Ok::<_, fanweave::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::Input`] if a file cannot be read or parsed, with the file and the line.
pub fn load(path: impl AsRef<Path>) -> Result<Vec<Document>> {
    Ok(Loader::new().load(path)?.documents)
}

/// Loads documents with settings.
///
/// A folder may come from someone else: a link in it could lead to any file of the user, whose text would
/// then be sent to a model. By default, links that lead out of the folder are skipped. Links within the
/// folder are always followed, and each file is read once.
///
/// ```
/// use fanweave::loaders::Loader;
///
/// # let folder = std::env::temp_dir().join(module_path!().replace("::", "-") + "-loader");
/// # std::fs::create_dir_all(&folder).unwrap();
/// std::fs::write(folder.join("tides.md"), "# Tides").unwrap();
/// let loaded = Loader::new().load(&folder)?;
/// assert_eq!(loaded.documents.len(), 1);
/// assert!(loaded.skipped.is_empty());
/// # Ok::<_, fanweave::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Loader {
    follows_links: bool,
}

/// The documents of a file or folder.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Loaded {
    /// The documents, sorted by the paths of their files.
    pub documents: Vec<Document>,
    /// Links that were skipped because they lead out of the folder.
    pub skipped: Vec<PathBuf>,
}

impl Loader {
    /// With the default settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Follows links that lead out of the folder. Default: false.
    #[must_use]
    pub fn follow_links(mut self, follow: bool) -> Self {
        self.follows_links = follow;
        self
    }

    /// Loads the documents of a file, or of all text files in a folder and its subfolders. A link that is
    /// itself `path` is followed.
    ///
    /// # Errors
    /// Like [`load`].
    pub fn load(&self, path: impl AsRef<Path>) -> Result<Loaded> {
        let path = path.as_ref();
        if !path.is_dir() {
            return Ok(Loaded { documents: load_file(path)?, skipped: Vec::new() });
        }
        let root = path.canonicalize().map_err(|e| unreadable(path, &e))?;
        let mut found = Found::new(&root, self.follows_links);
        found.collect(path)?;
        found.resolve_links()?;
        let Found { mut files, mut skipped, .. } = found;
        files.sort();
        skipped.sort();
        let mut documents = Vec::new();
        for file in files {
            documents.extend(load_file(&file)?);
        }
        Ok(Loaded { documents, skipped })
    }
}

/// The files of a folder.
struct Found<'a> {
    /// The folder, without links.
    root: &'a Path,
    /// Set to follow links that lead out of the folder.
    follows: bool,
    files: Vec<PathBuf>,
    /// Links that have not been followed.
    links: Vec<PathBuf>,
    /// Folders and files that were reached, without links, so that each is read once.
    seen: HashSet<PathBuf>,
    skipped: Vec<PathBuf>,
}

impl<'a> Found<'a> {
    fn new(root: &'a Path, follows: bool) -> Self {
        let (files, links, skipped) = (Vec::new(), Vec::new(), Vec::new());
        Self { root, follows, files, links, seen: HashSet::new(), skipped }
    }

    fn collect(&mut self, folder: &Path) -> Result<()> {
        let real = folder.canonicalize().map_err(|e| unreadable(folder, &e))?;
        if !self.seen.insert(real.clone()) {
            return Ok(());
        }
        for entry in std::fs::read_dir(folder).map_err(|e| unreadable(folder, &e))? {
            let entry = entry.map_err(|e| unreadable(folder, &e))?;
            let path = entry.path();
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            let kind = entry.file_type().map_err(|e| unreadable(&path, &e))?;
            if kind.is_symlink() {
                self.links.push(path);
            } else if kind.is_dir() {
                self.collect(&path)?;
            } else if kind.is_file() && has_text(&path) {
                // Pipes and devices would block.
                self.seen.insert(real.join(entry.file_name()));
                self.files.push(path);
            }
        }
        Ok(())
    }

    /// Follows links once all files are known, so that a file that is also linked keeps its own path.
    fn resolve_links(&mut self) -> Result<()> {
        while let Some(link) = self.links.pop() {
            // A link without a target has no text.
            let Ok(target) = link.canonicalize() else { continue };
            if !target.starts_with(self.root) && !self.follows {
                self.skipped.push(link);
            } else if target.is_dir() {
                self.collect(&link)?;
            } else if target.is_file() && has_text(&link) && self.seen.insert(target) {
                self.files.push(link);
            }
        }
        Ok(())
    }
}

fn has_text(path: &Path) -> bool {
    EXTENSIONS.contains(&&*extension(path))
}

fn load_file(path: &Path) -> Result<Vec<Document>> {
    let metadata = std::fs::metadata(path).map_err(|e| unreadable(path, &e))?;
    let size = metadata.len();
    if !metadata.is_file() {
        return Err(wrong(path, "is not a regular file"));
    }
    if size > MAX_BYTES {
        return Err(wrong(path, &format!("has {size} bytes, more than {MAX_BYTES}: split it")));
    }
    let bytes = std::fs::read(path).map_err(|e| unreadable(path, &e))?;
    let text = String::from_utf8(bytes)
        .map_err(|e| wrong(path, &format!("is not UTF-8 at byte {}", e.utf8_error().valid_up_to())))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let documents = match &*extension(path) {
        "csv" => table(path, text, b',')?,
        "tsv" => table(path, text, b'\t')?,
        "jsonl" | "ndjson" => lines(path, text)?,
        "json" => match parse(path, text, None)? {
            Value::Array(values) => numbered(values.into_iter().map(document)),
            value => vec![document(value)],
        },
        _ => vec![Document::new(text)],
    };
    let source = path.display().to_string();
    let known = |document: Document| document.with("source", &*source);
    Ok(documents.into_iter().filter(|document| !document.text.trim().is_empty()).map(known).collect())
}

fn extension(path: &Path) -> String {
    path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}

fn table(path: &Path, text: &str, delimiter: u8) -> Result<Vec<Document>> {
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(text.as_bytes());
    let failed = |e: csv::Error| wrong(path, &format!("is not a valid table: {e}"));
    let columns = reader.headers().map_err(failed)?.clone();
    let mut documents = Vec::new();
    for row in reader.records() {
        let row = row.map_err(failed)?;
        let fields = columns.iter().zip(&row).filter(|(_, value)| !value.is_empty());
        let lines: Vec<_> = fields.map(|(column, value)| format!("{column}: {value}")).collect();
        documents.push(Document::new(lines.join("\n")));
    }
    Ok(numbered(documents.into_iter()))
}

fn lines(path: &Path, text: &str) -> Result<Vec<Document>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(at, line)| Ok(document(parse(path, line, Some(at + 1))?).with("row", at + 1))).collect()
}

fn parse(path: &Path, text: &str, line: Option<usize>) -> Result<Value> {
    serde_json::from_str(text).map_err(|e| {
        let line = line.unwrap_or(e.line());
        let reason = e.to_string();
        let reason = reason.split(" at line ").next().unwrap_or_default();
        wrong(path, &format!("is not JSON in line {line}, column {}: {reason}", e.column()))
    })
}

fn numbered(documents: impl Iterator<Item = Document>) -> Vec<Document> {
    documents.enumerate().map(|(at, document)| document.with("row", at + 1)).collect()
}

fn document(value: Value) -> Document {
    match value {
        Value::String(text) => Document::new(text),
        Value::Object(mut fields) => {
            for name in ["text", "content"] {
                if let Some(Value::String(_)) = fields.get(name)
                    && let Some(Value::String(text)) = fields.shift_remove(name)
                {
                    return Document { text, metadata: fields };
                }
            }
            Document::new(Value::Object(fields).to_string())
        }
        value => Document::new(value.to_string()),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Input, format!("cannot read {}: {error}", path.display()))
}

fn wrong(path: &Path, reason: &str) -> Error {
    Error::new(ErrorKind::Input, format!("{} {reason}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(name: &str, text: impl AsRef<[u8]>) -> Result<Vec<Document>> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), text).unwrap();
        load(folder.path().join(name))
    }

    #[test]
    fn objects_with_a_text_keep_the_rest_as_metadata() {
        let documents = loaded("a.jsonl", "{\"text\":\"one\",\"page\":2}\n\n\"two\"\n{\"x\":1}\n").unwrap();
        let texts: Vec<_> = documents.iter().map(|document| &*document.text).collect();
        assert_eq!(texts, ["one", "two", "{\"x\":1}"]);
        assert_eq!((&documents[0].metadata["page"], &documents[1].metadata["row"]), (&2.into(), &3.into()));
        assert!(documents[0].source().unwrap().ends_with("a.jsonl"));
        let documents = loaded("a.json", "[{\"content\":\"one\"}, \"two\"]").unwrap();
        assert_eq!((documents.len(), &*documents[0].text), (2, "one"));
    }

    #[test]
    fn a_bad_line_is_named() {
        let error = loaded("a.jsonl", "{}\n{\"text\": oops}").unwrap_err().to_string();
        assert!(error.contains("a.jsonl is not JSON in line 2, column 10"), "{error}");
        let error = loaded("a.json", "{\n\n oops").unwrap_err().to_string();
        assert!(error.contains("in line 3"), "{error}");
        assert!(loaded("a.csv", "a,b\n1\n").unwrap_err().to_string().contains("is not a valid table"));
        assert!(loaded("a.txt", b"ok \xff").unwrap_err().to_string().ends_with("is not UTF-8 at byte 3"));
        assert!(load("/no/such/file").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn links_out_of_a_folder_are_skipped_and_each_file_within_it_is_read_once() {
        use std::os::unix::fs::symlink;
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (inside, outside) = (folder.path(), other.path());
        std::fs::write(inside.join("a.md"), "own").unwrap();
        std::fs::write(outside.join("secret.txt"), "secret").unwrap();
        std::fs::create_dir(outside.join("more")).unwrap();
        std::fs::write(outside.join("more/b.txt"), "more").unwrap();
        symlink(inside.join("a.md"), inside.join("same.md")).unwrap();
        symlink(inside, inside.join("cycle")).unwrap();
        symlink(outside.join("secret.txt"), inside.join("link.txt")).unwrap();
        symlink(outside.join("more"), inside.join("more")).unwrap();
        symlink("/nowhere/at/all.txt", inside.join("none.txt")).unwrap();
        let texts = |loaded: &Loaded| loaded.documents.iter().map(|d| d.text.clone()).collect::<Vec<_>>();
        let loaded = Loader::new().load(inside).unwrap();
        assert_eq!(texts(&loaded), ["own"]);
        assert_eq!(loaded.skipped, [inside.join("link.txt"), inside.join("more")]);
        let loaded = Loader::new().follow_links(true).load(inside).unwrap();
        assert_eq!(texts(&loaded), ["own", "secret", "more"]);
        assert!(loaded.skipped.is_empty());
        // The user named the link itself.
        assert_eq!(load(inside.join("link.txt")).unwrap()[0].text, "secret");
        assert!(load("/dev/zero").unwrap_err().to_string().ends_with("is not a regular file"));
    }

    #[test]
    fn a_byte_order_mark_and_an_empty_file_are_handled() {
        assert_eq!(loaded("a.md", "\u{feff}# Tides").unwrap()[0].text, "# Tides");
        assert!(loaded("a.txt", " \n").unwrap().is_empty());
    }
}

//! Several input files, read one after the other.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ids::Ids;
use super::options::InputOptions;
use super::{InputFormat, Rows, Source, format};
use crate::output::ColumnType;
use crate::rows::InputRow;
use crate::{Error, Result};

/// Extensions of the files of a folder that are read.
const EXTENSIONS: [&str; 9] = ["csv", "tsv", "tab", "jsonl", "ndjson", "json", "parquet", "xlsx", "txt"];

/// Maximum workbooks whose rows stay decoded, each in an open temporary file. Further ones are decoded each
/// time that they are read.
#[cfg(feature = "xlsx")]
const MAX_DECODED: usize = 32;

/// Name of the field of a row that has the name of its file.
pub(crate) const FILE_COLUMN: &str = "file";

/// The rows of several files. One file is open at a time.
pub(super) struct Files {
    files: Arc<[InputFile]>,
    options: InputOptions,
    /// Position of the file to open next.
    next: usize,
    current: Option<(Source, Arc<str>)>,
    /// The ids of the files before the current one.
    ids: Ids,
    /// Columns of all files, if all have some.
    columns: Option<Vec<String>>,
    /// Types of the columns that have one in all files with the column.
    column_types: HashMap<String, ColumnType>,
}

/// One of several files.
struct InputFile {
    path: PathBuf,
    format: InputFormat,
    /// The rows of a workbook, which is decoded when it is opened.
    #[cfg(feature = "xlsx")]
    decoded: Option<Box<super::xlsx::Rows>>,
}

impl Source {
    /// Opens one or several files, and the files of folders, whose rows are numbered through. A folder stands
    /// for the files in it that have the extension of an input, in the order of their names, apart from
    /// outputs of earlier runs, which have a journal beside them.
    ///
    /// The files may have different formats and columns, but OpenAI batch files cannot be combined with
    /// others. The options apply to each file. With several files, each row also has the name of its file,
    /// which [`Columns`](crate::Columns) may name as `file`.
    ///
    /// ```
    /// use fanweave::batch::{InputOptions, Source};
    ///
    /// # let folder = std::env::temp_dir().join(module_path!().replace("::", "-"));
    /// # std::fs::create_dir_all(&folder)?;
    /// std::fs::write(folder.join("a.csv"), "city\nOslo\n")?;
    /// std::fs::write(folder.join("b.jsonl"), "{\"city\": \"Rome\"}\n")?;
    /// let rows = Source::open_all([folder.join("a.csv"), folder.join("b.jsonl")], InputOptions::new())?;
    /// assert!(rows.name().ends_with("a.csv and 1 more file"));
    /// assert_eq!(rows.map(|row| row.map(|row| row.index)).collect::<Result<Vec<_>, _>>()?, [0, 1]);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`open_with`](Self::open_with) for each file, and [`Usage`](crate::ErrorKind::Usage) if a
    /// file is named twice, is not a regular file, or does not go together with the others.
    pub fn open_all<P: AsRef<Path>>(
        paths: impl IntoIterator<Item = P>,
        options: InputOptions,
    ) -> Result<Self> {
        let mut notes = Vec::new();
        let mut files: Vec<PathBuf> = Vec::new();
        for path in paths {
            let path = path.as_ref();
            match path.is_dir() {
                true => files.extend(of_folder(path, &mut notes)?),
                false => files.push(path.to_owned()),
            }
        }
        let mut source = match files.as_slice() {
            [] => return Err(Error::usage("no input file is given")),
            [one] => Self::open_with(one, options)?,
            _ => Self::several(files, options, &mut notes)?,
        };
        source.notes.splice(0..0, notes);
        Ok(source)
    }

    fn several(paths: Vec<PathBuf>, options: InputOptions, notes: &mut Vec<String>) -> Result<Self> {
        let mut known = HashSet::new();
        let (mut files, mut columns) = (Vec::with_capacity(paths.len()), Some(Vec::new()));
        let mut types: HashMap<String, Option<ColumnType>> = HashMap::new();
        for path in paths {
            let shown = path.display();
            let file = Self::open_with(&path, options.clone())?;
            let (Some(format), false) = (file.format, file.paths.is_empty()) else {
                let message =
                    format!("{shown}: not a regular file; combine several inputs into one stream first");
                return Err(Error::usage(message));
            };
            if !known.insert(path.canonicalize().unwrap_or_else(|_| path.clone())) {
                return Err(Error::usage(format!("{shown}: this input is named twice")));
            }
            notes.extend(file.notes.iter().map(|note| format!("{shown}: {note}")));
            let own = file.column_types();
            for name in file.columns().into_iter().flatten() {
                let kind = own.get(&name).copied();
                let common = types.entry(name).or_insert(kind);
                *common = common.filter(|common| Some(*common) == kind);
            }
            columns = columns.zip(file.columns()).map(|(mut all, own): (Vec<String>, _)| {
                let seen: HashSet<String> = all.iter().cloned().collect();
                all.extend(own.into_iter().filter(|name| !seen.contains(name)));
                all
            });
            #[cfg(feature = "xlsx")]
            let decoded = match file.rows {
                Rows::Xlsx(rows) if files.len() < MAX_DECODED => Some(rows),
                _ => None,
            };
            files.push(InputFile {
                path,
                format,
                #[cfg(feature = "xlsx")]
                decoded,
            });
        }
        let format = common_format(&files)?;
        let more = files.len() - 1;
        let name =
            format!("{} and {more} more file{}", files[0].path.display(), if more == 1 { "" } else { "s" });
        let paths = files.iter().map(|file| file.path.clone()).collect();
        let (current, ids) = (None, Ids::default());
        let files = files.into();
        let column_types = types.into_iter().filter_map(|(name, kind)| Some((name, kind?))).collect();
        let rows = Files { files, options: options.clone(), next: 0, current, ids, columns, column_types };
        let source = Self::over(name, paths, Some(format), Rows::Files(Box::new(rows)));
        Ok(Self { options, is_plain: false, ..source })
    }
}

impl Files {
    /// The next row, numbered within its file.
    pub(super) fn next(&mut self, has_keys: bool) -> Option<Result<InputRow>> {
        loop {
            let (source, name) = match &mut self.current {
                Some(current) => current,
                none => {
                    let file = self.files.get(self.next)?;
                    self.next += 1;
                    let mut source = match file.open(&self.options) {
                        Ok(source) => source,
                        Err(error) => return Some(Err(error)),
                    };
                    source.has_keys = has_keys;
                    source.ids = std::mem::take(&mut self.ids);
                    source.ids.begin_file(&source.name);
                    let name = Arc::from(file.path.display().to_string());
                    none.insert((source, name))
                }
            };
            match source.next_of_all() {
                Some(row) => {
                    return Some(row.map(|row| InputRow { file: Some(name.clone()), ..row }));
                }
                None => {
                    self.ids = std::mem::take(&mut source.ids);
                    self.current = None;
                }
            }
        }
    }

    /// Columns of all files, if all have some.
    pub(super) fn columns(&self) -> Option<&[String]> {
        self.columns.as_deref()
    }

    /// Types of the columns that have one in all files with the column.
    pub(super) fn column_types(&self) -> &HashMap<String, ColumnType> {
        &self.column_types
    }

    /// Opens each file for a check, without keys.
    pub(super) fn each(&self) -> impl Iterator<Item = Result<Source>> {
        self.files.iter().map(|file| Ok(Source { has_keys: false, ..file.open(&self.options)? }))
    }

    /// The same rows from the first one.
    pub(super) fn rewound(&self) -> Self {
        let (files, options, columns) = (self.files.clone(), self.options.clone(), self.columns.clone());
        let (column_types, ids) = (self.column_types.clone(), Ids::default());
        Self { files, options, next: 0, current: None, ids, columns, column_types }
    }
}

impl InputFile {
    fn open(&self, options: &InputOptions) -> Result<Source> {
        let options = options.clone().format(self.format);
        #[cfg(feature = "xlsx")]
        if let Some(decoded) = &self.decoded {
            let (name, paths) = (self.path.display().to_string(), vec![self.path.clone()]);
            let rows = Rows::Xlsx(Box::new(decoded.rewound()));
            return Ok(Source { options, ..Source::over(name, paths, Some(self.format), rows) });
        }
        Source::open_with(&self.path, options)
    }
}

/// The format of all files: that of each, or `jsonl` for files whose rows are objects.
fn common_format(files: &[InputFile]) -> Result<InputFormat> {
    let InputFile { path: first, format, .. } = &files[0];
    let Some(other) = files.iter().find(|other| other.format != *format) else { return Ok(*format) };
    let batch = files.iter().find(|file| file.format == InputFormat::OpenAi);
    if let Some(InputFile { path: batch, .. }) = batch {
        let plain = if batch == first { &other.path } else { first };
        return Err(Error::usage(format!(
            "{} is an OpenAI batch file and {} is not: run them separately",
            batch.display(),
            plain.display()
        )));
    }
    let are_tables = files.iter().all(|file| file.format.has_records());
    Ok(if are_tables { InputFormat::Csv } else { InputFormat::Jsonl })
}

/// The files of a folder that are inputs, in the order of their names.
fn of_folder(folder: &Path, notes: &mut Vec<String>) -> Result<Vec<PathBuf>> {
    let failed = |e| Error::io("list the folder", folder, e);
    let (mut files, mut others) = (Vec::new(), 0_u64);
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if is_hidden || !path.is_file() {
            continue;
        }
        let is_input = format::extension(&path).is_some_and(|extension| EXTENSIONS.contains(&&*extension));
        match is_input && !crate::disk::journal_path(&path).exists() {
            true => files.push(path),
            false => others += 1,
        }
    }
    files.sort();
    let shown = folder.display();
    if files.is_empty() {
        let known = EXTENSIONS.join(", .");
        return Err(Error::usage(format!("{shown}: the folder has no input file: none ends with .{known}")));
    }
    if others > 0 {
        let s = if others == 1 { "" } else { "s" };
        notes.push(format!(
            "{shown}: {others} other file{s} of the folder {} ignored",
            if others == 1 { "is" } else { "are" }
        ));
    }
    Ok(files)
}

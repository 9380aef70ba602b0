//! Problems of a chain file, with their locations.

use std::fmt;

use crate::{Error, ErrorKind};

/// A problem of a chain file.
///
/// `Display` formats it like a compiler error: location, message, and the source line with a marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    message: String,
    at: usize,
    location: Option<Location>,
}

/// A location in a file, with the text of its line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Location {
    file: String,
    line: usize,
    column: usize,
    text: String,
}

/// Maximum characters of a source line in a message. 160 fills two rows of a terminal.
const MAX_LINE_CHARS: usize = 160;

impl Problem {
    pub(crate) fn at(at: usize, message: String) -> Self {
        Self { message, at, location: None }
    }

    /// The message, without the location.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Line number, from 1.
    pub fn line(&self) -> usize {
        self.location.as_ref().map_or(1, |location| location.line)
    }

    /// Column in characters, from 1.
    pub fn column(&self) -> usize {
        self.location.as_ref().map_or(1, |location| location.column)
    }

    fn placed(&mut self, file: &str, text: &str) {
        let mut at = self.at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let line = text[start..].lines().next().unwrap_or_default();
        self.location = Some(Location {
            file: file.to_owned(),
            line: text[..at].matches('\n').count() + 1,
            column: text[start..at].chars().count() + 1,
            text: line.to_owned(),
        });
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Location { file, line, column, text }) = &self.location else {
            return f.write_str(&self.message);
        };
        writeln!(f, "{file}:{line}:{column}: {}", self.message)?;
        let number = line.to_string();
        let gutter = " ".repeat(number.len());
        // Show the part of a long line that contains the marker.
        let skip = column.saturating_sub(MAX_LINE_CHARS / 2);
        let shown: String =
            text.chars().skip(skip).take(MAX_LINE_CHARS).map(|c| if c == '\t' { ' ' } else { c }).collect();
        writeln!(f, "{gutter} |")?;
        writeln!(f, "{number} | {shown}")?;
        write!(f, "{gutter} | {}^", " ".repeat(column - 1 - skip.min(column - 1)))
    }
}

/// All problems of a chain file. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Iterates over the problems in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    pub(crate) fn placed(mut self, file: &str, text: &str) -> Self {
        self.0.sort_by_key(|problem| problem.at);
        self.0.dedup();
        self.0.iter_mut().for_each(|problem| problem.placed(file, text));
        self
    }

    /// `Ok` if nothing was found.
    pub(crate) fn check(found: Vec<Problem>) -> Result<(), Self> {
        if found.is_empty() { Ok(()) } else { Err(Self(found)) }
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl From<Problems> for Error {
    fn from(problems: Problems) -> Self {
        Error::new(ErrorKind::Config, problems.to_string()).with_source(problems)
    }
}

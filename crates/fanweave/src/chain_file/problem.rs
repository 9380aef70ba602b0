//! What is wrong with a chain file, and where.

use std::fmt;

use crate::{Error, ErrorKind};

/// One thing that is wrong with a chain file.
///
/// `Display` writes it as compilers do: place, sentence, and the line with a mark below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    message: String,
    at: usize,
    place: Option<Location>,
}

/// A place in a file, and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Location {
    file: String,
    line: usize,
    column: usize,
    text: String,
}

/// Most characters of a line that are shown. 160: what fits two rows of a terminal.
const SHOWN: usize = 160;

impl Problem {
    pub(crate) fn at(at: usize, message: String) -> Self {
        Self { message, at, place: None }
    }

    /// What is wrong and what to do, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The line, from 1.
    pub fn line(&self) -> usize {
        self.place.as_ref().map_or(1, |place| place.line)
    }

    /// The column in characters, from 1.
    pub fn column(&self) -> usize {
        self.place.as_ref().map_or(1, |place| place.column)
    }

    fn placed(&mut self, file: &str, text: &str) {
        let mut at = self.at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let line = text[start..].lines().next().unwrap_or_default();
        self.place = Some(Location {
            file: file.to_owned(),
            line: text[..at].matches('\n').count() + 1,
            column: text[start..at].chars().count() + 1,
            text: line.to_owned(),
        });
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Location { file, line, column, text }) = &self.place else {
            return f.write_str(&self.message);
        };
        writeln!(f, "{file}:{line}:{column}: {}", self.message)?;
        let number = line.to_string();
        let gutter = " ".repeat(number.len());
        // A long line is shown from where the mark is not lost.
        let skip = column.saturating_sub(SHOWN / 2);
        let shown: String =
            text.chars().skip(skip).take(SHOWN).map(|c| if c == '\t' { ' ' } else { c }).collect();
        writeln!(f, "{gutter} |")?;
        writeln!(f, "{number} | {shown}")?;
        write!(f, "{gutter} | {}^", " ".repeat(column - 1 - skip.min(column - 1)))
    }
}

/// All that is wrong with a chain file. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Each of them, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    pub(crate) fn placed(mut self, file: &str, text: &str) -> Self {
        self.0.sort_by_key(|problem| problem.at);
        self.0.dedup();
        self.0.iter_mut().for_each(|problem| problem.placed(file, text));
        self
    }

    /// `Ok` where nothing was found.
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

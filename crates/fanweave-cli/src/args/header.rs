//! `--header`: headers of requests. Their values may be secrets, so no message and no debug output shows one.

use std::fmt;

/// One `--header`: a header, or a file of headers.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum HeaderFlag {
    One(Header),
    /// Path of a file with one header per line.
    File(String),
    /// Not a header. An error here would show the value: clap quotes it.
    Invalid,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl From<String> for HeaderFlag {
    fn from(text: String) -> Self {
        match text.strip_prefix('@') {
            Some(path) => Self::File(path.to_owned()),
            None => Header::parse(&text).map_or(Self::Invalid, Self::One),
        }
    }
}

impl Header {
    /// Parses `NAME: VALUE`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (name, value) = text.split_once(':')?;
        let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
        (!name.is_empty()).then_some(Self { name, value })
    }
}

impl fmt::Debug for HeaderFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(header) => header.fmt(f),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Invalid => f.write_str("Invalid"),
        }
    }
}

/// Shows the name alone.
impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ..", self.name)
    }
}

//! `--header`: headers of requests. Their values may be secrets, so no message and no debug output shows one.

use std::fmt;
use std::sync::{Arc, OnceLock};

/// One `--header`: a header, or a file of headers.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum HeaderFlag {
    One(Header),
    File(HeaderFile),
    /// Not a header. An error here would show the value: clap quotes it.
    Invalid,
}

/// A file with one header per line. Clones share its headers: a pipe can be read only once.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct HeaderFile {
    path: String,
    headers: Arc<OnceLock<Vec<Header>>>,
}

impl HeaderFile {
    /// The headers. `read` gets the path, and is called until it has succeeded once.
    ///
    /// # Errors
    /// The error of `read`.
    pub(crate) fn get<E>(&self, read: impl FnOnce(&str) -> Result<Vec<Header>, E>) -> Result<&[Header], E> {
        match self.headers.get() {
            Some(headers) => Ok(headers),
            None => {
                let headers = read(&self.path)?;
                Ok(self.headers.get_or_init(|| headers))
            }
        }
    }
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) name: String,
    pub(crate) value: String,
    /// Set for a header of a file, which keeps it out of the list of processes.
    pub(crate) is_secret: bool,
}

impl From<String> for HeaderFlag {
    fn from(text: String) -> Self {
        match text.strip_prefix('@') {
            Some(path) => Self::File(HeaderFile { path: path.to_owned(), headers: Arc::default() }),
            None => Header::parse(&text).map_or(Self::Invalid, Self::One),
        }
    }
}

impl Header {
    /// Parses `NAME: VALUE`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (name, value) = text.split_once(':')?;
        let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
        (!name.is_empty()).then_some(Self { name, value, is_secret: false })
    }
}

impl fmt::Debug for HeaderFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(header) => header.fmt(f),
            Self::File(file) => f.debug_tuple("File").field(&file.path).finish(),
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

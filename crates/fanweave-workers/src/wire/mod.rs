//! Messages between submitters, workers and collectors, apart from any broker.

mod manifest;
mod rates;
mod record;
mod shard;

pub use manifest::{InputInfo, Manifest, RowSettings, RunState};
pub use rates::Rates;
pub use record::{Kind, Record};
pub use shard::{MAX_SHARD_BYTES, Row, ShardId, decode_rows, encode_row, rows_per_shard};

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};

/// Version of the messages that this crate writes and reads.
pub const VERSION: u32 = 1;

/// Name of the header with the version.
const VERSION_HEADER: &str = "Fw-V";

/// A message: headers and a body.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// Names and values of the headers.
    pub headers: Vec<(String, String)>,
    /// Contents.
    pub body: Bytes,
}

impl Message {
    /// A message of this version.
    pub(crate) fn new(body: impl Into<Bytes>) -> Self {
        Self { headers: vec![(VERSION_HEADER.to_owned(), VERSION.to_string())], body: body.into() }
    }

    pub(crate) fn with(mut self, name: &str, value: &(impl ToString + ?Sized)) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of a header that is a number.
    pub(crate) fn number(&self, name: &str) -> Result<u64> {
        let value = self.header(name).unwrap_or_default();
        value
            .parse()
            .map_err(|_| Error::invalid(format!("the header {name} must be a number, got `{value}`")))
    }

    /// Checks the version of the message.
    ///
    /// # Errors
    /// [`ErrorKind::Newer`] for a later version.
    pub(crate) fn check_version(&self) -> Result<()> {
        check_version(self.number(VERSION_HEADER)?)
    }
}

/// Checks a version.
pub(crate) fn check_version(version: u64) -> Result<()> {
    if version > u64::from(VERSION) {
        let message =
            format!("written by a newer fanweave (wire {version}): update this one (wire {VERSION})");
        return Err(Error::new(ErrorKind::Newer, message));
    }
    Ok(())
}

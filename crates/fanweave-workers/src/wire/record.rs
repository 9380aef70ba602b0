//! Records: the entries of a shard's log.

use std::str::FromStr;

use bytes::Bytes;

use super::Message;
use crate::error::{Error, Result};

/// Kind of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The writer becomes the owner of the shard.
    Claim,
    /// Results of rows.
    Rows,
    /// A row is run alone, because earlier owners ended without releasing the shard.
    Try,
    /// The owner gives the shard back.
    Release,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Claim, Self::Rows, Self::Try, Self::Release];

    fn as_str(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Rows => "rows",
            Self::Try => "try",
            Self::Release => "release",
        }
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let kind = Self::ALL.into_iter().find(|kind| kind.as_str() == name);
        // Versions with further kinds have a higher version, which is checked first.
        kind.ok_or_else(|| Error::invalid(format!("`{name}` is not a kind of record")))
    }
}

/// An entry of a shard's log.
///
/// ```
/// use fanweave::workers::{Kind, Record};
///
/// let record = Record {
///     kind: Kind::Claim,
///     writer: "w1.3".into(),
///     previous: 0,
///     rows: 50,
///     done: 0,
///     failed: 0,
///     generation: 0,
///     body: Default::default(),
/// };
/// assert_eq!(Record::decode(record.encode())?, record);
/// assert_eq!(Record::worker_of(&record.writer), "w1");
/// # Ok::<_, fanweave::workers::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its kind.
    pub kind: Kind,
    /// The claim that wrote it: the name of the worker, a dot, and the number of the worker's claim.
    pub writer: String,
    /// Sequence of the record that it follows. 0 for the first record.
    pub previous: u64,
    /// Number of rows of the shard.
    pub rows: u64,
    /// Rows of the shard that have a result after this record.
    pub done: u64,
    /// Rows of them that failed.
    pub failed: u64,
    /// Generation of the run.
    pub generation: u64,
    /// Lines of a journal, for [`Kind::Rows`]; the index of a row, for [`Kind::Try`].
    pub body: Bytes,
}

impl Record {
    /// The record as a message.
    pub fn encode(&self) -> Message {
        Message::new(self.body.clone())
            .with("Fw-Kind", self.kind.as_str())
            .with("Fw-Writer", &self.writer)
            .with("Fw-Prev", &self.previous)
            .with("Fw-N", &self.rows)
            .with("Fw-Done", &self.done)
            .with("Fw-Failed", &self.failed)
            .with("Fw-Gen", &self.generation)
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`Newer`](crate::ErrorKind::Newer) if a later version wrote it, and
    /// [`Invalid`](crate::ErrorKind::Invalid) if it is not a record.
    pub fn decode(message: Message) -> Result<Self> {
        message.check_version()?;
        Ok(Self {
            kind: message.header("Fw-Kind").unwrap_or_default().parse()?,
            writer: message.header("Fw-Writer").unwrap_or_default().to_owned(),
            previous: message.number("Fw-Prev")?,
            rows: message.number("Fw-N")?,
            done: message.number("Fw-Done")?,
            failed: message.number("Fw-Failed")?,
            generation: message.number("Fw-Gen")?,
            body: message.body,
        })
    }

    /// The name of a worker in the name of its claim.
    pub fn worker_of(writer: &str) -> &str {
        writer.rsplit_once('.').map_or(writer, |(worker, _)| worker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for kind in Kind::ALL {
            let body = Bytes::from_static(b"7");
            let record = Record {
                kind,
                writer: "w1.3".into(),
                previous: 9,
                rows: 50,
                done: 7,
                failed: 2,
                generation: 1,
                body,
            };
            assert_eq!(Record::decode(record.encode()).unwrap(), record);
        }
        let newer = Message { headers: vec![("Fw-V".into(), "2".into())], body: Bytes::new() };
        assert_eq!(Record::decode(newer).unwrap_err().kind(), ErrorKind::Newer);
        assert_eq!(Record::worker_of("w1.3"), "w1");
    }
}

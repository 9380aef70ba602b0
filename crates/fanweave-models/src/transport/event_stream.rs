//! The binary event stream of AWS: bytes in, events out.
//!
//! A message has a prelude (its length, the length of its headers, and a checksum of both), headers, a
//! payload, and a checksum of everything before it. Source: the Smithy specification of
//! `application/vnd.amazon.eventstream`.

use fanweave_core::{Error, ErrorKind, Result};

use super::sse::{SseEvent, utf8};

/// Bytes of the prelude with its checksum.
const PRELUDE: usize = 12;
/// Bytes of a message without headers and payload.
const MIN_MESSAGE: usize = PRELUDE + 4;

/// An incremental decoder for one stream.
#[derive(Debug)]
pub(crate) struct EventStreamDecoder {
    /// Maximum bytes of a message.
    max_bytes: usize,
    /// The beginning of a message whose end has not arrived.
    held: Vec<u8>,
}

impl EventStreamDecoder {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, held: Vec::new() }
    }

    /// Reads the next bytes of the stream and passes every completed message to `each`: an event with its
    /// type as name, and with its payload as data. An exception is named after its type.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] for a wrong checksum or length, and the first error of `each`.
    pub(crate) fn feed(
        &mut self,
        chunk: &[u8],
        mut each: impl FnMut(SseEvent<'_>) -> Result<()>,
    ) -> Result<()> {
        self.held.extend_from_slice(chunk);
        let mut start = 0;
        while let Some(length) = self.length(start)? {
            let Some(message) = self.held.get(start..start + length) else { break };
            let (name, payload) = read(message)?;
            each(SseEvent { name, data: &utf8(payload) })?;
            start += length;
        }
        self.held.drain(..start);
        Ok(())
    }

    /// Length of the message that begins at `start`. `None` if its prelude has not arrived.
    fn length(&self, start: usize) -> Result<Option<usize>> {
        let Some(prelude) = self.held.get(start..start + PRELUDE) else { return Ok(None) };
        if crc32fast::hash(&prelude[..8]) != number(&prelude[8..]) {
            return Err(garbled("the checksum of a message's length is wrong"));
        }
        let (length, headers) = (number(prelude) as usize, number(&prelude[4..]) as usize);
        if length < MIN_MESSAGE || headers > length - MIN_MESSAGE {
            return Err(garbled("a message has an impossible length"));
        }
        if length > self.max_bytes {
            let message = format!("a message of the stream is longer than {} bytes", self.max_bytes);
            // Retrying would fail in the same way and be billed again.
            return Err(Error::new(ErrorKind::Decode, message).with_retryable(false));
        }
        Ok(Some(length))
    }
}

/// The name and the payload of a whole message.
fn read(message: &[u8]) -> Result<(&str, &[u8])> {
    let (content, checksum) = message.split_at(message.len() - 4);
    if crc32fast::hash(content) != number(checksum) {
        return Err(garbled("the checksum of a message is wrong"));
    }
    let headers = number(&content[4..]) as usize;
    let (headers, payload) = content[PRELUDE..].split_at(headers);
    let (mut name, mut rest) = ("", headers);
    while !rest.is_empty() {
        let (header, value, after) = header(rest).ok_or_else(|| garbled("a header of a message is cut"))?;
        // Only one of them is there.
        if matches!(header, b":event-type" | b":exception-type" | b":error-code") {
            name = std::str::from_utf8(value).unwrap_or_default();
        }
        rest = after;
    }
    Ok((name, payload))
}

/// The first header: its name, its value, and the bytes after it.
fn header(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*length))?;
    let (kind, rest) = rest.split_first()?;
    let length = match kind {
        // Booleans, integers, time and UUID have a fixed length.
        0 | 1 => 0,
        2 => 1,
        3 => 2,
        4 => 4,
        5 | 8 => 8,
        9 => 16,
        // Bytes and text.
        6 | 7 => {
            let (length, rest) = rest.split_at_checked(2)?;
            let (value, after) =
                rest.split_at_checked(usize::from(u16::from_be_bytes([length[0], length[1]])))?;
            return Some((name, value, after));
        }
        _ => return None,
    };
    let (value, after) = rest.split_at_checked(length)?;
    Some((name, value, after))
}

/// The number in the first four bytes.
fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

fn garbled(what: &str) -> Error {
    Error::new(ErrorKind::Decode, format!("the event stream is garbled: {what}"))
}

/// A message with short text headers, for tests.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn message(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut written = Vec::new();
    for (name, value) in headers {
        written.push(name.len() as u8);
        written.extend(name.as_bytes());
        written.push(7);
        written.extend((value.len() as u16).to_be_bytes());
        written.extend(value.as_bytes());
    }
    let mut message = Vec::new();
    message.extend(((MIN_MESSAGE + written.len() + payload.len()) as u32).to_be_bytes());
    message.extend((written.len() as u32).to_be_bytes());
    message.extend(crc32fast::hash(&message).to_be_bytes());
    message.extend(written);
    message.extend(payload);
    message.extend(crc32fast::hash(&message).to_be_bytes());
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(chunks: &[&[u8]]) -> Result<Vec<(String, String)>> {
        let mut decoder = EventStreamDecoder::new(1 << 20);
        let mut events = Vec::new();
        for chunk in chunks {
            decoder.feed(chunk, |event| {
                events.push((event.name.to_owned(), event.data.to_owned()));
                Ok(())
            })?;
        }
        Ok(events)
    }

    fn stream() -> Vec<u8> {
        let first = [(":event-type", "contentBlockDelta"), (":message-type", "event")];
        let last = [(":message-type", "exception"), (":exception-type", "throttlingException")];
        [message(&first, b"{\"a\":\"\xc3\xa9\"}"), message(&[], b""), message(&last, b"{}")].concat()
    }

    #[test]
    fn messages_are_read_at_every_split() {
        let bytes = stream();
        let expected = [("contentBlockDelta", "{\"a\":\"é\"}"), ("", ""), ("throttlingException", "{}")];
        let expected = expected.map(|(name, data)| (name.to_owned(), data.to_owned()));
        for size in [1, 2, 5, 12, 13, 64, bytes.len()] {
            let chunks: Vec<_> = bytes.chunks(size).collect();
            assert_eq!(decode(&chunks).unwrap(), expected, "{size}");
        }
        // A cut message is not passed on.
        for end in 0..bytes.len() {
            assert!(decode(&[&bytes[..end]]).unwrap().len() < 3, "{end}");
        }
    }

    /// The vector of the specification: no headers, and an empty payload.
    #[test]
    fn an_empty_message_has_the_published_checksums() {
        let published = [0, 0, 0, 0x10, 0, 0, 0, 0, 0x05, 0xc2, 0x48, 0xeb, 0x7d, 0x98, 0xc8, 0xff];
        assert_eq!(message(&[], b""), published);
        assert_eq!(decode(&[&published]).unwrap().len(), 1);
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let bytes = message(&[(":event-type", "x")], b"{\"a\":1}");
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x41;
            assert_ne!(
                decode(&[&changed]).map_err(|error| error.kind()),
                decode(&[&bytes]).map_err(|e| e.kind())
            );
        }
    }

    #[test]
    fn a_message_that_is_too_long_or_impossible_is_rejected_before_it_is_buffered() {
        let mut prelude = Vec::new();
        prelude.extend(u32::MAX.to_be_bytes());
        prelude.extend(0_u32.to_be_bytes());
        prelude.extend(crc32fast::hash(&prelude).to_be_bytes());
        let error = decode(&[&prelude]).unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Decode, false));
        let mut short = Vec::new();
        short.extend(8_u32.to_be_bytes());
        short.extend(0_u32.to_be_bytes());
        short.extend(crc32fast::hash(&short).to_be_bytes());
        assert_eq!(decode(&[&short]).unwrap_err().kind(), ErrorKind::Decode);
    }
}

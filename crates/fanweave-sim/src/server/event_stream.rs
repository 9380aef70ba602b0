//! Messages of AWS's binary event stream, written consecutively into one buffer.
//!
//! A message has its length, the length of its headers, a checksum of both, the headers, the payload, and a
//! checksum of all. Source: the Smithy specification of `application/vnd.amazon.eventstream`.

use bytes::Bytes;
use serde_json::Value;

/// Bytes of a message without headers and payload.
const MIN_MESSAGE: usize = 16;

/// Type of a header that is text.
const TEXT: u8 = 7;

/// The messages so far, and the length of each.
#[derive(Debug, Default)]
pub(super) struct Frames {
    buffer: Vec<u8>,
    lengths: Vec<usize>,
}

impl Frames {
    /// An event.
    pub(super) fn event(&mut self, name: &str, payload: &Value) {
        let mut headers = Vec::new();
        for (name, value) in
            [(":event-type", name), (":content-type", "application/json"), (":message-type", "event")]
        {
            headers.push(u8::try_from(name.len()).expect("the names are short"));
            headers.extend_from_slice(name.as_bytes());
            headers.push(TEXT);
            headers
                .extend_from_slice(&u16::try_from(value.len()).expect("the values are short").to_be_bytes());
            headers.extend_from_slice(value.as_bytes());
        }
        let payload = payload.to_string();
        let start = self.buffer.len();
        for length in [MIN_MESSAGE + headers.len() + payload.len(), headers.len()] {
            let length = u32::try_from(length).expect("an answer is smaller than 4 GiB");
            self.buffer.extend_from_slice(&length.to_be_bytes());
        }
        self.checksum(start);
        self.buffer.extend_from_slice(&headers);
        self.buffer.extend_from_slice(payload.as_bytes());
        self.checksum(start);
        self.lengths.push(self.buffer.len() - start);
    }

    fn checksum(&mut self, start: usize) {
        let checksum = crc32fast::hash(&self.buffer[start..]);
        self.buffer.extend_from_slice(&checksum.to_be_bytes());
    }

    /// All messages, and their lengths.
    pub(super) fn finish(self) -> (Bytes, Vec<usize>) {
        (self.buffer.into(), self.lengths)
    }
}

//! Server-sent events, written consecutively into one buffer.

use bytes::Bytes;
use serde::Serialize;

/// The events so far, and the end of each.
#[derive(Debug, Default)]
pub(super) struct Events {
    buffer: Vec<u8>,
    /// Lines end in CR and LF, as Google's do.
    ends_in_crlf: bool,
    lengths: Vec<usize>,
}

impl Events {
    /// Events whose lines end in CR and LF.
    pub(super) fn crlf() -> Self {
        Self { ends_in_crlf: true, ..Self::default() }
    }

    /// A line of JSON, for streams without events.
    pub(super) fn line(&mut self, data: &impl Serialize) {
        let start = self.buffer.len();
        self.push_json(data);
        self.buffer.push(b'\n');
        self.lengths.push(self.buffer.len() - start);
    }

    /// An event without a name.
    pub(super) fn data(&mut self, data: &impl Serialize) {
        let start = self.buffer.len();
        self.push_data(data);
        self.lengths.push(self.buffer.len() - start);
    }

    /// An event with a name.
    pub(super) fn named(&mut self, name: &str, data: &impl Serialize) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(b"event: ");
        self.buffer.extend_from_slice(name.as_bytes());
        self.buffer.push(b'\n');
        self.push_data(data);
        self.lengths.push(self.buffer.len() - start);
    }

    /// OpenAI's last event.
    pub(super) fn done(&mut self) {
        const DONE: &[u8] = b"data: [DONE]\n\n";
        self.buffer.extend_from_slice(DONE);
        self.lengths.push(DONE.len());
    }

    /// All events, and their lengths.
    pub(super) fn finish(self) -> (Bytes, Vec<usize>) {
        (self.buffer.into(), self.lengths)
    }

    fn push_data(&mut self, data: &impl Serialize) {
        self.buffer.extend_from_slice(b"data: ");
        self.push_json(data);
        let end: &[u8] = if self.ends_in_crlf { b"\r\n\r\n" } else { b"\n\n" };
        self.buffer.extend_from_slice(end);
    }

    fn push_json(&mut self, data: &impl Serialize) {
        serde_json::to_writer(&mut self.buffer, data)
            .expect("answers have string keys and a vector takes all bytes");
    }
}

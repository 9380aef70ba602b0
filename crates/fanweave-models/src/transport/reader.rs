//! Reading of a streamed answer without I/O: bytes in, deltas and a message out.

use fanweave_core::{Delta, Error, ErrorKind, Fold, Message, Result};
use memchr::memchr_iter;

use super::caps::PARTS;
use super::frames::Frames;
use super::redact::Redactor;
use super::sse::{SseLimits, without_mark};
use crate::protocol::{Protocol, StreamDecoder, StreamEnd};
use crate::providers::finish::broken_call;

/// Maximum bytes kept after the last event, for an error that a server appends as bare JSON.
const MAX_TAIL_BYTES: usize = 64 << 10;

/// Reader of one streamed answer.
pub(crate) struct AnswerReader<'a> {
    protocol: &'a dyn Protocol,
    decoder: Box<dyn StreamDecoder>,
    frames: Frames,
    /// Bytes from the first line after the last event that starts like JSON: some servers end a stream with a
    /// bare error, or send a whole answer.
    tail: Vec<u8>,
    fold: Fold,
    redactor: Redactor,
    /// Deltas that have not been taken.
    waiting: Vec<Delta>,
    /// Set if the next byte begins a line.
    begins_line: bool,
    has_content: bool,
    is_finished: bool,
    max_bytes: usize,
}

impl<'a> AnswerReader<'a> {
    pub(crate) fn new(protocol: &'a dyn Protocol, limits: SseLimits) -> Self {
        Self {
            protocol,
            decoder: protocol.decoder(),
            frames: Frames::new(protocol.framing(), limits),
            tail: Vec::new(),
            fold: Fold::default(),
            redactor: Redactor::default(),
            waiting: Vec::new(),
            begins_line: true,
            has_content: false,
            is_finished: false,
            max_bytes: limits.bytes,
        }
    }

    /// Redacts keys in all deltas, before they are taken.
    pub(crate) fn redacting(self, redactor: Redactor) -> Self {
        Self { redactor, ..self }
    }

    /// Reads the next bytes. `unreadable` adds details to the error of an event, whose data it gets.
    ///
    /// # Errors
    /// The first error of an event. Pass it to [`failed`](Self::failed), unless the end marker
    /// [was read](Self::is_done).
    pub(crate) fn feed(&mut self, chunk: &[u8], unreadable: impl Fn(Error, &str) -> Error) -> Result<()> {
        let events = self.events(chunk, false, unreadable)?;
        if events > 0 && self.has_content {
            self.tail.clear();
        }
        // Without content so far, this may be a whole answer.
        let max = if self.has_content { MAX_TAIL_BYTES } else { self.max_bytes };
        let rest = if self.tail.is_empty() { bare(chunk, self.begins_line) } else { chunk };
        if let Some(last) = chunk.last() {
            self.begins_line = matches!(last, b'\n' | b'\r');
        }
        self.tail.extend_from_slice(&rest[..rest.len().min(max.saturating_sub(self.tail.len()))]);
        Ok(())
    }

    /// Returns the number of events in `chunk`.
    fn events(
        &mut self,
        chunk: &[u8],
        is_last: bool,
        unreadable: impl Fn(Error, &str) -> Error,
    ) -> Result<usize> {
        let Self { decoder, frames, waiting, .. } = self;
        let (before, mut events) = (waiting.len(), 0);
        let read = frames.feed(chunk, |event| {
            events += 1;
            // Anything after the end marker is not part of the response.
            if decoder.is_done() {
                return Ok(());
            }
            decoder.event(&event, waiting).map_err(|error| unreadable(error, event.data))
        });
        if !self.redactor.passes(&self.waiting[before..]) {
            for delta in self.waiting.split_off(before) {
                self.redactor.push(delta, &mut self.waiting);
            }
        }
        if is_last || self.decoder.is_done() {
            self.redactor.flush(&mut self.waiting);
        }
        for delta in &self.waiting[before..] {
            use Delta::*;
            self.has_content |= matches!(
                delta,
                Text { .. } | Reasoning { .. } | ToolCall { .. } | Other { .. } | Part { .. }
            );
            self.is_finished |= matches!(delta, Finished(_));
            self.fold.push(delta);
            if self.fold.parts() > PARTS.max {
                return Err(PARTS.exceeded());
            }
        }
        read.map(|()| events)
    }

    /// Returns true if a delta contained a key.
    pub(crate) fn has_redacted(&self) -> bool {
        self.redactor.found()
    }

    /// Deltas read since the last call.
    pub(crate) fn take_deltas(&mut self) -> impl Iterator<Item = Delta> {
        self.waiting.drain(..)
    }

    /// Returns true once content has arrived.
    pub(crate) fn has_content(&self) -> bool {
        self.has_content
    }

    /// Returns true once the answer has a finish reason.
    pub(crate) fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// Returns true after the end marker: the rest of the stream is not read.
    pub(crate) fn is_done(&self) -> bool {
        self.decoder.is_done()
    }

    /// Reads the last event of a stream that was closed, if its final blank line or line break is missing. A
    /// truncated event is not valid JSON.
    ///
    /// # Errors
    /// The failure that the server reports in it.
    pub(crate) fn close(&mut self, unreadable: impl Fn(Error, &str) -> Error) -> Result<()> {
        match self.events(b"\n\n", true, unreadable) {
            Err(failure) if failure.kind() != ErrorKind::Decode => Err(failure),
            _ => Ok(()),
        }
    }

    /// The complete answer, once the stream has ended.
    ///
    /// # Errors
    /// [`ErrorKind::StreamIncomplete`], or the failure reported by the server, with the answer so far.
    pub(crate) fn end(mut self, unreadable: impl Fn(Error, &str) -> Error) -> Result<Message> {
        let how = if self.is_done() { StreamEnd::Marker } else { StreamEnd::Closed };
        if let Err(error) = self.decoder.end(how) {
            return match self.instead() {
                // A server that does not stream sends the whole answer.
                Some(Ok(message)) if !self.has_content => Ok(message),
                Some(Err(failure)) if failure.kind() != ErrorKind::Decode => {
                    let failure = unreadable(failure, &String::from_utf8_lossy(&self.tail));
                    Err(self.with_partial(failure))
                }
                _ => Err(self.with_partial(error)),
            };
        }
        let message = self.fold.into_message();
        match broken_call(&message) {
            Some(what) => Err(Error::new(ErrorKind::StreamIncomplete, what).with_partial(message)),
            None => Ok(message),
        }
    }

    /// Adds the answer so far to the error that ended the stream.
    pub(crate) fn failed(self, error: Error) -> Error {
        // A garbled event ends the stream like a lost connection.
        let is_garbled = self.has_content && error.kind() == ErrorKind::Decode && error.is_retryable();
        let error = if is_garbled { Error::new(ErrorKind::StreamIncomplete, error.message()) } else { error };
        self.with_partial(error)
    }

    fn with_partial(mut self, error: Error) -> Error {
        let mut held = Vec::new();
        self.redactor.flush(&mut held);
        held.iter().for_each(|delta| self.fold.push(delta));
        match self.fold.into_message() {
            nothing if nothing.parts.is_empty() => error,
            partial => error.with_partial(partial),
        }
    }

    /// The answer or the failure that a server sent as bare JSON.
    fn instead(&self) -> Option<Result<Message>> {
        let json = self.tail.trim_ascii();
        (!json.is_empty()).then(|| self.protocol.response(json))
    }
}

/// Reads a complete body, whatever its media type: an answer, or the events of one.
///
/// # Errors
/// Like [`Protocol::response`].
pub(crate) fn read_whole(protocol: &dyn Protocol, body: &[u8], limits: SseLimits) -> Result<Message> {
    protocol.response(body).or_else(|error| match error.kind() {
        ErrorKind::Decode => read_events(protocol, body, limits).unwrap_or(Err(error)),
        // A list may have a keep-alive with the words of a failure beside the answer.
        _ if without_mark(body.trim_ascii_start()).starts_with(b"[") => {
            read_events(protocol, body, limits).filter(Result::is_ok).unwrap_or(Err(error))
        }
        _ => Err(error),
    })
}

/// The answer or the failure in the events of a body. `None` if it has neither.
#[cold]
fn read_events(protocol: &dyn Protocol, body: &[u8], limits: SseLimits) -> Option<Result<Message>> {
    let read = read_chunks(protocol, [body], limits);
    let says_nothing = read.as_ref().is_err_and(|error| {
        matches!(error.kind(), ErrorKind::Decode | ErrorKind::StreamIncomplete) && error.partial().is_none()
    });
    (!says_nothing).then_some(read)
}

/// Reads a stream that its server closed.
pub(crate) fn read_chunks<'c>(
    protocol: &dyn Protocol,
    chunks: impl IntoIterator<Item = &'c [u8]>,
    limits: SseLimits,
) -> Result<Message> {
    let plain = |error, _: &str| error;
    let mut reader = AnswerReader::new(protocol, limits);
    match chunks
        .into_iter()
        .try_for_each(|chunk| reader.feed(chunk, plain))
        .and_then(|()| reader.close(plain))
    {
        Ok(()) => reader.end(plain),
        Err(error) => Err(reader.failed(error)),
    }
}

/// Returns the lines of `chunk` from the first that starts like JSON. No event starts that way.
fn bare(chunk: &[u8], begins_line: bool) -> &[u8] {
    let chunk = without_mark(chunk);
    if let (true, [b'{' | b'[', ..]) = (begins_line, chunk) {
        return chunk;
    }
    let mut lines = memchr_iter(b'\n', chunk).map(|end| &chunk[end + 1..]);
    lines.find(|line| matches!(line, [b'{' | b'[', ..])).unwrap_or_default()
}

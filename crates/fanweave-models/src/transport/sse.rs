//! Server-sent events: bytes in, events out.
//!
//! Follows the event stream format of the HTML standard, however the bytes are split. Work is linear in the
//! bytes and memory is bounded by [`SseLimits`], whatever the server sends. An event that arrives in one
//! chunk is passed on as slices of that chunk; only a split event, or one with several `data` lines, is
//! copied.

use std::borrow::Cow;

use fanweave_core::{Error, ErrorKind, Result};
use memchr::{memchr, memchr2};

use super::extent::{Extent, are_values};

/// One event of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SseEvent<'a> {
    /// The `event` field. Empty if the event has no such field, which means `message`, and for a line.
    pub name: &'a str,
    /// The `data` lines, joined with line feeds, or the line. Bytes that are not UTF-8 are U+FFFD.
    pub data: &'a str,
}

impl<'a> SseEvent<'a> {
    /// An event, for tests of a decoder.
    ///
    /// ```
    /// use fanweave::models::protocol::SseEvent;
    /// use fanweave::models::{Dialect, Quirks};
    ///
    /// let mut decoder = Dialect::OpenAiChat.protocol(Quirks::new()).decoder();
    /// decoder.event(&SseEvent::new("", "[DONE]"), &mut Vec::new())?;
    /// assert!(decoder.is_done());
    /// # Ok::<_, fanweave::Error>(())
    /// ```
    pub fn new(name: &'a str, data: &'a str) -> Self {
        Self { name, data }
    }
}

/// Maximum size of one event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SseLimits {
    /// Maximum bytes of an event, and of a single line.
    pub(crate) bytes: usize,
    /// Maximum lines of an event: a million empty ones have hardly any bytes. Far above any real event.
    pub(crate) lines: usize,
}

impl Default for SseLimits {
    fn default() -> Self {
        Self { bytes: 16 << 20, lines: 65_536 }
    }
}

/// An incremental decoder for one stream.
#[derive(Debug, Default)]
pub(crate) struct SseDecoder {
    limits: SseLimits,
    /// The beginning of a line whose end has not arrived. Already searched: it contains no line end.
    line: Vec<u8>,
    event: Pending,
    /// The last chunk ended in CR: an LF at the start of the next one belongs to it.
    after_cr: bool,
}

/// The event whose closing blank line has not arrived.
#[derive(Debug, Default)]
struct Pending {
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    lines: usize,
    /// Set if the name came after data.
    is_named_late: bool,
    /// Lines of an object without a field name that is not closed: it was truncated if an event follows.
    unclosed: Vec<u8>,
    /// The JSON value in the first `scanned` bytes of the data, if it was needed.
    extent: Extent,
    scanned: usize,
}

/// Maximum bytes of an end marker, with white space around it.
const MAX_MARKER_BYTES: usize = 64;

pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

impl SseDecoder {
    pub(crate) fn new(limits: SseLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Reads the next bytes of the stream and passes every completed event to `each`.
    ///
    /// An incomplete event at the end of the stream is never passed on, as the standard requires.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] if a limit is exceeded, and the first error of `each`. The decoder must not be
    /// used after an error.
    pub(crate) fn feed(
        &mut self,
        chunk: &[u8],
        mut each: impl FnMut(SseEvent<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut rest = chunk;
        if !rest.is_empty() && std::mem::take(&mut self.after_cr) {
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        // The only data line of the event so far, unless it has to be kept beyond this chunk.
        let mut borrowed: Option<&[u8]> = None;
        while let Some(end) = memchr2(b'\n', b'\r', rest) {
            let (head, tail) = rest.split_at(end);
            rest = match tail {
                [b'\r', b'\n', after @ ..] => after,
                [b'\r'] => {
                    self.after_cr = true;
                    &[]
                }
                _ => &tail[1..],
            };
            if self.line.is_empty() {
                if let Some(data) = self.event.line(head, &mut borrowed, self.limits, &mut each)? {
                    self.event.keep(borrowed.replace(data));
                }
            } else {
                self.extend_line(head)?;
                let whole = std::mem::take(&mut self.line);
                if let Some(data) = self.event.line(&whole, &mut borrowed, self.limits, &mut each)? {
                    self.event.keep(borrowed.take());
                    self.event.keep(Some(data));
                }
                // Reuse the allocation for the next incomplete line.
                self.line = whole;
                self.line.clear();
            }
        }
        self.event.keep(borrowed);
        self.extend_line(rest)
    }

    fn extend_line(&mut self, bytes: &[u8]) -> Result<()> {
        if self.line.len() + self.event.data.len() + bytes.len() > self.limits.bytes {
            return Err(too_long(self.limits));
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }
}

/// The standard allows a byte order mark only before the first line. Gateways that join streams send more.
pub(crate) fn without_mark(line: &[u8]) -> &[u8] {
    line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line)
}

/// Returns true for a line of objects or lists without a field name: some servers send lines of JSON, a whole
/// answer or an error as they are.
fn is_bare(line: &[u8]) -> bool {
    matches!(line, [b'{' | b'[', ..]) && are_values(line)
}

/// The text of an event. Bytes that are not UTF-8 are replaced.
pub(crate) fn utf8(bytes: &[u8]) -> Cow<'_, str> {
    // `from_utf8_lossy` alone takes ten times as long for the usual text.
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
}

/// Passes on a line as an event of its own.
fn alone(line: &[u8], limits: SseLimits, each: &mut impl FnMut(SseEvent<'_>) -> Result<()>) -> Result<()> {
    if line.len() > limits.bytes {
        return Err(too_long(limits));
    }
    each(SseEvent { name: "", data: &utf8(line) })
}

impl Pending {
    /// Returns true if the event is complete before `line`, although no blank line separates them: some
    /// servers end events with one line break. `borrowed` is its last data line, if that was not copied.
    fn is_ended_by(&mut self, line: &[u8], borrowed: &mut Option<&[u8]>) -> bool {
        let begins_event = line.starts_with(b"data:")
            || (line.starts_with(b"event:") && !self.name.is_empty())
            || matches!(line, [b'{' | b'[', ..]);
        if !begins_event {
            return false;
        }
        if self.has_data {
            self.keep(borrowed.take());
        }
        let held = match borrowed {
            _ if self.has_data => &*self.data,
            Some(line) => line,
            None => return false,
        };
        if held.len() <= MAX_MARKER_BYTES && held.trim_ascii().eq_ignore_ascii_case(b"[DONE]") {
            return true;
        }
        // Each byte is scanned once, and parsed at most once, however many lines the event has.
        self.extent.push_values(&held[self.scanned..]);
        self.scanned = held.len();
        // Text that is not JSON, such as a keep-alive, is not continued by an object.
        let value = line.strip_prefix(b"data:").map_or(line, <[u8]>::trim_ascii_start);
        let begins_object = value.starts_with(b"{\"") || value.starts_with(b"[{\"");
        if begins_object && self.extent.is_ended() {
            return true;
        }
        // Some servers write JSON with literals that it forbids.
        let is_object = || {
            let held = held.trim_ascii_start();
            held.starts_with(b"{\"") || held.starts_with(b"[{\"") || is_json(held)
        };
        let has_object = || self.extent.is_closed_object() || held.trim_ascii_start().starts_with(b"[{");
        let is_complete = self.extent.is_closed() && has_object() && is_object();
        if self.extent.is_closed() && !is_complete {
            self.extent.reject();
        }
        is_complete
    }

    /// Processes a line, and passes on the events that it completes. `borrowed` is the last data line of the
    /// event, if that was not copied. Returns the value of a `data` line, which the caller keeps.
    fn line<'l>(
        &mut self,
        line: &'l [u8],
        borrowed: &mut Option<&[u8]>,
        limits: SseLimits,
        each: &mut impl FnMut(SseEvent<'_>) -> Result<()>,
    ) -> Result<Option<&'l [u8]>> {
        let line = without_mark(line);
        if self.is_ended_by(line, borrowed) {
            // A name after the data is that of the next event.
            let name = std::mem::take(&mut self.is_named_late).then(|| std::mem::take(&mut self.name));
            self.dispatch(borrowed.take(), each)?;
            self.name.extend(name.into_iter().flatten());
        }
        if matches!(line, [b'{' | b'[', ..]) || !self.unclosed.is_empty() {
            let is_bare = is_bare(line);
            self.bare(line, is_bare, limits, each)?;
            if is_bare {
                return Ok(None);
            }
        }
        let data = self.take_line(line, limits, borrowed.is_some())?;
        if line.is_empty() {
            self.dispatch(borrowed.take(), each)?;
        }
        Ok(data)
    }

    /// Processes a line that may be part of an object without a field name.
    #[cold]
    fn bare(
        &mut self,
        line: &[u8],
        is_bare: bool,
        limits: SseLimits,
        each: &mut impl FnMut(SseEvent<'_>) -> Result<()>,
    ) -> Result<()> {
        if is_bare || line.starts_with(b"data:") || line.starts_with(b"event:") {
            if !self.unclosed.is_empty() {
                alone(&std::mem::take(&mut self.unclosed), limits, each)?;
            }
            return if is_bare { alone(line, limits, each) } else { Ok(()) };
        }
        // Indented JSON begins with a bracket alone.
        if self.unclosed.is_empty() && !line.starts_with(b"{\"") {
            return Ok(());
        }
        if self.unclosed.len() + line.len() > limits.bytes {
            return Err(too_long(limits));
        }
        self.unclosed.extend_from_slice(line);
        if line.is_empty() || are_values(&self.unclosed) {
            self.unclosed.clear();
        }
        Ok(())
    }

    /// Processes the field of a line. Returns the value of a `data` line. `follows_data` is true if the event
    /// has a data line that was not copied.
    fn take_line<'a>(
        &mut self,
        line: &'a [u8],
        limits: SseLimits,
        follows_data: bool,
    ) -> Result<Option<&'a [u8]>> {
        let (field, value) = match line.strip_prefix(b"data:") {
            Some(value) => (&b"data"[..], value),
            None => match memchr(b':', line) {
                Some(colon) => (&line[..colon], &line[colon + 1..]),
                None => (line, &b""[..]),
            },
        };
        if field.is_empty() {
            // A comment, sent by servers to keep the connection alive, or the blank line.
            return Ok(None);
        }
        self.lines += 1;
        if self.lines > limits.lines || self.data.len() + self.name.len() + value.len() > limits.bytes {
            return Err(too_long(limits));
        }
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => return Ok(Some(value)),
            b"event" => {
                self.is_named_late = self.has_data || follows_data;
                self.name.clear();
                self.name.extend_from_slice(value);
            }
            // llama.cpp reports failures in a field instead of an event.
            b"error" => {
                self.name.clear();
                self.name.extend_from_slice(b"error");
                return Ok(Some(value));
            }
            // `id` and `retry` serve reconnection: a billed stream is never requested again. The standard
            // ignores all other fields.
            _ => {}
        }
        Ok(None)
    }

    /// Copies a data line of an event with further lines.
    fn keep(&mut self, data: Option<&[u8]>) {
        let Some(data) = data else { return };
        if self.has_data {
            self.data.push(b'\n');
        }
        self.data.extend_from_slice(data);
        self.has_data = true;
    }

    /// Ends the event. `borrowed` is its last data line, if that was not copied.
    fn dispatch(
        &mut self,
        borrowed: Option<&[u8]>,
        each: &mut impl FnMut(SseEvent<'_>) -> Result<()>,
    ) -> Result<()> {
        let data = match borrowed {
            Some(line) if !self.has_data => Some(line),
            last => {
                self.keep(last);
                self.has_data.then_some(&*self.data)
            }
        };
        // The standard drops events without data.
        let outcome = match data {
            Some(data) => each(SseEvent { name: &utf8(&self.name), data: &utf8(data) }),
            None => Ok(()),
        };
        self.data.clear();
        self.name.clear();
        self.has_data = false;
        self.is_named_late = false;
        self.lines = 0;
        self.extent = Extent::default();
        self.scanned = 0;
        outcome
    }
}

fn too_long(limits: SseLimits) -> Error {
    let SseLimits { bytes, lines } = limits;
    let message = format!("an event of the stream is longer than {bytes} bytes or {lines} lines");
    // Retrying would fail in the same way and be billed again.
    Error::new(ErrorKind::Decode, message).with_retryable(false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Events = Vec<(String, String)>;

    fn decode_with(limits: SseLimits, chunks: &[&[u8]]) -> Result<Events> {
        let mut decoder = SseDecoder::new(limits);
        let mut events = Vec::new();
        for chunk in chunks {
            decoder.feed(chunk, |event| {
                events.push((event.name.to_owned(), event.data.to_owned()));
                Ok(())
            })?;
        }
        Ok(events)
    }

    fn decode(chunks: &[&[u8]]) -> Events {
        decode_with(SseLimits::default(), chunks).expect("the stream is well formed")
    }

    fn data(chunks: &[&[u8]]) -> Vec<String> {
        decode(chunks).into_iter().map(|(_, data)| data).collect()
    }

    #[test]
    fn an_event_ends_with_a_blank_line() {
        assert_eq!(data(&[b"data: one\n\ndata:two\n\ndata: cut"]), ["one", "two"]);
    }

    #[test]
    fn data_lines_are_joined_and_one_leading_space_is_dropped() {
        assert_eq!(data(&[b"data: a\ndata:  b\ndata\ndata:c\n\n"]), ["a\n b\n\nc"]);
    }

    #[test]
    fn comments_ids_and_unknown_fields_are_skipped() {
        assert_eq!(data(&[b": OPENROUTER PROCESSING\n\nid: 7\nretry: 10\nfoo: x\ndata: y\n\n:\n\n"]), ["y"]);
    }

    /// Asserts that a stream has these events, read whole and byte by byte.
    #[track_caller]
    fn assert_read(stream: &[u8], wanted: &[(&str, &str)]) {
        let bytes: Vec<_> = stream.chunks(1).collect();
        for chunks in [&[stream][..], &bytes] {
            let events = decode(chunks);
            let events: Vec<_> = events.iter().map(|(n, d)| (n.as_str(), d.as_str())).collect();
            assert_eq!(events, wanted);
        }
    }

    #[test]
    fn the_name_of_an_event_holds_for_that_event_alone() {
        let stream = b"event: ping\ndata: 1\n\ndata: 2\n\nevent: lost\n\ndata: 3\n\n";
        assert_read(stream, &[("ping", "1"), ("", "2"), ("", "3")]);
    }

    #[test]
    fn a_byte_order_mark_may_be_split_over_chunks() {
        assert_eq!(data(&[b"\xEF", b"\xBB", b"\xBFdata: a\n\n"]), ["a"]);
        assert_eq!(data(&[b"\xEF\xBB\xBFdata: a\n\n\xEF\xBB\xBFdata: b\n\n"]), ["a", "b"]);
    }

    #[test]
    fn events_separated_by_one_line_break_are_read_one_by_one() {
        let stream = b"event: a\ndata: {\"x\":1}\nevent: b\ndata: {\"x\":2}\ndata: {\"x\":3}\ndata: [DONE]\ndata: x\n\n";
        let wanted = [("a", "{\"x\":1}"), ("b", "{\"x\":2}"), ("", "{\"x\":3}"), ("", "[DONE]"), ("", "x")];
        assert_read(stream, &wanted);
        let lines = b"data: {\"x\":\ndata: 1}\ndata: {x}\ndata:\ndata: {\"y\":2}\n\n";
        assert_read(lines, &[("", "{\"x\":\n1}"), ("", "{x}\n"), ("", "{\"y\":2}")]);
        let odd =
            b"data: ping\nevent: a\ndata: {\"x\":NaN}\ndata: [{\"x\":1}]\nevent: b\ndata: one\ndata: two\n\n";
        let wanted = [("", "ping"), ("a", "{\"x\":NaN}"), ("", "[{\"x\":1}]"), ("b", "one\ntwo")];
        assert_read(odd, &wanted);
        // A name after its data, and lines of JSON, the second of which is truncated.
        assert_read(b"data: x\nevent: a\n\n", &[("a", "x")]);
        let bare = b"{\"x\":1}{\"x\":2}\n{\"x\":\n{\"x\":4}\n";
        assert_read(bare, &[("", "{\"x\":1}{\"x\":2}"), ("", "{\"x\":"), ("", "{\"x\":4}")]);
    }

    #[test]
    fn bare_json_and_a_field_named_error_are_events() {
        let stream = b"data: {\"x\":1}\n{\"x\":2}\n\n[3]\nerror: {\"code\":400}\n\n{\n\"x\": 4\n}\n";
        let wanted = [("", "{\"x\":1}"), ("", "{\"x\":2}"), ("", "[3]"), ("error", "{\"code\":400}")];
        assert_read(stream, &wanted);
    }

    #[test]
    fn a_line_longer_than_the_limit_is_rejected_before_it_is_buffered() {
        let limits = SseLimits { bytes: 100, lines: 10 };
        let mut decoder = SseDecoder::new(limits);
        let mut fed = 0;
        let error = loop {
            match decoder.feed(&[b'x'; 30], |_| Ok(())) {
                Ok(()) => fed += 30,
                Err(error) => break error,
            }
        };
        assert_eq!(fed, 90);
        assert!(decoder.line.capacity() <= 200);
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Decode, false));
    }

    #[test]
    fn too_many_short_lines_are_rejected_too() {
        let limits = SseLimits { bytes: 100, lines: 10 };
        assert!(decode_with(limits, &[&b"data:\n".repeat(11)]).is_err());
        assert!(decode_with(limits, &[&b"data: 1234567890\n".repeat(10)]).is_err());
        assert!(decode_with(limits, &[&b"data:\n\n".repeat(1000)]).is_ok());
        assert!(decode_with(limits, &[&b": still here\n".repeat(1000)]).is_ok());
    }

    #[test]
    fn the_time_of_an_event_is_linear_in_its_lines() {
        let limits = SseLimits { bytes: 64 << 20, lines: 1 << 20 };
        for (first, line) in [
            ("data: {\"a\":[{}\n", "data: ,{}\n"),
            ("data: {\"a\":[{}\n", "data: ,{}\nevent: x\n"),
            ("data: {x}\n", "data:\n"),
            ("data: {}x\n", "data: {}\n"),
            ("data:\n", "data:\n"),
        ] {
            let time = |lines: usize| {
                let mut chunks = vec![line.as_bytes(); lines];
                chunks.insert(0, first.as_bytes());
                let start = std::time::Instant::now();
                assert_eq!(decode_with(limits, &chunks).expect("within the limits"), []);
                start.elapsed()
            };
            let (short, long) = (time(1_000), time(100_000));
            let max = short * 1_000 + std::time::Duration::from_secs(3);
            assert!(long < max, "{first}{line}: {short:?}, then {long:?}");
        }
    }

    /// Servers that split text by bytes send the halves of a character in separate events.
    #[test]
    fn bytes_that_are_not_utf8_are_marked() {
        assert_eq!(data(&[b"data: a\xFFb\n\n"]), ["a\u{FFFD}b"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn any_split_and_any_line_end_give_the_same_events(
            lines in prop::collection::vec(
                prop_oneof![
                    3 => "data: ?[a-zé€😀:]{0,8}", 3 => Just(String::new()),
                    1 => "event: [a-z]{0,3}", 1 => ": ?[a-z]{0,4}", 1 => "(id|retry|foo|data)",
                ],
                0..16,
            ),
            ends in prop::collection::vec(0usize..3, 16),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
            mark in any::<bool>(),
        ) {
            let plain: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let mut wire = if mark { BYTE_ORDER_MARK.to_vec() } else { Vec::new() };
            for (line, end) in lines.iter().zip(ends) {
                wire.extend_from_slice(line.as_bytes());
                wire.extend_from_slice([&b"\n"[..], b"\r\n", b"\r"][end]);
            }
            // A CR followed by the LF of an empty line is indistinguishable from one line end.
            prop_assume!(!plain.is_empty() && !glued(&wire, &plain));
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
            cuts.extend([0, wire.len()]);
            cuts.sort_unstable();
            let chunks: Vec<_> = cuts.windows(2).map(|w| &wire[w[0]..w[1]]).collect();
            let bytes: Vec<_> = wire.chunks(1).collect();
            let expected = decode(&[plain.as_bytes()]);
            prop_assert_eq!(&decode(&chunks), &expected);
            prop_assert_eq!(&decode(&bytes), &expected);
        }
    }

    /// Same property as above, over a hundred thousand streams: plain random numbers are fast enough for
    /// that.
    #[test]
    fn a_hundred_thousand_streams_read_the_same_at_every_split() {
        const LINES: [&str; 9] =
            ["data: a", "data:b", "data", "", "", "event: e", ": c", "id: 1", "data:  é😀"];
        let mut random = fastrand::Rng::with_seed(7);
        let mut checked = 0;
        while checked < 100_000 {
            let (mut plain, mut wire) = (String::new(), Vec::new());
            for _ in 0..random.usize(1..8) {
                let line = LINES[random.usize(..LINES.len())];
                plain.extend([line, "\n"]);
                wire.extend_from_slice(line.as_bytes());
                wire.extend_from_slice([&b"\n"[..], b"\r\n", b"\r"][random.usize(..3)]);
            }
            if glued(&wire, &plain) {
                continue;
            }
            let mut cuts = [0, random.usize(..=wire.len()), random.usize(..=wire.len()), wire.len()];
            cuts.sort_unstable();
            let chunks = [0, 1, 2].map(|i| &wire[cuts[i]..cuts[i + 1]]);
            assert_eq!(decode(&chunks), decode(&[plain.as_bytes()]), "{wire:?} cut at {cuts:?}");
            checked += 1;
        }
    }

    fn glued(wire: &[u8], plain: &str) -> bool {
        let text =
            str::from_utf8(wire.strip_prefix(BYTE_ORDER_MARK).unwrap_or(wire)).expect("made of strings");
        text.replace("\r\n", "\n").replace('\r', "\n") != plain
    }
}

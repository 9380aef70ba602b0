//! The events of a streamed response, in the framing that its first bytes have, or else that of the dialect.

use fanweave_core::Result;

#[cfg(feature = "bedrock")]
use super::event_stream::EventStreamDecoder;
use super::lines::LineDecoder;
use super::sse::{BYTE_ORDER_MARK, SseDecoder, SseEvent, SseLimits};
use super::values::ValueDecoder;
use crate::protocol::Framing;

/// An incremental decoder for one stream.
#[derive(Debug)]
pub(crate) struct Frames {
    framing: Framing,
    limits: SseLimits,
    decoder: Decoder,
}

#[derive(Debug)]
enum Decoder {
    /// The beginning of a byte order mark, or nothing, before the first byte of the content.
    Undecided(Vec<u8>),
    Values(ValueDecoder),
    Events(SseDecoder),
    Lines(LineDecoder),
    #[cfg(feature = "bedrock")]
    EventStream(EventStreamDecoder),
}

impl Frames {
    pub(crate) fn new(framing: Framing, limits: SseLimits) -> Self {
        Self { framing, limits, decoder: Decoder::Undecided(Vec::new()) }
    }

    /// Reads the next bytes of the stream and passes every completed event to `each`.
    ///
    /// # Errors
    /// The same as [`SseDecoder::feed`].
    pub(crate) fn feed(
        &mut self,
        chunk: &[u8],
        mut each: impl FnMut(SseEvent<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut rest = chunk;
        let joined;
        if let Decoder::Undecided(held) = &mut self.decoder {
            if !held.is_empty() {
                joined = [held.as_slice(), chunk].concat();
                rest = &joined;
            }
            rest = rest.trim_ascii_start();
            while let Some(after) = rest.strip_prefix(BYTE_ORDER_MARK) {
                rest = after.trim_ascii_start();
            }
            self.decoder = match rest {
                _ if BYTE_ORDER_MARK.starts_with(rest) => Decoder::Undecided(rest.to_vec()),
                [b'{' | b'[', ..] => Decoder::Values(ValueDecoder::new(self.limits.bytes)),
                _ => self.of_dialect(),
            };
        }
        if let Decoder::Values(values) = &mut self.decoder {
            match values.feed(rest, &mut each)? {
                None => return Ok(()),
                Some(after) => rest = after,
            }
            self.decoder = self.of_dialect();
        }
        match &mut self.decoder {
            Decoder::Events(events) => events.feed(rest, each),
            Decoder::Lines(lines) => lines.feed(rest, each),
            #[cfg(feature = "bedrock")]
            Decoder::EventStream(messages) => messages.feed(rest, each),
            Decoder::Undecided(_) | Decoder::Values(_) => Ok(()),
        }
    }

    fn of_dialect(&self) -> Decoder {
        match self.framing {
            Framing::Events => Decoder::Events(SseDecoder::new(self.limits)),
            Framing::Lines => Decoder::Lines(LineDecoder::new(self.limits.bytes)),
            #[cfg(feature = "bedrock")]
            Framing::AwsEventStream => Decoder::EventStream(EventStreamDecoder::new(self.limits.bytes)),
        }
    }
}

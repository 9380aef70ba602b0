//! The events of a streamed response, in the framing of the dialect.

use fanweave_core::Result;

use super::lines::LineDecoder;
use super::sse::{SseDecoder, SseEvent, SseLimits};
use crate::protocol::Framing;

/// An incremental decoder for one stream.
#[derive(Debug)]
pub(crate) enum Frames {
    Events(SseDecoder),
    Lines(LineDecoder),
}

impl Frames {
    pub(crate) fn new(framing: Framing, limits: SseLimits) -> Self {
        match framing {
            Framing::Events => Self::Events(SseDecoder::new(limits)),
            Framing::Lines => Self::Lines(LineDecoder::new(limits.bytes)),
        }
    }

    /// Reads the next bytes of the stream and passes every completed event to `each`.
    ///
    /// # Errors
    /// The same as [`SseDecoder::feed`].
    pub(crate) fn feed(&mut self, chunk: &[u8], each: impl FnMut(SseEvent<'_>) -> Result<()>) -> Result<()> {
        match self {
            Self::Events(sse) => sse.feed(chunk, each),
            Self::Lines(lines) => lines.feed(chunk, each),
        }
    }
}

//! Zstandard: blocks in, content out.

use bytes::Bytes;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// The first bytes of a frame.
pub(super) const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Maximum bytes of a frame's header.
const MAX_HEADER: usize = 18;

/// Maximum bytes that a frame refers back to, and thus memory. Source: RFC 9659, which limits it for HTTP.
const MAX_WINDOW: u64 = 8 << 20;

const BLOCK_HEADER: usize = 3;
const CHECKSUM: usize = 4;

/// The decompression of frames.
pub(super) struct Zstd {
    decoder: FrameDecoder,
    /// Bytes that have not been read, from `at` on.
    held: Vec<u8>,
    at: usize,
    within: Within,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    /// Before a frame. The first one must be there.
    Start {
        is_first: bool,
    },
    Blocks {
        has_checksum: bool,
    },
    /// After the last frame.
    End,
}

impl Zstd {
    pub(super) fn new() -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW);
        Self { decoder, held: Vec::new(), at: 0, within: Within::Start { is_first: true } }
    }

    /// Returns true if the bytes so far may be all: the last frame is complete.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.within, Within::End | Within::Start { is_first: false }) && self.at == self.held.len()
    }

    /// Takes the bytes of `input` and returns the content of the next block. `None` if more bytes are needed.
    ///
    /// # Errors
    /// The reason why the data cannot be read.
    pub(super) fn next(&mut self, input: &mut Bytes) -> Result<Option<Vec<u8>>, String> {
        if !input.is_empty() {
            self.held.drain(..std::mem::take(&mut self.at));
            self.held.extend_from_slice(input);
            input.clear();
        }
        while let Some(content) = self.step()? {
            if !content.is_empty() {
                return Ok(Some(content));
            }
        }
        Ok(None)
    }

    /// Reads the next header or block. Returns its content, which may be empty. `None` if it is incomplete.
    fn step(&mut self) -> Result<Option<Vec<u8>>, String> {
        let damaged = |why: &dyn std::fmt::Display| format!("is damaged: {why}");
        let rest = &self.held[self.at..];
        match self.within {
            // Anything after the frames is ignored.
            Within::End => {
                self.at = self.held.len();
                Ok(None)
            }
            Within::Start { is_first } => {
                if !is_first && !rest.is_empty() && !rest.starts_with(&MAGIC[..rest.len().min(MAGIC.len())]) {
                    self.within = Within::End;
                    return Ok(Some(Vec::new()));
                }
                let mut header = rest;
                match self.decoder.reset(&mut header) {
                    Ok(()) => {}
                    Err(_) if rest.len() < MAX_HEADER => return Ok(None),
                    Err(why) => return Err(damaged(&why)),
                }
                // The third bit of the byte after the magic number.
                self.within = Within::Blocks { has_checksum: rest[MAGIC.len()] & 4 != 0 };
                self.at += rest.len() - header.len();
                Ok(Some(Vec::new()))
            }
            Within::Blocks { has_checksum } => {
                let Some([low, middle, high]) = rest.first_chunk::<BLOCK_HEADER>() else { return Ok(None) };
                let header = u32::from_le_bytes([*low, *middle, *high, 0]);
                let (is_last, kind, size) = (header & 1 == 1, (header >> 1) & 3, (header >> 3) as usize);
                // A block of one repeated byte has that byte alone.
                let content = if kind == 1 { 1 } else { size };
                let len = BLOCK_HEADER + content + if is_last && has_checksum { CHECKSUM } else { 0 };
                let Some(mut block) = rest.get(..len) else { return Ok(None) };
                self.decoder
                    .decode_blocks(&mut block, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(|why| damaged(&why))?;
                if is_last {
                    self.within = Within::Start { is_first: false };
                }
                self.at += len;
                Ok(Some(self.decoder.collect().unwrap_or_default()))
            }
        }
    }
}

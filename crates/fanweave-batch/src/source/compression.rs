//! Compressed inputs: gzip and Zstandard, recognised by their first bytes.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Maximum bytes that a frame of Zstandard refers back to, and thus memory. Source: the limit of the `zstd`
/// command without `--long`.
const MAX_WINDOW: u64 = 128 << 20;

type Reader = Box<dyn BufRead + Send>;

/// The content of a reader, and whether it was compressed. Reads at most its first line.
pub(super) fn open(reader: Reader) -> io::Result<(Reader, bool)> {
    let (begin, reader) = peek(reader, ZSTD.len())?;
    if begin.starts_with(&GZIP) {
        return Ok((Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(reader))), true));
    }
    if begin == ZSTD {
        return Ok((Box::new(BufReader::with_capacity(1 << 16, Frames::new(reader))), true));
    }
    Ok((reader, false))
}

/// The first bytes, at most `n` and at most a line, and a reader of all bytes.
pub(super) fn peek(mut reader: Reader, n: usize) -> io::Result<(Vec<u8>, Reader)> {
    let block = super::buffered(&mut reader)?;
    let line = block.iter().position(|byte| *byte == b'\n').map_or(block.len(), |end| end + 1);
    if block.is_empty() || line.max(n) <= block.len() {
        let begin = block[..line.min(n)].to_vec();
        return Ok((begin, reader));
    }
    // A pipe whose first bytes are fewer.
    let mut begin = Vec::with_capacity(n);
    let mut byte = [0];
    while begin.len() < n && begin.last() != Some(&b'\n') {
        match reader.read(&mut byte) {
            Ok(0) => break,
            Ok(_) => begin.push(byte[0]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    let all = Cursor::new(begin.clone()).chain(reader);
    Ok((begin, Box::new(all)))
}

/// Frames of Zstandard, one after the other.
struct Frames {
    reader: Reader,
    decoder: FrameDecoder,
}

impl Frames {
    fn new(reader: Reader) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW);
        Self { reader, decoder }
    }
}

impl Read for Frames {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let invalid = |e: FrameDecoderError| io::Error::new(io::ErrorKind::InvalidInput, e.to_string());
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if self.decoder.can_collect() > 0 {
                return self.decoder.read(buffer);
            }
            // A decoder without a frame is finished, too.
            if !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.reader, one).map_err(invalid)?;
                continue;
            }
            if self.reader.fill_buf()?.is_empty() {
                return Ok(0);
            }
            match self.decoder.init(&mut self.reader) {
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    io::copy(&mut self.reader.by_ref().take(length.into()), &mut io::sink())?;
                }
                begun => begun.map_err(invalid)?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(bytes: Vec<u8>) -> io::Result<(String, bool)> {
        let (mut reader, is_compressed) = open(Box::new(Cursor::new(bytes)))?;
        let mut text = String::new();
        reader.read_to_string(&mut text).map(|_| (text, is_compressed))
    }

    fn zstd(text: &str) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(text.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest)
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        to.write_all(text.as_bytes()).unwrap();
        to.finish().unwrap()
    }

    #[test]
    fn compressed_texts_of_several_members_are_read_to_their_end() {
        let long = "a line\n".repeat(50_000);
        for compress in [gzip as fn(&str) -> Vec<u8>, zstd] {
            let all = [compress(&long), compress(""), compress("the end")].concat();
            assert_eq!(read(all).unwrap(), (format!("{long}the end"), true));
        }
        // A frame that decoders must skip, of 3 bytes.
        let skipped = b"\x50\x2a\x4d\x18\x03\0\0\0abc".to_vec();
        let all = [zstd("a"), skipped, zstd("b")].concat();
        assert_eq!(read(all).unwrap().0, "ab");
        for text in ["", "\x1f", "plain\n"] {
            assert_eq!(read(text.into()).unwrap(), (text.to_owned(), false));
        }
    }

    #[test]
    fn a_compressed_text_that_is_cut_is_an_error() {
        for whole in [gzip("a text that is cut"), zstd("a text that is cut")] {
            for end in 5..whole.len() {
                assert!(read(whole[..end].to_vec()).is_err(), "{end} bytes of {}", whole.len());
            }
        }
    }
}

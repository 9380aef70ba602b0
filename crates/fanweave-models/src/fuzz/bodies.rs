//! Bodies below the dialects: framing, and compression.

use std::io::Write;

use bytes::Bytes;
use fanweave_core::ErrorKind;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use super::{LIMITS, pieces};
use crate::protocol::Framing;
use crate::transport::frames::Frames;
use crate::transport::inflate::Inflate;

/// Maximum bytes of content that are read of a compressed body.
const MAX_CONTENT: usize = 1 << 20;

/// The events of a stream in any framing. The first byte selects that of the dialect.
///
/// # Panics
/// If a split changes the result.
pub fn framing(bytes: &[u8]) {
    fn read<'a>(
        framing: Framing,
        chunks: impl Iterator<Item = &'a [u8]>,
    ) -> (Vec<(String, String)>, Option<ErrorKind>) {
        let (mut frames, mut events) = (Frames::new(framing, LIMITS), Vec::new());
        for chunk in chunks {
            let fed = frames.feed(chunk, |event| {
                events.push((event.name.to_owned(), event.data.to_owned()));
                Ok(())
            });
            if let Err(error) = fed {
                return (events, Some(error.kind()));
            }
        }
        (events, None)
    }
    let Some((first, bytes)) = bytes.split_first() else { return };
    let framing = match first % 3 {
        0 => Framing::Events,
        1 => Framing::Lines,
        #[cfg(feature = "bedrock")]
        _ => Framing::AwsEventStream,
        #[cfg(not(feature = "bedrock"))]
        _ => Framing::Events,
    };
    let (whole, cut) = (read(framing, std::iter::once(bytes)), read(framing, pieces(bytes)));
    // A limit may be reached slightly earlier or later.
    if whole.1.is_none() && cut.1.is_none() {
        assert_eq!(whole, cut);
    }
}

/// A body with or without compression, announced or not. The first byte selects what is announced, and
/// whether the rest is compressed first.
///
/// # Panics
/// If a split changes the content, or if compressed content is not read again.
pub fn compressed(bytes: &[u8]) {
    const ANNOUNCED: [&str; 7] = ["", "identity", "gzip", "deflate", "zstd", "br", "x-unknown"];
    let Some((first, rest)) = bytes.split_first() else { return };
    let announced = ANNOUNCED[usize::from(*first) % ANNOUNCED.len()];
    let packed = match first / 64 {
        1 => {
            let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
            packer.write_all(rest).expect("a vector takes all bytes");
            Some(packer.finish().expect("a vector takes all bytes"))
        }
        2 => {
            let mut packer = ZlibEncoder::new(Vec::new(), Compression::fast());
            packer.write_all(rest).expect("a vector takes all bytes");
            Some(packer.finish().expect("a vector takes all bytes"))
        }
        _ => None,
    };
    let body = packed.as_deref().unwrap_or(rest);
    let (whole, cut) = (content(std::iter::once(body), announced), content(pieces(body), announced));
    if let (Some(whole), Some(cut)) = (&whole, &cut) {
        let length = whole.len().min(cut.len());
        assert!(whole.len() == cut.len() || length >= MAX_CONTENT, "{} {}", whole.len(), cut.len());
        assert_eq!(whole[..length], cut[..length]);
    }
    // Content that begins like compressed data is read as such, and need not be valid.
    let is_nested =
        [&[0x1f, 0x8b][..], &[0x28, 0xb5, 0x2f, 0xfd]].iter().any(|magic| rest.starts_with(magic));
    if packed.is_some() && !is_nested {
        let read = whole.expect("compressed content is read, whatever is announced");
        assert!(read == rest || read.len() >= MAX_CONTENT, "{} of {} bytes", read.len(), rest.len());
    }
}

/// The content of a body, or its beginning. `None` if the body is damaged.
fn content<'a>(chunks: impl Iterator<Item = &'a [u8]>, announced: &str) -> Option<Vec<u8>> {
    let (mut inflate, mut content) = (Inflate::new(), Vec::new());
    for chunk in chunks {
        inflate.feed(Bytes::copy_from_slice(chunk), announced).ok()?;
        while let Some(more) = inflate.next().ok()? {
            content.extend_from_slice(&more);
            if content.len() >= MAX_CONTENT {
                return Some(content);
            }
        }
    }
    while let Some(more) = inflate.finish(announced).ok()? {
        content.extend_from_slice(&more);
    }
    Some(content)
}

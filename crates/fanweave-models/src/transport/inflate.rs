//! Decompression of bodies. Compression is never requested, but some servers and proxies compress, announce
//! a compression that they have undone, or undo none that they do not announce.
//!
//! The first bytes of a body decide. The header is used only for what has no bytes of its own.

mod zstd;

use bytes::{Buf, Bytes};
use fanweave_core::{Error, ErrorKind, Result};
use flate2::{Decompress, FlushDecompress, Status};

use self::zstd::Zstd;

/// Maximum bytes decompressed at once. 32 KiB: the window of the format.
const MAX_OUTPUT: usize = 32 << 10;

/// Bytes of the beginning that tell text from compressed data without bytes of its own.
const TEXT_BYTES: usize = 16;

/// Window bits of gzip, deflate and zlib: the maximum of the formats.
const WINDOW_BITS: u8 = 15;

/// The decompression of one body.
pub(crate) struct Inflate {
    state: State,
    /// Set for the content of another compression.
    is_inner: bool,
}

enum State {
    /// The first bytes, until they decide.
    Begun(Vec<u8>),
    /// Not compressed. The bytes that were held for the decision are passed on first.
    Plain(Bytes),
    Packed(Box<Packed>),
}

/// A compressed body.
struct Packed {
    coding: Unpack,
    input: Bytes,
    /// Set where the data may end.
    is_complete: bool,
    /// The compression of the content, and what was announced of it. `None` within another one.
    inner: Option<(Inflate, String)>,
}

enum Unpack {
    Deflate(Deflate),
    Zstd(Box<Zstd>),
}

/// Deflated data.
struct Deflate {
    form: Form,
    data: Decompress,
    /// Set if the last output was as long as it may be: there may be more of it.
    is_full: bool,
}

/// A form of deflated data.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Gzip,
    Zlib,
    Raw,
}

impl Deflate {
    fn new(form: Form) -> Self {
        let data = match form {
            Form::Gzip => Decompress::new_gzip(WINDOW_BITS),
            Form::Zlib => Decompress::new(true),
            Form::Raw => Decompress::new(false),
        };
        Self { form, data, is_full: false }
    }
}

impl Inflate {
    pub(crate) fn new() -> Self {
        Self { state: State::Begun(Vec::new()), is_inner: false }
    }

    /// Takes the next bytes of the body. `announced` is the value of its `content-encoding`, in lower case,
    /// or empty. Call [`next`](Self::next) until it returns `None` before the next bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] for a compression that is not supported.
    pub(crate) fn feed(&mut self, bytes: Bytes, announced: &str) -> Result<()> {
        match &mut self.state {
            State::Plain(held) => *held = bytes,
            State::Packed(packed) => packed.input = bytes,
            State::Begun(held) if held.is_empty() => self.begin(bytes, announced, false)?,
            State::Begun(held) => {
                held.extend_from_slice(&bytes);
                let held = std::mem::take(held).into();
                self.begin(held, announced, false)?;
            }
        }
        Ok(())
    }

    /// Returns true once the first bytes have decided.
    pub(crate) fn is_decided(&self) -> bool {
        !matches!(self.state, State::Begun(_))
    }

    /// Decides by the first bytes.
    fn begin(&mut self, start: Bytes, announced: &str, has_ended: bool) -> Result<()> {
        // The last one was applied last.
        let (within, last) = announced.rsplit_once(',').unwrap_or(("", announced));
        let last = last.trim();
        let coding = match detect(&start, has_ended) {
            // Nothing but text begins so within another compression, unless it is announced.
            Start::Undecided | Start::Deflate(Form::Zlib)
                if self.is_inner
                    && !start.starts_with(&GZIP[..1])
                    && !start.starts_with(&zstd::MAGIC[..1])
                    && matches!(last, "" | "identity") =>
            {
                self.state = State::Plain(start);
                return Ok(());
            }
            Start::Undecided => {
                self.state = State::Begun(start.into());
                return Ok(());
            }
            // The first bytes of deflated data may be letters: those of `data:` are `KI,I`.
            Start::Other if !matches!(last, "" | "identity") && !has_ended && start.len() < TEXT_BYTES => {
                self.state = State::Begun(start.into());
                return Ok(());
            }
            Start::Deflate(form) => Unpack::Deflate(Deflate::new(form)),
            Start::Zstd => Unpack::Zstd(Box::new(Zstd::new())),
            Start::Other if matches!(last, "" | "identity") || is_text(&start) => {
                self.state = State::Plain(start);
                return Ok(());
            }
            Start::Other if last == "deflate" => Unpack::Deflate(Deflate::new(Form::Raw)),
            Start::Other => return Err(unsupported(announced)),
        };
        // Proxies compress what is compressed: once more, and not without end.
        let inner =
            (!self.is_inner).then(|| (Self { is_inner: true, ..Self::new() }, within.trim().to_owned()));
        self.state = State::Packed(Box::new(Packed { coding, input: start, is_complete: false, inner }));
        Ok(())
    }

    /// The next bytes of the content, not empty. `None` if more of the body is needed.
    ///
    /// # Errors
    /// [`ErrorKind::Connection`] for damaged data.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>> {
        match &mut self.state {
            State::Begun(_) => Ok(None),
            State::Plain(held) => Ok(Some(std::mem::take(held)).filter(|held| !held.is_empty())),
            State::Packed(packed) => packed.next(),
        }
    }

    /// The next bytes of the content after the end of the body, not empty. `None` at the end of the content.
    ///
    /// # Errors
    /// Those of [`next`](Self::next), and [`ErrorKind::Connection`] if compressed data is truncated.
    pub(crate) fn finish(&mut self, announced: &str) -> Result<Option<Bytes>> {
        if let Some(content) = self.next()? {
            return Ok(Some(content));
        }
        self.end(announced)?;
        let rest = self.next()?;
        // A short body is decided and read only now.
        if rest.is_none() {
            self.end(announced)?;
        }
        Ok(rest)
    }

    /// Records the end of the body: one that is not decided yet is, and what was read must be complete.
    fn end(&mut self, announced: &str) -> Result<()> {
        match &mut self.state {
            State::Begun(held) if !held.is_empty() => {
                let held = std::mem::take(held).into();
                self.begin(held, announced, true)
            }
            State::Packed(packed) if !packed.is_complete => Err(damaged("is truncated")),
            State::Packed(packed) => match &mut packed.inner {
                Some((inner, announced)) => inner.end(announced),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

impl Packed {
    fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some((inner, _)) = &mut self.inner
                && let Some(content) = inner.next()?
            {
                return Ok(Some(content));
            }
            let output = self.unpack()?;
            match (&mut self.inner, output) {
                (Some((inner, announced)), Some(output)) => inner.feed(output, announced)?,
                (_, output) => return Ok(output),
            }
        }
    }

    fn unpack(&mut self) -> Result<Option<Bytes>> {
        let deflate = match &mut self.coding {
            Unpack::Deflate(deflate) => deflate,
            Unpack::Zstd(zstd) => {
                let output = zstd.next(&mut self.input).map_err(|why| damaged(&why))?;
                self.is_complete = zstd.is_complete();
                return Ok(output.map(Bytes::from));
            }
        };
        while !self.input.is_empty() || deflate.is_full {
            if self.is_complete {
                // Compressed files may be concatenated. Anything else is ignored.
                if deflate.form != Form::Gzip || self.input[0] != GZIP[0] {
                    self.input.clear();
                    break;
                }
                *deflate = Deflate::new(Form::Gzip);
                self.is_complete = false;
            }
            let output = deflate.step(&mut self.input, &mut self.is_complete)?;
            if !output.is_empty() {
                return Ok(Some(output.into()));
            }
        }
        Ok(None)
    }
}

impl Deflate {
    fn step(&mut self, input: &mut Bytes, is_complete: &mut bool) -> Result<Vec<u8>> {
        let mut output = Vec::with_capacity(MAX_OUTPUT);
        let before = self.data.total_in();
        let status = self
            .data
            .decompress_vec(input, &mut output, FlushDecompress::None)
            .map_err(|why| damaged(&format!("is damaged: {why}")))?;
        let read = usize::try_from(self.data.total_in() - before).unwrap_or(usize::MAX).min(input.len());
        input.advance(read);
        *is_complete = status == Status::StreamEnd;
        self.is_full = output.len() == output.capacity() && !*is_complete;
        if read == 0 && output.is_empty() {
            input.clear();
        }
        Ok(output)
    }
}

const GZIP: [u8; 3] = [0x1f, 0x8b, 8];

/// The kind of a body by its first bytes.
enum Start {
    Deflate(Form),
    Zstd,
    Other,
    Undecided,
}

fn detect(start: &[u8], has_ended: bool) -> Start {
    let begins = |magic: &[u8]| start.len() < magic.len() && magic.starts_with(start);
    match start {
        _ if start.starts_with(&GZIP) => Start::Deflate(Form::Gzip),
        _ if start.starts_with(&zstd::MAGIC) => Start::Zstd,
        // The second byte makes the two a multiple of 31, as numbers are unlikely to be.
        [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] => Start::Deflate(Form::Zlib),
        _ if !has_ended && (begins(&GZIP) || begins(&zstd::MAGIC) || begins(&[0x78, 0x9c])) => {
            Start::Undecided
        }
        _ => Start::Other,
    }
}

/// Returns true for bytes that begin text.
fn is_text(start: &[u8]) -> bool {
    let start = &start[..start.len().min(TEXT_BYTES)];
    let is_utf8 = match std::str::from_utf8(start) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    };
    is_utf8 && !start.iter().any(|byte| byte.is_ascii_control() && !byte.is_ascii_whitespace())
}

fn damaged(why: &str) -> Error {
    Error::new(ErrorKind::Connection, format!("the compressed response {why}"))
}

fn unsupported(announced: &str) -> Error {
    let message = format!(
        "the server compressed its response ({}), although compression was not requested: disable it in the server \
         or in the proxy in front of it",
        announced.escape_debug()
    );
    Error::new(ErrorKind::Decode, message).with_retryable(false)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::*;

    const LEVEL: Compression = Compression::new(6);

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), LEVEL);
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), LEVEL);
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn raw(text: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), LEVEL);
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest)
    }

    fn read(announced: &str, chunks: &[&[u8]]) -> Result<Vec<u8>> {
        let (mut inflate, mut all) = (Inflate::new(), Vec::new());
        for chunk in chunks {
            inflate.feed(Bytes::copy_from_slice(chunk), announced)?;
            while let Some(more) = inflate.next()? {
                assert!(!more.is_empty());
                all.extend_from_slice(&more);
            }
        }
        while let Some(more) = inflate.finish(announced)? {
            all.extend_from_slice(&more);
        }
        Ok(all)
    }

    /// Text that compresses well, and is longer than one output.
    fn long() -> Vec<u8> {
        (0..20_000).flat_map(|n| format!("data: {{\"n\":{n}}}\n\n").into_bytes()).collect()
    }

    #[test]
    fn what_is_compressed_twice_is_unpacked_twice() {
        for text in [b"{\"a\":1}".to_vec(), b"x".to_vec(), b"x^2".to_vec(), b"\x1f".to_vec(), long()] {
            for (announced, body) in [
                ("gzip, gzip", gzip(&gzip(&text))),
                ("gzip", gzip(&gzip(&text))),
                ("", zstd(&gzip(&text))),
                ("deflate, gzip", gzip(&raw(&text))),
                ("deflate, gzip", gzip(&zlib(&text))),
                ("gzip, deflate", zlib(&gzip(&text))),
                ("identity, gzip", gzip(&text)),
                ("gzip", gzip(&text)),
            ] {
                // The beginning of another compression.
                if text == b"\x1f" && announced == "deflate, gzip" {
                    continue;
                }
                let bytes: Vec<_> = body.chunks(1).collect();
                for chunks in [&[&*body][..], &bytes] {
                    assert_eq!(read(announced, chunks).unwrap(), text, "{announced}");
                }
                let cut = &body[..body.len() - 9];
                let cut = read(announced, &[cut]);
                assert!(cut.as_ref().is_err_and(Error::is_retryable), "{announced}: {cut:?}");
            }
        }
        // Not without end.
        assert_eq!(read("", &[&gzip(&gzip(&gzip(b"{}")))]).unwrap(), gzip(b"{}"));
    }

    #[test]
    fn the_first_bytes_decide_and_not_the_header() {
        let texts = [&b"{\"a\":1}"[..], b"data: {}\n\n", b"x", "\u{feff}{}".as_bytes(), b"(\xb5 ", b"\n"];
        for text in texts {
            for announced in ["", "identity", "gzip", "deflate", "br", "zstd", "x-unknown"] {
                if announced.is_empty() || std::str::from_utf8(text).is_ok() {
                    assert_eq!(read(announced, &[text]).unwrap(), text, "{announced}");
                }
                for packed in [gzip(text), zlib(text), zstd(text)] {
                    assert_eq!(read(announced, &[&packed]).unwrap(), text, "{announced}");
                }
            }
            assert_eq!(read("deflate", &[&raw(text)]).unwrap(), text);
        }
        for announced in ["br", "gzip", "x-unknown"] {
            let error = read(announced, &[b"\x1b\x03\x00\xf8"]).unwrap_err();
            assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Decode, false), "{announced}");
        }
        assert_eq!(read("gzip", &[]).unwrap(), b"");
    }

    #[test]
    fn deflated_data_that_begins_like_text_is_read_however_it_arrives() {
        let text = b"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
        let body = raw(text);
        assert!(is_text(&body[..4]) && !is_text(&body));
        for size in 1..20 {
            let chunks: Vec<_> = body.chunks(size).collect();
            assert_eq!(read("deflate", &chunks).unwrap(), text, "{size}");
        }
        // Text stays text, also a keep-alive that is alone for a while.
        for announced in ["deflate", "br", "gzip"] {
            assert_eq!(read(announced, &[b":\n\n", text]).unwrap(), [&b":\n\n"[..], text].concat());
        }
        let error = read("deflate", &[&raw(b"{}")[..3]]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Connection, "truncated within its first bytes");
    }

    #[test]
    fn concatenated_members_are_read_and_what_follows_them_is_ignored() {
        let two = [gzip(b"{\"a\":"), gzip(b"1}")].concat();
        assert_eq!(read("", &[&two]).unwrap(), b"{\"a\":1}");
        let two = [zstd(b"{\"a\":"), zstd(b"1}")].concat();
        assert_eq!(read("", &[&two]).unwrap(), b"{\"a\":1}");
        assert_eq!(read("", &[&[zlib(b"{}"), b"\0\0rest".to_vec()].concat()]).unwrap(), b"{}");
    }

    #[test]
    fn damaged_and_truncated_data_is_a_broken_connection() {
        for (form, packed) in [("gzip", gzip(&long())), ("zlib", zlib(&long())), ("zstd", zstd(&long()))] {
            for end in [5, packed.len() / 2, packed.len() - 5, packed.len() - 1] {
                let error = read("gzip", &[&packed[..end]]).map(|read| read.len()).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Connection, "{form}: {end} of {}: {error}", packed.len());
            }
            let mut damaged = packed.clone();
            let end = damaged.len() - 6;
            damaged[end] ^= 0x55;
            if form != "zstd" {
                assert_eq!(read("", &[&damaged]).unwrap_err().kind(), ErrorKind::Connection, "{form}");
            }
        }
    }

    #[test]
    fn the_output_is_bounded_at_each_step() {
        let blanks = |mib: usize| vec![b' '; mib << 20];
        // Zstandard holds back what later blocks may refer to.
        for (packed, wanted, max) in
            [(gzip(&blanks(4)), 4 << 20, MAX_OUTPUT), (zstd(&blanks(1)), 1 << 20, 9 << 20)]
        {
            assert!(packed.len() < 200_000, "{} bytes", packed.len());
            let mut inflate = Inflate::new();
            inflate.feed(packed.into(), "").unwrap();
            let mut all = 0;
            while let Some(more) = inflate.next().unwrap() {
                assert!(more.len() <= max, "{} bytes at once", more.len());
                all += more.len();
            }
            assert_eq!(all, wanted);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_split_gives_the_same_content(
            text in prop::collection::vec("(data: |\\{\"a\":|\n|[a-zé]{0,9})", 0..40),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
            form in 0..4,
        ) {
            let text = text.concat().into_bytes();
            let packed = match form {
                0 => gzip(&text),
                1 => zlib(&text),
                2 => zstd(&text),
                _ => text.clone(),
            };
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(packed.len() + 1)).collect();
            cuts.extend([0, packed.len()]);
            cuts.sort_unstable();
            let chunks: Vec<_> = cuts.windows(2).map(|w| &packed[w[0]..w[1]]).collect();
            prop_assert_eq!(&read("", &chunks).unwrap(), &text);
            let bytes: Vec<_> = packed.chunks(1).collect();
            prop_assert_eq!(&read("", &bytes).unwrap(), &text);
        }

        #[test]
        fn no_bytes_cause_a_panic(
            head in prop::sample::select(vec![&GZIP[..], &zstd::MAGIC, &[0x78, 0x9c], &[]]),
            rest in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = read("deflate", &[head, &rest]);
        }
    }
}

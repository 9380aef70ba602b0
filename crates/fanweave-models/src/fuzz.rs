//! Parsers of network bytes as functions of bytes, for the fuzz targets in `fuzz/` and for the test below.
//! They must not panic on any input, and must give the same result for every split of it.

mod bodies;
#[cfg(feature = "bedrock")]
mod clouds;
mod usage;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fanweave_core::{Delta, ErrorKind, Result};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::protocol::{Protocol, classify};
use crate::transport::hints::{prose, reset, retry_after, should_retry};
use crate::transport::limits::{Refusal, Report};
use crate::transport::reader::{AnswerReader, read_whole};
use crate::transport::secret::Secret;
use crate::transport::sse::{SseDecoder, SseLimits};
use crate::vendor::{Vendor, vendors};

pub use self::bodies::{compressed, framing};
#[cfg(feature = "bedrock")]
pub use self::clouds::{event_stream, signature};
pub use self::usage::usage;
pub use crate::providers::assemble::fuzz as calls;

/// Every dialect. Add new ones here.
fn dialects() -> Vec<(&'static str, Arc<dyn Protocol>)> {
    let names =
        ["openai/x", "openai-responses/x", "openai-completions/x", "anthropic/x", "gemini/x", "ollama/x"];
    let clouds: &[&str] = if cfg!(feature = "bedrock") { &["bedrock-converse/x"] } else { &[] };
    let named = |name| {
        let vendor = Vendor::of(name).expect("a vendor of the table").0;
        (name, vendor.versioned_protocol(None).expect("every dialect has a version of its own"))
    };
    names.into_iter().chain(clouds.iter().copied()).map(named).collect()
}

const LIMITS: SseLimits = SseLimits { bytes: 1 << 16, lines: 1 << 10 };

/// Splits `bytes` at positions derived from its content.
fn pieces(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = 1 + usize::from(*rest.first()? % 23);
        let (piece, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        Some(piece)
    })
}

/// The events of a stream.
///
/// # Panics
/// If a split changes the result.
pub fn sse(bytes: &[u8]) {
    fn read<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<(String, String)>, Option<ErrorKind>) {
        let (mut decoder, mut events) = (SseDecoder::new(LIMITS), Vec::new());
        for chunk in chunks {
            let fed = decoder.feed(chunk, |event| {
                events.push((event.name.to_owned(), event.data.to_owned()));
                Ok(())
            });
            if let Err(error) = fed {
                return (events, Some(error.kind()));
            }
        }
        (events, None)
    }
    let (whole, cut) = (read(std::iter::once(bytes)), read(pieces(bytes)));
    // A limit may be reached slightly earlier or later.
    if whole.1.is_none() && cut.1.is_none() {
        assert_eq!(whole, cut);
    }
}

/// Streamed answers of all dialects.
///
/// # Panics
/// If a split changes the result.
pub fn stream(bytes: &[u8]) {
    for (name, dialect) in dialects() {
        streamed(name, &*dialect, bytes);
    }
}

/// A streamed answer of one dialect.
///
/// # Panics
/// If a split changes the result.
fn streamed(name: &str, dialect: &dyn Protocol, bytes: &[u8]) {
    fn read<'a>(dialect: &dyn Protocol, chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<Delta>, bool) {
        let (mut reader, plain) = (AnswerReader::new(dialect, LIMITS), |error, _: &str| error);
        let read: Result<()> = { chunks }.try_for_each(|chunk| reader.feed(chunk, plain));
        let deltas = reader.take_deltas().collect();
        let is_ok = read.is_ok();
        let _ = match read.and_then(|()| reader.close(plain)) {
            Ok(()) => reader.end(plain),
            Err(error) => Err(reader.failed(error)),
        };
        (deltas, is_ok)
    }
    let (whole, cut) = (read(dialect, std::iter::once(bytes)), read(dialect, pieces(bytes)));
    assert!(!(whole.1 && cut.1) || whole == cut, "{name}: {whole:?} {cut:?}");
}

/// Whole answers of all dialects, and their errors.
pub fn response(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for (_, dialect) in dialects() {
        let _ = dialect.response(bytes);
        let _ = read_whole(&*dialect, bytes, LIMITS);
    }
    // All dialects share one reader.
    for (_, dialect) in dialects().into_iter().take(1) {
        for status in [StatusCode::BAD_REQUEST, StatusCode::TOO_MANY_REQUESTS, StatusCode::BAD_GATEWAY] {
            let _ = dialect.error(status, &HeaderMap::new(), &text);
        }
    }
}

/// The error of an answer. The first two bytes select its status and vendor, the next lines are headers up to
/// an empty one, the rest is the body.
///
/// # Panics
/// If the error says nothing.
pub fn errors(bytes: &[u8]) {
    const STATUSES: [u16; 16] =
        [400, 401, 402, 403, 404, 408, 409, 413, 422, 424, 429, 498, 500, 502, 503, 529];
    let [status, vendor, rest @ ..] = bytes else { return };
    let status = STATUSES[usize::from(*status) % STATUSES.len()];
    let status = StatusCode::from_u16(status).expect("a status has three digits");
    let vendors: Vec<_> = vendors().collect();
    let vendor = &vendors[usize::from(*vendor) % vendors.len()];
    let text = String::from_utf8_lossy(rest);
    let (head, body) = text.split_once("\n\n").unwrap_or(("", &text));
    let headers = head.lines().filter_map(|line| line.split_once(':')).filter_map(|(name, value)| {
        Some((HeaderName::try_from(name.trim()).ok()?, HeaderValue::try_from(value.trim()).ok()?))
    });
    let error = classify(status, &headers.collect(), body, vendor);
    assert!(!error.message().trim().is_empty(), "{status} of {vendor}: {body:?}");
}

/// Headers that report limits, one value per line.
const QUOTAS: [&str; 15] = [
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
    "anthropic-ratelimit-input-tokens-limit",
    "anthropic-ratelimit-input-tokens-remaining",
    "anthropic-ratelimit-input-tokens-reset",
    "x-ratelimit-limit-requests-day",
    "x-ratelimit-remaining-requests-day",
    "ratelimitbysize-limit",
    "x-tokenlimit-limit",
    "x-ratelimit-limit",
    "ratelimit-policy",
];

/// Headers with waits and limits, and the redaction of a key in a text.
///
/// # Panics
/// If the text still contains the key.
pub fn headers(bytes: &[u8]) {
    let values = bytes.split(|byte| *byte == b'\n').filter_map(|value| HeaderValue::from_bytes(value).ok());
    let limits = QUOTAS.into_iter().map(HeaderName::from_static).zip(values);
    let report = Report::read(&HeaderMap::from_iter(limits), SystemTime::UNIX_EPOCH);
    let _ = Refusal::new(report, Some(Duration::from_secs(10)), true);
    if let Ok(value) = HeaderValue::from_bytes(bytes) {
        for name in ["retry-after", "retry-after-ms", "x-should-retry"] {
            let headers = HeaderMap::from_iter([(HeaderName::from_static(name), value.clone())]);
            let _ = (retry_after(&headers, SystemTime::UNIX_EPOCH), should_retry(&headers));
        }
        let resets = HeaderMap::from_iter([(HeaderName::from_static("x-ratelimit-reset"), value)]);
        let _ = reset(&resets, SystemTime::UNIX_EPOCH);
    }
    let text = String::from_utf8_lossy(bytes);
    let _ = prose(&text, SystemTime::UNIX_EPOCH);
    let secret = Secret::new("sk-canary-0123".to_owned());
    assert!(!secret.redact(&format!("{text}sk-canary-0123{text}")).contains("sk-canary-0123"));
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Recorded responses from the fixtures of all dialects.
    fn fixtures(folder: &Path, all: &mut Vec<Vec<u8>>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                fixtures(&path, all);
            } else if path.extension().is_some_and(|extension| extension != "rs" && extension != "toml") {
                all.push(std::fs::read(path).unwrap());
            }
        }
    }

    /// Mutates a few bytes: replaces, removes or inserts them.
    fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut fastrand::Rng) {
        for _ in 0..random.usize(1..6) {
            let at = random.usize(..=bytes.len());
            let end = (at + random.usize(..40)).min(bytes.len());
            match random.u8(..5) {
                0 => bytes.truncate(at),
                1 => _ = bytes.drain(at..end),
                2 => bytes.insert(at, random.u8(..)),
                3 => bytes.insert(at, *random.choice(b"\r\n:{}[]\",0-\\").expect("a choice")),
                _ => {
                    let from = random.usize(..other.len());
                    let piece = other[from..(from + 60).min(other.len())].iter().copied();
                    bytes.splice(at..end, piece);
                }
            }
        }
    }

    #[test]
    fn usage_of_maximum_size_does_not_overflow() {
        let max = u64::MAX;
        let usage =
            format!(r#"{{"input_tokens":{max},"cache_read_input_tokens":{max},"output_tokens":{max}}}"#);
        let start = format!(r#"{{"type":"message_start","message":{{"id":"m","usage":{usage}}}}}"#);
        stream(format!("event: message_start\ndata: {start}\n\n").as_bytes());
        let gemini = format!(
            r#"{{"promptTokenCount":{max},"toolUsePromptTokenCount":{max},"candidatesTokenCount":{max},"thoughtsTokenCount":{max}}}"#
        );
        stream(format!("data: {{\"usageMetadata\":{gemini}}}\n\n").as_bytes());
    }

    /// A reader and its name.
    type Reader = (&'static str, fn(&[u8]));

    /// All readers, or the one that `FANWEAVE_FUZZ` names.
    fn readers() -> Vec<Reader> {
        let all: [Reader; 9] = [
            ("sse", sse),
            ("stream", stream),
            ("response", response),
            ("headers", headers),
            ("errors", errors),
            ("framing", framing),
            ("compressed", compressed),
            ("calls", calls),
            ("usage", usage),
        ];
        let mut readers = all.to_vec();
        #[cfg(feature = "bedrock")]
        {
            let clouds: [Reader; 2] = [("event_stream", event_stream), ("signature", signature)];
            readers.extend(clouds);
        }
        if let Ok(name) = std::env::var("FANWEAVE_FUZZ") {
            readers.retain(|(reader, _)| *reader == name);
            assert!(!readers.is_empty(), "no reader {name}");
        }
        readers
    }

    /// `FANWEAVE_FUZZ_SECONDS` sets the time, in place of a number of rounds, and `FANWEAVE_FUZZ_SEED` the
    /// mutations.
    #[test]
    fn nothing_that_resembles_an_answer_makes_a_decoder_panic() {
        let number = |name: &str| std::env::var(name).ok().map(|n| n.parse::<u64>().expect("a number"));
        let (readers, seconds) = (readers(), number("FANWEAVE_FUZZ_SECONDS"));
        let mut seeds = Vec::new();
        fixtures(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/providers"), &mut seeds);
        seeds.extend([
            b"https://h/a%3Ab?x=1&y\nx-amz-date: 1\na:  b  c\n\n{}".to_vec(),
            b"\x00\x01retry-after: 3\nx-amzn-errortype: ThrottlingException\n\n{\"message\":\"no\"}".to_vec(),
            b"contentBlockDelta {\"contentBlockIndex\":0,\"delta\":{\"text\":\"a\"}}\nmessageStop {}"
                .to_vec(),
            b"{\"prompt_tokens\":1,\"completion_tokens\":2,\"total_tokens\":3}".to_vec(),
        ]);
        assert!(seeds.len() >= 9);
        let mut random = fastrand::Rng::with_seed(number("FANWEAVE_FUZZ_SEED").unwrap_or(11));
        let (started, mut round) = (std::time::Instant::now(), 0_u64);
        while seconds.map_or(round < 2_000, |seconds| started.elapsed().as_secs() < seconds) {
            let mut bytes = random.choice(&seeds).unwrap().clone();
            let other = random.choice(&seeds).unwrap();
            mutate(&mut bytes, other, &mut random);
            for (name, read) in &readers {
                let read = std::panic::catch_unwind(|| read(&bytes));
                assert!(read.is_ok(), "{name}, round {round}: {:?}", String::from_utf8_lossy(&bytes));
            }
            round += 1;
        }
        println!("{round} inputs for {} readers", readers.len());
    }
}

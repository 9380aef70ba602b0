//! Signatures and event streams of AWS.

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderName, HeaderValue, Method, Request, Uri};

use super::{dialects, streamed};
use crate::transport::aws::{Credentials, Source};
use crate::transport::event_stream::message;
use crate::transport::sign::SigV4;

/// A stream of messages with valid checksums. Each line is one: the type of its event, a space, its payload.
///
/// # Panics
/// If a split changes the result.
pub fn event_stream(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut stream = Vec::new();
    for line in text.lines() {
        let (name, payload) = line.split_once(' ').unwrap_or(("", line));
        let name = &name[..name.floor_char_boundary(200)];
        stream.extend(message(&[(":event-type", name), (":message-type", "event")], payload.as_bytes()));
    }
    let (name, dialect) = dialects().pop().expect("the dialect of Bedrock is the last one");
    streamed(name, &*dialect, &stream);
}

/// The signature of a request: a line with its URL, lines with headers up to an empty one, its body.
///
/// # Panics
/// If the request is not signed, or has the secret.
pub fn signature(bytes: &[u8]) {
    const SECRET: &str = "canary/secret+key";
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let mut lines = head.lines();
    let Ok(uri) = Uri::try_from(lines.next().unwrap_or_default()) else { return };
    let mut request = Request::new(bytes::Bytes::copy_from_slice(body.as_bytes()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value.trim())) {
            request.headers_mut().append(name, value);
        }
    }
    if request.headers().contains_key("authorization") || head.contains(SECRET) || body.contains(SECRET) {
        return;
    }
    let credentials = Credentials::new("AKID".to_owned(), SECRET.to_owned(), None);
    let source = Source::Fixed(credentials.expect("valid credentials").into());
    let signer = SigV4::new(source, "us-east-1".to_owned());
    signer.sign(&mut request, UNIX_EPOCH + Duration::from_secs(1_440_938_160));
    let signed = request.headers()["authorization"].to_str().expect("a signature is text");
    let (_, signature) = signed.rsplit_once("Signature=").expect("a request is signed");
    assert!(signature.len() == 64 && !signed.contains(SECRET), "{signed}");
}

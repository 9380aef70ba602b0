//! Responses to requests that arrive during an outage.

use std::fmt;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use super::body::{JSON, Payload};
use crate::draw::{self, Purpose};

const HTML: HeaderValue = HeaderValue::from_static("text/html");

/// The start of an answer whose server stopped while writing it.
const CUT_JSON: &str = r#"{"id":"chatcmpl-0","object":"chat.completion","choices":[{"index":0,"mess"#;

/// Error that ends a connection without an answer.
#[derive(Debug)]
pub(super) struct Aborted;

impl fmt::Display for Aborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the simulated provider resets this connection")
    }
}

impl std::error::Error for Aborted {}

/// The HTML page of a proxy, for statuses that proxies send.
pub(super) fn proxy_page(status: u16) -> Option<Response<Payload>> {
    let (title, server) = match status {
        502 => ("502 Bad Gateway", "nginx"),
        504 => ("504 Gateway Time-out", "nginx"),
        520 => ("520: Web server is returning an unknown error", "cloudflare"),
        521 => ("521: Web server is down", "cloudflare"),
        522 => ("522: Connection timed out", "cloudflare"),
        523 => ("523: Origin is unreachable", "cloudflare"),
        524 => ("524: A timeout occurred", "cloudflare"),
        525 => ("525: SSL handshake failed", "cloudflare"),
        526 => ("526: Invalid SSL certificate", "cloudflare"),
        _ => return None,
    };
    let mut response = html(title, server);
    *response.status_mut() =
        StatusCode::from_u16(status).expect("the statuses of the table have three digits");
    Some(response)
}

/// A response with status 200 and an invalid body: HTML or incomplete JSON.
pub(super) fn garbage(seed: u64, seq: u64) -> Response<Payload> {
    if draw::bits(seed, seq, Purpose::Garbage).is_multiple_of(2) {
        return html("Service under maintenance", "gateway");
    }
    let mut response = Response::new(Payload::whole(CUT_JSON));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// A complete HTTP/1.1 response with this answer, as an unsolicited response.
pub(super) fn surplus(answer: &Bytes) -> Bytes {
    let length = answer.len();
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), answer].concat().into()
}

fn html(title: &str, server: &str) -> Response<Payload> {
    let mut response = Response::new(Payload::whole(format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n\
         <hr><center>{server}</center>\r\n</body>\r\n</html>\r\n"
    )));
    response.headers_mut().insert(CONTENT_TYPE, HTML);
    response
}

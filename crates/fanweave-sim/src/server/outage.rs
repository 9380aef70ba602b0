//! Responses to requests that arrive during an outage, and answers that an outage holds.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use super::body::Payload;
use super::exchange::{Exchange, JSON, refusal};
use super::problem::Problem;
use super::provider::Provider;
use super::stats::count;
use super::wire::Breaker;
use crate::draw::{self, Purpose};
use crate::trouble::OutageKind;

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

impl Exchange {
    /// The response to a request that arrives during an outage; `None` if it is to be answered normally.
    pub(super) async fn fail(
        &mut self,
        outage: OutageKind,
        breaker: &Breaker,
    ) -> Option<Result<Response<Payload>, Aborted>> {
        let counters = &self.provider.counters;
        Some(match outage {
            OutageKind::Status(status) => {
                count(&counters.outage_status);
                self.ticket.complete();
                Ok(proxy_page(status).unwrap_or_else(|| {
                    let mut response = refusal(&Problem::Fault(status), self.dialect, &self.request_id());
                    self.sign(response.headers_mut());
                    response
                }))
            }
            OutageKind::Garbage => {
                count(&counters.outage_garbage);
                self.ticket.complete();
                Ok(garbage(self.provider.settings.seed, self.ticket.seq))
            }
            // The listener is about to reset all connections.
            OutageKind::Refuse => {
                count(&counters.outage_cut);
                Err(self.abort(breaker))
            }
            OutageKind::Reset => {
                count(&counters.outage_reset);
                Err(self.abort(breaker))
            }
            OutageKind::Silence => {
                count(&counters.outage_silence);
                std::future::pending().await
            }
            OutageKind::Hang => {
                count(&counters.outage_hang);
                self.provider.wait_while_hanging().await;
                return None;
            }
        })
    }

    /// Makes the connection end with a reset.
    pub(super) fn abort(&mut self, breaker: &Breaker) -> Aborted {
        breaker.pull();
        self.ticket.complete();
        Aborted
    }
}

impl Provider {
    /// Returns once no outage holds answers.
    pub(super) async fn wait_while_hanging(&self) {
        if self.trouble.has(OutageKind::Hang) {
            self.trouble.wait_for(|outage| outage != Some(OutageKind::Hang)).await;
        }
    }

    /// Returns once connections are refused.
    pub(super) async fn wait_for_refusal(&self) {
        if self.trouble.has(OutageKind::Refuse) {
            self.trouble.wait_for(|outage| outage == Some(OutageKind::Refuse)).await;
        } else {
            std::future::pending::<()>().await;
        }
    }
}

/// Holds the chunks of a stream during an outage of kind `hang`.
pub(super) struct Hold {
    provider: Arc<Provider>,
    wait: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Hold {
    /// `None` if no outage ever holds answers.
    pub(super) fn new(provider: &Arc<Provider>) -> Option<Self> {
        provider.trouble.has(OutageKind::Hang).then(|| Self { provider: Arc::clone(provider), wait: None })
    }

    /// Ready while no outage holds answers.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.wait.is_none() && self.provider.trouble.outage_now() == Some(OutageKind::Hang) {
            let provider = Arc::clone(&self.provider);
            self.wait = Some(Box::pin(async move { provider.wait_while_hanging().await }));
        }
        if let Some(wait) = &mut self.wait {
            ready!(wait.as_mut().poll(cx));
            self.wait = None;
        }
        Poll::Ready(())
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").field("waits", &self.wait.is_some()).finish_non_exhaustive()
    }
}

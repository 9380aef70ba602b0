//! A custom transport in place of the connection pool.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use fanweave_core::Result;
use http::{Request, Response};

use super::body::Body;

/// Sends requests to servers in place of the connection pool of a [`Client`](crate::Client): recorded
/// responses for a test, a `tower` service, or another protocol. Set with
/// [`ClientBuilder::transport`](crate::ClientBuilder::transport).
///
/// Limits, retries, timeouts and size limits still apply. The request is complete, with its key and the full
/// URL. The response may be streamed. A `Client` is a transport too, so that a layer can wrap it.
///
/// Return redirects to the caller: following one here would send the key to another server.
///
/// ```
/// use fanweave::crates::bytes::Bytes;
/// use fanweave::Result;
/// use fanweave::models::{Body, Client, HttpTransport, ModelBuilder};
/// use fanweave::crates::http::{Request, Response};
///
/// /// Answers every request with the same recorded body.
/// struct Recorded(&'static str);
///
/// impl HttpTransport for Recorded {
///     async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>> {
///         assert_eq!(request.uri().path(), "/v1/chat/completions");
///         Ok(Response::new(Body::from(self.0)))
///     }
/// }
///
/// # fn main() -> Result<()> { fanweave::blocking::wait(async {
/// let recorded = Recorded(r#"{"choices":[{"message":{"content":"Paris"}}]}"#);
/// let client = Client::builder().transport(recorded).build()?;
/// let model = ModelBuilder::new("openai/gpt-5-mini").api_key("sk-none").client(client).build()?;
/// assert_eq!(model.invoke("The capital of France?").await?.text(), "Paris");
/// # Ok(())
/// # }) }
/// ```
pub trait HttpTransport: Send + Sync + 'static {
    /// Sends `request` and returns the response as soon as its headers have arrived. The body may still be
    /// incomplete.
    ///
    /// # Errors
    /// [`ErrorKind::Connection`](fanweave_core::ErrorKind::Connection) without a response. It is retried
    /// unless marked otherwise. A response with an error status is not an error here.
    ///
    /// # Cancellation
    /// The future is dropped when the call is dropped or its timeout expires.
    fn send(&self, request: Request<Bytes>) -> impl Future<Output = Result<Response<Body>>> + Send;
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Response<Body>>> + Send + 'a>>;

/// Dyn-compatible counterpart of [`HttpTransport`].
pub(crate) trait DynTransport: Send + Sync {
    fn send(&self, request: Request<Bytes>) -> Answer<'_>;
}

impl<T: HttpTransport> DynTransport for T {
    fn send(&self, request: Request<Bytes>) -> Answer<'_> {
        Box::pin(HttpTransport::send(self, request))
    }
}

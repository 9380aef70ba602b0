//! A transport of somebody's own, in place of the pool of connections.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use fanweave_core::Result;
use http::{Request, Response};

use super::body::Body;

/// Carries requests to servers, in place of the pool of a [`Client`](crate::Client): recorded answers for a test, a
/// `tower` service, a proxy that speaks something else. Set with
/// [`ClientBuilder::transport`](crate::ClientBuilder::transport).
///
/// Everything above stays as it is: limits, retries, timeouts, caps on what is read. A request is whole, with its key
/// and the full URL; an answer may come in pieces. A `Client` is a transport itself, so that a layer can wrap it.
///
/// Redirects are for the caller to see: one that is followed here takes the key along.
///
/// ```
/// use bytes::Bytes;
/// use fanweave_core::Result;
/// use fanweave_models::{Body, Client, HttpTransport, ModelBuilder};
/// use http::{Request, Response};
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
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let recorded = Recorded(r#"{"choices":[{"message":{"content":"Paris"}}]}"#);
/// let client = Client::builder().transport(recorded).build()?;
/// let model = ModelBuilder::new("openai/gpt-5-mini").api_key("sk-none").client(client).build()?;
/// assert_eq!(model.invoke("The capital of France?").await?.text(), "Paris");
/// # Ok(())
/// # }
/// ```
pub trait HttpTransport: Send + Sync + 'static {
    /// Sends `request`, and comes back with the head of the answer; its body may still be on the way.
    ///
    /// # Errors
    /// [`ErrorKind::Connection`](fanweave_core::ErrorKind::Connection) where no answer comes, which is tried again
    /// unless it is marked otherwise. A refusal by the server is no error here.
    ///
    /// # Cancellation
    /// Dropped where the call is, and where its timeout has passed.
    fn send(&self, request: Request<Bytes>) -> impl Future<Output = Result<Response<Body>>> + Send;
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Response<Body>>> + Send + 'a>>;

/// The erased twin of [`HttpTransport`].
pub(crate) trait DynTransport: Send + Sync {
    fn send(&self, request: Request<Bytes>) -> Answer<'_>;
}

impl<T: HttpTransport> DynTransport for T {
    fn send(&self, request: Request<Bytes>) -> Answer<'_> {
        Box::pin(HttpTransport::send(self, request))
    }
}

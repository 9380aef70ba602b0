//! API keys that change: requested before each request, and never printed.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fanweave_core::{Error, ErrorKind, Result};
use http::{HeaderName, HeaderValue};

use super::redact::register;
use super::secret::Secret;

/// Number of recent keys to redact, in addition to those of requests in flight: a server may still quote
/// them.
const REMEMBERED_KEYS: usize = 4;

type Ask = dyn Fn() -> Pin<Box<dyn Future<Output = Result<String>> + Send>> + Send + Sync;

/// The header that carries a key.
///
/// ```
/// use fanweave::models::{KeyHeader, ModelBuilder};
///
/// // A gateway that wants its own token where Anthropic wants a key.
/// let model = ModelBuilder::new("anthropic/claude-sonnet-4-5")
///     .base_url("https://gateway.example")
///     .api_key("a token")
///     .key_header(KeyHeader::Bearer)
///     .build()?;
/// # Ok::<_, fanweave::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum KeyHeader {
    /// `authorization: Bearer KEY`, used by most providers.
    #[default]
    Bearer,
    /// A header of this name with the bare key: `x-api-key`, `api-key`.
    Named(HeaderName),
}

impl KeyHeader {
    /// The header for `key`.
    ///
    /// # Errors
    /// [`ErrorKind::Authentication`] if the key is not a valid header value. The message does not contain it.
    pub(crate) fn write(&self, key: &Secret) -> Result<(HeaderName, HeaderValue)> {
        Ok(match self {
            Self::Bearer => (http::header::AUTHORIZATION, key.header("Bearer ")?),
            Self::Named(name) => (name.clone(), key.header("")?),
        })
    }
}

/// A key for one request. Its debug output does not contain the key.
#[derive(Debug)]
pub(crate) struct KeyInUse {
    pub(crate) header: (HeaderName, HeaderValue),
    _key: Secret,
}

/// A function that returns keys.
#[derive(Clone)]
pub(crate) struct KeySource {
    ask: Arc<Ask>,
    header: KeyHeader,
    recent: Arc<Mutex<Vec<Secret>>>,
    /// Identifies the source: each source is a separate account.
    pub(crate) id: u64,
}

impl KeySource {
    pub(crate) fn new<F>(ask: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<String>> + Send + 'static,
    {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            ask: Arc::new(move || Box::pin(ask())),
            header: KeyHeader::default(),
            recent: Arc::default(),
            id: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Returns the same source for the account with this id.
    #[cfg(feature = "vertex")]
    pub(crate) fn of_account(self, id: u64) -> Self {
        Self { id, ..self }
    }

    /// Returns the same source with its keys sent in `header`.
    pub(crate) fn with_header(self, header: KeyHeader) -> Self {
        Self { header, ..self }
    }

    /// The header for the next request, and the key. Keep the key until the response has been read: meanwhile
    /// it is among the [`secrets`](Self::secrets).
    ///
    /// # Errors
    /// The errors of the function, and [`ErrorKind::Authentication`] for a key that cannot be sent.
    pub(crate) async fn next(&self) -> Result<KeyInUse> {
        let key = (self.ask)().await?;
        let key = key.trim();
        if key.is_empty() {
            return Err(Error::new(ErrorKind::Authentication, "the API key function returned an empty key"));
        }
        let secret = {
            let mut recent = self.recent();
            match recent.iter().find(|secret| secret.is(key)) {
                Some(known) => known.clone(),
                None => {
                    let secret = Secret::new(key.to_owned());
                    register(&secret);
                    let mut left = REMEMBERED_KEYS - 1;
                    recent.retain(|known| {
                        let stays = left > 0 || known.is_in_use();
                        left = left.saturating_sub(1);
                        stays
                    });
                    recent.insert(0, secret.clone());
                    secret
                }
            }
        };
        Ok(KeyInUse { header: self.header.write(&secret)?, _key: secret })
    }

    /// The keys that a server may quote.
    pub(crate) fn secrets(&self) -> Vec<Secret> {
        self.recent().clone()
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, Vec<Secret>> {
        // The list of keys is never left in an inconsistent state.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_keys_are_remembered_to_be_redacted_and_no_more() {
        let n = AtomicU64::new(0);
        let source = KeySource::new(move || {
            let n = n.fetch_add(1, Ordering::Relaxed);
            async move { Ok(format!("sk-canary-{n:08}\n")) }
        });
        for _ in 0..10 {
            source.next().await.unwrap();
        }
        assert_eq!(source.secrets().len(), REMEMBERED_KEYS);
        assert!(source.secrets()[0].is("sk-canary-00000009"));
        let mut in_use = Vec::new();
        for _ in 0..10 {
            in_use.push(source.next().await.unwrap());
        }
        assert!(source.secrets().iter().filter(|key| key.is_in_use()).count() >= 10);
        drop(in_use);
        source.next().await.unwrap();
        assert_eq!(source.secrets().len(), REMEMBERED_KEYS);
    }

    #[tokio::test]
    async fn an_empty_key_is_an_error_and_a_failure_is_passed_on() {
        let empty = KeySource::new(|| async { Ok(" ".to_owned()) });
        assert_eq!(empty.next().await.unwrap_err().kind(), ErrorKind::Authentication);
        let broken = KeySource::new(|| async { Err(Error::new(ErrorKind::Step, "the vault is closed")) });
        assert_eq!(broken.next().await.unwrap_err().message(), "the vault is closed");
    }
}

//! Keys that change: asked for before each request, and never printed.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fanweave_core::{Error, ErrorKind, Result};
use http::{HeaderName, HeaderValue};

use super::secret::Secret;

/// Keys that a server may still quote, beside those of requests that are under way: the last ones in use.
const REMEMBERED: usize = 4;

type Ask = dyn Fn() -> Pin<Box<dyn Future<Output = Result<String>> + Send>> + Send + Sync;

/// Which header carries a key.
///
/// ```
/// use fanweave_models::{KeyHeader, ModelBuilder};
///
/// // A gateway that wants its own token where Anthropic wants a key.
/// let model = ModelBuilder::new("anthropic/claude-sonnet-4-5")
///     .base_url("https://gateway.example")
///     .api_key("a token")
///     .key_header(KeyHeader::Bearer)
///     .build()?;
/// # Ok::<_, fanweave_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum KeyHeader {
    /// `authorization: Bearer KEY`, as most providers want it.
    #[default]
    Bearer,
    /// A header of this name, with the key alone: `x-api-key`, `api-key`.
    Named(HeaderName),
}

impl KeyHeader {
    /// The header for `key`.
    ///
    /// # Errors
    /// [`ErrorKind::Authentication`] where the key cannot stand in a header. The message does not show it.
    pub(crate) fn write(&self, key: &Secret) -> Result<(HeaderName, HeaderValue)> {
        Ok(match self {
            Self::Bearer => (http::header::AUTHORIZATION, key.header("Bearer ")?),
            Self::Named(name) => (name.clone(), key.header("")?),
        })
    }
}

/// A key for one request. It shows none.
#[derive(Debug)]
pub(crate) struct KeyInUse {
    pub(crate) header: (HeaderName, HeaderValue),
    _key: Secret,
}

/// A function that gives keys.
#[derive(Clone)]
pub(crate) struct KeySource {
    ask: Arc<Ask>,
    header: KeyHeader,
    recent: Arc<Mutex<Vec<Secret>>>,
    /// Tells sources apart: each is an account of its own.
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

    /// The same source, whose keys are carried by `header`.
    pub(crate) fn carried_by(self, header: KeyHeader) -> Self {
        Self { header, ..self }
    }

    /// The header for the next request, and the key, to be kept until its answer has been read: as long as it is, the
    /// key is among the [`secrets`](Self::secrets).
    ///
    /// # Errors
    /// The function's own, and [`ErrorKind::Authentication`] for a key that cannot be sent.
    pub(crate) async fn next(&self) -> Result<KeyInUse> {
        let key = (self.ask)().await?;
        let key = key.trim();
        if key.is_empty() {
            return Err(Error::new(
                ErrorKind::Authentication,
                "the function for the API key gave an empty one",
            ));
        }
        let secret = {
            let mut recent = self.recent();
            match recent.iter().find(|secret| secret.is(key)) {
                Some(known) => known.clone(),
                None => {
                    let secret = Secret::new(key.to_owned());
                    let mut left = REMEMBERED - 1;
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
        // A list of keys is never left half changed.
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
        assert_eq!(source.secrets().len(), REMEMBERED);
        assert!(source.secrets()[0].is("sk-canary-00000009"));
        let mut in_use = Vec::new();
        for _ in 0..10 {
            in_use.push(source.next().await.unwrap());
        }
        assert!(source.secrets().iter().filter(|key| key.is_in_use()).count() >= 10);
        drop(in_use);
        source.next().await.unwrap();
        assert_eq!(source.secrets().len(), REMEMBERED);
    }

    #[tokio::test]
    async fn an_empty_key_is_an_error_and_a_failure_is_handed_on() {
        let empty = KeySource::new(|| async { Ok(" ".to_owned()) });
        assert_eq!(empty.next().await.unwrap_err().kind(), ErrorKind::Authentication);
        let broken = KeySource::new(|| async { Err(Error::new(ErrorKind::Step, "the vault is closed")) });
        assert_eq!(broken.next().await.unwrap_err().message(), "the vault is closed");
    }
}

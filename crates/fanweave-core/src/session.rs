//! Sessions: the messages of a conversation, kept between calls.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::{Message, Result};

/// The stored state of one conversation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Session {
    /// Summary of the earlier messages. `None` if nothing has been summarised.
    pub summary: Option<String>,
    /// The messages since then, oldest first.
    pub messages: Vec<Message>,
}

/// Stores sessions: implemented by the author of a store. Users hold a [`Sessions`].
///
/// Several processes may use the same session: each method is one transaction.
pub trait SessionStore: Send + Sync + 'static {
    /// The session with the id `id`. Empty if it does not exist.
    fn load(&self, id: &str) -> impl Future<Output = Result<Session>> + Send;

    /// Appends messages.
    fn append(&self, id: &str, messages: Vec<Message>) -> impl Future<Output = Result<()>> + Send;

    /// Replaces `of`, that is the summary and the first messages, with `summary`. Changes nothing if the
    /// session no longer begins with them, because of a concurrent summary.
    fn summarise(&self, id: &str, of: &Session, summary: String) -> impl Future<Output = Result<()>> + Send;

    /// Deletes the session.
    fn clear(&self, id: &str) -> impl Future<Output = Result<()>> + Send;
}

/// Dyn-compatible counterpart of [`SessionStore`].
trait DynSessionStore: Send + Sync {
    fn load<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Session>>;
    fn append<'a>(&'a self, id: &'a str, messages: Vec<Message>) -> BoxFuture<'a, Result<()>>;
    fn summarise<'a>(&'a self, id: &'a str, of: &'a Session, summary: String) -> BoxFuture<'a, Result<()>>;
    fn clear<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>>;
}

impl<S: SessionStore> DynSessionStore for S {
    fn load<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Session>> {
        Box::pin(SessionStore::load(self, id))
    }

    fn append<'a>(&'a self, id: &'a str, messages: Vec<Message>) -> BoxFuture<'a, Result<()>> {
        Box::pin(SessionStore::append(self, id, messages))
    }

    fn summarise<'a>(&'a self, id: &'a str, of: &'a Session, summary: String) -> BoxFuture<'a, Result<()>> {
        Box::pin(SessionStore::summarise(self, id, of, summary))
    }

    fn clear<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(SessionStore::clear(self, id))
    }
}

/// A handle on a store of sessions. Cheap to clone; clones share the store.
///
/// ```
/// use fanweave::stores::{Session, SessionStore, Sessions};
/// use fanweave::{Message, Result};
///
/// /// Remembers nothing.
/// struct Goldfish;
///
/// impl SessionStore for Goldfish {
///     async fn load(&self, _: &str) -> Result<Session> {
///         Ok(Session::default())
///     }
///     async fn append(&self, _: &str, _: Vec<Message>) -> Result<()> {
///         Ok(())
///     }
///     async fn summarise(&self, _: &str, _: &Session, _: String) -> Result<()> {
///         Ok(())
///     }
///     async fn clear(&self, _: &str) -> Result<()> {
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<()> { fanweave::blocking::wait(async {
/// let sessions = Sessions::new(Goldfish);
/// sessions.append("ada", vec![Message::user("hello")]).await?;
/// assert!(sessions.load("ada").await?.messages.is_empty());
/// # Ok(())
/// # }) }
/// ```
#[derive(Clone)]
pub struct Sessions(Arc<dyn DynSessionStore>);

impl Sessions {
    /// A handle on `store`.
    pub fn new(store: impl SessionStore) -> Self {
        Self(Arc::new(store))
    }

    /// The session with the id `id`. Empty if it does not exist.
    ///
    /// # Errors
    /// The error of the store.
    pub async fn load(&self, id: &str) -> Result<Session> {
        self.0.load(id).await
    }

    /// Appends messages.
    ///
    /// # Errors
    /// The error of the store.
    pub async fn append(&self, id: &str, messages: Vec<Message>) -> Result<()> {
        self.0.append(id, messages).await
    }

    /// Replaces `of` with `summary`. `of` is the input of the summary: the previous summary, and the first
    /// messages. Changes nothing if the session no longer begins with them, because of a concurrent summary.
    ///
    /// # Errors
    /// The error of the store.
    pub async fn summarise(&self, id: &str, of: &Session, summary: String) -> Result<()> {
        self.0.summarise(id, of, summary).await
    }

    /// Deletes the session.
    ///
    /// # Errors
    /// The error of the store.
    pub async fn clear(&self, id: &str) -> Result<()> {
        self.0.clear(id).await
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

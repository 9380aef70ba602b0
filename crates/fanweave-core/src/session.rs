//! Sessions: what was said in a conversation, kept from one call to the next.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::{Message, Result};

/// What is kept of one conversation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Session {
    /// What was said before the messages, in short. `None` where nothing has been summarised.
    pub summary: Option<String>,
    /// What was said since, oldest first.
    pub messages: Vec<Message>,
}

/// Keeps sessions: what the author of a store writes. Users hold a [`Sessions`].
///
/// Several processes may use the same session: each method is one transaction.
pub trait SessionStore: Send + Sync + 'static {
    /// The session called `id`. One that nobody has written is empty.
    fn load(&self, id: &str) -> impl Future<Output = Result<Session>> + Send;

    /// Adds messages at the end.
    fn append(&self, id: &str, messages: Vec<Message>) -> impl Future<Output = Result<()>> + Send;

    /// Puts `summary` in place of `of`: of the summary, and of the first messages. Where the session does not begin with
    /// them any more, because somebody else has summarised it meanwhile, nothing is changed.
    fn summarise(&self, id: &str, of: &Session, summary: String) -> impl Future<Output = Result<()>> + Send;

    /// Forgets the session.
    fn clear(&self, id: &str) -> impl Future<Output = Result<()>> + Send;
}

/// The erased twin of [`SessionStore`].
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
/// use fanweave_core::session::{Session, SessionStore, Sessions};
/// use fanweave_core::{Message, Result};
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
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let sessions = Sessions::new(Goldfish);
/// sessions.append("ada", vec![Message::user("hello")]).await?;
/// assert!(sessions.load("ada").await?.messages.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Sessions(Arc<dyn DynSessionStore>);

impl Sessions {
    /// A handle on `store`.
    pub fn new(store: impl SessionStore) -> Self {
        Self(Arc::new(store))
    }

    /// The session called `id`. One that nobody has written is empty.
    ///
    /// # Errors
    /// The store's own.
    pub async fn load(&self, id: &str) -> Result<Session> {
        self.0.load(id).await
    }

    /// Adds messages at the end.
    ///
    /// # Errors
    /// The store's own.
    pub async fn append(&self, id: &str, messages: Vec<Message>) -> Result<()> {
        self.0.append(id, messages).await
    }

    /// Puts `summary` in place of `of`, which is what it was made of: the summary so far, and the first messages. Where the
    /// session does not begin with them any more, because somebody else has summarised it meanwhile, nothing is changed.
    ///
    /// # Errors
    /// The store's own.
    pub async fn summarise(&self, id: &str, of: &Session, summary: String) -> Result<()> {
        self.0.summarise(id, of, summary).await
    }

    /// Forgets the session.
    ///
    /// # Errors
    /// The store's own.
    pub async fn clear(&self, id: &str) -> Result<()> {
        self.0.clear(id).await
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

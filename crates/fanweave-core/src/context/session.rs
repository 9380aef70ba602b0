//! The session of a run, and the messages that it adds to a history.

use std::sync::{Arc, Mutex, PoisonError};

use super::Context;
use crate::Message;

/// The id of the session of a run.
struct SessionId(Arc<str>);

/// The messages of the last model call or tool loop of a run, for the history of its session.
#[derive(Debug, Default)]
pub struct Recording(Mutex<Vec<Message>>);

impl Recording {
    /// The messages, which are removed.
    pub fn take(&self) -> Vec<Message> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Context {
    /// Sets the id of the session that the run belongs to, such as that of a user. Steps with a memory load
    /// and save the history of this session.
    ///
    /// ```
    /// use fanweave::Context;
    ///
    /// let cx = Context::new().with_session("ada");
    /// assert_eq!(cx.session(), Some("ada"));
    /// ```
    #[must_use]
    pub fn with_session(self, id: impl Into<Arc<str>>) -> Self {
        self.with_extension(Arc::new(SessionId(id.into())))
    }

    /// The id of the session. Default: none.
    pub fn session(&self) -> Option<&str> {
        self.own_extension().map(|SessionId(id)| &**id)
    }

    /// Replaces the recorded messages, if the run records any.
    pub(crate) fn record(&self, messages: impl FnOnce() -> Vec<Message>) {
        if let Some(Recording(recorded)) = self.own_extension::<Recording>() {
            *recorded.lock().unwrap_or_else(PoisonError::into_inner) = messages();
        }
    }
}

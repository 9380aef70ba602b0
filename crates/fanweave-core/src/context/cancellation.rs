//! Tokens that cancel runs.

use tokio_util::sync;

/// A token that cancels the runs it was given to. Cheap to clone; a clone is the same token.
///
/// ```
/// use fanweave::context::CancellationToken;
/// use fanweave::{Context, ErrorKind, model};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let token = CancellationToken::new();
/// let cx = Context::new().with_cancellation(token.clone());
/// token.cancel();
/// let error = fanweave::chain(model("sim/writer")?).invoke_in("Name a bear.", &cx).await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Cancelled);
/// # Ok(())
/// # }) }
/// ```
#[derive(Debug, Clone, Default)]
pub struct CancellationToken(sync::CancellationToken);

impl CancellationToken {
    /// A token that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels everything that has this token or a child of it. Has no effect the second time.
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// Returns true once the token is cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Resolves once the token is cancelled.
    ///
    /// # Cancellation
    /// Dropping the future has no effect on the token.
    pub async fn cancelled(&self) {
        self.0.cancelled().await;
    }

    /// A token that is cancelled with this one, and can be cancelled without it.
    #[must_use]
    pub fn child_token(&self) -> Self {
        Self(self.0.child_token())
    }
}

//! Origin of a row: the part of a run that it was taken from.

use fanweave_core::context::CancellationToken;

/// Origin of a row, such as one shard of the rows of a run on several machines. Its rows carry it, and hand
/// it back with their results. Cheap to clone. Rows of files have the default origin, which has no fence and
/// costs nothing.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    id: u64,
    fence: Option<CancellationToken>,
}

impl Origin {
    /// An origin. The meaning of `id` is that of the caller.
    pub fn new(id: u64) -> Self {
        Self { id, fence: Some(CancellationToken::new()) }
    }

    /// The number that it was made with. 0 for rows of files.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Ends the rows of this origin, because another machine runs them: calls in flight are aborted, rows
    /// that have not started are dropped, and no more of their results are recorded. Rows of other origins
    /// continue. Has no effect on the default origin.
    pub fn fence(&self) {
        if let Some(fence) = &self.fence {
            fence.cancel();
        }
    }

    /// Returns true once its rows are to end.
    pub fn is_fenced(&self) -> bool {
        self.fence.as_ref().is_some_and(CancellationToken::is_cancelled)
    }

    /// Completes `work`. `None` if the origin is fenced first.
    pub(crate) async fn unless_fenced<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        match &self.fence {
            None => Some(work.await),
            Some(fence) => {
                tokio::select! {
                    biased;
                    () = fence.cancelled() => None,
                    done = work => Some(done),
                }
            }
        }
    }
}

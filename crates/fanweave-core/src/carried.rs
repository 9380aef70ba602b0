//! What holds for all that runs within a future: also for the tasks and threads that the engine gives parts of it to.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;

use futures::future::Either;

/// Whatever it is: this crate only carries it.
pub type Carried = Arc<dyn Any + Send + Sync>;

tokio::task_local! {
    static CARRIED: Carried;
}

/// What holds where this is asked.
pub fn here() -> Option<Carried> {
    CARRIED.try_with(Arc::clone).ok()
}

/// Lets `carried` hold within `future`.
pub fn within<F: Future>(carried: Carried, future: F) -> impl Future<Output = F::Output> {
    CARRIED.scope(carried, future)
}

/// `future` for a task of its own, within what holds here.
pub fn along<F: Future>(carried: Option<Carried>, future: F) -> impl Future<Output = F::Output> {
    match carried {
        Some(carried) => Either::Left(CARRIED.scope(carried, future)),
        None => Either::Right(future),
    }
}

/// `work` for a thread of its own, within what holds here.
pub(crate) fn along_thread<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let carried = here();
    move || match carried {
        Some(carried) => CARRIED.sync_scope(carried, work),
        None => work(),
    }
}

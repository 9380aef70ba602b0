//! Propagates task-locals into the tasks and threads that the engine starts for a future.

use std::future::Future;

use futures::future::Either;

use crate::context::Extensions;

/// Values of the enclosing scope, read by [`Context::extension`](crate::Context::extension).
pub type TaskLocals = Extensions;

tokio::task_local! {
    static TASK_LOCALS: TaskLocals;
}

/// The task-locals of the current task.
pub fn here() -> Option<TaskLocals> {
    TASK_LOCALS.try_with(Clone::clone).ok()
}

/// Sets `task_locals` within `future`, together with the current ones: of each type, the inner value wins.
pub fn within<F: Future>(task_locals: TaskLocals, future: F) -> impl Future<Output = F::Output> {
    let all = match here() {
        Some(outer) => task_locals.or(&outer),
        None => task_locals,
    };
    TASK_LOCALS.scope(all, future)
}

/// `future` for a separate task, with the current task-locals.
pub fn propagate<F: Future>(task_locals: Option<TaskLocals>, future: F) -> impl Future<Output = F::Output> {
    match task_locals {
        Some(task_locals) => Either::Left(TASK_LOCALS.scope(task_locals, future)),
        None => Either::Right(future),
    }
}

/// `work` for a separate thread, with the current task-locals.
pub(crate) fn propagate_to_thread<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let task_locals = here();
    move || match task_locals {
        Some(task_locals) => TASK_LOCALS.sync_scope(task_locals, work),
        None => work(),
    }
}

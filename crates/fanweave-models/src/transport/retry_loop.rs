//! The only retry loop of the stack, and the hedged request for a slow one.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fanweave_core::{Context, Error, ErrorKind, EventKind, Result, RetryPolicy, RunPermit, WaitReason};
use futures::future::{Either, select};
use tokio::time::{Instant, sleep, sleep_until};

use super::limits::{Account, AccountPermit, RequestSize, Waiter};
use super::retry::{Attempts, Failed};
use crate::limiter::{Limited, LimiterPermit, RequestOutcome};

/// A request that can be sent repeatedly until it succeeds.
pub(crate) trait Attempt: Sync {
    /// Resources that a request needs before it is queued.
    type Ready: Send;
    /// Result of a successful request.
    type Answer: Send;

    /// Acquires what a request needs. Its time does not count towards the request.
    fn prepare(&self) -> impl Future<Output = Result<Self::Ready>> + Send;

    /// Sends the request once and reports its outcome to `permit`. Sets `emitted` after a delta has been
    /// emitted.
    fn send(
        &self,
        ready: Self::Ready,
        permit: &mut AccountPermit,
        emitted: &mut bool,
        cx: &Context,
    ) -> impl Future<Output = Result<Self::Answer>> + Send;

    /// Adds the name of the provider to an error.
    fn named(&self, error: Error) -> Error;

    /// Returns true if the failed request never left this machine, so that it cannot be billed.
    fn never_sent(&self, _: &Error) -> bool {
        false
    }

    /// Returns true if the server refused the request in a shape that has changed since: it is retried
    /// without being charged to the call.
    fn adapts(&self, _: &Error) -> bool {
        false
    }

    /// Completes when the request of an error that [adapts](Self::adapts) may be retried.
    fn adapted(&self, _: &Error) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// The request as an additional limiter sees it, if there is one.
    fn limited(&self) -> Option<&Limited> {
        None
    }
}

/// Options for sending a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallOptions {
    pub(crate) retry: RetryPolicy,
    pub(crate) ask: RequestSize,
    /// Set when a slow request may be hedged.
    pub(crate) hedge: bool,
}

/// Sends a request until it succeeds or retrying is pointless, and returns the number of attempts. A hedged
/// request is not a separate attempt.
///
/// A permit is never held by a future that other code has to poll. A [driven](Context::is_driven) call runs
/// in place. Any other call runs in place only if no limit makes others wait for it; otherwise it runs in a
/// separate task.
#[expect(clippy::manual_async_fn, reason = "an `async fn` keeps a second copy of its arguments")]
pub(crate) fn send_with_retries<A: Attempt + Clone + Send + 'static>(
    call: A,
    account: &Arc<Account>,
    options: CallOptions,
    cx: &Context,
) -> impl Future<Output = Result<(A::Answer, u32)>> + Send {
    async move {
        // Two functions: a single future would reserve space for the variables of both.
        if cx.is_driven() {
            let attempts = Attempts::new(options.retry, cx.priority(), account.clone());
            drive(&call, attempts, &options, cx).await
        } else {
            undriven(call, account, options, cx).await
        }
    }
}

/// Like [`send_with_retries`], for a future that its owner may stop polling.
async fn undriven<A: Attempt + Clone + Send + 'static>(
    call: A,
    account: &Arc<Account>,
    options: CallOptions,
    cx: &Context,
) -> Result<(A::Answer, u32)> {
    let mut attempts = Attempts::new(options.retry, cx.priority(), account.clone());
    if !cx.is_limited()
        && call.limited().is_none()
        && let Some((permit, poll_watch)) = account.admit_in_place(&attempts.waiter(options.ask, cx))
    {
        let attempt = attempts.begin();
        let (mut emitted, mut failed) = (false, Failed::default());
        let sent = async {
            let ready = call.prepare().await?;
            send(&call, ready, permit, &options, &mut emitted, &mut failed, cx).await
        };
        // Boxed: only the few callers without their own task pay for the space.
        match poll_watch.of(Box::pin(sent)).await {
            Ok(answer) => return Ok((answer, attempt)),
            Err(error) => retry(&call, &mut attempts, attempt, &options, error, emitted, failed, cx).await?,
        }
    }
    cx.in_task(move |cx| async move { drive(&call, attempts, &options, &cx).await }).await
}

/// Sends a request until it succeeds or retrying is pointless, in the caller's task.
#[expect(clippy::manual_async_fn, reason = "an `async fn` keeps a second copy of its arguments")]
pub(crate) fn drive<A: Attempt>(
    call: &A,
    mut attempts: Attempts,
    options: &CallOptions,
    cx: &Context,
) -> impl Future<Output = Result<(A::Answer, u32)>> + Send {
    async move {
        loop {
            let attempt = attempts.begin();
            let (mut emitted, mut failed) = (false, Failed::default());
            match once(call, &mut attempts, options, &mut emitted, &mut failed, cx).await {
                Ok(answer) => return Ok((answer, attempt)),
                // Boxed: most calls need no second attempt.
                Err(error) => {
                    let retry = retry(call, &mut attempts, attempt, options, error, emitted, failed, cx);
                    Box::pin(retry).await?;
                }
            }
        }
    }
}

/// Waits before the next attempt of a call.
///
/// # Errors
/// The error of the last attempt, unless there is a further attempt.
#[expect(clippy::too_many_arguments, reason = "all details of one attempt, judged in a single function")]
async fn retry<A: Attempt>(
    call: &A,
    attempts: &mut Attempts,
    attempt: u32,
    options: &CallOptions,
    error: Error,
    emitted: bool,
    failed: Failed,
    cx: &Context,
) -> Result<()> {
    use ErrorKind::*;
    let is_answered = !matches!(error.kind(), Timeout | Connection | StreamIncomplete);
    let may_be_billed = !is_answered && failed.sent.is_some() && !call.never_sent(&error);
    let error = call.named(error);
    if may_be_billed {
        cx.emit(EventKind::Unanswered(options.ask.usage())).await;
    }
    if emitted {
        // Emitted deltas cannot be taken back.
        return Err(error.with_attempts(attempt));
    }
    if call.adapts(&error) {
        return tokio::select! {
            () = call.adapted(&error) => Ok(()),
            stopping = cx.draining() => Err(call.named(stopping)),
        };
    }
    let left = cx.deadline().map(|at| Instant::from_std(at).saturating_duration_since(Instant::now()));
    let wait = attempts.after(error.clone(), failed, left);
    let wait = wait.map_err(|error| call.named(error).with_retried())?;
    cx.emit(EventKind::Retrying { attempt, wait, error }).await;
    tokio::select! {
        () = sleep(wait) => Ok(()),
        stopping = cx.draining() => Err(call.named(stopping)),
    }
}

/// Waits for permits and sends the request once. Records details of a failure in `failed`.
async fn once<A: Attempt>(
    call: &A,
    attempts: &mut Attempts,
    options: &CallOptions,
    emitted: &mut bool,
    failed: &mut Failed,
    cx: &Context,
) -> Result<A::Answer> {
    let waiter = attempts.waiter(options.ask, cx);
    let ready = call.prepare().await?;
    let limited = call.limited();
    let (run, permit) = match enter_now(attempts.account(), &waiter, limited, cx) {
        Some(entered) => entered,
        // Boxed, because most calls do not wait.
        None => Box::pin(enter(attempts.account(), waiter, limited, cx)).await?,
    };
    send(call, ready, permit.with_run(run), options, emitted, failed, cx).await
}

/// Sends the request once, with its account permit and run permit. They are held until the response has been
/// read. Records details of a failure in `failed`.
#[expect(clippy::manual_async_fn, reason = "an `async fn` keeps a second copy of its arguments")]
fn send<A: Attempt>(
    call: &A,
    ready: A::Ready,
    mut permit: AccountPermit,
    options: &CallOptions,
    emitted: &mut bool,
    failed: &mut Failed,
    cx: &Context,
) -> impl Future<Output = Result<A::Answer>> + Send {
    async move {
        permit.while_held(pin!(cx.emit(EventKind::RequestStarted))).await;
        if options.hedge {
            return hedged(call, ready, permit, options, emitted, failed, cx).await;
        }
        let done = call.send(ready, &mut permit, emitted, cx).await;
        judged(done, &mut permit, failed)
    }
}

/// Sends the request, and again if it is slow.
#[expect(clippy::manual_async_fn, reason = "an `async fn` keeps a second copy of its arguments")]
fn hedged<A: Attempt>(
    call: &A,
    ready: A::Ready,
    mut permit: AccountPermit,
    options: &CallOptions,
    emitted: &mut bool,
    failed: &mut Failed,
    cx: &Context,
) -> impl Future<Output = Result<A::Answer>> + Send {
    async move {
        let (account, began) = (permit.account().clone(), permit.sent());
        let first = pin!(async move {
            let done = call.send(ready, &mut permit, emitted, cx).await;
            // The permit is released when this request ends, even if the hedged request takes longer.
            judged(done, &mut permit, failed)
        });
        let (account, ask) = (&account, options.ask);
        let first = match select(first, pin!(until_slow(account, began))).await {
            Either::Left((done, _)) => return done,
            Either::Right((_, first)) => first,
        };
        let (on_its_way, is_alone) = (AtomicBool::new(false), AtomicBool::new(false));
        // Boxed because hedging is rare. A hedged request that fails leaves the call to the first one and to
        // the next hedge.
        let second = Box::pin(async {
            loop {
                if !cx.is_draining()
                    && let Ok(ready) = call.prepare().await
                    // Like the first request, it needs a run permit: a run must not exceed its concurrency.
                    && let Some(_slot) = cx.try_permit()
                    && let Some(additional) = try_additional(call.limited())
                    && let Some(permit) = account.try_hedge(ask)
                {
                    let mut permit = permit.with_additional(additional);
                    cx.emit(EventKind::Hedged).await;
                    on_its_way.store(true, Ordering::Relaxed);
                    let done = call.send(ready, &mut permit, &mut false, cx).await;
                    if let Err(error) = &done {
                        permit.settle_additional(RequestOutcome::Failed(error));
                    }
                    on_its_way.store(false, Ordering::Relaxed);
                    if done.is_ok() || is_alone.load(Ordering::Relaxed) {
                        return done;
                    }
                }
                sleep(HEDGE_INTERVAL).await;
                until_slow(account, began).await;
            }
        });
        // The first successful response wins; the other request is dropped.
        match select(first, second).await {
            Either::Left((Err(error), second))
                if error.is_retryable() && on_its_way.load(Ordering::Relaxed) =>
            {
                // The hedged request is already paid for and about to finish: do not start a third one.
                is_alone.store(true, Ordering::Relaxed);
                second.await
            }
            Either::Left((done, _)) | Either::Right((done, _)) => done,
        }
    }
}

/// Reports the outcome of a request to the account, and stores the account's judgement in `failed`.
fn judged<T>(done: Result<T>, permit: &mut AccountPermit, failed: &mut Failed) -> Result<T> {
    if let Err(error) = &done {
        permit.settle_additional(RequestOutcome::Failed(error));
        *failed = Failed {
            run: permit.judge(error),
            is_alone: permit.is_alone(),
            is_unanswered: matches!(error.kind(), ErrorKind::Timeout | ErrorKind::StreamIncomplete),
            sent: Some(permit.sent()),
        };
    }
    done
}

/// Takes a permit of the additional limiter. `Some(None)` if there is no such limiter.
fn try_additional(limited: Option<&Limited>) -> Option<Option<LimiterPermit>> {
    match limited {
        None => Some(None),
        Some(limited) => limited.try_admit().map(Some),
    }
}

/// Takes the permits of the run, of the additional limiter and of the account, if all are free.
fn enter_now(
    account: &Arc<Account>,
    waiter: &Waiter,
    limited: Option<&Limited>,
    cx: &Context,
) -> Option<(RunPermit, AccountPermit)> {
    let run = cx.acquire_now()?;
    let additional = try_additional(limited)?;
    Some((run, account.try_admit(waiter)?.with_additional(additional)))
}

/// Waits for the permits of the run, of the additional limiter and of the account, without holding any while
/// it waits for another. Calls to a slow account do not block the calls of the run to another account, and a
/// run with few permits does not block the account for other runs.
///
/// # Errors
/// [`ErrorKind::Cancelled`] if the run drains, and those of the limiter.
async fn enter(
    account: &Arc<Account>,
    waiter: Waiter,
    limited: Option<&Limited>,
    cx: &Context,
) -> Result<(RunPermit, AccountPermit)> {
    let entered = async {
        let mut has_waited = false;
        loop {
            let run = cx.acquire().await?;
            let additional = try_additional(limited);
            let is_refused = additional.is_none();
            if let Some(additional) = additional
                && let Some(permit) = account.try_admit(&waiter)
            {
                return Ok((run, permit.with_additional(additional)));
            }
            drop(run);
            if !has_waited {
                let reason = if is_refused { WaitReason::Limit } else { account.wait_reason() };
                cx.emit(EventKind::Waiting(reason)).await;
                has_waited = true;
            }
            if let Some(limited) = limited.filter(|_| is_refused) {
                limited.ready().await?;
                continue;
            }
            // The permit of the run last: returning it would wake other calls of the run for nothing.
            let both = || Some((try_additional(limited)?, cx.try_permit()?));
            if let Some(((additional, run), permit)) = account.admit(waiter.clone(), both).await? {
                return Ok((run, permit.with_additional(additional)));
            }
        }
    };
    tokio::select! {
        biased;
        stopping = cx.draining() => Err(stopping),
        entered = entered => entered,
    }
}

/// Interval between hedged requests of one call.
const HEDGE_INTERVAL: Duration = Duration::from_millis(500);

/// Completes when the request sent at `sent` is slow enough to be hedged and hedging is allowed.
async fn until_slow(account: &Account, sent: Instant) {
    loop {
        match account.late(sent) {
            Some(at) if at <= Instant::now() => {
                if account.may_hedge() {
                    return;
                }
                // Other calls are queued and need the permit more.
                sleep(Duration::from_secs(1)).await;
            }
            Some(at) => sleep_until(at).await,
            None => sleep(Duration::from_secs(1)).await,
        }
    }
}

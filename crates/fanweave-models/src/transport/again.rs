//! The one retry loop of the whole stack, and the second request for one that is late.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fanweave_core::{Context, Error, ErrorKind, EventKind, Result, RetryPolicy, RunPermit};
use futures::future::{Either, select};
use tokio::time::{Instant, sleep, sleep_until};

use super::limits::{Account, AccountPermit, RequestSize, Waiter};
use super::retry::{Attempts, Failed};

/// What is tried: a request, as often as it takes.
pub(crate) trait Attempt: Sync {
    /// What a request needs before it is queued.
    type Ready: Send;
    /// What comes of it.
    type Answer: Send;

    /// Makes ready what does not belong into the time of the request.
    fn prepare(&self) -> impl Future<Output = Result<Self::Ready>> + Send;

    /// Sends the request once, and tells `permit` how it ended. Sets `emitted` when a piece has been handed out.
    fn send(
        &self,
        ready: Self::Ready,
        permit: &mut AccountPermit,
        emitted: &mut bool,
        cx: &Context,
    ) -> impl Future<Output = Result<Self::Answer>> + Send;

    /// An error with the name of the provider.
    fn named(&self, error: Error) -> Error;

    /// Whether a request that failed so had not left this machine: nobody bills it.
    fn never_sent(&self, _: &Error) -> bool {
        false
    }
}

/// How a call is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallOptions {
    pub(crate) retry: RetryPolicy,
    pub(crate) ask: RequestSize,
    /// Whether a late request may be sent a second time.
    pub(crate) hedge: bool,
}

/// Sends a request until it succeeds or there is no use, and gives the number of tries it took. A second request for one that
/// is late is no try of its own.
///
/// No permit is held by a future that somebody else has to poll. A call that is [driven](Context::is_driven) runs in place.
/// Any other one runs in place only where no limit makes others wait for it, and else in a task of its own.
pub(crate) async fn again<A: Attempt + Clone + Send + 'static>(
    call: A,
    account: &Arc<Account>,
    options: CallOptions,
    cx: &Context,
) -> Result<(A::Answer, u32)> {
    // Two functions: the future of one would have room for the variables of both.
    if cx.is_driven() {
        let attempts = Attempts::new(options.retry, cx.priority(), account.clone());
        drive(&call, attempts, &options, cx).await
    } else {
        undriven(call, account, options, cx).await
    }
}

/// As [`again`], for a future that may be left without being polled.
async fn undriven<A: Attempt + Clone + Send + 'static>(
    call: A,
    account: &Arc<Account>,
    options: CallOptions,
    cx: &Context,
) -> Result<(A::Answer, u32)> {
    let mut attempts = Attempts::new(options.retry, cx.priority(), account.clone());
    if !cx.is_limited()
        && let Some((permit, poll_watch)) = account.admit_in_place(&attempts.waiter(options.ask, cx))
    {
        let attempt = attempts.begin();
        let (mut emitted, mut failed) = (false, Failed::default());
        let sent = async {
            let ready = call.prepare().await?;
            send(&call, ready, permit, &options, &mut emitted, &mut failed, cx).await
        };
        // In a box: the few who call without a task of their own have room for it.
        match poll_watch.of(Box::pin(sent)).await {
            Ok(answer) => return Ok((answer, attempt)),
            Err(error) => retry(&call, &mut attempts, attempt, &options, error, emitted, failed, cx).await?,
        }
    }
    cx.in_task(move |cx| async move { drive(&call, attempts, &options, &cx).await }).await
}

/// Sends a request until it succeeds or there is no use, in the caller's own task.
pub(crate) async fn drive<A: Attempt>(
    call: &A,
    mut attempts: Attempts,
    options: &CallOptions,
    cx: &Context,
) -> Result<(A::Answer, u32)> {
    loop {
        let attempt = attempts.begin();
        let (mut emitted, mut failed) = (false, Failed::default());
        match once(call, &mut attempts, options, &mut emitted, &mut failed, cx).await {
            Ok(answer) => return Ok((answer, attempt)),
            Err(error) => retry(call, &mut attempts, attempt, options, error, emitted, failed, cx).await?,
        }
    }
}

/// Waits before the next attempt of a call.
///
/// # Errors
/// That of the last attempt, where there is to be no other one.
#[expect(
    clippy::too_many_arguments,
    reason = "what is known of one attempt, in the one place that judges it"
)]
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
        // What has been handed out cannot be taken back.
        return Err(error.with_attempts(attempt));
    }
    let left = cx.deadline().map(|at| at.saturating_duration_since(Instant::now()));
    let wait = attempts.after(error.clone(), failed, left).map_err(|error| call.named(error))?;
    cx.emit(EventKind::Retrying { attempt, wait, error }).await;
    tokio::select! {
        () = sleep(wait) => Ok(()),
        stopping = cx.draining() => Err(call.named(stopping)),
    }
}

/// Waits for permits and sends the request once. Notes in `failed` what is known of a failure.
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
    let (run, permit) = tokio::select! {
        biased;
        stopping = cx.draining() => return Err(stopping),
        entered = enter(attempts.account(), waiter, cx) => entered?,
    };
    send(call, ready, permit.with_run(run), options, emitted, failed, cx).await
}

/// Sends the request once, with its permit and that of its run. They are held until the answer has been read, and no longer. Notes in `failed`
/// what is known of a failure.
async fn send<A: Attempt>(
    call: &A,
    ready: A::Ready,
    mut permit: AccountPermit,
    options: &CallOptions,
    emitted: &mut bool,
    failed: &mut Failed,
    cx: &Context,
) -> Result<A::Answer> {
    let (account, began) = (permit.account().clone(), permit.sent());
    permit.while_held(pin!(cx.emit(EventKind::RequestStarted))).await;
    let mut first = pin!(async {
        // Held no longer than it takes, also where the second one takes longer.
        let mut permit = permit;
        let done = call.send(ready, &mut permit, emitted, cx).await;
        judged(done, &permit, failed)
    });
    if !options.hedge {
        return first.as_mut().await;
    }
    let (account, ask) = (&account, options.ask);
    let first = match select(first, pin!(late(account, began))).await {
        Either::Left((done, _)) => return done,
        Either::Right((_, first)) => first,
    };
    let (on_its_way, is_alone) = (AtomicBool::new(false), AtomicBool::new(false));
    // Rare: its room is taken when it is needed. One that fails leaves the field to the first, and to another one.
    let second = Box::pin(async {
        loop {
            if !cx.is_draining()
                && let Ok(ready) = call.prepare().await
                // As the first: a run makes no more calls at once than it may.
                && let Some(_slot) = cx.try_permit()
                && let Some(mut permit) = account.try_hedge(ask)
            {
                cx.emit(EventKind::Hedged).await;
                on_its_way.store(true, Ordering::Relaxed);
                let done = call.send(ready, &mut permit, &mut false, cx).await;
                on_its_way.store(false, Ordering::Relaxed);
                if done.is_ok() || is_alone.load(Ordering::Relaxed) {
                    return done;
                }
            }
            sleep(AGAIN).await;
            late(account, began).await;
        }
    });
    // The first answer wins, and the loser is dropped.
    match select(first, second).await {
        Either::Left((Err(error), second)) if error.is_retryable() && on_its_way.load(Ordering::Relaxed) => {
            // It is paid for, and soon there: a third one would not be.
            is_alone.store(true, Ordering::Relaxed);
            second.await
        }
        Either::Left((done, _)) | Either::Right((done, _)) => done,
    }
}

/// Tells the account how a request ended, and `failed` what the account makes of it.
fn judged<T>(done: Result<T>, permit: &AccountPermit, failed: &mut Failed) -> Result<T> {
    if let Err(error) = &done {
        *failed = Failed {
            run: permit.judge(error),
            is_alone: permit.is_alone(),
            is_unanswered: matches!(error.kind(), ErrorKind::Timeout | ErrorKind::StreamIncomplete),
            sent: Some(permit.sent()),
        };
    }
    done
}

/// Waits for a permit of the run and one of the account, and holds neither while it waits for the other: calls to an account
/// that is slow keep no permit from those to another one, and a run with few permits keeps none of the account from other
/// runs.
async fn enter(account: &Arc<Account>, waiter: Waiter, cx: &Context) -> Result<(RunPermit, AccountPermit)> {
    let mut has_waited = false;
    loop {
        let run = cx.acquire().await?;
        if let Some(permit) = account.try_admit(&waiter) {
            return Ok((run, permit));
        }
        drop(run);
        if !has_waited {
            cx.emit(EventKind::Waiting(account.wait_reason())).await;
            has_waited = true;
        }
        if let Some(both) = account.admit(waiter.clone(), || cx.try_permit()).await? {
            return Ok(both);
        }
    }
}

/// Between two second requests of one call.
const AGAIN: Duration = Duration::from_millis(500);

/// Ends when a request that was sent at `sent` is late and may be sent a second time.
async fn late(account: &Account, sent: Instant) {
    loop {
        match account.late(sent) {
            Some(at) if at <= Instant::now() => {
                if account.may_hedge() {
                    return;
                }
                // Others are in line: there is a better use for a place.
                sleep(Duration::from_secs(1)).await;
            }
            Some(at) => sleep_until(at).await,
            None => sleep(Duration::from_secs(1)).await,
        }
    }
}

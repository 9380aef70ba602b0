//! The one retry loop of the whole stack, and the second request for one that is late.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fanweave_core::{Context, Error, EventKind, Result, RetryPolicy, RunPermit, WaitReason};
use futures::future::{Either, select};
use tokio::time::{Instant, sleep, sleep_until};

use super::limits::{Account, Ask, Place};
use super::retry::Tries;

/// What is tried: a request, as often as it takes.
pub(crate) trait Attempt: Sync {
    /// What a request needs before it is in line.
    type Ready: Send;
    /// What comes of it.
    type Answer: Send;

    /// Makes ready what does not belong into the time of the request.
    fn prepare(&self) -> impl Future<Output = Result<Self::Ready>> + Send;

    /// Sends the request once, and tells `place` how it ended. Sets `spoken` when a piece has been handed out.
    fn send(
        &self,
        ready: Self::Ready,
        place: &mut Place,
        spoken: &mut bool,
        cx: &Context,
    ) -> impl Future<Output = Result<Self::Answer>> + Send;

    /// An error with the name of the provider.
    fn named(&self, error: Error) -> Error;
}

/// How a call is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    pub(crate) retry: RetryPolicy,
    pub(crate) ask: Ask,
    /// Whether a late request may be sent a second time.
    pub(crate) hedge: bool,
}

/// Sends a request until it succeeds or there is no use, and gives the number of tries it took. A second request for one that
/// is late is no try of its own.
pub(crate) async fn again<A: Attempt>(
    call: &A,
    account: &Arc<Account>,
    manner: Manner,
    cx: &Context,
) -> Result<(A::Answer, u32)> {
    let mut tries = Tries::new(manner.retry, &account.budget);
    loop {
        let attempt = tries.begin();
        let mut spoken = false;
        match once(call, account, manner, &mut spoken, cx).await {
            Ok(answer) => {
                tries.succeeded();
                return Ok((answer, attempt));
            }
            // What has been handed out cannot be taken back.
            Err(error) if spoken => return Err(call.named(error).with_attempts(attempt)),
            Err(error) => {
                let error = call.named(error);
                let left = cx.deadline().map(|at| at.saturating_duration_since(Instant::now()));
                let wait = tries.after(error.clone(), left)?;
                cx.emit(EventKind::Retrying { attempt, wait, error }).await;
                sleep(wait).await;
            }
        }
    }
}

/// Sends the request once. Slot and place are held until the answer has been read, and no longer.
async fn once<A: Attempt>(
    call: &A,
    account: &Arc<Account>,
    manner: Manner,
    spoken: &mut bool,
    cx: &Context,
) -> Result<A::Answer> {
    let ready = call.prepare().await?;
    let (slot, mut place) = enter(account, manner.ask, cx).await?;
    let began = place.sent();
    cx.emit(EventKind::RequestStarted).await;
    if !manner.hedge {
        return call.send(ready, &mut place, spoken, cx).await;
    }
    let first = pin!(async {
        // Held no longer than it takes, also where the second one takes longer.
        let (_slot, mut place) = (slot, place);
        call.send(ready, &mut place, spoken, cx).await
    });
    let first = match select(first, pin!(late(account, began))).await {
        Either::Left((done, _)) => return done,
        Either::Right((_, first)) => first,
    };
    let (on_its_way, is_alone) = (AtomicBool::new(false), AtomicBool::new(false));
    // Rare: its room is taken when it is needed. One that fails leaves the field to the first, and to another one.
    let second = Box::pin(async {
        loop {
            if let Ok(ready) = call.prepare().await
                // As the first: a run makes no more calls at once than it may.
                && let Some(_slot) = cx.try_permit()
                && let Some(mut place) = account.try_hedge(manner.ask)
            {
                cx.emit(EventKind::Hedged).await;
                on_its_way.store(true, Ordering::Relaxed);
                let done = call.send(ready, &mut place, &mut false, cx).await;
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

/// Waits for a slot of the run and a place on the account, and holds neither while it waits for the other: calls to an account
/// that is slow keep no slot from those to another one, and a run with few slots keeps no place from other runs.
async fn enter(account: &Arc<Account>, ask: Ask, cx: &Context) -> Result<(RunPermit, Place)> {
    let priority = cx.priority();
    let mut has_waited = false;
    loop {
        let slot = cx.acquire().await?;
        if let Some(place) = account.try_admit(ask, priority) {
            return Ok((slot, place));
        }
        drop(slot);
        if !has_waited {
            cx.emit(EventKind::Waiting(WaitReason::Limit)).await;
            has_waited = true;
        }
        if let Some(both) = account.admit(ask, priority, || cx.try_permit()).await? {
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

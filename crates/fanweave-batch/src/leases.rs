//! Money that a run gets in pieces: leases of a budget that several machines share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::Notify;

use crate::budget::{Allowance, RowBudget};

/// Money of a run that was leased to it. A row starts only if the leases cover it and all rows in flight:
/// each counts as much as the most expensive row so far.
#[derive(Debug)]
pub struct Leases(Arc<Shared>);

/// The side of [`Leases`] that leases money. Dropping it ends the leases: see [`end`](Self::end).
#[derive(Debug)]
pub struct Lessor(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Notified when money was leased, or no more will be.
    leased: Notify,
    /// Notified when a row waits for money, or the run has ended.
    needed: Notify,
}

/// All amounts are in US dollars.
#[derive(Debug)]
struct State {
    leased: f64,
    spent: f64,
    /// Amount of the run that may be billed in addition.
    maybe_billed: f64,
    /// Maximum cost assumed for a row in flight.
    max_row_cost: f64,
    /// Amount that the last row lacked which asked. At most 0 if it was allowed.
    short: f64,
    /// Amount that the row that waits lacks. 0 if none waits.
    lacking: f64,
    /// Set when no more money will come.
    has_ended: bool,
    /// Set when the run has ended.
    is_over: bool,
}

impl Leases {
    /// No money yet. `max_row_cost` is the expected maximum cost of a row in US dollars.
    pub fn new(max_row_cost: f64) -> (Self, Lessor) {
        let state = State {
            leased: 0.0,
            spent: 0.0,
            maybe_billed: 0.0,
            max_row_cost,
            short: 0.0,
            lacking: 0.0,
            has_ended: false,
            is_over: false,
        };
        let shared =
            Arc::new(Shared { state: Mutex::new(state), leased: Notify::new(), needed: Notify::new() });
        (Self(shared.clone()), Lessor(shared))
    }
}

impl RowBudget for Leases {
    fn allows(&self, in_flight: usize, maybe_billed_usd: f64) -> Allowance {
        let mut state = self.0.lock();
        #[expect(clippy::cast_precision_loss, reason = "rows in flight are few")]
        let held = (in_flight + 1) as f64 * state.max_row_cost;
        state.maybe_billed = maybe_billed_usd;
        state.short = state.used() + held - state.leased;
        match state.short {
            ..=0.0 => {
                state.lacking = 0.0;
                Allowance::Now
            }
            _ if state.has_ended => Allowance::Never,
            _ => Allowance::Later,
        }
    }

    fn pay(&mut self, usd: Option<f64>) {
        let mut state = self.0.lock();
        state.spent += usd.unwrap_or(state.max_row_cost);
        state.max_row_cost = state.max_row_cost.max(usd.unwrap_or_default());
    }

    fn changed(&mut self) -> BoxFuture<'_, ()> {
        async {
            {
                let mut state = self.0.lock();
                state.lacking = state.short;
            }
            self.0.needed.notify_one();
            self.0.leased.notified().await;
        }
        .boxed()
    }
}

impl Drop for Leases {
    fn drop(&mut self) {
        self.0.lock().is_over = true;
        self.0.needed.notify_one();
    }
}

impl Lessor {
    /// Waits until a row cannot start for lack of money, and returns the amount it lacks in US dollars.
    /// `None` once the run has ended: return what is [unspent](Self::unspent).
    ///
    /// # Cancellation
    /// No need is lost.
    pub async fn needed(&mut self) -> Option<f64> {
        loop {
            {
                let state = self.0.lock();
                if state.is_over {
                    return None;
                }
                if state.lacking > 0.0 && !state.has_ended {
                    return Some(state.lacking);
                }
            }
            self.0.needed.notified().await;
        }
    }

    /// Leases `usd` more to the run.
    pub fn lease(&mut self, usd: f64) {
        let mut state = self.0.lock();
        state.leased += usd;
        state.lacking = (state.lacking - usd).max(0.0);
        drop(state);
        self.0.leased.notify_one();
    }

    /// Leases no more: the shared budget is spent. A row that lacks money when no other is in flight stops
    /// the run.
    pub fn end(&mut self) {
        self.0.lock().has_ended = true;
        self.0.leased.notify_one();
    }

    /// The part of the leases that is not spent, in US dollars. Negative if rows cost more than was leased.
    pub fn unspent(&self) -> f64 {
        let state = self.0.lock();
        state.leased - state.used()
    }
}

impl Drop for Lessor {
    fn drop(&mut self) {
        self.end();
    }
}

impl State {
    fn used(&self) -> f64 {
        self.spent + self.maybe_billed
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_row_waits_for_its_lease_and_the_lessor_gets_the_amount_it_lacks() {
        let (mut leases, mut lessor) = Leases::new(0.25);
        assert_eq!(leases.allows(1, 0.0), Allowance::Later);
        assert!(lessor.needed().now_or_never().is_none(), "no row waits yet");
        assert!(leases.changed().now_or_never().is_none());
        assert_eq!(lessor.needed().await, Some(0.5));
        lessor.lease(0.25);
        assert_eq!(lessor.needed().now_or_never(), Some(Some(0.25)), "still not enough");
        lessor.lease(0.25);
        leases.changed().await;
        assert_eq!((leases.allows(1, 0.0), leases.allows(1, 0.25)), (Allowance::Now, Allowance::Later));
        leases.pay(Some(0.5));
        assert_eq!((leases.allows(0, 0.0), lessor.unspent()), (Allowance::Later, 0.0));
        assert!(leases.changed().now_or_never().is_none());
        assert_eq!(
            lessor.needed().await,
            Some(0.5),
            "the most expensive row is what each is assumed to cost"
        );
    }

    #[tokio::test]
    async fn without_a_lessor_no_row_waits_for_ever() {
        let (mut leases, mut lessor) = Leases::new(0.25);
        lessor.lease(0.25);
        drop(lessor);
        leases.changed().await;
        assert_eq!((leases.allows(0, 0.0), leases.allows(1, 0.0)), (Allowance::Now, Allowance::Never));

        let (mut leases, mut lessor) = Leases::new(0.25);
        lessor.lease(1.0);
        leases.pay(None);
        drop(leases);
        assert_eq!((lessor.needed().await, lessor.unspent()), (None, 0.75));
    }
}

//! The budget of a run, which its workers lease in parts.

use std::sync::Arc;
use std::time::Duration;

use fanweave_batch::__private::Lessor;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::broker::Broker;
use crate::error::Result;
use crate::wire::Manifest;

/// Part of the rest of a budget that is leased at once, so that leases are few.
const PART: f64 = 0.01;

/// Pause before a lease is attempted again.
const PAUSE: Duration = Duration::from_millis(200);

/// The budget of a run.
pub(crate) struct Money {
    broker: Arc<dyn Broker>,
    run: String,
    /// In US dollars.
    budget: f64,
    /// Expected maximum cost of a row in US dollars.
    pub(crate) row: f64,
}

/// Money that workers have. Includes what a worker that was killed had: its calls may have cost that.
#[derive(Default, Serialize, Deserialize)]
struct Leased {
    usd: f64,
}

impl Money {
    /// The budget of a run, if it has one.
    pub(crate) fn of(broker: &Arc<dyn Broker>, run: &Manifest) -> Option<Self> {
        let budget = run.budget_usd?;
        Some(Self { broker: broker.clone(), run: run.run.clone(), budget, row: run.row_usd })
    }

    /// Leases money to rows until the run ends, and returns what is left.
    pub(crate) async fn lend(self, mut lessor: Lessor) {
        while let Some(lacks) = lessor.needed().await {
            match self.lease(lacks).await {
                Ok(Some(usd)) => lessor.lease(usd),
                Ok(None) => lessor.end(),
                Err(_) => sleep(PAUSE).await,
            }
        }
        let unspent = lessor.unspent();
        // Without an answer it stays leased: the budget is never exceeded.
        let _ = self.change(|leased| leased.usd -= unspent).await;
    }

    /// Leases at least `lacks`. `None` if the budget has less left.
    async fn lease(&self, lacks: f64) -> Result<Option<f64>> {
        let leased = self.change(|leased| {
            let left = self.budget - leased.usd;
            // Sums of fractions end just above the amount that they represent.
            let is_enough = lacks <= left + 1e-9;
            let usd = if is_enough { lacks.max(left * PART) } else { 0.0 };
            leased.usd += usd;
            is_enough.then_some(usd)
        });
        leased.await
    }

    async fn change<T>(&self, with: impl Fn(&mut Leased) -> T) -> Result<T> {
        let key = format!("money.{}", self.run);
        loop {
            let found = self.broker.value(key.clone()).await?;
            let revision = found.as_ref().map_or(0, |(_, revision)| *revision);
            let leased = found.and_then(|(value, _)| serde_json::from_slice::<Leased>(&value).ok());
            let mut leased = leased.unwrap_or_default();
            let done = with(&mut leased);
            let value = serde_json::to_vec(&leased).expect("it has string keys");
            if self.broker.value_cas(key.clone(), value.into(), revision).await?.is_some() {
                return Ok(done);
            }
        }
    }
}

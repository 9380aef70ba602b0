//! Values that only one worker may set at a time: the pause of a run whose provider refuses or fails, and the
//! right to look after tickets. All times are those of the broker's clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::broker::Broker;
use crate::error::Result;
use crate::shard::REFUSED_PAUSE;

/// Time for which a worker looks after tickets.
const KEEPER_LEASE: Duration = Duration::from_secs(30);

/// A value that a worker holds until a time.
#[derive(Serialize, Deserialize)]
struct Hold {
    by: String,
    /// In milliseconds since the Unix epoch.
    until: u64,
}

/// Permission of a worker to start the rows of a run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// The run is not paused.
    Open,
    /// It is paused, and this worker is the one that attempts it.
    Probe,
    /// It is paused for this time.
    Paused(Duration),
}

fn key(run: &str) -> String {
    format!("pause.{run}")
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Takes the value at `key` for `lasts`, unless another worker holds it. Returns the time for which that one
/// still does.
async fn take(broker: &dyn Broker, key: &str, by: &str, lasts: Duration) -> Result<Option<Duration>> {
    let found = broker.value(key.to_owned()).await?;
    let now = millis(broker.clock().await?);
    let revision = found.as_ref().map_or(0, |(_, revision)| *revision);
    let hold = found.and_then(|(value, _)| serde_json::from_slice::<Hold>(&value).ok());
    if let Some(hold) = hold.filter(|hold| hold.by != by && hold.until > now) {
        return Ok(Some(Duration::from_millis(hold.until - now)));
    }
    let hold = Hold { by: by.to_owned(), until: now.saturating_add(millis(lasts)) };
    let value = serde_json::to_vec(&hold).expect("it has string keys");
    match broker.value_cas(key.to_owned(), value.into(), revision).await? {
        Some(_) => Ok(None),
        None => Ok(Some(lasts)),
    }
}

/// Pauses a run for all workers.
pub(crate) async fn pause(broker: &dyn Broker, run: &str, worker: &str) {
    // Without it, each worker is refused by itself.
    let _ = take(broker, &key(run), worker, REFUSED_PAUSE).await;
}

/// Ends the pause of a run.
pub(crate) async fn open(broker: &dyn Broker, run: &str) {
    // Otherwise it ends by itself.
    let _ = broker.value_delete(key(run)).await;
}

/// Permission of a worker to start the rows of a run. A worker that may attempt a paused run pauses it for
/// the others.
pub(crate) async fn may_try(broker: &dyn Broker, run: &str, worker: &str) -> Attempt {
    match broker.value(key(run)).await {
        Ok(Some(_)) => {}
        // A broker that does not answer does not hold rows up.
        Ok(None) | Err(_) => return Attempt::Open,
    }
    match take(broker, &key(run), worker, REFUSED_PAUSE).await {
        Ok(None) => Attempt::Probe,
        Ok(Some(wait)) => Attempt::Paused(wait),
        Err(_) => Attempt::Open,
    }
}

/// Returns true if this worker is to look after tickets for now.
pub(crate) async fn is_keeper(broker: &dyn Broker, worker: &str) -> bool {
    take(broker, "keeper", worker, KEEPER_LEASE).await.is_ok_and(|held| held.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Memory;

    #[tokio::test(start_paused = true)]
    async fn one_worker_attempts_a_paused_run_and_the_others_wait() {
        let broker = Memory::default();
        assert_eq!(may_try(&broker, "r", "a").await, Attempt::Open);
        pause(&broker, "r", "a").await;
        let Attempt::Paused(wait) = may_try(&broker, "r", "b").await else { panic!("it is paused") };
        assert!(wait <= REFUSED_PAUSE);
        tokio::time::sleep(wait).await;
        assert_eq!(may_try(&broker, "r", "b").await, Attempt::Probe);
        assert!(matches!(may_try(&broker, "r", "c").await, Attempt::Paused(_)));
        open(&broker, "r").await;
        assert_eq!(may_try(&broker, "r", "c").await, Attempt::Open);
        pause(&broker, "r", "a").await;
        assert!(matches!(may_try(&broker, "r", "b").await, Attempt::Paused(_)), "it was paused before");
        assert!(is_keeper(&broker, "a").await && is_keeper(&broker, "a").await);
        assert!(!is_keeper(&broker, "b").await);
    }
}

//! Outages of a broker, in words: operations are repeated without an error, so that nothing else would say
//! why a command waits.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Time without a success after which an outage is reported.
const SILENCE: Duration = Duration::from_secs(10);

/// Time after which it is reported again.
const REPEAT: Duration = Duration::from_secs(60);

/// Reports when one kind of operation fails for long.
#[derive(Default)]
pub(super) struct Trouble {
    state: Mutex<State>,
    report: OnceLock<Report>,
}

type Report = Box<dyn Fn(&str) + Send + Sync>;

#[derive(Default)]
struct State {
    /// Time of the first failure since the last success.
    since: Option<Instant>,
    reported: Option<Instant>,
}

impl Trouble {
    /// Sets the function that gets the reports, unless there is one.
    pub(super) fn report_to(&self, report: impl Fn(&str) + Send + Sync + 'static) {
        let _ = self.report.set(Box::new(report));
    }

    /// Records a failure.
    pub(super) fn failed(&self, why: &str) {
        let Some(report) = self.report.get() else { return };
        let lasts = {
            let mut state = self.lock();
            let lasts = state.since.get_or_insert_with(Instant::now).elapsed();
            let is_due = state.reported.is_none_or(|at| at.elapsed() >= REPEAT);
            if lasts < SILENCE || !is_due {
                return;
            }
            state.reported = Some(Instant::now());
            lasts
        };
        report(&format!("{why}, for {} s; waiting for it", lasts.as_secs()));
    }

    /// Records a success.
    pub(super) fn succeeded(&self) {
        let was_reported = {
            let mut state = self.lock();
            state.since = None;
            state.reported.take().is_some()
        };
        if let Some(report) = self.report.get().filter(|_| was_reported) {
            report("the broker works again");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_reported_once_it_lasts_and_its_end_too() {
        let said = Arc::new(Mutex::new(Vec::new()));
        let (trouble, to) = (Trouble::default(), said.clone());
        trouble.report_to(move |text| to.lock().unwrap().push(text.to_owned()));
        trouble.failed("the broker is full");
        trouble.succeeded();
        for _ in 0..14 {
            trouble.failed("the broker is full");
            sleep(Duration::from_secs(5)).await;
        }
        assert_eq!(*said.lock().unwrap(), ["the broker is full, for 10 s; waiting for it"]);
        trouble.succeeded();
        trouble.succeeded();
        assert_eq!(said.lock().unwrap()[1..], ["the broker works again"]);
    }
}

//! Notes about a call that is retried for a long time, for a person who waits for its answer.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fanweave::events::Observer;
use fanweave::{Event, EventKind, errors::excerpt};

use crate::out::tell;
use crate::progress::rounded;

/// Total of the waits of a call from which on they are noted.
const QUIET: Duration = Duration::from_secs(5);

/// Maximum bytes of the error in a note.
const MAX_SHOWN: usize = 300;

/// Tells why a call is retried, whenever the time that its waits take has doubled.
#[derive(Debug, Default)]
pub(crate) struct Waits(Mutex<Waited>);

#[derive(Debug, Default)]
struct Waited {
    total: Duration,
    /// Total at the last note.
    noted: Duration,
}

impl Waited {
    /// Adds a wait. Returns true if it is time for a note.
    fn add(&mut self, wait: Duration) -> bool {
        self.total += wait;
        let is_due = self.total >= QUIET.max(2 * self.noted);
        if is_due {
            self.noted = self.total;
        }
        is_due
    }
}

impl Observer for Waits {
    fn on_event(&self, event: &Event) {
        let EventKind::Retrying { attempt, wait, error } = &event.kind else { return };
        let mut waited = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waited.add(*wait) {
            let error = excerpt(&error.to_string(), MAX_SHOWN);
            tell!("note: attempt {attempt} failed, the next one follows in {}: {error}", rounded(*wait));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_become_rare_as_the_wait_grows() {
        let mut waited = Waited::default();
        let seconds = |n: &u64| waited.add(Duration::from_secs(*n)).then_some(*n);
        let noted: Vec<_> = [1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16].iter().filter_map(seconds).collect();
        assert_eq!(noted, [3, 5, 10, 16]);
    }
}

//! What happened lately.

use std::time::Duration;

use tokio::time::Instant;

/// Seconds that count as lately.
const SECONDS: usize = 5;

/// Requests of the last seconds.
#[derive(Debug, Default)]
pub(super) struct Recent {
    began: Option<Instant>,
    /// Of each second: its number, and the requests that were sent less those refused.
    slots: [(u64, i64); SECONDS + 1],
}

impl Recent {
    pub(super) fn admitted(&mut self, now: Instant) {
        *self.slot(now) += 1;
    }

    pub(super) fn refused(&mut self, now: Instant) {
        *self.slot(now) -= 1;
    }

    /// Requests a second that were not refused.
    pub(super) fn rate(&mut self, now: Instant) -> f64 {
        let began = *self.began.get_or_insert(now);
        let passed = now.duration_since(began);
        let first = passed.as_secs().saturating_sub(SECONDS as u64);
        let taken: i64 = self.slots.iter().filter(|(second, _)| *second >= first).map(|(_, n)| n).sum();
        taken.max(0) as f64 / passed.as_secs_f64().clamp(1.0, SECONDS as f64 + 0.5)
    }

    fn slot(&mut self, now: Instant) -> &mut i64 {
        let second = now.duration_since(*self.began.get_or_insert(now)).as_secs();
        let slot = &mut self.slots[second as usize % (SECONDS + 1)];
        if slot.0 != second {
            *slot = (second, 0);
        }
        &mut slot.1
    }
}

/// The last latencies.
#[derive(Debug)]
pub(super) struct Latencies {
    last: [f32; 128],
    seen: usize,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { last: [0.0; 128], seen: 0 }
    }
}

impl Latencies {
    pub(super) fn push(&mut self, latency: Duration) {
        self.last[self.seen % self.last.len()] = latency.as_secs_f32();
        self.seen += 1;
    }

    /// What 95 of 100 stay below. `None` as long as there are too few.
    pub(super) fn p95(&self) -> Option<Duration> {
        let n = self.seen.min(self.last.len());
        if n < 20 {
            return None;
        }
        let mut sorted = self.last;
        sorted[..n].sort_unstable_by(f32::total_cmp);
        Some(Duration::from_secs_f32(sorted[n * 95 / 100]))
    }
}

//! Recent activity of an account.

use std::time::Duration;

use tokio::time::Instant;

/// Number of seconds to remember.
const SECONDS: u64 = 60;

/// Number of seconds that count as recent.
const LATELY: u64 = 5;

/// Requests and tokens of the last minute.
#[derive(Debug)]
pub(super) struct Recent {
    began: Option<Instant>,
    entries: [Second; SECONDS as usize + 1],
}

/// Activity of one second.
#[derive(Debug, Clone, Copy, Default)]
struct Second {
    /// Seconds since the beginning.
    second: u64,
    sent: u32,
    refused: u32,
    tokens: f64,
}

impl Default for Recent {
    fn default() -> Self {
        Self { began: None, entries: [Second::default(); SECONDS as usize + 1] }
    }
}

impl Recent {
    pub(super) fn admitted(&mut self, now: Instant) {
        self.second_at(now).sent += 1;
    }

    pub(super) fn refused(&mut self, now: Instant) {
        self.second_at(now).refused += 1;
    }

    pub(super) fn spent(&mut self, tokens: f64, now: Instant) {
        self.second_at(now).tokens += tokens;
    }

    /// Recent requests per second that were not rejected.
    pub(super) fn rate(&self, now: Instant) -> f64 {
        let Some(began) = self.began else { return 0.0 };
        let of = |entry: &Second| f64::from(entry.sent) - f64::from(entry.refused);
        let taken: f64 = self.since(LATELY, now).map(of).sum();
        taken.max(0.0) / now.duration_since(began).as_secs_f64().clamp(1.0, LATELY as f64 + 0.5)
    }

    /// Requests of the last second, or of up to two.
    pub(super) fn second(&self, now: Instant) -> f64 {
        self.since(1, now).map(|entry| f64::from(entry.sent)).sum()
    }

    /// Requests and tokens of the last minute.
    pub(super) fn minute(&self, now: Instant) -> (u64, u64) {
        let entries = || self.since(SECONDS, now);
        (
            entries().map(|entry| u64::from(entry.sent)).sum(),
            entries().map(|entry| entry.tokens).sum::<f64>() as u64,
        )
    }

    fn since(&self, seconds: u64, now: Instant) -> impl Iterator<Item = &Second> {
        let passed = self.began.map_or(0, |began| now.duration_since(began).as_secs());
        self.entries.iter().filter(move |entry| entry.second + seconds >= passed)
    }

    fn second_at(&mut self, now: Instant) -> &mut Second {
        let second = now.duration_since(*self.began.get_or_insert(now)).as_secs();
        let entry = &mut self.entries[(second % (SECONDS + 1)) as usize];
        if entry.second != second {
            *entry = Second { second, ..Second::default() };
        }
        entry
    }
}

/// The most recent latencies.
#[derive(Debug)]
pub(super) struct Latencies {
    last: [f32; 128],
    seen: usize,
    /// The percentile, and how many latencies had been seen when it was determined.
    p95: (Duration, usize),
}

/// Latencies after which the percentile is determined again: each request of a batch asks for it.
const P95_LASTS: usize = 16;

impl Default for Latencies {
    fn default() -> Self {
        Self { last: [0.0; 128], seen: 0, p95: (Duration::ZERO, 0) }
    }
}

impl Latencies {
    pub(super) fn push(&mut self, latency: Duration) {
        self.last[self.seen % self.last.len()] = latency.as_secs_f32();
        self.seen += 1;
    }

    /// The 95th percentile, of the last latencies or of those a few before. `None` while there are too few.
    pub(super) fn p95(&mut self) -> Option<Duration> {
        let n = self.seen.min(self.last.len());
        if n < 20 {
            return None;
        }
        let (mut p95, at) = self.p95;
        if at == 0 || self.seen - at >= P95_LASTS {
            let mut last = self.last;
            let (_, seconds, _) = last[..n].select_nth_unstable_by(n * 95 / 100, f32::total_cmp);
            p95 = Duration::from_secs_f32(*seconds);
            self.p95 = (p95, self.seen);
        }
        Some(p95)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_percentile_follows_the_latencies_within_a_few() {
        let mut latencies = Latencies::default();
        for n in 1..20 {
            latencies.push(Duration::from_secs(n));
            assert_eq!(latencies.p95(), None);
        }
        latencies.push(Duration::from_secs(20));
        assert_eq!(latencies.p95(), Some(Duration::from_secs(20)));
        for _ in 0..P95_LASTS - 1 {
            latencies.push(Duration::from_secs(1));
            assert_eq!(latencies.p95(), Some(Duration::from_secs(20)));
        }
        latencies.push(Duration::from_secs(1));
        // The second of 36 from the top.
        assert_eq!(latencies.p95(), Some(Duration::from_secs(19)));
        for _ in 0..128 {
            latencies.push(Duration::from_secs(3));
        }
        assert_eq!(latencies.p95(), Some(Duration::from_secs(3)));
    }
}

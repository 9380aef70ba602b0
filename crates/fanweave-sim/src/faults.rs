//! Faults, and the requests that they hit.

use crate::draw::{self, Purpose};
use crate::trouble::{Flake, Flaky};

/// One way in which a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Answered with this HTTP status and a valid error body.
    Error(u16),
    /// A TCP reset instead of the answer.
    Abort,
    /// Half of the answer, then a TCP reset.
    Reset,
    /// Never answered; the connection stays open until the client closes it.
    Hang,
    /// Half of the answer, then a clean close: a stream without its terminal event, a plain body shorter than
    /// its `content-length`.
    Truncate,
}

/// The share of requests that meet each [`Fault`], from 0 to 1. Default 0 each; the total must not exceed 1.
///
/// Draws are per request number, so a retry is drawn independently.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct FaultRates {
    pub(crate) error: f64,
    pub(crate) reset: f64,
    pub(crate) hang: f64,
    pub(crate) truncate: f64,
    /// Drawn separately from the others.
    pub(crate) flaky: Option<Flaky>,
}

impl FaultRates {
    /// The fault that request number `seq` meets, if any.
    pub(crate) fn draw(&self, seed: u64, seq: u64) -> Option<Fault> {
        match self.flaky.and_then(|flaky| flaky.draw(seed, seq)) {
            Some(Flake::Status(status)) => return Some(Fault::Error(status)),
            Some(Flake::Reset) => return Some(Fault::Abort),
            None => {}
        }
        let total = self.error + self.reset + self.hang + self.truncate;
        if total == 0.0 {
            return None;
        }
        let mut left = draw::unit(seed, seq, Purpose::Fault);
        let mut hit = |rate: f64| {
            left -= rate;
            left < 0.0
        };
        if hit(self.error) {
            let unavailable = draw::bits(seed, seq, Purpose::ErrorStatus) % 2 == 1;
            Some(Fault::Error(if unavailable { 503 } else { 500 }))
        } else if hit(self.reset) {
            Some(Fault::Reset)
        } else if hit(self.hang) {
            Some(Fault::Hang)
        } else if hit(self.truncate) || total >= 1.0 {
            Some(Fault::Truncate)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_meets_its_share_of_the_requests() {
        let rates = FaultRates { error: 0.1, reset: 0.05, hang: 0.02, truncate: 0.2, flaky: None };
        let faults: Vec<_> = (0..20_000).filter_map(|seq| rates.draw(9, seq)).collect();
        let share = |wanted: fn(&Fault) -> bool| {
            faults.iter().filter(|fault| wanted(fault)).count() as f64 / 20_000.0
        };
        for (seen, expected) in [
            (share(|f| matches!(f, Fault::Error(500))), 0.05),
            (share(|f| matches!(f, Fault::Error(503))), 0.05),
            (share(|f| *f == Fault::Reset), 0.05),
            (share(|f| *f == Fault::Hang), 0.02),
            (share(|f| *f == Fault::Truncate), 0.2),
        ] {
            assert!((seen - expected).abs() < 0.01, "saw {seen}, asked for {expected}");
        }
    }

    #[test]
    fn a_rate_of_one_affects_every_request() {
        let rates = FaultRates { truncate: 1.0, ..FaultRates::default() };
        assert!((0..10_000).all(|seq| rates.draw(1, seq) == Some(Fault::Truncate)));
    }

    #[test]
    fn a_retry_is_drawn_independently() {
        let rates = FaultRates { error: 0.5, ..FaultRates::default() };
        assert!(
            (0..100).any(|seq| rates.draw(1, seq).is_some())
                && (0..100).any(|seq| rates.draw(1, seq).is_none())
        );
    }
}

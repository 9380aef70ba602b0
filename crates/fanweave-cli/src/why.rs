//! Reasons for a stall: the events that the accounts of a run wait for.

use std::collections::BTreeSet;
use std::time::Duration;

use fanweave::models::AccountState;
use tokio::time::Instant;

/// Maximum number of reasons to show.
const MAX_REASONS: usize = 3;
/// Time without a finished row after which the run has stalled.
const STILL: Duration = Duration::from_secs(2);
/// Time without the first byte of any answer that is shown as a reason. Reasoning models take this long.
const SILENT: Duration = Duration::from_secs(10);
/// Pause before an unchanged reason is printed again.
const REPEAT: Duration = Duration::from_secs(10);

/// Reasons why the accounts in use wait, with their models if there are several. Without any, reports that no
/// server has answered for `silent_for`.
pub(crate) fn reasons(accounts: &[AccountState], silent_for: Option<Duration>) -> Vec<String> {
    let used = || accounts.iter().filter(|account| account.requests + account.waiting as u64 > 0);
    let is_one = used().count() == 1;
    let reason = |account: &AccountState| {
        let reason = reason(account)?;
        Some(if is_one { reason } else { format!("{}: {reason}", account.model) })
    };
    let reasons: Vec<_> = used().filter_map(reason).take(MAX_REASONS).collect();
    if reasons.is_empty() { silence(accounts, silent_for).into_iter().collect() } else { reasons }
}

/// The reason if servers have not answered for a long time, with their hosts.
fn silence(accounts: &[AccountState], silent_for: Option<Duration>) -> Option<String> {
    let seconds = silent_for.filter(|time| *time >= SILENT)?.as_secs();
    let waiting = || accounts.iter().filter(|account| account.in_flight > 0);
    let hosts: BTreeSet<_> = waiting().filter_map(|account| host(&account.base_url)).collect();
    let hosts: Vec<_> = hosts.into_iter().take(MAX_REASONS).collect();
    let requests: usize = waiting().map(|account| account.in_flight).sum();
    let s = if requests == 1 { "" } else { "s" };
    let from = if hosts.is_empty() { String::new() } else { format!(" from {}", hosts.join(", ")) };
    Some(format!("no response for {seconds}s{from}; {requests} request{s} in flight"))
}

/// The host and port of a URL.
fn host(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    authority.rsplit('@').next()
}

/// The event that an account waits for. `None` if it accepts calls.
fn reason(account: &AccountState) -> Option<String> {
    if !account.status.is_closed() {
        return None;
    }
    let calls = match account.waiting {
        0 => String::new(),
        n => format!("; {n} queued"),
    };
    Some(format!("{}{calls}", account.status))
}

/// Decides when a reason for a stall is printed as a line.
pub(crate) struct StallReport {
    done: u64,
    since: Instant,
    /// The last reason that was printed, and its time.
    printed: Option<(String, Instant)>,
}

impl StallReport {
    pub(crate) fn new() -> Self {
        Self { done: 0, since: Instant::now(), printed: None }
    }

    /// The line to print now, if any. `done` is the number of finished rows. Prints a reason if no row has
    /// finished for a while, and the reason is new or was last printed some time ago.
    pub(crate) fn line(&mut self, done: u64, reasons: &[String]) -> Option<String> {
        let now = Instant::now();
        if done != self.done {
            (self.done, self.since, self.printed) = (done, now, None);
        }
        if reasons.is_empty() || now.duration_since(self.since) < STILL {
            return None;
        }
        let reason = reasons.join("; ");
        let kind = without_figures(&reason);
        let is_known = self
            .printed
            .as_ref()
            .is_some_and(|(printed, at)| *printed == kind && now.duration_since(*at) < REPEAT);
        if is_known {
            return None;
        }
        self.printed = Some((kind, now));
        Some(reason)
    }
}

/// A reason without times and counts, which change all the time.
fn without_figures(reason: &str) -> String {
    let words = reason.split_whitespace().filter(|word| !word.starts_with(|c: char| c.is_ascii_digit()));
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use fanweave::models::AccountStatus;

    use super::*;

    #[test]
    fn accounts_are_named_if_there_are_several() {
        let account = |model: &str, waiting, wait: Option<u64>| {
            let mut account = AccountState::default();
            (account.model, account.waiting, account.requests) = (model.to_owned(), waiting, 5);
            if let Some(wait) = wait {
                account.status = AccountStatus::Waiting { left: Duration::from_secs(wait) };
            }
            account
        };
        let idle = AccountState::default();
        assert_eq!(
            reasons(&[account("a", 12, Some(12)), idle.clone()], None),
            ["the provider asked to wait: 12s left; 12 queued"]
        );
        let all = [account("a", 1, Some(80)), account("b", 3, None), account("c", 0, Some(2)), idle];
        assert_eq!(
            reasons(&all, Some(Duration::from_secs(60))),
            [
                "a: the provider asked to wait: 1m 20s left; 1 queued",
                "c: the provider asked to wait: 2s left"
            ]
        );
        assert!(reasons(&[account("a", 3, None)], None).is_empty());
    }

    #[test]
    fn a_server_that_accepts_requests_and_answers_none_is_named_after_ten_seconds() {
        let mut account = AccountState::default();
        account.base_url = "https://name:secret@api.example.com:8443/v1".to_owned();
        (account.requests, account.in_flight) = (12, 12);
        let accounts = [account, AccountState::default()];
        assert!(reasons(&accounts, Some(Duration::from_secs(9))).is_empty());
        assert_eq!(
            reasons(&accounts, Some(Duration::from_secs(30))),
            ["no response for 30s from api.example.com:8443; 12 requests in flight"]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_reason_for_a_stall_is_printed_when_it_changes_and_every_ten_seconds() {
        let began = Instant::now();
        let mut still = StallReport::new();
        let mut lines = Vec::new();
        for second in 0..60 {
            let (done, reason) = match second {
                // Rows finish.
                0..10 => (second, Some("paced to 60 requests/min".to_owned())),
                10..35 => {
                    let failing =
                        format!("provider is failing: 502 Bad Gateway for {}s; 64 queued", second - 9);
                    (9, Some(failing))
                }
                35..40 => (9, Some("waiting 5s as the provider asked (429)".to_owned())),
                40..45 => (9, None),
                _ => (10, Some("waiting 5s as the provider asked (429)".to_owned())),
            };
            let reasons: Vec<_> = reason.into_iter().collect();
            let line = still.line(done, &reasons);
            lines.extend(line.map(|line| format!("{:>2} {line}", began.elapsed().as_secs())));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        insta::assert_snapshot!(lines.join("\n"), @r"
        11 provider is failing: 502 Bad Gateway for 2s; 64 queued
        21 provider is failing: 502 Bad Gateway for 12s; 64 queued
        31 provider is failing: 502 Bad Gateway for 22s; 64 queued
        35 waiting 5s as the provider asked (429)
        47 waiting 5s as the provider asked (429)
        57 waiting 5s as the provider asked (429)
        ");
    }
}

//! Progress display of a batch: a panel on a terminal, otherwise lines.

use std::io::IsTerminal;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fanweave::batch::{InFlight, Progress, Snapshot};
use fanweave::models::AccountState;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::args::ShowProgress;
use crate::cost::dollars;
use crate::out::tell;
use crate::panel::Panel;
use crate::why::{self, StallReport};

/// Interval for drawing the panel. Fast enough to look alive, slow enough to read.
const DRAW: Duration = Duration::from_millis(100);
/// Interval of progress lines without a terminal.
const LINE: Duration = Duration::from_secs(10);

/// Interval for detecting a stall without a terminal.
const LOOK: Duration = Duration::from_secs(1);

/// Shows the progress of a batch.
pub(crate) struct Display {
    progress: Arc<Progress>,
    form: DisplayMode,
    concurrency: usize,
    started: Instant,
    /// Text below the panel.
    notice: OnceLock<String>,
}

enum DisplayMode {
    Panel(Panel),
    Lines,
    Nothing,
}

impl Display {
    pub(crate) fn new(show: ShowProgress, progress: Arc<Progress>, concurrency: usize) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let form = match show {
            ShowProgress::None => DisplayMode::Nothing,
            ShowProgress::Bar => DisplayMode::Panel(Panel::new()),
            ShowProgress::Auto if terminal => DisplayMode::Panel(Panel::new()),
            ShowProgress::Auto | ShowProgress::Counter => DisplayMode::Lines,
        };
        Self { progress, form, concurrency, started: Instant::now(), notice: OnceLock::new() }
    }

    /// Draws until dropped.
    pub(crate) async fn draw(&self) {
        let mut ticks = interval(if matches!(self.form, DisplayMode::Lines) { LOOK } else { DRAW });
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut still, mut next) = (StallReport::new(), self.started + LINE);
        // The first tick completes immediately: it starts measuring the rate, and draws an empty panel.
        loop {
            ticks.tick().await;
            let now = self.progress.snapshot();
            match &self.form {
                DisplayMode::Panel(panel) => panel.draw(|width| {
                    let text = panel_text(&now, self.concurrency, self.started.elapsed(), width);
                    let accounts = fanweave::models::account_states();
                    let limits = limits_text(&now, &accounts);
                    text + &notices(limits, why::reasons(&accounts, now.silent_for), self.notice.get(), width)
                }),
                DisplayMode::Lines => {
                    if Instant::now() >= next {
                        next += LINE;
                        tell!("{}", line(&now));
                    }
                    let reasons = why::reasons(&fanweave::models::account_states(), now.silent_for);
                    if let Some(reason) = still.line(now.done, &reasons) {
                        tell!("{reason}");
                    }
                }
                DisplayMode::Nothing => {}
            }
        }
    }

    /// Removes the panel, to make room for other output.
    pub(crate) fn clear(&self) {
        if let DisplayMode::Panel(panel) = &self.form {
            panel.clear();
        }
    }

    /// Returns true if a panel is shown.
    pub(crate) fn has_panel(&self) -> bool {
        matches!(self.form, DisplayMode::Panel(_))
    }

    /// The rows in flight.
    pub(crate) fn flights(&self) -> Vec<InFlight> {
        self.progress.flights()
    }

    /// Prints a line above the panel, which is then redrawn.
    pub(crate) fn print(&self, text: &str) {
        self.clear();
        tell!("{text}");
    }

    /// Shows a notice until the end of the run.
    pub(crate) fn set_notice(&self, text: &str) {
        match &self.form {
            // The first notice stays: there is only one per run.
            DisplayMode::Panel(_) => drop(self.notice.set(format!(" {text}"))),
            DisplayMode::Lines | DisplayMode::Nothing => tell!("{text}"),
        }
    }
}

/// The panel, for a terminal `width` columns wide.
///
/// ```text
/// ━━━━━━━━━━━━━━━━━━━━━━━━━━━━────────────────  142/223  64 %
///  ok 140   failed 2   retrying 1   in flight 63/64
///  21.4 rows/s   3.2k tokens/s   4s left   ttft 310ms   p50 612ms   p95 1.4s
///  $0.42 of about $0.66   rpm 1,480 of 1,500
/// ```
fn panel_text(now: &Snapshot, concurrency: usize, elapsed: Duration, width: usize) -> String {
    let done = match now.total {
        Some(total) => {
            format!("{}/{}  {} %", count(now.done), count(total), percent(now.done, total))
        }
        None => format!("{} rows", count(now.done)),
    };
    let room = width.saturating_sub(done.chars().count() + 3).clamp(10, 60);
    let bar = match now.total {
        Some(total) => bar(now.done, total, room),
        None => String::new(),
    };
    let gap = if bar.is_empty() { "" } else { "  " };

    let mut rows = vec![format!("ok {}", count(now.ok - now.resumed.min(now.ok)))];
    let mut add = |name: &str, n: u64| {
        if n > 0 {
            rows.push(format!("{name} {}", count(n)));
        }
    };
    add("resumed", now.resumed);
    add("cached", now.cached);
    add("failed", now.failed);
    add("retrying", now.retrying);
    add("waiting", now.waiting);
    rows.push(match now.at_workers {
        0 => format!("in flight {}/{}", count(now.running()), count(concurrency as u64)),
        _ => format!("in flight {}", count(now.running())),
    });

    let mut speed = vec![format!("{:.1} rows/s", now.rate)];
    let seconds = elapsed.as_secs_f64();
    if now.usage.total_tokens() > 0 && seconds > 0.0 {
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let tokens = now.usage.total_tokens() as f64 / seconds;
        speed.push(format!("{} tokens/s", short(tokens)));
    }
    speed.extend(now.eta().filter(|_| now.in_flight > 0).map(|eta| format!("{} left", rounded(eta))));
    for (name, time) in [("ttft", now.first_byte), ("p50", now.p50), ("p95", now.p95)] {
        speed.extend(time.map(|time| format!("{name} {}", rounded(time))));
    }

    let lines = [format!("{bar}{gap}{done}"), rows.join("   "), speed.join("   ")];
    lines.iter().map(|line| clip(&format!(" {line}"), width)).collect::<Vec<_>>().join("\n")
}

/// Cost, limits and their usage, and rejected requests, totalled over all accounts. `None` if nothing is
/// known.
fn limits_text(now: &Snapshot, accounts: &[AccountState]) -> Option<String> {
    let used: Vec<_> =
        accounts.iter().filter(|account| account.requests + account.waiting as u64 > 0).collect();
    let all =
        |of: fn(&AccountState) -> Option<f64>| used.iter().map(|account| of(account)).sum::<Option<f64>>();
    let total = |of: fn(&AccountState) -> u64| used.iter().map(|account| of(account)).sum::<u64>();
    let mut facts = Vec::new();
    if let Some(usd) = now.cost_usd.filter(|usd| *usd > 0.0) {
        let end = now.cost_at_the_end().map(|all| format!(" of about {}", dollars(all))).unwrap_or_default();
        let budget = now.budget_usd.map(|usd| format!(", budget {}", dollars(usd))).unwrap_or_default();
        facts.push(format!("{}{end}{budget}", dollars(usd)));
    }
    let mut add =
        |name: &str, used: u64, rate: Option<f64>, limit: Option<f64>, format: fn(f64) -> String| {
            #[expect(clippy::cast_precision_loss, reason = "figures for people")]
            let used = format(used as f64);
            match (rate, limit) {
                (Some(rate), Some(limit)) if rate < 0.9 * limit => {
                    facts.push(format!("{name} {used} of {}, slowed to {}", format(limit), format(rate)));
                }
                (_, Some(limit)) => facts.push(format!("{name} {used} of {}", format(limit))),
                (Some(rate), None) => facts.push(format!("{name} {used}, slowed to {}", format(rate))),
                (None, None) => {}
            }
        };
    if !used.is_empty() {
        let (sent, spent) = (total(|a| a.requests_last_minute), total(|a| a.tokens_last_minute));
        let whole = |n: f64| count(n.round() as u64);
        add("rpm", sent, all(|a| a.requests_per_minute), all(|a| a.request_limit), whole);
        add("tpm", spent, all(|a| a.tokens_per_minute), all(|a| a.token_limit), short);
    }
    facts.extend(
        all(|a| a.capacity.map(|n| n as f64)).filter(|n| *n > 0.0).map(|n| format!("max in flight {n}")),
    );
    let refused = total(|a| a.refused);
    if refused > 0 {
        facts.push(format!("rejected {}", count(refused)));
    }
    (!facts.is_empty()).then(|| format!(" {}", facts.join("   ")))
}

/// The lines below the figures: limits, reasons for a stall, and the notice.
fn notices(limits: Option<String>, reasons: Vec<String>, notice: Option<&String>, width: usize) -> String {
    let reasons = reasons.into_iter().map(|reason| format!(" {reason}"));
    let lines = limits.into_iter().chain(reasons).chain(notice.cloned());
    lines.map(|line| format!("\n{}", clip(&line, width))).collect()
}

/// Progress as one line.
fn line(now: &Snapshot) -> String {
    let of = now.total.map(|total| format!("/{total} ({} %)", percent(now.done, total))).unwrap_or_default();
    let mut text = format!(
        "{}{of} rows done, {} failed, {} in flight, {:.1} rows/s",
        now.done,
        now.failed,
        now.running(),
        now.rate
    );
    if let Some(eta) = now.eta() {
        text.push_str(&format!(", {} left", rounded(eta)));
    }
    text
}

fn percent(done: u64, total: u64) -> u64 {
    (done * 100).checked_div(total).unwrap_or(100)
}

fn bar(done: u64, total: u64, width: usize) -> String {
    let filled = usize::try_from(done * width as u64 / total.max(1)).unwrap_or(width).min(width);
    format!("{}{}", "━".repeat(filled), "─".repeat(width - filled))
}

/// Truncates a line to the width: a wrapped line would leave remains on the screen.
fn clip(line: &str, width: usize) -> String {
    line.chars().take(width.max(1)).collect::<String>().trim_end().to_owned()
}

/// Formats a count with thousands separators: `1,234,567`.
fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats a number as `812`, `3.2k` or `1.4M`.
pub(crate) fn short(n: f64) -> String {
    match n {
        n if n >= 1e6 => format!("{:.1}M", n / 1e6),
        n if n >= 1e4 => format!("{:.0}k", n / 1e3),
        n if n >= 1e3 => format!("{:.1}k", n / 1e3),
        n => format!("{n:.0}"),
    }
}

/// Formats a time, rounded: `87ms`, `1.4s`, `12s`, `3m 20s`.
pub(crate) fn rounded(time: Duration) -> String {
    match time {
        t if t < Duration::from_secs(1) => format!("{}ms", t.as_millis()),
        t if t < Duration::from_secs(10) => format!("{:.1}s", t.as_secs_f64()),
        t => humantime::format_duration(Duration::from_secs(t.as_secs())).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use fanweave::Usage;

    use super::*;

    fn half_way() -> Snapshot {
        let mut now = Snapshot::default();
        now.total = Some(223);
        now.done = 142;
        now.ok = 140;
        now.failed = 2;
        now.in_flight = 64;
        now.retrying = 1;
        now.cost_usd = Some(0.42);
        now.rate = 21.4;
        now.usage = Usage::new(3_000, 18_000);
        now.cached = 12;
        now.budget_usd = Some(2.0);
        now.first_byte = Some(Duration::from_millis(310));
        now.p50 = Some(Duration::from_millis(612));
        now.p95 = Some(Duration::from_millis(1_420));
        now
    }

    #[test]
    fn the_panel_shows_what_matters() {
        insta::assert_snapshot!(panel_text(&half_way(), 64, Duration::from_secs(7), 80), @r"
        ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━──────────────────────  142/223  63 %
        ok 140   cached 12   failed 2   retrying 1   in flight 63/64
        21.4 rows/s   3.0k tokens/s   3.8s left   ttft 310ms   p50 612ms   p95 1.4s
        ");
    }

    #[test]
    fn rows_at_workers_are_in_flight_without_a_maximum() {
        let mut now = half_way();
        (now.in_flight, now.at_workers) = (1_024, 1_024);
        let text = panel_text(&now, 64, Duration::from_secs(7), 80);
        assert!(text.contains("in flight 1,023\n"), "{text}");
    }

    #[test]
    fn a_resumed_run_from_stdin_has_no_bar_and_no_end() {
        let mut now = half_way();
        (now.total, now.resumed, now.retrying) = (None, 40, 0);
        insta::assert_snapshot!(panel_text(&now, 64, Duration::from_secs(7), 80), @r"
        142 rows
        ok 100   resumed 40   cached 12   failed 2   in flight 64/64
        21.4 rows/s   3.0k tokens/s   ttft 310ms   p50 612ms   p95 1.4s
        ");
    }

    #[test]
    fn no_line_of_the_panel_is_wider_than_the_terminal() {
        for width in [1, 20, 40, 80, 200] {
            for line in panel_text(&half_way(), 64, Duration::from_secs(7), width).lines() {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn the_limits_of_all_accounts_are_summed_up_in_a_line() {
        let account = |change: fn(&mut AccountState)| {
            let mut account = AccountState::default();
            (account.requests, account.requests_last_minute, account.tokens_last_minute) =
                (2_900, 1_480, 840_000);
            change(&mut account);
            account
        };
        let free = account(|_| {});
        let idle_run = Snapshot::default();
        assert_eq!(limits_text(&idle_run, &[free]), None);
        assert_eq!(limits_text(&idle_run, &[]), None);
        let paced = account(|account| {
            (account.requests_per_minute, account.request_limit) = (Some(1_492.5), Some(1_500.0));
            (account.tokens_per_minute, account.token_limit) = (Some(630_000.0), Some(900_000.0));
        });
        let full = account(|account| {
            (account.capacity, account.refused) = (Some(64), 3);
        });
        let idle = AccountState::default();
        let lines = [vec![paced.clone()], vec![full], vec![paced.clone(), paced, idle]]
            .map(|all| limits_text(&half_way(), &all));
        insta::assert_snapshot!(lines.map(Option::unwrap).join("\n"), @r"
        $0.42 of about $0.66, budget $2.00   rpm 1,480 of 1,500   tpm 840k of 900k, slowed to 630k
        $0.42 of about $0.66, budget $2.00   max in flight 64   rejected 3
        $0.42 of about $0.66, budget $2.00   rpm 2,960 of 3,000   tpm 1.7M of 1.8M, slowed to 1.3M
        ");
    }

    #[test]
    fn the_panel_shows_why_a_run_stalls() {
        let mut still = half_way();
        (still.rate, still.waiting, still.retrying) = (0.0, 64, 0);
        let failing = "provider is failing: 502 Bad Gateway for 14s; 312 queued; next probe in 2s".to_owned();
        let stopping = " stopping: finishing requests in flight".to_owned();
        let limits = limits_text(&still, &[]);
        let text = panel_text(&still, 64, Duration::from_secs(70), 80)
            + &notices(limits, vec![failing], Some(&stopping), 80);
        insta::assert_snapshot!(text, @r"
        ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━──────────────────────  142/223  63 %
        ok 140   cached 12   failed 2   waiting 64   in flight 0/64
        0.0 rows/s   300 tokens/s   ttft 310ms   p50 612ms   p95 1.4s
        $0.42 of about $0.66, budget $2.00
        provider is failing: 502 Bad Gateway for 14s; 312 queued; next probe in 2s
        stopping: finishing requests in flight
        ");
    }

    #[test]
    fn a_line_for_logs() {
        insta::assert_snapshot!(line(&half_way()), @"142/223 (63 %) rows done, 2 failed, 63 in flight, 21.4 rows/s, 3.8s left");
    }

    #[test]
    fn numbers_are_rounded_for_reading() {
        let times = [87, 1_400, 12_300, 200_000].map(|ms| rounded(Duration::from_millis(ms)));
        assert_eq!(times, ["87ms", "1.4s", "12s", "3m 20s"]);
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([7.0, 1_234.0, 56_789.0, 3_400_000.0].map(short), ["7", "1.2k", "57k", "3.4M"]);
    }
}

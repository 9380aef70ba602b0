//! The list of rows in flight, printed on SIGUSR1 or when `t` is pressed in a terminal.

use std::fmt::Write;
use std::time::Duration;

use fanweave::batch::InFlight;

use crate::keyboard::Keys;
use crate::program::Program;
use crate::progress::{Display, rounded};

/// Maximum number of rows to list.
const MAX_LISTED: usize = 20;
/// Interval for polling the keyboard. Short enough to feel immediate.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Handles signals and keys until dropped. Keys are only read if standard input is `free`, not the input
/// file. Does nothing in a process of another program.
pub(crate) async fn answer(display: &Display, free: bool, program: &Program) {
    if !program.stop.is_on_signals() {
        return;
    }
    let keys = Keys::new(free && display.has_panel(), &program.terminal);
    tokio::join!(signals(display), pressed(&keys, display), keys.stops(&program.stop));
}

async fn signals(display: &Display) {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut signals) = signal(SignalKind::user_defined1()) {
            while signals.recv().await.is_some() {
                display.print(&list(&display.flights()));
            }
        }
    }
    let _ = display;
}

async fn pressed(keys: &Keys, display: &Display) {
    let mut ticks = tokio::time::interval(POLL_INTERVAL);
    loop {
        ticks.tick().await;
        if keys.pressed().contains(&b't') {
            display.print(&list(&display.flights()));
        }
    }
}

/// The rows in flight, one per line.
fn list(flights: &[InFlight]) -> String {
    let mut text = format!("in flight: {}", flights.len());
    for InFlight { line, id, time, .. } in flights.iter().take(MAX_LISTED) {
        let _ = write!(text, "\n  line {line}");
        if let Some(id) = id {
            let _ = write!(text, " ({})", fanweave::errors::excerpt(id, 60));
        }
        let _ = write!(text, " for {}", rounded(*time));
    }
    if flights.len() > MAX_LISTED {
        let _ = write!(text, "\n  .. and {} more", flights.len() - MAX_LISTED);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_rows_are_listed_and_the_rest_is_counted() {
        let flight = |n: u64| {
            let time = Duration::from_millis(20_000 - n * 900);
            InFlight::new(n, (n == 1).then(|| "row-1".to_owned()), time)
        };
        insta::assert_snapshot!(list(&(1..=22).map(flight).collect::<Vec<_>>()[..3]), @r"
        in flight: 3
          line 1 (row-1) for 19s
          line 2 for 18s
          line 3 for 17s
        ");
        let many = list(&(1..=22).map(flight).collect::<Vec<_>>());
        assert!(many.starts_with("in flight: 22\n") && many.ends_with("\n  .. and 2 more"), "{many}");
        assert_eq!(list(&[]), "in flight: 0");
    }
}

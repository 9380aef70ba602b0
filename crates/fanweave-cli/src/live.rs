//! What is in flight at this moment: asked for with SIGUSR1, or with the key `t` at a terminal.

use std::fmt::Write;
use std::time::Duration;

use fanweave::batch::InFlight;

use crate::keys::Keys;
use crate::progress::{Display, rounded};

/// Most rows that are listed.
const LISTED: usize = 20;
/// How often the keyboard is looked at. Fast enough to feel like an answer.
const LOOK: Duration = Duration::from_millis(100);

/// Answers whoever asks, until dropped. Keys are read where standard input is `free` of rows.
pub(crate) async fn answer(display: &Display, free: bool) {
    let keys = Keys::new(free && display.has_panel());
    tokio::join!(signals(display), pressed(&keys, display), keys.stops());
}

async fn signals(display: &Display) {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut asked) = signal(SignalKind::user_defined1()) {
            while asked.recv().await.is_some() {
                display.print(&list(&display.flights()));
            }
        }
    }
    let _ = display;
}

async fn pressed(keys: &Keys, display: &Display) {
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        ticks.tick().await;
        if keys.pressed().contains(&b't') {
            display.print(&list(&display.flights()));
        }
    }
}

/// The rows in flight, a line each.
fn list(flights: &[InFlight]) -> String {
    let mut text = format!("in flight: {}", flights.len());
    for InFlight { line, id, time } in flights.iter().take(LISTED) {
        let _ = write!(text, "\n  line {line}");
        if let Some(id) = id {
            let _ = write!(text, " ({})", fanweave::excerpt(id, 60));
        }
        let _ = write!(text, " for {}", rounded(*time));
    }
    if flights.len() > LISTED {
        let _ = write!(text, "\n  .. and {} more, for less long", flights.len() - LISTED);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_are_listed_and_the_rest_is_counted() {
        let flight = |n: u64| InFlight {
            line: n,
            id: (n == 1).then(|| "row-1".to_owned()),
            time: Duration::from_millis(20_000 - n * 900),
        };
        insta::assert_snapshot!(list(&(1..=22).map(flight).collect::<Vec<_>>()[..3]), @r"
        in flight: 3
          line 1 (row-1) for 19s
          line 2 for 18s
          line 3 for 17s
        ");
        let many = list(&(1..=22).map(flight).collect::<Vec<_>>());
        assert!(
            many.starts_with("in flight: 22\n") && many.ends_with("\n  .. and 2 more, for less long"),
            "{many}"
        );
        assert_eq!(list(&[]), "in flight: 0");
    }
}

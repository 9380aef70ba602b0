//! A run in the trace event format, for Perfetto and chrome://tracing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use fanweave::batch::RunRecord;
use serde_json::{Value, json};

/// Assigns lanes to overlapping spans: each gets the lowest free lane.
#[derive(Default)]
pub(super) struct Lanes {
    busy: BinaryHeap<Reverse<(u64, usize)>>,
    free: BinaryHeap<Reverse<usize>>,
    count: usize,
}

impl Lanes {
    /// Returns the lane of a span. Must be called in the order of start times.
    pub(super) fn take(&mut self, began: u64, ended: u64) -> usize {
        while let Some(Reverse((until, lane))) = self.busy.peek().copied()
            && until <= began
        {
            self.busy.pop();
            self.free.push(Reverse(lane));
        }
        let lane = self.free.pop().map_or_else(
            || {
                self.count += 1;
                self.count - 1
            },
            |Reverse(lane)| lane,
        );
        self.busy.push(Reverse((ended, lane)));
        lane
    }
}

/// Rows as slices on lanes, with their calls nested in them.
pub(super) fn chrome(run: &RunRecord) -> String {
    let mut rows: Vec<_> = run.rows.iter().filter_map(|row| Some((row.began?, row))).collect();
    rows.sort_by_key(|(began, row)| (*began, row.index));
    let start = rows.first().map_or(0, |(began, _)| *began);
    let mut lanes = Lanes::default();
    let mut events = Vec::new();
    for (began, row) in rows {
        let lane = lanes.take(began, began.saturating_add(row.latency_ms.max(1)));
        let at = |ms: u64| (began - start).saturating_add(ms).saturating_mul(1000);
        let slice = |name: &str, from: u64, to: u64, args: Value| {
            json!({
                "name": name, "ph": "X", "pid": 1, "tid": lane + 1, "ts": at(from),
                "dur": to.saturating_sub(from).max(1).saturating_mul(1000), "args": args,
            })
        };
        let name = row.id.clone().unwrap_or_else(|| format!("row {}", row.index));
        let error = row.error.as_ref().map(|(kind, message)| format!("{kind}: {message}"));
        let args = json!({ "line": row.line, "answer": row.answer, "error": error });
        events.push(slice(&name, 0, row.latency_ms, args));
        for call in &row.calls {
            // Each attempt, and the wait before it.
            let attempts = call.failed_attempts.iter().map(|(sent, failed, why)| (*sent, *failed, Some(why)));
            let mut free = call.ready_ms;
            for (sent, ended, why) in attempts.chain([(call.sent_ms, call.ended_ms, None)]) {
                if sent > free {
                    events.push(slice("queued", free, sent, json!({})));
                }
                let args = match why {
                    Some(why) => json!({ "failed": why }),
                    None => json!({ "first_byte_ms": call.first_byte_ms }),
                };
                events.push(slice(&call.step, sent, ended, args));
                free = ended;
            }
        }
    }
    json!({ "displayTimeUnit": "ms", "traceEvents": events }).to_string()
}

#[cfg(test)]
mod tests {
    use super::Lanes;

    #[test]
    fn overlapping_spans_get_the_lowest_free_lane() {
        let mut lanes = Lanes::default();
        let spans = [(0, 10), (1, 3), (2, 9), (3, 4), (10, 12), (10, 11)];
        assert_eq!(spans.map(|(began, ended)| lanes.take(began, ended)), [0, 1, 2, 1, 0, 1]);
    }
}

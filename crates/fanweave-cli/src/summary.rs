//! Summary of a batch, as text or JSON.

use std::fmt::Write;
use std::time::Duration;

use fanweave::Error;
use fanweave::batch::Summary;
use fanweave::models::Adaptation;
use serde_json::{Value, json};

use crate::cost::dollars;
use crate::exit::{spelled, spelled_message};
use crate::progress::{rounded, short};

/// Maximum number of failure reasons to list.
const MAX_REASONS: usize = 8;

/// The summary as text. `output` is the location of the answers.
pub(crate) fn text(summary: &Summary, adaptations: &[Adaptation], output: &str) -> String {
    let mut text = String::new();
    let called = summary.rows - summary.resumed;
    let _ = write!(
        text,
        "{} in {}: {} ok, {} failed",
        rows(summary.rows),
        rounded(summary.wall),
        summary.ok,
        summary.failed
    );
    if summary.resumed > 0 {
        let _ = write!(text, ", {} from an earlier run", summary.resumed);
    }
    if called > 0 && !summary.wall.is_zero() {
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = called as f64 / summary.wall.as_secs_f64();
        let _ = write!(text, " ({rate:.1} rows/s)");
    }
    for group in summary.failures.iter().take(MAX_REASONS) {
        let mut group = group.clone();
        group.message = spelled_message(&group.message);
        let _ = write!(text, "\n  {group}");
    }
    if summary.failures.len() > MAX_REASONS {
        let _ = write!(text, "\n  .. and {} more reasons", summary.failures.len() - MAX_REASONS);
    }
    if called > 0 {
        text.push('\n');
        text.push_str(&figures(summary));
    }
    for adaptation in adaptations {
        let _ = write!(text, "\n{}", adapted(adaptation));
    }
    for note in &summary.notes {
        let _ = write!(text, "\nnote: {note}");
    }
    if summary.rows > 0 {
        let _ = write!(text, "\nanswers: {output}");
    }
    text
}

/// The summary as JSON, with times in milliseconds and the reason if the run stopped early.
pub(crate) fn json(summary: &Summary, adaptations: &[Adaptation], output: &str) -> Value {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let failures: Vec<_> = summary
        .failures
        .iter()
        .map(|group| {
            json!({
                "kind": group.kind, "message": group.message, "count": group.count, "first_line": group.first_line,
            })
        })
        .collect();
    let adaptations: Vec<_> = adaptations
        .iter()
        .map(|adaptation| {
            json!({
                "model": adaptation.model, "server": adaptation.server, "changes": adaptation.changes,
                "refused": adaptation.refused, "changed": adaptation.changed,
            })
        })
        .collect();
    let stopped = match summary {
        Summary { refused: Some(_), .. } => Some("refused"),
        Summary { unavailable: Some(_), .. } => Some("unavailable"),
        Summary { over_budget: true, .. } => Some("budget"),
        Summary { too_many_errors: true, .. } => Some("errors"),
        Summary { interrupted: true, .. } => Some("interrupted"),
        _ => None,
    };
    let unavailable = summary.unavailable.as_ref().map(outage);
    let reason = summary.refused.clone().map(|error| spelled(error).to_string()).or(unavailable);
    json!({
        "rows": summary.rows, "ok": summary.ok, "failed": summary.failed, "resumed": summary.resumed,
        "left": summary.left, "empty_answers": summary.empty_answers,
        "cut_answers": summary.cut_answers, "stopped": stopped, "reason": reason,
        "next_row_budget_usd": summary.next_row_budget_usd, "all_rows_budget_usd": summary.all_rows_budget_usd, "retries": summary.retries, "hedged": summary.hedged, "usage": summary.usage,
        "cost_usd": summary.cost_usd,
        "maybe_billed": { "usd": summary.maybe_billed_usd, "requests": summary.unanswered }, "wall_ms": ms(summary.wall), "p50_ms": summary.p50.map(ms),
        "p95_ms": summary.p95.map(ms), "failures": failures,
        "adaptations": adaptations, "notes": summary.notes, "output": output,
    })
}

/// A note on the changes to requests that a server has refused.
pub(crate) fn adapted(adaptation: &Adaptation) -> String {
    format!("note: the server refused requests as written: {adaptation}")
}

/// The reason why the provider was unavailable, with the last failure.
pub(crate) fn outage(error: &Error) -> String {
    let cause = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Error>());
    let cause = cause.filter(|cause| !error.message().contains(cause.message()));
    error.to_string() + &cause.map(|cause| format!("; last failure: {cause}")).unwrap_or_default()
}

fn figures(summary: &Summary) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a count for people")]
    let tokens = |n: u64| short(n as f64);
    let reasoning = match summary.usage.reasoning_tokens {
        0 => String::new(),
        n => format!(" ({} reasoning)", tokens(n)),
    };
    let mut figures = vec![format!(
        "tokens {} in, {} out{reasoning}",
        tokens(summary.usage.input_tokens),
        tokens(summary.usage.output_tokens)
    )];
    figures.extend(summary.cost_usd.filter(|usd| *usd > 0.0).map(|usd| format!("cost {}", dollars(usd))));
    if summary.unanswered > 0 {
        let requests = requests(summary.unanswered);
        let usd = Some(summary.maybe_billed_usd).filter(|usd| *usd > 0.0);
        figures.push(match usd {
            Some(usd) => format!("maybe billed {} ({requests})", dollars(usd)),
            None => format!("maybe billed {requests}"),
        });
    }
    if summary.empty_answers > 0 {
        figures.push(format!("{} empty", summary.empty_answers));
    }
    if summary.cut_answers > 0 {
        figures.push(format!("{} cut (see finish_reason)", summary.cut_answers));
    }
    for (name, time) in [("p50", summary.p50), ("p95", summary.p95)] {
        figures.extend(time.map(|time| format!("{name} {}", rounded(time))));
    }
    if summary.retries > 0 {
        figures.push(format!("{} retries", summary.retries));
    }
    if summary.hedged > 0 {
        figures.push(format!("{} hedged", summary.hedged));
    }
    figures.join("   ")
}

fn requests(n: u64) -> String {
    if n == 1 { "1 request".to_owned() } else { format!("{n} requests") }
}

fn rows(n: u64) -> String {
    if n == 1 { "1 row".to_owned() } else { format!("{n} rows") }
}

#[cfg(test)]
mod tests {
    use fanweave::Usage;
    use fanweave::batch::FailureGroup;

    use super::*;

    #[test]
    fn failures_are_grouped_by_reason() {
        let group = |kind: &str, message: &str, count, line| FailureGroup::new(kind, message, count, line);
        let mut summary = Summary::default();
        summary.rows = 223;
        summary.ok = 219;
        summary.failed = 4;
        summary.resumed = 100;
        summary.retries = 12;
        summary.hedged = 3;
        summary.unanswered = 4;
        summary.maybe_billed_usd = 0.0123;
        summary.cost_usd = Some(0.42);
        summary.usage = Usage::new(2_345, 14_000).reasoning_tokens(12_000);
        summary.wall = Duration::from_millis(3_100);
        summary.p50 = Some(Duration::from_millis(612));
        summary.p95 = Some(Duration::from_millis(1_400));
        summary.failures =
            vec![group("timeout", "no answer within 30s", 3, 17), group("input", "not JSON", 1, 9)];
        insta::assert_snapshot!(text(&summary, &[], "answers.jsonl"), @r"
        223 rows in 3.1s: 219 ok, 4 failed, 100 from an earlier run (39.7 rows/s)
          3 x timeout: no answer within 30s (first in line 17)
          1 x input: not JSON (first in line 9)
        tokens 2.3k in, 14k out (12k reasoning)   cost $0.42   maybe billed $0.01 (4 requests)   p50 612ms   p95 1.4s   12 retries   3 hedged
        answers: answers.jsonl
        ");
    }
}

//! A run as a self-contained HTML page.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;

use fanweave::batch::{RowRecord, RunRecord};
use serde::{Serialize, Serializer};

use super::figures::Figures;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page of a run. `prompts` are the beginnings of its rows' inputs, by index.
pub(super) fn html(
    name: &Path,
    run: &RunRecord,
    prompts: &HashMap<u64, String>,
    figures: &Figures,
) -> String {
    let start = run.rows.iter().filter_map(|row| row.began).min();
    let mut steps: Vec<&str> =
        run.rows.iter().flat_map(|row| &row.calls).map(|call| call.step.as_str()).collect();
    steps.sort_unstable();
    steps.dedup();
    let rows = run.rows.iter().map(|row| of_row(row, start, prompts.get(&row.index), &steps));
    let data = Data {
        name: name.display().to_string(),
        start,
        figures,
        steps: &steps,
        rows: Rows(RefCell::new(rows)),
    };
    let data = serde_json::to_string(&data).expect("figures and rows have string keys");
    let title = escaped(&name.display().to_string());
    // The data is inserted last, so that placeholders in it are not replaced.
    PAGE.replace("/*STYLE*/", STYLE)
        .replace("/*SCRIPT*/", SCRIPT)
        .replace("TITLE", &title)
        .replace("\"DATA\"", &escape_for_script(&data))
}

/// The data of the page.
#[derive(Serialize)]
struct Data<'a, R: Serialize> {
    name: String,
    start: Option<u64>,
    figures: &'a Figures,
    steps: &'a [&'a str],
    rows: R,
}

/// A list that is made while it is written: rows as JSON values would take several times as much memory as
/// the page.
struct Rows<I>(RefCell<I>);

impl<I: Iterator<Item: Serialize>> Serialize for Rows<I> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(&mut *self.0.borrow_mut())
    }
}

/// A row as a list instead of an object: repeated keys would make up most of the page.
fn of_row<'a>(
    row: &'a RowRecord,
    start: Option<u64>,
    prompt: Option<&'a String>,
    steps: &[&str],
) -> impl Serialize + use<'a> {
    let calls: Vec<_> = row
        .calls
        .iter()
        .map(|call| {
            let step = steps.binary_search(&call.step.as_str()).unwrap_or_default();
            (step, call.ready_ms, call.sent_ms, call.first_byte_ms, call.ended_ms, &call.failed_attempts)
        })
        .collect();
    (
        row.index,
        row.line,
        &row.id,
        row.began.zip(start).map(|(began, start)| began - start),
        row.latency_ms,
        row.attempts,
        row.usage.input_tokens,
        row.usage.output_tokens,
        row.cost_usd.map(|cost| (cost * 1e7).round() / 1e7),
        &row.answer,
        &row.error,
        prompt,
        calls,
    )
}

/// Escapes JSON for a script element: it can neither close the element nor break a line.
fn escape_for_script(json: &str) -> String {
    json.replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(index: u64, answer: &str) -> RowRecord {
        let mut row = RowRecord::default();
        (row.index, row.line, row.began, row.latency_ms, row.attempts) =
            (index, index + 1, Some(1_000 + index), 800, 1);
        row.usage.output_tokens = 250;
        row.answer = answer.to_owned();
        let mut call = fanweave::batch::CallTimes::default();
        (call.step, call.ready_ms, call.sent_ms, call.first_byte_ms, call.ended_ms) =
            ("openai/gpt-5-mini".to_owned(), 0, 12_345, Some(12_700), 13_145);
        row.calls = vec![call];
        row
    }

    fn page(rows: Vec<RowRecord>, name: &str) -> String {
        let mut run = RunRecord::default();
        run.rows = rows;
        html(Path::new(name), &run, &HashMap::new(), &Figures::of(&run))
    }

    #[test]
    fn text_of_a_model_is_never_markup() {
        let page = page(
            vec![row(0, "</script><img src=x onerror=alert(1)> \u{2028} \"DATA\" TITLE /*SCRIPT*/")],
            "<b>run</b>",
        );
        assert_eq!(page.matches("</script>").count(), 2, "only those of the page itself");
        assert!(!page.contains("<img") && !page.contains("<b>run") && !page.contains('\u{2028}'));
    }

    #[test]
    fn extreme_numbers_do_not_break_the_report() {
        let mut vast = row(1, "a");
        (vast.latency_ms, vast.usage.input_tokens, vast.cost_usd) = (u64::MAX, u64::MAX, Some(f64::INFINITY));
        vast.calls[0].ended_ms = u64::MAX;
        vast.calls[0].failed_attempts = vec![(u64::MAX, 0, "x".to_owned())];
        let mut first = vast.clone();
        (first.index, first.began) = (0, Some(u64::MAX));
        let mut run = RunRecord::default();
        run.rows = vec![first, vast];
        let figures = Figures::of(&run);
        assert_eq!((figures.input_tokens, figures.rows), (u64::MAX, 2));
        assert!(
            html(Path::new("run"), &run, &HashMap::new(), &figures).contains("DATA")
                || !figures.text().is_empty()
        );
        assert!(super::super::trace::chrome(&run).contains("openai/gpt-5-mini"));
    }

    #[test]
    fn ten_thousand_calls_stay_below_two_megabytes() {
        let text = "An answer whose beginning is as long as those of many rows are allowed to be, well";
        let page = page((0..10_000).map(|n| row(n, &text[..80])).collect(), "run");
        assert!(page.len() < 2_000_000, "{} bytes", page.len());
    }

    #[test]
    fn the_page_loads_nothing_from_other_hosts() {
        let page = page(vec![row(0, "a")], "run");
        for outside in ["http://", "https://", "//cdn", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}

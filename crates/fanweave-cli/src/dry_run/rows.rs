//! `fanweave batch --dry-run`.

use std::fmt::Write;

use fanweave::Usage;
use fanweave::batch::{Render, Source};
use fanweave::models::Prices;

use super::{END, cost, show, time, tokens};
use crate::args::{BatchArgs, Via};
use crate::cost::expected;
use crate::exit::{Exit, Failure};
use crate::out::{escape_controls, print};
use crate::route::Routed;

/// Number of prompts to show.
const SHOWN: u64 = 3;

/// Reads all rows and prints the estimate.
pub(crate) fn run(
    source: Source,
    render: &Render,
    args: &BatchArgs,
    routed: &Routed,
    prices: &Prices,
) -> Result<Exit, Failure> {
    let mut text = String::new();
    let (mut rows, mut bad, mut usage) = (0, 0, Usage::default());
    let mut first_bad = None;
    let max_output = args.model.max_output();
    for item in source.take(args.rows.max_rows()) {
        let item = item.map_err(|e| Failure::new(e.to_string()))?;
        rows += 1;
        match item.input.and_then(|input| render.render(input)) {
            Ok(prompt) => {
                usage += expected(Some(&prompt), max_output);
                if rows - bad <= SHOWN {
                    let _ = writeln!(text, "line {}:", item.line);
                    show(&mut text, "  ", &prompt);
                }
            }
            Err(error) => {
                bad += 1;
                first_bad.get_or_insert_with(|| format!("line {}: {}", item.line, error.message()));
            }
        }
    }
    let _ = writeln!(text, "rows: {rows}");
    text.push_str(&tokens(usage, max_output.is_some()));
    #[expect(clippy::cast_precision_loss, reason = "a time for people")]
    let busiest = (routed.max_share * (rows - bad) as f64, routed.max_share * usage.total_tokens() as f64);
    match args.via {
        Via::Calls => text.push_str(&time(&[busiest], args.model.rpm, &args.model)),
        // The rate limits do not apply: the provider schedules the requests.
        Via::BatchApi => text.push_str("time: up to 24 hours\n"),
    }
    if let Some(first) = first_bad {
        let _ = writeln!(text, "invalid rows: {bad}, the first: {first}");
    }
    for model in &routed.names {
        text.push_str(&cost(model, " alone", usage, prices, args.via));
    }
    text.push_str(END);
    print(escape_controls(&text).as_bytes())?;
    Ok(if rows > 0 && bad == rows { Exit::Usage } else { Exit::Ok })
}

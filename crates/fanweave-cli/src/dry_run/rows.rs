//! `fanweave batch --dry-run`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::num::NonZeroU32;

use fanweave::Usage;
use fanweave::batch::{Render, Source};
use fanweave::models::Prices;

use super::{END, cost, show, shown, time, tokens, usd_of};
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
    // Costs of all rows, and of those without a model of their own, with each model of the flags.
    let mut of_all = vec![0.0; routed.names.len()];
    let (mut of_default, mut has_default) = (of_all.clone(), false);
    // Costs of rows that name another model.
    let mut others = BTreeMap::<String, f64>::new();
    let max_output = args.model.max_output();
    let samples = args.samples.map_or(1, NonZeroU32::get);
    for item in source.take(args.rows.max_rows()) {
        let item = item.map_err(|e| Failure::new(e.to_string()))?;
        rows += 1;
        let location = item.location();
        match item.input.and_then(|input| render.render(input)) {
            Ok(prompt) => {
                let of_row = expected(Some(&prompt), max_output);
                (0..samples).for_each(|_| usage += of_row);
                let usd = |model: &str| f64::from(samples) * usd_of(model, &of_row, prices, args.via);
                let own = routed.row_model.of(prompt.parameters.model.clone()).ok().flatten();
                has_default |= own.is_none();
                for (i, model) in routed.names.iter().enumerate() {
                    let usd = usd(model);
                    of_all[i] += usd;
                    of_default[i] += if own.is_none() { usd } else { 0.0 };
                }
                if let Some(model) = own {
                    let model = routed.row_model.full_name(&model);
                    let usd = usd(&model);
                    *others.entry(model).or_default() += usd;
                }
                if rows - bad <= SHOWN {
                    let _ = writeln!(text, "{location}:");
                    show(&mut text, "  ", &shown(&prompt));
                }
            }
            Err(error) => {
                bad += 1;
                first_bad.get_or_insert_with(|| format!("{location}: {}", error.message()));
            }
        }
    }
    let times = if samples > 1 { format!(", {samples} samples each") } else { String::new() };
    let _ = writeln!(text, "rows: {rows}{times}");
    text.push_str(&tokens(usage, max_output.is_some()));
    #[expect(clippy::cast_precision_loss, reason = "a time for people")]
    let busiest = (
        routed.max_share * ((rows - bad) * u64::from(samples)) as f64,
        routed.max_share * usage.total_tokens() as f64,
    );
    match args.via {
        Via::Calls => text.push_str(&time(&[busiest], args.model.rpm, &args.model)),
        // The rate limits do not apply: the provider schedules the requests.
        Via::BatchApi => text.push_str("time: up to 24 hours\n"),
    }
    #[cfg(feature = "workers")]
    if args.cluster.on.is_some() {
        text.push_str(&crate::cluster::plan::text(rows, usage));
    }
    if let Some(first) = first_bad {
        let _ = writeln!(text, "invalid rows: {bad}, the first: {first}");
    }
    for ((model, of_all), of_default) in routed.names.iter().zip(of_all).zip(of_default) {
        match others.is_empty() {
            true => text.push_str(&cost(model, " alone", of_all, prices)),
            false if !has_default => {}
            false => text.push_str(&cost(model, " for rows without a model", of_default, prices)),
        }
    }
    for (model, usd) in &others {
        text.push_str(&cost(model, " for the rows that name it", *usd, prices));
    }
    text.push_str(END);
    print(escape_controls(&text).as_bytes())?;
    Ok(if rows > 0 && bad == rows { Exit::Usage } else { Exit::Ok })
}

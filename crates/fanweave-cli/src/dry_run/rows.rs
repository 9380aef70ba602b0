//! `fanweave batch --dry-run`.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use fanweave::batch::{PlannedRequests, PlannedRow, PlannedRows, Render};
use fanweave::models::Prices;

use super::estimate::{Budget, Cost, Estimate, OutputBasis, Rows, Shown, Time, Total};
use super::{limit_time, shown, time, usd_of};
use crate::args::{BatchArgs, Via};
use crate::cost::expected;
use crate::exit::{Exit, Failure};
use crate::route::Routed;

/// Number of prompts to show.
const SHOWN: usize = 3;

/// Reads all rows and prints the estimate for those without a result. `input_rows` is the number of rows of
/// the whole input, if the run takes a part of it, and `at_once` the maximum rows in flight.
pub(crate) fn run(
    planned: PlannedRows,
    render: &Render,
    args: &BatchArgs,
    routed: &Routed,
    prices: &Prices,
    input_rows: Option<u64>,
    at_once: usize,
) -> Result<Exit, Failure> {
    let samples = args.samples.map_or(1, NonZeroU32::get);
    let mut rows = Rows { samples, of_input: input_rows, ..Rows::default() };
    let mut estimate = Estimate { prices_date: prices.date().to_owned(), ..Estimate::default() };
    let mut costs = Costs::new(routed);
    let max_output = args.model.max_output();
    let (spent, mean_latency) = (planned.spent_usd(), planned.mean_latency());
    let mut requests = args.rows.dedupe.then(PlannedRequests::default);
    for item in planned {
        let PlannedRow { row, has_result, .. } = item.map_err(|e| Failure::new(e.to_string()))?;
        let is_first = row.index.is_multiple_of(u64::from(samples));
        rows.taken += u64::from(is_first);
        if has_result {
            rows.done += 1;
            continue;
        }
        let location = row.location();
        match row.input.and_then(|input| render.render(input)) {
            Ok(prompt) if requests.as_mut().is_some_and(|requests| !requests.add(&prompt)) => rows.equal += 1,
            Ok(prompt) => {
                let of_row = expected(Some(&prompt), max_output);
                estimate.usage += of_row;
                let own = routed.row_model.of(prompt.parameters.model.clone()).ok().flatten();
                let own = own.map(|model| routed.row_model.full_name(&model));
                costs.add(routed, own, |model| usd_of(model, &of_row, prices, args.via));
                let is_shown = estimate.prompts.last().is_some_and(|last| last.location == location);
                if estimate.prompts.len() < SHOWN && !is_shown {
                    let messages = shown(&prompt);
                    estimate.prompts.push(Shown { location, is_nested: false, messages });
                }
            }
            Err(error) => {
                rows.invalid += 1;
                rows.first_invalid.get_or_insert_with(|| format!("{location}: {}", error.message()));
            }
        }
    }
    let (to_run, has_invalid) = (rows.to_run(), rows.invalid > 0);
    if max_output.is_some() {
        estimate.output = OutputBasis::Maximum;
    }
    #[expect(clippy::cast_precision_loss, reason = "a time for people")]
    let busiest = (routed.max_share * to_run as f64, routed.max_share * estimate.usage.total_tokens() as f64);
    estimate.time = match args.via {
        Via::Calls => {
            time(limit_time(&[busiest], args.model.rpm, &args.model), to_run, mean_latency, at_once)
        }
        // The rate limits do not apply: the provider schedules the requests.
        Via::BatchApi => Some(Time::Said("up to 24 hours")),
    };
    #[cfg(feature = "workers")]
    if args.cluster.on.is_some() {
        estimate.more = crate::cluster::plan::text(rows.taken, estimate.usage);
    }
    estimate.rows = Some(rows);
    (estimate.costs, estimate.total) = costs.finish(routed, prices);
    estimate.budget = args.budget_usd.map(|usd| Budget { usd, spent });
    estimate.print(args.json)?;
    Ok(if has_invalid && !args.rows.keep_going { Exit::Usage } else { Exit::Ok })
}

/// Costs of rows in US dollars.
struct Costs {
    /// Those of all rows with each model of the flags.
    of_all: Vec<f64>,
    /// The same for the rows without a model of their own.
    of_default: Vec<f64>,
    has_default: bool,
    /// Those of rows that name another model.
    others: BTreeMap<String, f64>,
}

impl Costs {
    fn new(routed: &Routed) -> Self {
        let none = vec![0.0; routed.names.len()];
        Self { of_all: none.clone(), of_default: none, has_default: false, others: BTreeMap::new() }
    }

    /// Adds a row, which may name a model of its own.
    fn add(&mut self, routed: &Routed, own: Option<String>, usd: impl Fn(&str) -> f64) {
        self.has_default |= own.is_none();
        for (i, model) in routed.names.iter().enumerate() {
            let usd = usd(model);
            self.of_all[i] += usd;
            self.of_default[i] += if own.is_none() { usd } else { 0.0 };
        }
        if let Some(own) = own {
            let usd = usd(&own);
            *self.others.entry(own).or_default() += usd;
        }
    }

    /// The costs with each model, and those of the run: its models get their shares of the rows, and fallback
    /// models none.
    fn finish(self, routed: &Routed, prices: &Prices) -> (Vec<Cost>, Total) {
        let known = |model: &str, usd: f64| prices.of(model).map(|_| usd);
        let (mut costs, mut total) = (Vec::new(), Total::default());
        for (i, model) in routed.names.iter().enumerate() {
            let (of, usd) = match self.others.is_empty() {
                true => (" alone", self.of_all[i]),
                false if !self.has_default => continue,
                false => (" for rows without a model", self.of_default[i]),
            };
            let usd = known(model, usd);
            total.add(usd.map(|usd| usd * routed.weights[i]), routed.weights[i] > 0.0);
            costs.push(Cost { model: model.clone(), of, usd });
        }
        for (model, usd) in self.others {
            let usd = known(&model, usd);
            total.add(usd, true);
            costs.push(Cost { model, of: " for the rows that name it", usd });
        }
        (costs, total)
    }
}

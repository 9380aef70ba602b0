//! `fanweave embed --dry-run`.

use fanweave::batch::{Input, PlannedRequests, PlannedRow, PlannedRows};
use fanweave::models::Prices;
use fanweave::{Prompt, Usage, errors::excerpt};

use super::estimate::{Budget, Cost, Estimate, OutputBasis, Rows, Shown};
use super::{MAX_MESSAGE_BYTES, usd_of};
use crate::args::{EmbedArgs, Via};
use crate::exit::{Exit, Failure};

/// Number of texts to show.
const SHOWN: usize = 3;

/// Reads all rows and prints the estimate for those without a result. `of_input` is the number of rows of the
/// whole input, if the run takes a part of it.
pub(crate) fn run(
    planned: PlannedRows,
    text_of: impl Fn(Input) -> fanweave::Result<String>,
    args: &EmbedArgs,
    model: &str,
    prices: &Prices,
    of_input: Option<u64>,
) -> Result<Exit, Failure> {
    let mut rows = Rows { of_input, ..Rows::default() };
    let mut estimate =
        Estimate { prices_date: prices.date().to_owned(), output: OutputBasis::None, ..Estimate::default() };
    let (spent, mut usd) = (planned.spent_usd(), 0.0);
    let mut requests = args.rows.dedupe.then(PlannedRequests::default);
    for item in planned {
        let PlannedRow { row, has_result, .. } = item.map_err(|e| Failure::new(e.to_string()))?;
        rows.taken += 1;
        if has_result {
            rows.done += 1;
            continue;
        }
        let location = row.location();
        match row.input.and_then(&text_of) {
            Ok(text) if requests.as_mut().is_some_and(|requests| !requests.add_input(&text)) => {
                rows.equal += 1;
            }
            Ok(text) => {
                let usage = Usage::new(Usage::expected_of(&Prompt::from(text.as_str())).input_tokens, 0);
                estimate.usage += usage;
                usd += usd_of(model, &usage, prices, Via::Calls);
                if estimate.prompts.len() < SHOWN {
                    let messages = vec![excerpt(&text, MAX_MESSAGE_BYTES)];
                    estimate.prompts.push(Shown { location, is_nested: false, messages });
                }
            }
            Err(error) => {
                rows.invalid += 1;
                rows.first_invalid.get_or_insert_with(|| format!("{location}: {}", error.message()));
            }
        }
    }
    let has_invalid = rows.invalid > 0;
    estimate.rows = Some(rows);
    let usd = prices.of(model).map(|_| usd);
    estimate.total.add(usd, true);
    estimate.costs = vec![Cost { model: model.to_owned(), of: "", usd }];
    estimate.budget = args.budget_usd.map(|usd| Budget { usd, spent });
    estimate.print(args.json)?;
    Ok(if has_invalid && !args.rows.keep_going { Exit::Usage } else { Exit::Ok })
}

//! Prices, the budget and what a row may cost.

use std::num::NonZeroU32;
use std::path::Path;

use fanweave::batch::Costs;
use fanweave::models::{Price, Prices};
use fanweave::{Prompt, Usage};

use crate::args::{BatchArgs, Via};
use crate::exit::Failure;

/// The prices that the flags name, or those built in.
pub(crate) fn prices(file: Option<&Path>) -> Result<Prices, Failure> {
    let Some(path) = file else { return Ok(Prices::builtin()) };
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|e| Failure::usage(format!("cannot read the prices in {shown}: {e}")))?;
    Prices::parse(&text).map_err(|e| Failure::usage(format!("{shown}: {}", e.message())))
}

/// What the calls cost that go by `via`.
pub(crate) fn known(prices: &Prices, via: Via) -> Costs {
    let table = prices.clone();
    Costs::new(move |model, usage| table.of(model).map(|price| through(via, price, usage)))
}

/// What it costs where the calls go by `via`.
pub(crate) fn through(via: Via, price: &Price, usage: &Usage) -> f64 {
    let share = if via == Via::BatchApi { price.batch.unwrap_or(1.0) } else { 1.0 };
    price.cost(usage) * share
}

/// Prices and budget of a batch over `models`.
pub(crate) fn costs(args: &BatchArgs, prices: &Prices, models: &[String]) -> Result<Costs, Failure> {
    let costs = known(prices, args.via);
    let Some(cap) = args.budget_usd else { return Ok(costs) };
    if args.via == Via::BatchApi {
        return Err(Failure::usage(
            "--budget-usd cannot hold with --via batch-api: what was submitted is paid for",
        )
        .with_hint("see what it may cost with --dry-run, and submit fewer rows"));
    }
    let mut row = 0.0_f64;
    for model in models {
        let Some(cost) = of_a_call(prices, model, args.model.max_tokens) else {
            return Err(Failure::usage(format!(
                "--budget-usd: the price of {model} is unknown (prices as of {})",
                prices.date()
            ))
            .with_hint(
                "give it in a file: --prices FILE, with input and output in US dollars for a million tokens",
            ));
        };
        row = row.max(cost);
    }
    Ok(costs.cap(cap, row))
}

/// What a call of a model may cost, where its price is known.
pub(crate) fn of_a_call(prices: &Prices, model: &str, max_tokens: Option<NonZeroU32>) -> Option<f64> {
    prices.of(model).map(|price| price.cost(&expected(None, max_tokens)))
}

/// What a call is expected to use: for `prompt`, or for one that is as long as its answer.
pub(crate) fn expected(prompt: Option<&Prompt>, max_tokens: Option<NonZeroU32>) -> Usage {
    let length = Usage::EXPECTED_OUTPUT;
    let unknown = Usage { input_tokens: length, output_tokens: length, ..Usage::default() };
    let expected = prompt.map_or(unknown, Usage::expected_of);
    match (prompt.and_then(|prompt| prompt.parameters.max_tokens), max_tokens) {
        (None, Some(most)) => Usage { output_tokens: most.get().into(), ..expected },
        _ => expected,
    }
}

/// A sum of money: `$0.0042`, `$1.50`, `$1234`.
pub(crate) fn dollars(usd: f64) -> String {
    match usd {
        0.0 => "$0".to_owned(),
        // Down to the first digit that says something.
        usd if usd < 0.000_1 => format!("${usd:.0$}", (-usd.log10()).ceil().clamp(5.0, 9.0) as usize),
        usd if usd < 0.01 => format!("${usd:.4}"),
        usd if usd < 1_000.0 => format!("${usd:.2}"),
        usd => format!("${usd:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_written_as_people_say_them() {
        assert_eq!([0.0, 0.004_21, 1.5, 1_234.4].map(dollars), ["$0", "$0.0042", "$1.50", "$1234"]);
        assert_eq!([0.000_020_25, 1e-9, 1e-300].map(dollars), ["$0.00002", "$0.000000001", "$0.000000000"]);
    }
}

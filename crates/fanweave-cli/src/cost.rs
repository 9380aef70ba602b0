//! Prices, the budget and estimated costs.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use fanweave::batch::Costs;
use fanweave::models::{Price, Prices};
use fanweave::{Prompt, Usage};

use crate::args::{BatchArgs, Via};
use crate::exit::Failure;
use crate::trust::read_small;

/// Prices from `file`, or those of [`catalogue`].
pub(crate) fn prices(file: Option<&Path>) -> Result<Prices, Failure> {
    let Some(path) = file else { return catalogue() };
    read(path, "--prices").map(|(prices, _)| prices)
}

/// The table of models: the user's, which `fanweave models --update` stores, or the built-in one.
///
/// # Errors
/// If the user's table cannot be read.
pub(crate) fn catalogue() -> Result<Prices, Failure> {
    let hint = "`fanweave models --update FILE` replaces it, and without the file the built-in table is used";
    match catalogue_path().filter(|path| path.exists()) {
        Some(path) => read(&path, "table of models")
            .map(|(prices, _)| prices)
            .map_err(|failure| failure.with_hint(hint)),
        None => Ok(Prices::builtin()),
    }
}

/// A note if the user's table is older than the built-in one, which it replaces.
pub(crate) fn note_on_age(prices: &Prices) -> Option<String> {
    let (own, builtin) = (prices.date(), Prices::builtin());
    let path = catalogue_path().filter(|path| path.exists())?;
    (own < builtin.date()).then(|| {
        let (later, shown) = (builtin.date(), path.display());
        format!(
            "the table of models of {own} replaces the built-in one of {later}: to use that, remove {shown}"
        )
    })
}

/// Stores `file` as the user's table of models. Returns the table and its path.
///
/// # Errors
/// If it is invalid, or cannot be stored.
pub(crate) fn update(file: &Path) -> Result<(Prices, PathBuf), Failure> {
    let (prices, text) = read(file, "--update")?;
    if prices.models().next().is_none() {
        return Err(Failure::usage(format!("--update: {}: no models in the file", file.display())));
    }
    let path = catalogue_path()
        .ok_or_else(|| Failure::usage("--update: the table needs a home directory").with_hint("set HOME"))?;
    store(&path, &text)
        .map_err(|e| Failure::new(format!("--update: cannot write {}: {e}", path.display())))?;
    Ok((prices, path))
}

/// Replaces a file at once, so that no reader sees a part of it.
fn store(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let new = path.with_extension("tsv.new");
    std::fs::write(&new, text)?;
    std::fs::rename(new, path)
}

fn catalogue_path() -> Option<PathBuf> {
    Some(crate::config::folder()?.join("models.tsv"))
}

/// Reads a table, and its text.
fn read(path: &Path, what: &str) -> Result<(Prices, String), Failure> {
    let shown = path.display();
    let text = read_small(path)
        .map(|(text, _)| text)
        .map_err(|e| Failure::usage(format!("{what}: cannot read {shown}: {e}")))?;
    let prices = Prices::parse(&text).map_err(|e| Failure::usage(format!("{shown}: {}", e.message())))?;
    Ok((prices, text))
}

/// Cost of calls made through `via`.
pub(crate) fn known(prices: &Prices, via: Via) -> Costs {
    let table = prices.for_calls();
    Costs::new(move |model, usage| table.of(model).map(|price| through(via, price, usage)))
}

/// Cost of `usage` for calls made through `via`.
pub(crate) fn through(via: Via, price: &Price, usage: &Usage) -> f64 {
    let share = if via == Via::BatchApi { price.batch.unwrap_or(1.0) } else { 1.0 };
    price.cost(usage) * share
}

/// Prices and budget of a batch over `models`.
pub(crate) fn costs(args: &BatchArgs, prices: &Prices, models: &[String]) -> Result<Costs, Failure> {
    let costs = known(prices, args.via);
    let Some(budget) = args.budget_usd else { return Ok(costs) };
    if args.via == Via::BatchApi {
        return Err(Failure::usage(
            "--budget-usd cannot be enforced with --via batch-api: submitted requests are billed",
        )
        .with_hint("estimate the cost with --dry-run, and submit fewer rows if needed"));
    }
    let mut row = 0.0_f64;
    for model in models {
        let Some(cost) = of_a_call(prices, model, args.model.max_output()) else {
            return Err(Failure::usage(format!(
                "--budget-usd: the price of {model} is unknown (prices as of {})",
                prices.date()
            ))
            .with_hint(
                "add it to a file for --prices, with input and output in US dollars per million tokens",
            ));
        };
        row = row.max(cost);
    }
    Ok(costs.cap(budget, row))
}

/// Expected maximum cost of a row that one of these models answers, in US dollars.
#[cfg(feature = "workers")]
pub(crate) fn of_a_row(args: &BatchArgs, prices: &Prices, models: &[String]) -> f64 {
    let costs = models.iter().filter_map(|model| of_a_call(prices, model, args.model.max_output()));
    costs.fold(0.0, f64::max)
}

/// Estimated cost of a call of a model, if its price is known.
pub(crate) fn of_a_call(prices: &Prices, model: &str, max_tokens: Option<NonZeroU32>) -> Option<f64> {
    prices.of(model).map(|price| price.cost(&expected(None, max_tokens)))
}

/// Estimated usage of a call of `prompt`. Without a prompt, its input is taken to be as long as its answer.
pub(crate) fn expected(prompt: Option<&Prompt>, max_tokens: Option<NonZeroU32>) -> Usage {
    let length = Usage::EXPECTED_OUTPUT;
    let unknown = Usage::new(length, length);
    let expected = prompt.map_or(unknown, Usage::expected_of);
    match (prompt.and_then(|prompt| prompt.parameters.max_tokens), max_tokens) {
        (None, Some(max)) => expected.output_tokens(max.get().into()),
        _ => expected,
    }
}

/// Formats an amount: `$0.0042`, `$1.50`, `$1234`.
pub(crate) fn dollars(usd: f64) -> String {
    match usd {
        0.0 => "$0".to_owned(),
        // Up to the first significant digit.
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
    fn amounts_have_a_readable_number_of_digits() {
        assert_eq!([0.0, 0.004_21, 1.5, 1_234.4].map(dollars), ["$0", "$0.0042", "$1.50", "$1234"]);
        assert_eq!([0.000_020_25, 1e-9, 1e-300].map(dollars), ["$0.00002", "$0.000000001", "$0.000000000"]);
    }
}

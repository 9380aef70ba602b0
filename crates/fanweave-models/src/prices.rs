//! Prices of models: a table as of a date, which the caller can replace.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use fanweave_core::{Error, ErrorKind, Result, Usage};
use serde::Deserialize;

/// Prices of models, as of a date. Clones are cheap.
///
/// ```
/// use fanweave::Usage;
/// use fanweave::models::Prices;
///
/// let prices = Prices::builtin();
/// let price = prices.of("openai/gpt-5-mini").expect("in the table");
/// let usage = Usage::new(1_000_000, 500_000);
/// println!("${:.2}, as of {}", price.cost(&usage), prices.date());
/// assert!(prices.of("openai/no-such-model").is_none());
/// ```
#[derive(Debug, Clone)]
pub struct Prices(Arc<PriceTable>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceTable {
    date: String,
    models: BTreeMap<String, Price>,
}

/// Prices of one model.
///
/// ```
/// let prices = fanweave::models::Prices::parse(
///     "date = '2026-01-31'\n[models.'vllm/qwen3']\ninput = 0.2\noutput = 0.6\n",
/// )?;
/// assert_eq!(prices.of("vllm/qwen3").map(|price| price.output), Some(0.6));
/// # Ok::<_, fanweave::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// US dollars per million input tokens.
    pub input: f64,
    /// US dollars per million input tokens that the provider read from its cache. Default: `input`.
    pub cached_input: Option<f64>,
    /// US dollars per million output tokens, including reasoning.
    pub output: f64,
    /// Price of the provider's batch API, as a share of these prices. `None` without a batch API.
    pub batch: Option<f64>,
    /// Context window, in tokens.
    pub context: Option<u64>,
}

impl Price {
    /// Cost of a call with this usage, in US dollars.
    pub fn cost(&self, usage: &Usage) -> f64 {
        let cached = usage.cached_tokens.min(usage.input_tokens);
        let fresh = usage.input_tokens - cached;
        #[expect(clippy::cast_precision_loss, reason = "tokens of one call")]
        let total = fresh as f64 * self.input
            + cached as f64 * self.cached_input.unwrap_or(self.input)
            + usage.output_tokens as f64 * self.output;
        total * 1e-6
    }
}

impl Prices {
    /// The built-in table of this version.
    pub fn builtin() -> Self {
        static BUILTIN: OnceLock<Prices> = OnceLock::new();
        let table = || Self::parse(include_str!("../data/prices.toml")).expect("a test reads the table");
        BUILTIN.get_or_init(table).clone()
    }

    /// Parses a table: TOML with a `date`, and a table `models.'provider/model'` for each model with `input`
    /// and `output` in US dollars per million tokens, and optionally `cached_input`, `batch` and `context`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with line and column of a syntax error, or with the model whose price is
    /// invalid.
    pub fn parse(text: &str) -> Result<Self> {
        let table: PriceTable = toml::from_str(text).map_err(|e| {
            Error::new(ErrorKind::Config, format!("invalid price table: {}", e.to_string().trim_end()))
        })?;
        for (name, price) in &table.models {
            let all = [Some(price.input), price.cached_input, Some(price.output), price.batch];
            if all.into_iter().flatten().any(|usd| !usd.is_finite() || usd < 0.0) {
                let message = format!("the price of `{name}` must be a number of 0 or more");
                return Err(Error::new(ErrorKind::Config, message));
            }
        }
        Ok(Self(Arc::new(table)))
    }

    /// Date of the prices, such as `2026-01-31`.
    pub fn date(&self) -> &str {
        &self.0.date
    }

    /// Price of a model: `provider/model`, with or without the date that providers append to a name, such as
    /// `openai/gpt-4o-2024-08-06`. `openai/sim/..` is the simulated model. `None` if the table does not
    /// contain it.
    pub fn of(&self, model: &str) -> Option<&Price> {
        let models = &self.0.models;
        // A simulated model behind a socket is listed under its own name.
        let model = model.strip_prefix("openai/").filter(|name| name.starts_with("sim/")).unwrap_or(model);
        models.get(model).or_else(|| models.get(undated(model)?))
    }

    /// All models of the table, by name.
    pub fn models(&self) -> impl Iterator<Item = (&str, &Price)> {
        self.0.models.iter().map(|(name, price)| (name.as_str(), price))
    }
}

/// Strips the date from a name: `-2024-08-06`, `-20250514` or `-latest`.
fn undated(model: &str) -> Option<&str> {
    if let Some(name) = model.strip_suffix("-latest") {
        return Some(name);
    }
    let is_date = |text: &str| {
        let date = text.strip_prefix('-').unwrap_or_default().as_bytes();
        match date.len() {
            8 => date.iter().all(u8::is_ascii_digit),
            10 => date
                .iter()
                .enumerate()
                .all(|(i, c)| if matches!(i, 4 | 7) { *c == b'-' } else { c.is_ascii_digit() }),
            _ => false,
        }
    };
    [9, 11].into_iter().find_map(|length| {
        let (name, date) = model.split_at_checked(model.len().checked_sub(length)?)?;
        is_date(date).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builtin_table_is_whole() {
        let prices = Prices::builtin();
        assert_eq!(prices.date().len(), "2025-09-30".len());
        assert!(prices.models().count() > 10);
        for (name, price) in prices.models() {
            assert!(name.contains('/') && price.output >= price.input, "{name}: {price:?}");
            assert!(price.cached_input.is_none_or(|cached| cached <= price.input), "{name}: {price:?}");
        }
    }

    #[test]
    fn a_cached_token_costs_what_cached_ones_do() {
        let price = Price { input: 2.0, cached_input: Some(0.5), output: 8.0, batch: None, context: None };
        let usage = Usage::new(1_000, 100).cached_tokens(400);
        assert!((price.cost(&usage) - 2.2e-3).abs() < 1e-12);
    }

    #[test]
    fn a_date_behind_a_name_makes_no_other_price() {
        let prices = Prices::builtin();
        for name in ["openai/gpt-4o-2024-08-06", "anthropic/claude-sonnet-4-20250514", "openai/gpt-4o-latest"]
        {
            assert!(prices.of(name).is_some(), "{name}");
        }
        for name in ["openai/gpt-4o-mini-audio", "openai/gpt-6", "openai/gpt-4o-2024"] {
            assert!(prices.of(name).is_none(), "{name}");
        }
    }

    #[test]
    fn an_invalid_price_table_is_rejected_with_its_location() {
        let error_of = |text: &str| Prices::parse(text).unwrap_err().to_string();
        assert!(error_of("date = ").contains("line 1"), "{}", error_of("date = "));
        assert!(error_of("date = 'x'\n[models.'a/b']\ninput = 1\n").contains("output"));
        let negative = error_of("date = 'x'\n[models.'a/b']\ninput = 1\noutput = -1\n");
        assert_eq!(negative, "the price of `a/b` must be a number of 0 or more");
    }
}

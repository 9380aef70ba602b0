//! What models cost: a table with a date, which the caller can replace.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use fanweave_core::{Error, ErrorKind, Result, Usage};
use serde::Deserialize;

/// What models cost, as of a date. Cheap to clone.
///
/// ```
/// use fanweave_core::Usage;
/// use fanweave_models::Prices;
///
/// let prices = Prices::builtin();
/// let price = prices.of("openai/gpt-5-mini").expect("in the table");
/// let usage = Usage { input_tokens: 1_000_000, output_tokens: 500_000, ..Usage::default() };
/// println!("${:.2}, as of {}", price.cost(&usage), prices.date());
/// assert!(prices.of("openai/no-such-model").is_none());
/// ```
#[derive(Debug, Clone)]
pub struct Prices(Arc<Table>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    date: String,
    models: BTreeMap<String, Price>,
}

/// What one model costs.
///
/// ```
/// let prices = fanweave_models::Prices::parse(
///     "date = '2026-01-31'\n[models.'vllm/qwen3']\ninput = 0.2\noutput = 0.6\n",
/// )?;
/// assert_eq!(prices.of("vllm/qwen3").map(|price| price.output), Some(0.6));
/// # Ok::<_, fanweave_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// US dollars for a million tokens of the prompt.
    pub input: f64,
    /// US dollars for a million tokens of the prompt that the provider had in its cache. Default as `input`.
    pub cached_input: Option<f64>,
    /// US dollars for a million tokens of the answer, reasoning included.
    pub output: f64,
    /// What the provider's batch API charges, as a share of these prices. `None` where it has none.
    pub batch: Option<f64>,
    /// Tokens that the context holds.
    pub context: Option<u64>,
}

impl Price {
    /// US dollars for what a call used.
    pub fn cost(&self, usage: &Usage) -> f64 {
        let cached = usage.cached_tokens.min(usage.input_tokens);
        let fresh = usage.input_tokens - cached;
        #[expect(clippy::cast_precision_loss, reason = "tokens of one call")]
        let sum = fresh as f64 * self.input
            + cached as f64 * self.cached_input.unwrap_or(self.input)
            + usage.output_tokens as f64 * self.output;
        sum * 1e-6
    }
}

impl Prices {
    /// The table that this version was built with.
    pub fn builtin() -> Self {
        static BUILTIN: OnceLock<Prices> = OnceLock::new();
        let table = || Self::parse(include_str!("../data/prices.toml")).expect("a test reads the table");
        BUILTIN.get_or_init(table).clone()
    }

    /// Reads a table: TOML with a `date`, and a table `models.'provider/model'` for each model with `input` and
    /// `output` in US dollars for a million tokens, and optionally `cached_input`, `batch` and `context`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with line and column of what cannot be read, or with the model whose price is no price.
    pub fn parse(text: &str) -> Result<Self> {
        let table: Table = toml::from_str(text).map_err(|e| {
            Error::new(ErrorKind::Config, format!("the prices cannot be read: {}", e.to_string().trim_end()))
        })?;
        for (name, price) in &table.models {
            let all = [Some(price.input), price.cached_input, Some(price.output), price.batch];
            if all.into_iter().flatten().any(|usd| !usd.is_finite() || usd < 0.0) {
                let message = format!("the price of `{name}` is not a number of 0 or more");
                return Err(Error::new(ErrorKind::Config, message));
            }
        }
        Ok(Self(Arc::new(table)))
    }

    /// When the prices were taken, as in `2026-01-31`.
    pub fn date(&self) -> &str {
        &self.0.date
    }

    /// What a model costs: `provider/model`, with or without the date that providers put behind a name, as in
    /// `openai/gpt-4o-2024-08-06`. `openai/sim/..` is the simulated model. `None` where the table does not say.
    pub fn of(&self, model: &str) -> Option<&Price> {
        let models = &self.0.models;
        // A simulated model behind a socket goes by its own name.
        let model = model.strip_prefix("openai/").filter(|name| name.starts_with("sim/")).unwrap_or(model);
        models.get(model).or_else(|| models.get(undated(model)?))
    }

    /// All models of the table, by name.
    pub fn models(&self) -> impl Iterator<Item = (&str, &Price)> {
        self.0.models.iter().map(|(name, price)| (name.as_str(), price))
    }
}

/// A name without the date behind it: `-2024-08-06`, `-20250514` or `-latest`.
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
        let usage = Usage { input_tokens: 1_000, cached_tokens: 400, output_tokens: 100, ..Usage::default() };
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
    fn what_is_no_table_of_prices_is_refused_with_its_place() {
        let says = |text: &str| Prices::parse(text).unwrap_err().to_string();
        assert!(says("date = ").contains("line 1"), "{}", says("date = "));
        assert!(says("date = 'x'\n[models.'a/b']\ninput = 1\n").contains("output"));
        let negative = says("date = 'x'\n[models.'a/b']\ninput = 1\noutput = -1\n");
        assert_eq!(negative, "the price of `a/b` is not a number of 0 or more");
    }
}

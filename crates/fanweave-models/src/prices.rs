//! Prices and capabilities of models: a table as of a date, which the caller can replace.

mod catalogue;
mod check;
#[cfg(test)]
mod examples;

pub use check::Objection;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use fanweave_core::{Error, ErrorKind, Result, Usage};
use serde::Deserialize;

use catalogue::Builtin;

/// Prices of models, as of a date. Clones are cheap.
///
/// ```
/// use fanweave::Usage;
/// use fanweave::models::Prices;
///
/// let prices = Prices::builtin();
/// let price = prices.of("openai/gpt-5-mini").expect("in the table");
/// let usage = Usage::new(200_000, 10_000).cached_tokens(100_000);
/// println!("${:.4}, as of {}", price.cost(&usage), prices.date());
/// assert!(prices.of("openai/no-such-model").is_none());
/// let known = prices.capabilities("openai/gpt-5-mini").expect("in the table");
/// assert_eq!(known.takes_temperature, Some(false));
/// ```
#[derive(Debug, Clone)]
pub struct Prices(Arc<PriceTable>);

#[derive(Debug)]
struct PriceTable {
    date: String,
    models: Models,
}

/// The models of a table by their names.
#[derive(Debug)]
enum Models {
    /// Of a file.
    Read(BTreeMap<String, Entry>),
    Builtin(Builtin),
}

impl Models {
    fn get(&self, name: &str) -> Option<&Entry> {
        match self {
            Self::Read(models) => models.get(name),
            Self::Builtin(models) => models.get(name),
        }
    }

    fn iter(&self) -> Box<dyn Iterator<Item = (&str, &Entry)> + '_> {
        match self {
            Self::Read(models) => Box::new(models.iter().map(|(name, entry)| (name.as_str(), entry))),
            Self::Builtin(models) => Box::new(models.iter()),
        }
    }

    /// Names of the models of a provider, without it.
    fn of_provider<'a>(&'a self, provider: &'a str) -> Box<dyn Iterator<Item = &'a str> + 'a> {
        match self {
            Self::Read(models) => {
                Box::new(models.keys().filter_map(move |name| name.strip_prefix(provider)?.strip_prefix('/')))
            }
            Self::Builtin(models) => Box::new(models.of_provider(provider)),
        }
    }
}

/// The price and capabilities of a model.
#[derive(Debug, Default)]
struct Entry {
    price: Option<Price>,
    capabilities: Option<Capabilities>,
}

/// A price table of a caller.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnTable {
    date: String,
    models: BTreeMap<String, Price>,
}

/// Capabilities of a model, as far as its provider states them. `None` stands for unknown.
///
/// ```
/// let prices = fanweave::models::Prices::builtin();
/// let known = prices.capabilities("anthropic/claude-sonnet-4-5").expect("in the table");
/// assert_eq!((known.context_tokens, known.max_output_tokens), (Some(200_000), Some(64_000)));
/// assert_eq!(known.input_modalities, ["text", "image", "pdf"]);
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Tokens of prompt and answer together.
    pub context_tokens: Option<u64>,
    /// Maximum tokens of an answer.
    pub max_output_tokens: Option<u64>,
    /// Kinds of input: `text`, `image`, `audio`, `video`, `pdf`. Empty for unknown.
    pub input_modalities: Vec<String>,
    /// Set to true if a request may set a temperature.
    pub takes_temperature: Option<bool>,
    /// Set to true if it reasons before it answers.
    pub reasons: Option<bool>,
    /// Settings of its reasoning in a request: levels such as `low`, or `toggle`, or `budget_tokens`.
    pub reasoning_options: Vec<String>,
    /// Set to true if it calls tools.
    pub tools: Option<bool>,
    /// Set to true if its answers can follow a JSON schema.
    pub structured_output: Option<bool>,
    /// Day of its release, such as `2025-08-07`.
    pub released: Option<String>,
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
#[non_exhaustive]
pub struct Price {
    /// US dollars per million input tokens.
    pub input: f64,
    /// US dollars per million input tokens that the provider read from its cache. Default: `input`.
    pub cached_input: Option<f64>,
    /// US dollars per million input tokens that the provider wrote to its cache. Default: `input`.
    pub cache_write: Option<f64>,
    /// US dollars per million output tokens, including reasoning.
    pub output: f64,
    /// Price of the provider's batch API, as a share of these prices. `None` without a batch API.
    pub batch: Option<f64>,
    /// Context window, in tokens.
    pub context: Option<u64>,
    /// Prices of calls with long prompts, by length.
    #[serde(default)]
    pub tiers: Vec<PriceTier>,
}

/// Prices of calls whose prompt is longer than a limit. They hold for the whole call.
///
/// ```
/// use fanweave::Usage;
/// use fanweave::models::Prices;
///
/// let prices = Prices::parse(
///     "date = '2026-01-31'\n[models.'a/b']\ninput = 1\noutput = 5\n\
///      tiers = [{ above = 200_000, input = 2, output = 7.5 }]\n",
/// )?;
/// let price = prices.of("a/b").expect("in the table");
/// assert_eq!(format!("{:.2}", price.cost(&Usage::new(200_000, 0))), "0.20");
/// assert_eq!(format!("{:.2}", price.cost(&Usage::new(300_000, 0))), "0.60");
/// # Ok::<_, fanweave::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PriceTier {
    /// Applies to prompts of more tokens, including cached ones.
    pub above: u64,
    /// US dollars per million input tokens.
    pub input: f64,
    /// US dollars per million input tokens from the cache. Default: `input`.
    pub cached_input: Option<f64>,
    /// US dollars per million input tokens written to the cache. Default: `input`.
    pub cache_write: Option<f64>,
    /// US dollars per million output tokens.
    pub output: f64,
}

impl Price {
    /// Cost of a call with this usage, in US dollars.
    pub fn cost(&self, usage: &Usage) -> f64 {
        // Sorted by length when they were parsed.
        let tier = self.tiers.iter().rfind(|tier| usage.input_tokens > tier.above);
        let (input, cached_input, cache_write, output) = match tier {
            Some(tier) => (tier.input, tier.cached_input, tier.cache_write, tier.output),
            None => (self.input, self.cached_input, self.cache_write, self.output),
        };
        let cached = usage.cached_tokens.min(usage.input_tokens);
        let written = usage.cache_write_tokens.min(usage.input_tokens - cached);
        let fresh = usage.input_tokens - cached - written;
        #[expect(clippy::cast_precision_loss, reason = "tokens of one call")]
        let total = fresh as f64 * input
            + cached as f64 * cached_input.unwrap_or(input)
            + written as f64 * cache_write.unwrap_or(input)
            + usage.output_tokens as f64 * output;
        total * 1e-6
    }

    /// All prices, to check them.
    fn all(&self) -> impl Iterator<Item = f64> {
        let tiers = self
            .tiers
            .iter()
            .flat_map(|tier| [Some(tier.input), tier.cached_input, tier.cache_write, Some(tier.output)]);
        [Some(self.input), self.cached_input, self.cache_write, Some(self.output), self.batch]
            .into_iter()
            .chain(tiers)
            .flatten()
    }
}

impl Prices {
    /// The built-in table of this version.
    pub fn builtin() -> Self {
        static BUILTIN: OnceLock<Prices> = OnceLock::new();
        let table = || Self(Arc::new(catalogue::builtin(include_str!("../data/models.tsv"))));
        BUILTIN.get_or_init(table).clone()
    }

    /// Parses a table: TOML with a `date`, and a table `models.'provider/model'` for each model with `input`
    /// and `output` in US dollars per million tokens, and optionally `cached_input`, `cache_write`, `batch`,
    /// `context` and `tiers`. Or tab-separated values with the columns of the built-in table, to replace it
    /// by a later one.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with line and column of a syntax error, or with the model whose price is
    /// invalid.
    pub fn parse(text: &str) -> Result<Self> {
        // Some editors write a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if catalogue::is_catalogue(text) {
            return Ok(Self(Arc::new(catalogue::parse(text)?)));
        }
        let OwnTable { date, models } = toml::from_str(text).map_err(|e| {
            Error::new(ErrorKind::Config, format!("invalid price table: {}", e.to_string().trim_end()))
        })?;
        for (name, price) in &models {
            if price.all().any(|usd| !usd.is_finite() || usd < 0.0) {
                let message = format!("the price of `{name}` must be a number of 0 or more");
                return Err(Error::new(ErrorKind::Config, message));
            }
        }
        let entry = |mut price: Price| {
            price.tiers.sort_by_key(|tier| tier.above);
            Entry { price: Some(price), capabilities: None }
        };
        let models = models.into_iter().map(|(name, price)| (name, entry(price))).collect();
        Ok(Self(Arc::new(PriceTable { date, models: Models::Read(models) })))
    }

    /// Date of the prices, such as `2026-01-31`.
    pub fn date(&self) -> &str {
        &self.0.date
    }

    /// Price of a model: `provider/model`, with or without the date that providers append to a name, such as
    /// `openai/gpt-4o-2024-08-06`. `openai/sim/..` is the simulated model. `None` if the table does not
    /// contain it.
    pub fn of(&self, model: &str) -> Option<&Price> {
        // A simulated model behind a socket costs nothing, like any other.
        if model.strip_prefix("openai/").unwrap_or(model).starts_with("sim/") {
            return Some(&FREE);
        }
        self.entry(model)?.price.as_ref()
    }

    /// A lookup for the calls of a run, of which nearly all are of one model.
    pub fn for_calls(&self) -> CallPrices {
        CallPrices { prices: self.clone(), first: OnceLock::new() }
    }

    /// Capabilities of a model, named as for [`of`](Self::of). `None` if the table does not contain it, or
    /// only its price.
    pub fn capabilities(&self, model: &str) -> Option<&Capabilities> {
        self.entry(model)?.capabilities.as_ref()
    }

    fn entry(&self, model: &str) -> Option<&Entry> {
        let models = &self.0.models;
        let of = |name: &str| models.get(name).or_else(|| models.get(undated(name)?));
        of(model).or_else(|| {
            let (vendor, name) = model.split_once('/')?;
            let others = provider_of_models(vendor);
            if others == vendor { None } else { of(&format!("{others}/{name}")) }
        })
    }

    /// All models of the table with a price, by name.
    pub fn models(&self) -> impl Iterator<Item = (&str, &Price)> {
        self.0.models.iter().filter_map(|(name, entry)| Some((name, entry.price.as_ref()?)))
    }
}

/// Prices for the calls of a run. Remembers the price of the first model that it is asked for.
///
/// ```
/// use fanweave::Usage;
/// use fanweave::models::Prices;
///
/// let prices = Prices::builtin().for_calls();
/// let usd: f64 = (0..1_000)
///     .filter_map(|_| Some(prices.of("openai/gpt-5-mini")?.cost(&Usage::new(1_000, 1_000))))
///     .sum();
/// assert_eq!(format!("{usd:.2}"), "2.25");
/// ```
#[derive(Debug)]
pub struct CallPrices {
    prices: Prices,
    first: OnceLock<(String, Option<Price>)>,
}

impl CallPrices {
    /// The same as [`Prices::of`].
    pub fn of(&self, model: &str) -> Option<&Price> {
        let (first, price) = self.first.get_or_init(|| (model.to_owned(), self.prices.of(model).cloned()));
        if first == model { price.as_ref() } else { self.prices.of(model) }
    }
}

/// The vendor under which the table has the models of `vendor`.
fn provider_of_models(vendor: &str) -> &str {
    match vendor {
        "openai-responses" | "openai-completions" => "openai",
        "bedrock-converse" => "bedrock",
        "vertex" => "gemini",
        other => other,
    }
}

/// Simulated models cost nothing.
static FREE: Price = Price {
    input: 0.0,
    cached_input: None,
    cache_write: None,
    output: 0.0,
    batch: None,
    context: None,
    tiers: Vec::new(),
};

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
        assert!(prices.models().count() > 700);
        for (name, price) in prices.models() {
            assert!(price.cached_input.is_none_or(|cached| cached <= price.input), "{name}: {price:?}");
            assert!(price.tiers.iter().all(|tier| tier.input > price.input), "{name}: {price:?}");
            let known = prices.capabilities(name).expect("every model has them");
            let (context, answer) = (known.context_tokens, known.max_output_tokens);
            assert!(context.zip(answer).is_none_or(|(context, _)| context > 0), "{name}: {known:?}");
            assert!(!known.input_modalities.is_empty(), "{name}: {known:?}");
        }
    }

    #[test]
    fn the_builtin_table_is_that_of_its_file() {
        let text = include_str!("../data/models.tsv");
        let (builtin, read) = (Prices::builtin(), Prices::parse(text).unwrap());
        assert_eq!(builtin.date(), read.date());
        let (builtin, read): (Vec<_>, Vec<_>) =
            (builtin.0.models.iter().collect(), read.0.models.iter().collect());
        assert_eq!(builtin.len(), read.len());
        for ((name, entry), (other, of_file)) in builtin.into_iter().zip(read) {
            assert_eq!(
                (name, &entry.price, &entry.capabilities),
                (other, &of_file.price, &of_file.capabilities)
            );
            let found = Prices::builtin();
            assert_eq!(found.capabilities(name), entry.capabilities.as_ref(), "{name}");
        }
        let all = Prices::builtin();
        for none in ["", "openai", "openai/", "/gpt-5", "openai/gpt-5-min", "openaj/gpt-5", "zz/zz", "a/a"] {
            assert!(all.of(none).is_none(), "{none}");
        }
    }

    #[test]
    fn costs_are_those_of_the_published_arithmetic() {
        let prices = Prices::builtin();
        let usd = |model: &str, usage: Usage| {
            let price = prices.of(model).unwrap_or_else(|| panic!("{model} has a price"));
            (price.cost(&usage) * 1e6).round() / 1e6
        };
        // Input and output; cached input; written to the cache; reasoning is output; long prompts, whole.
        assert_eq!(usd("openai/gpt-5-mini", Usage::new(1_000_000, 500_000)), 1.25);
        assert_eq!(usd("openai/gpt-5-mini", Usage::new(1_000_000, 0).cached_tokens(800_000)), 0.07);
        assert_eq!(usd("openai/gpt-5-mini", Usage::new(0, 10_000).reasoning_tokens(9_000)), 0.02);
        let written = Usage::new(10_000, 1_000).cached_tokens(2_000).cache_write_tokens(5_000);
        assert_eq!(usd("anthropic/claude-sonnet-4-5", written), 0.04335);
        assert_eq!(usd("gemini/gemini-2.5-pro", Usage::new(200_000, 1_000)), 0.26);
        assert_eq!(usd("gemini/gemini-2.5-pro", Usage::new(200_010, 1_000)), 0.515025);
        let long = Usage::new(300_000, 1_000).cached_tokens(100_000);
        assert_eq!(usd("gemini/gemini-2.5-pro", long), 0.54);
        assert_eq!(usd("sim/writer", Usage::new(1_000, 1_000)), 0.0);
        assert_eq!(usd("openai/sim/writer", Usage::new(1_000, 1_000)), 0.0);
    }

    #[test]
    fn a_later_table_of_models_replaces_the_builtin_one() {
        let builtin = include_str!("../data/models.tsv");
        let later = builtin.replace("# date: 2026-07-02", "# date: 2027-01-01");
        let later = later.replace("openai\tgpt-5-mini\t0.25\t", "openai\tgpt-5-mini\t0.5\t");
        let prices = Prices::parse(&later).unwrap();
        assert_eq!((prices.date(), prices.of("openai/gpt-5-mini").unwrap().input), ("2027-01-01", 0.5));
        let marked = Prices::parse(&format!("\u{feff}{later}")).unwrap();
        assert_eq!(marked.date(), "2027-01-01");

        let error_of = |from: &str, to: &str| {
            let text = builtin.replacen(from, to, 1);
            assert_ne!(text, builtin, "{from}");
            Prices::parse(&text).unwrap_err().to_string()
        };
        let columns = "provider\tmodel\tinput_usd_per_mtok\t";
        for (from, to, says) in [
            ("# date: 2026-07-02", "#", "it has no line `# date: YYYY-MM-DD`"),
            ("# date: 2026-07-02", "# date: July", "its date must be YYYY-MM-DD, not `July`"),
            (columns, "provider\tmodel\tinput\t", "its columns must be provider, model, input_usd_per_mtok"),
            (
                "openai\tgpt-5-mini\t0.25\t",
                "openai\tgpt-5-mini\t-1\t",
                "`input_usd_per_mtok` must be a number of 0 or more, not `-1`",
            ),
            (
                "openai\tgpt-5-mini\t0.25\t",
                "openai\tgpt-5-mini\t\t",
                "only one of `input_usd_per_mtok` and `output`",
            ),
            ("openai\tgpt-5-mini\t", "openai\tgpt-5-nano\t", "`openai/gpt-5-nano` is there twice"),
            ("openai\tgpt-5-mini\t0.25\t", "openai\tgpt-5-mini\t", "15 columns instead of 16"),
        ] {
            let error = error_of(from, to);
            assert!(error.contains(says) && error.starts_with("invalid table of models"), "{error}");
        }
        assert!(error_of("openai\tgpt-5-mini\t0.25\t", "openai\tgpt-5-mini\tx\t").contains("line "));
    }

    #[test]
    fn prices_for_calls_are_those_of_each_model() {
        let (prices, of_calls) = (Prices::builtin(), Prices::builtin().for_calls());
        for name in ["openai/gpt-5-mini", "openai/gpt-5", "zz/zz", "openai/gpt-5-mini", "sim/writer"] {
            assert_eq!(of_calls.of(name), prices.of(name), "{name}");
        }
        let unknown = prices.for_calls();
        for name in ["zz/zz", "openai/gpt-5", "zz/zz"] {
            assert_eq!(unknown.of(name), prices.of(name), "{name}");
        }
    }

    #[test]
    fn a_cached_token_costs_what_cached_ones_do() {
        let price = Price { input: 2.0, cached_input: Some(0.5), output: 8.0, ..FREE.clone() };
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

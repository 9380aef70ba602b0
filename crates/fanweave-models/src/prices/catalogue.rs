//! The table of models as tab-separated values.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use fanweave_core::{Error, ErrorKind, Result};
use serde::Deserialize;

use super::{Capabilities, Entry, Models, Price, PriceTable, PriceTier};

/// The columns of the table, in their order.
const COLUMNS: [&str; 16] = [
    "provider",
    "model",
    "input_usd_per_mtok",
    "cached_input",
    "cache_write",
    "output",
    "price_tiers",
    "context_tokens",
    "max_output_tokens",
    "input_modalities",
    "takes_temperature",
    "reasons",
    "reasoning_options",
    "tools",
    "structured_output",
    "released",
];

/// Providers whose batch APIs cost half of these prices, from their public price pages.
const HALF_IN_BATCHES: [&str; 2] = ["anthropic", "openai"];

/// Returns true if `text` is a table of this form.
pub(super) fn is_catalogue(text: &str) -> bool {
    lines(text).next().is_some_and(|(_, line)| line.starts_with("provider\tmodel\t"))
}

/// Lines with their numbers, without comments and empty lines.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    lines.filter(|(_, line)| !line.starts_with('#') && !line.trim().is_empty())
}

/// Parses the table.
///
/// # Errors
/// [`ErrorKind::Config`] with the line and the column of what is wrong.
pub(super) fn parse(text: &str) -> Result<PriceTable> {
    let date = text.lines().find_map(|line| line.strip_prefix("# date:"));
    let date = date
        .map(|date| date.trim().to_owned())
        .ok_or_else(|| invalid("it has no line `# date: YYYY-MM-DD`"))?;
    // Dates are compared as texts.
    let is_date =
        |(at, byte): (usize, u8)| if matches!(at, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() };
    if date.len() != "YYYY-MM-DD".len() || !date.bytes().enumerate().all(is_date) {
        let shown: String = date.chars().take(40).collect();
        return Err(invalid(&format!("its date must be YYYY-MM-DD, not `{shown}`")));
    }
    let mut lines = lines(text);
    let (_, columns) = lines.next().unwrap_or_default();
    if !columns.split('\t').eq(COLUMNS) {
        return Err(invalid(&format!("its columns must be {}, separated by tabs", COLUMNS.join(", "))));
    }
    let mut models = BTreeMap::new();
    for (number, line) in lines {
        let (name, entry) = row(line).map_err(|why| invalid(&format!("line {number}: {why}")))?;
        if models.insert(name.clone(), entry).is_some() {
            return Err(invalid(&format!("line {number}: `{name}` is there twice")));
        }
    }
    Ok(PriceTable { date, models: Models::Read(models) })
}

/// The rows of the built-in table, sorted. Each is parsed when it is asked for first: most programs ask for
/// few, and all of them take 2 ms.
#[derive(Debug)]
pub(super) struct Builtin(Vec<BuiltinRow>);

#[derive(Debug)]
struct BuiltinRow {
    provider: &'static str,
    model: &'static str,
    line: &'static str,
    /// Its name and its values.
    entry: OnceLock<Box<(String, Entry)>>,
}

/// The built-in table, which a test compares with what [`parse`] makes of it.
pub(super) fn builtin(text: &'static str) -> PriceTable {
    let date = text.lines().find_map(|line| line.strip_prefix("# date:")).unwrap_or_default();
    let row = |(_, line): (usize, &'static str)| {
        let (provider, rest) = line.split_once('\t')?;
        let (model, _) = rest.split_once('\t')?;
        Some(BuiltinRow { provider, model, line, entry: OnceLock::new() })
    };
    let rows = lines(text).skip(1).filter_map(row).collect();
    PriceTable { date: date.trim().to_owned(), models: Models::Builtin(Builtin(rows)) }
}

impl Builtin {
    pub(super) fn get(&self, name: &str) -> Option<&Entry> {
        let (provider, model) = name.split_once('/')?;
        let order = |row: &BuiltinRow| row.provider.cmp(provider).then_with(|| row.model.cmp(model));
        let at = self.0.binary_search_by(order).ok()?;
        Some(&self.0[at].parsed().1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.0.iter().map(|row| {
            let (name, entry) = row.parsed();
            (name.as_str(), entry)
        })
    }

    pub(super) fn of_provider(&self, provider: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |row| row.provider == provider).map(|row| row.model)
    }
}

impl BuiltinRow {
    fn parsed(&self) -> &(String, Entry) {
        self.entry.get_or_init(|| Box::new(row(self.line).expect("a test reads the table")))
    }
}

fn invalid(why: &str) -> Error {
    Error::new(ErrorKind::Config, format!("invalid table of models: {why}"))
}

fn row(line: &str) -> std::result::Result<(String, Entry), String> {
    let fields: Vec<_> = line.split('\t').collect();
    let fields: [&str; COLUMNS.len()] = fields
        .try_into()
        .map_err(|fields: Vec<_>| format!("{} columns instead of {}", fields.len(), COLUMNS.len()))?;
    let [provider, model, input, cached, written, output, tiers, context, max_output, rest @ ..] = fields;
    let [modalities, temperature, reasons, levels, tools, structured, released] = rest;
    if provider.is_empty() || model.is_empty() {
        return Err("it names no provider or no model".to_owned());
    }
    let price = match (dollars("input_usd_per_mtok", input)?, dollars("output", output)?) {
        (Some(input), Some(output)) => Some(Price {
            input,
            cached_input: dollars("cached_input", cached)?,
            cache_write: dollars("cache_write", written)?,
            output,
            batch: HALF_IN_BATCHES.contains(&provider).then_some(0.5),
            context: tokens("context_tokens", context)?,
            tiers: price_tiers(tiers)?,
        }),
        (None, None) => None,
        _ => return Err("it has only one of `input_usd_per_mtok` and `output`".to_owned()),
    };
    let capabilities = Capabilities {
        context_tokens: tokens("context_tokens", context)?,
        max_output_tokens: tokens("max_output_tokens", max_output)?,
        input_modalities: listed(modalities),
        takes_temperature: answer("takes_temperature", temperature)?,
        reasons: answer("reasons", reasons)?,
        reasoning_options: listed(levels),
        tools: answer("tools", tools)?,
        structured_output: answer("structured_output", structured)?,
        released: Some(released.to_owned()).filter(|date| !date.is_empty()),
    };
    Ok((format!("{provider}/{model}"), Entry { price, capabilities: Some(capabilities) }))
}

/// Words that are joined by `+`.
fn listed(words: &str) -> Vec<String> {
    words.split('+').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn dollars(column: &str, text: &str) -> std::result::Result<Option<f64>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let usd = text.parse::<f64>().ok().filter(|usd| usd.is_finite() && *usd >= 0.0);
    usd.map(Some).ok_or_else(|| format!("`{column}` must be a number of 0 or more, not `{text}`"))
}

/// A number of tokens. `None` if it is unknown, which is also written as 0.
fn tokens(column: &str, text: &str) -> std::result::Result<Option<u64>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let tokens =
        text.parse::<u64>().map_err(|_| format!("`{column}` must be a number of tokens, not `{text}`"))?;
    Ok(Some(tokens).filter(|tokens| *tokens > 0))
}

fn answer(column: &str, text: &str) -> std::result::Result<Option<bool>, String> {
    match text {
        "yes" => Ok(Some(true)),
        "no" => Ok(Some(false)),
        "?" | "" => Ok(None),
        _ => Err(format!("`{column}` must be yes, no or ?, not `{text}`")),
    }
}

#[derive(Deserialize)]
struct WireTier {
    tier: WireTierKind,
    input: f64,
    output: f64,
    cache_read: Option<f64>,
    cache_write: Option<f64>,
}

#[derive(Deserialize)]
struct WireTierKind {
    size: u64,
    #[serde(rename = "type", default = "context")]
    kind: String,
}

fn context() -> String {
    "context".to_owned()
}

fn price_tiers(json: &str) -> std::result::Result<Vec<PriceTier>, String> {
    if json.is_empty() {
        return Ok(Vec::new());
    }
    let tiers: Vec<WireTier> = serde_json::from_str(json).map_err(|e| format!("`price_tiers`: {e}"))?;
    let mut tiers = tiers
        .into_iter()
        .map(|tier| match &*tier.tier.kind {
            "context" => Ok(PriceTier {
                above: tier.tier.size,
                input: tier.input,
                cached_input: tier.cache_read,
                cache_write: tier.cache_write,
                output: tier.output,
            }),
            other => Err(format!("`price_tiers`: the kind `{other}` is unknown: it must be context")),
        })
        .collect::<std::result::Result<Vec<_>, _>>()?;
    tiers.sort_by_key(|tier| tier.above);
    Ok(tiers)
}

//! `fanweave models`: lists models, their prices, and providers.

use std::fmt::Write;

use fanweave::models::{Capabilities, Price, Prices, alias, vendors};
use fanweave::testing::Sim;
use serde_json::json;

use crate::args::{ModelOrder, ModelsArgs};
use crate::cost;
use crate::exit::{Exit, Failure};
use crate::out::{print, tell};
use crate::progress::short;

pub(crate) fn run(args: &ModelsArgs) -> Result<Exit, Failure> {
    if let Some(file) = &args.update {
        let (prices, path) = cost::update(file)?;
        let count = prices.models().count();
        tell!("{} models as of {}, stored as {}", count, prices.date(), path.display());
        cost::note_on_age(&prices).iter().for_each(|note| tell!("note: {note}"));
        return Ok(Exit::Ok);
    }
    let prices = cost::prices(args.prices.as_deref())?;
    if args.prices.is_none() {
        cost::note_on_age(&prices).iter().for_each(|note| tell!("note: {note}"));
    }
    let part = args.part.as_deref().unwrap_or_default().to_ascii_lowercase();
    // `openai/small` is the page of the model that it stands for.
    let part = alias(&part).map_or(part.clone(), str::to_owned);
    let words = args.search.as_deref().unwrap_or_default().to_ascii_lowercase();
    let of_provider = |name: &str| {
        let provider = args.provider.as_deref();
        provider.is_none_or(|provider| name.split('/').next() == Some(provider))
    };
    let wanted = |name: &str| of_provider(name) && name.to_ascii_lowercase().contains(&part);
    let found = |name: &str| {
        words
            .split_whitespace()
            .all(|word| name.to_ascii_lowercase().contains(word) || takes(&prices, name, word))
    };
    let mut priced: Vec<_> = prices.models().filter(|(name, _)| wanted(name) && found(name)).collect();
    if args.sort == ModelOrder::Price {
        let usd = |price: &Price| price.input + price.output;
        priced.sort_by(|(_, one), (_, other)| usd(one).total_cmp(&usd(other)));
    }
    let is_listed = |name: &str| wanted(name) && words.split_whitespace().all(|word| name.contains(word));
    let simulated: Vec<_> =
        Sim::NAMES.iter().map(|name| format!("sim/{name}")).filter(|name| is_listed(name)).collect();
    let providers: Vec<_> = vendors().filter(|name| is_listed(name)).collect();
    if priced.is_empty() && simulated.is_empty() && providers.is_empty() {
        let sought = if part.is_empty() { &words } else { &part };
        let names = || prices.models().map(|(name, _)| name.to_owned());
        let own = |name: &str| name.split_once('/').map_or_else(String::new, |(_, own)| own.to_owned());
        let near = fanweave::errors::closest(sought, names()).or_else(|| {
            let near = fanweave::errors::closest(sought, names().map(|name| own(&name)))?;
            names().find(|name| own(name) == near)
        });
        let failure = Failure::usage(format!("no model or provider matches `{sought}`"));
        if let Some(provider) = &args.provider
            && !prices.models().any(|(name, _)| of_provider(name))
        {
            let failure = Failure::usage(format!("--provider: no model of `{provider}` is listed"));
            let near = fanweave::errors::closest(provider, vendors().map(str::to_owned));
            return Err(match near {
                Some(near) => failure.with_hint(format!("did you mean {near}?")),
                None => failure.with_hint("`fanweave models` lists the providers"),
            });
        }
        return Err(match near {
            Some(near) => failure.with_hint(format!("did you mean {near}?")),
            None => failure.with_hint("models that are not listed can be called as well"),
        });
    }
    let page = priced.iter().find(|(name, _)| *name == part);
    let text = if args.json {
        let models: Vec<_> = priced
            .iter()
            .map(|(name, price)| {
                let mut model = json!({
                    "name": name, "input": price.input, "cached_input": price.cached_input,
                    "cache_write": price.cache_write, "output": price.output, "batch": price.batch,
                    "context": price.context,
                });
                if let Some(known) = prices.capabilities(name) {
                    model["max_output"] = json!(known.max_output_tokens);
                    model["input_modalities"] = json!(known.input_modalities);
                    model["takes_temperature"] = json!(known.takes_temperature);
                    model["reasons"] = json!(known.reasons);
                    model["reasoning_options"] = json!(known.reasoning_options);
                    model["tools"] = json!(known.tools);
                    model["structured_output"] = json!(known.structured_output);
                    model["released"] = json!(known.released);
                }
                let tiers = price.tiers.iter().map(|tier| {
                    json!({
                        "above": tier.above, "input": tier.input, "cached_input": tier.cached_input,
                        "cache_write": tier.cache_write, "output": tier.output,
                    })
                });
                model["tiers"] = tiers.collect();
                model
            })
            .chain(simulated.iter().map(|name| json!({ "name": name, "input": 0.0, "output": 0.0 })))
            .collect();
        let all = json!({ "prices_of": prices.date(), "models": models, "providers": providers });
        format!("{}\n", serde_json::to_string_pretty(&all).expect("the keys are texts"))
    } else if let Some((name, price)) = page {
        page_of(name, price, &prices)
    } else {
        table(&priced, &simulated, &providers, prices.date())
    };
    print(text.as_bytes())?;
    Ok(Exit::Ok)
}

/// Returns true if a model takes or does what the word names.
fn takes(prices: &Prices, name: &str, word: &str) -> bool {
    let Some(known) = prices.capabilities(name) else { return false };
    match word {
        "tools" => known.tools == Some(true),
        "schema" => known.structured_output == Some(true),
        "reasoning" => known.reasons == Some(true),
        word => known.input_modalities.iter().any(|modality| modality == word),
    }
}

/// All that is known of one model.
fn page_of(name: &str, price: &Price, prices: &Prices) -> String {
    let mut text = format!("{name}\n");
    let mut line = |what: &str, value: String| {
        let _ = writeln!(text, "  {what:<20}{value}");
    };
    let of_tokens = |input: f64, cached: Option<f64>, written: Option<f64>, output: f64| {
        let other = |what: &str, usd: Option<f64>| {
            usd.map(|usd| format!(", {what} {}", price_of(usd))).unwrap_or_default()
        };
        let (cached, written) = (other("from the cache", cached), other("written to the cache", written));
        format!("input {}{cached}{written}, output {}", price_of(input), price_of(output))
    };
    line("price", of_tokens(price.input, price.cached_input, price.cache_write, price.output));
    for tier in &price.tiers {
        let above = format!("above {} tokens", tier.above);
        line(&above, of_tokens(tier.input, tier.cached_input, tier.cache_write, tier.output));
    }
    if let Some(share) = price.batch {
        line("batch API", format!("{} % of these prices", share * 100.0));
    }
    match prices.capabilities(name) {
        Some(known) => capabilities(known, &mut line),
        None => line("context", tokens(price.context)),
    }
    let _ = writeln!(text, "prices in US dollars per million tokens, as of {}", prices.date());
    text
}

fn tokens(tokens: Option<u64>) -> String {
    tokens.map_or_else(|| "unknown".to_owned(), |n| format!("{n} tokens"))
}

/// A price with at least two decimals: `$2.50`, `$0.025`.
fn price_of(usd: f64) -> String {
    let cents = format!("{usd:.2}");
    if cents.parse() == Ok(usd) { format!("${cents}") } else { format!("${usd}") }
}

fn capabilities(known: &Capabilities, line: &mut impl FnMut(&str, String)) {
    let answer = |answer: Option<bool>| match answer {
        Some(true) => "yes".to_owned(),
        Some(false) => "no".to_owned(),
        None => "unknown".to_owned(),
    };
    line("context", tokens(known.context_tokens));
    line("longest answer", tokens(known.max_output_tokens));
    line("input", known.input_modalities.join(", "));
    line("temperature", answer(known.takes_temperature));
    let options = if known.reasoning_options.is_empty() {
        answer(known.reasons)
    } else {
        known.reasoning_options.join(", ")
    };
    line("reasoning", options);
    line("tools", answer(known.tools));
    line("structured output", answer(known.structured_output));
    if let Some(released) = &known.released {
        line("released", released.clone());
    }
}

fn table(priced: &[(&str, &Price)], simulated: &[String], providers: &[&str], date: &str) -> String {
    let mut text = String::new();
    if !priced.is_empty() {
        let width = priced.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        let _ = writeln!(
            text,
            "{:width$}  {:>8}  {:>8}  {:>8}  {:>8}",
            "model", "in", "cached", "out", "context"
        );
        for (name, price) in priced {
            #[expect(clippy::cast_precision_loss, reason = "a size for people")]
            let context = price.context.map_or_else(|| "-".to_owned(), |tokens| short(tokens as f64));
            let cached = price.cached_input.map_or_else(|| "-".to_owned(), |usd| usd.to_string());
            let (input, output) = (price.input, price.output);
            let _ = writeln!(text, "{name:width$}  {input:>8}  {cached:>8}  {output:>8}  {context:>8}");
        }
        let _ = writeln!(text, "US dollars per million tokens, as of {date}");
    }
    let gap = |text: &mut String| {
        if !text.is_empty() {
            text.push('\n');
        }
    };
    if !simulated.is_empty() {
        gap(&mut text);
        let _ = writeln!(text, "no API key needed: {}", simulated.join(", "));
    }
    if !providers.is_empty() {
        gap(&mut text);
        let _ = writeln!(text, "providers (for PROVIDER/MODEL): {}", providers.join(", "));
    }
    text
}

//! `fanweave models`: lists models, their prices, and providers.

use std::fmt::Write;

use fanweave::models::{Price, vendors};
use fanweave::testing::Sim;
use serde_json::json;

use crate::args::ModelsArgs;
use crate::cost;
use crate::exit::{Exit, Failure};
use crate::out::print;
use crate::progress::short;

pub(crate) fn run(args: &ModelsArgs) -> Result<Exit, Failure> {
    let prices = cost::prices(args.prices.as_deref())?;
    let part = args.part.as_deref().unwrap_or_default().to_ascii_lowercase();
    let wanted = |name: &str| name.to_ascii_lowercase().contains(&part);
    let priced: Vec<_> = prices.models().filter(|(name, _)| wanted(name)).collect();
    let simulated: Vec<_> =
        Sim::NAMES.iter().map(|name| format!("sim/{name}")).filter(|name| wanted(name)).collect();
    let providers: Vec<_> = vendors().filter(|name| wanted(name)).collect();
    if priced.is_empty() && simulated.is_empty() && providers.is_empty() {
        let near = fanweave::errors::closest(&part, prices.models().map(|(name, _)| name.to_owned()));
        let failure = Failure::usage(format!("no model or provider matches `{part}`"));
        return Err(match near {
            Some(near) => failure.with_hint(format!("did you mean {near}?")),
            None => failure.with_hint("models that are not listed can be called as well"),
        });
    }
    let text = if args.json {
        let models: Vec<_> = priced
            .iter()
            .map(|(name, price)| {
                json!({
                    "name": name, "input": price.input, "cached_input": price.cached_input, "output": price.output,
                    "batch": price.batch, "context": price.context,
                })
            })
            .chain(simulated.iter().map(|name| json!({ "name": name, "input": 0.0, "output": 0.0 })))
            .collect();
        let all = json!({ "prices_of": prices.date(), "models": models, "providers": providers });
        format!("{}\n", serde_json::to_string_pretty(&all).expect("the keys are texts"))
    } else {
        table(&priced, &simulated, &providers, prices.date())
    };
    print(text.as_bytes())?;
    Ok(Exit::Ok)
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

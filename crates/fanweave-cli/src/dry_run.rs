//! `fanweave batch --dry-run`: what would be asked, how much it may take and cost. Nothing is called.

use std::fmt::Write;
use std::num::NonZeroU32;

use fanweave::batch::{Render, Source};
use fanweave::models::{Price, Prices};
use fanweave::{Prompt, Role, Usage, excerpt};

use crate::args::{BatchArgs, Via};
use crate::cost::{dollars, expected};
use crate::exit::{Exit, Failure};
use crate::out::{harmless, print};
use crate::progress::{rounded, short};

/// Prompts that are shown whole, or nearly so.
const SHOWN: usize = 3;
/// Most bytes that are shown of a message.
const MESSAGE: usize = 2_000;

/// Reads all rows, and says what they come to.
pub(crate) fn run(
    source: Source,
    render: &Render,
    args: &BatchArgs,
    models: &[String],
    prices: &Prices,
) -> Result<Exit, Failure> {
    let mut text = String::new();
    let (mut rows, mut bad, mut usage) = (0_u64, 0_u64, Usage::default());
    let mut first_bad = None;
    for item in source {
        let item = item.map_err(|e| Failure::new(e.to_string()))?;
        rows += 1;
        match item.input.and_then(|input| render.render(input)) {
            Ok(prompt) => {
                usage += expected(Some(&prompt), args.model.max_tokens);
                if rows - bad <= SHOWN as u64 {
                    show(&mut text, item.line, &prompt);
                }
            }
            Err(error) => {
                bad += 1;
                first_bad.get_or_insert_with(|| format!("line {}: {}", item.line, error.message()));
            }
        }
    }
    text.push_str(&figures(rows, bad, usage, args));
    if let Some(first) = first_bad {
        let _ = writeln!(text, "cannot be asked: {bad} of them, the first: {first}");
    }
    for model in models {
        text.push_str(&cost(model, usage, prices, args.via));
    }
    text.push_str("nothing was called\n");
    print(harmless(&text).as_bytes())?;
    Ok(if rows > 0 && bad == rows { Exit::Usage } else { Exit::Ok })
}

fn show(text: &mut String, line: u64, prompt: &Prompt) {
    let _ = writeln!(text, "line {line}:");
    for message in &prompt.messages {
        let role = match message.role {
            Role::System => "system",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
            _ => "user",
        };
        let _ = writeln!(text, "  {role}: {}", excerpt(&message.text(), MESSAGE).replace('\n', "\n    "));
    }
}

fn figures(rows: u64, bad: u64, usage: Usage, args: &BatchArgs) -> String {
    #[expect(clippy::cast_precision_loss, reason = "counts for people")]
    let tokens = |n: u64| short(n as f64);
    let limited = args.model.max_tokens.is_some();
    let answers = if limited { "at most" } else { "about" };
    let basis = if limited { String::new() } else { format!(" at {} an answer", Usage::EXPECTED_OUTPUT) };
    let mut text = format!(
        "rows: {rows}\ntokens: about {} in, {answers} {} out{basis}\n",
        tokens(usage.input_tokens),
        tokens(usage.output_tokens)
    );
    if let Some((seconds, limit)) = longest(rows - bad, usage.total_tokens(), args) {
        let time = rounded(std::time::Duration::from_secs_f64(seconds));
        let _ = writeln!(text, "time: at least {time} at {limit} a minute");
    }
    text
}

/// The longest time that a limit of the caller makes of it, in seconds, and that limit.
#[expect(clippy::cast_precision_loss, reason = "a time for people")]
fn longest(requests: u64, tokens: u64, args: &BatchArgs) -> Option<(f64, String)> {
    let by = |amount: u64, limit: Option<NonZeroU32>, what: &str| {
        limit.map(|limit| (amount as f64 * 60.0 / f64::from(limit.get()), format!("{limit} {what}")))
    };
    let times = [by(requests, args.model.rpm, "requests"), by(tokens, args.model.tpm, "tokens")];
    times.into_iter().flatten().max_by(|a, b| a.0.total_cmp(&b.0))
}

fn cost(model: &str, usage: Usage, prices: &Prices, via: Via) -> String {
    let share = |price: &Price| if via == Via::BatchApi { price.batch.unwrap_or(1.0) } else { 1.0 };
    match prices.of(model) {
        Some(price) => format!(
            "cost: about {} with {model} alone (prices as of {})\n",
            dollars(price.cost(&usage) * share(price)),
            prices.date()
        ),
        None => {
            format!("cost: unknown with {model}: no price as of {}; give one with --prices\n", prices.date())
        }
    }
}

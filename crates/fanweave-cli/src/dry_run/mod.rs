//! `--dry-run`: shows prompts and estimates time, tokens and cost without making calls.

pub(crate) mod chain;
pub(crate) mod rows;

use std::fmt::Write;
use std::num::NonZeroU32;
use std::time::Duration;

use fanweave::models::Prices;
use fanweave::testing::Sim;
use fanweave::{ChatModel, Context, Message, Model, Prompt, Role, Usage, errors::excerpt};

use crate::args::{ModelArgs, Via};
use crate::cost::{dollars, through};
use crate::progress::{rounded, short};

/// Maximum bytes of a message to show.
const MAX_MESSAGE_BYTES: usize = 2_000;

/// The last line of every dry run.
const END: &str = "no calls were made\n";

/// A simulated model without latency, under the name of the model that it replaces.
pub(crate) fn stand_in(name: &str) -> Model {
    struct StandIn {
        name: String,
        simulated: Sim,
    }

    impl ChatModel for StandIn {
        fn name(&self) -> &str {
            &self.name
        }

        async fn generate(&self, prompt: Prompt, cx: &Context) -> fanweave::Result<Message> {
            self.simulated.generate(prompt, cx).await
        }
    }

    let simulated =
        name.strip_prefix("sim/").and_then(Sim::named).unwrap_or_else(Sim::writer).without_latency();
    Model::new(StandIn { name: name.to_owned(), simulated })
}

/// The messages of a prompt as shown: long ones are cut.
fn shown(prompt: &Prompt) -> Vec<String> {
    let shown = |message: &Message| {
        let role = match message.role {
            Role::System => "system",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
            _ => "user",
        };
        format!("{role}: {}", excerpt(&message.text(), MAX_MESSAGE_BYTES))
    };
    prompt.messages.iter().map(shown).collect()
}

/// Writes [messages](shown), one per line, indented by `indent`.
fn show(text: &mut String, indent: &str, messages: &[String]) {
    for message in messages {
        let message = message.replace('\n', &format!("\n{indent}  "));
        let _ = writeln!(text, "{indent}{message}");
    }
}

/// Estimated tokens of all requests. If all are `limited`, the output is an upper bound.
fn tokens(usage: Usage, limited: bool) -> String {
    #[expect(clippy::cast_precision_loss, reason = "counts for people")]
    let tokens = |n: u64| short(n as f64);
    let answers = if limited { "at most" } else { "about" };
    let basis = if limited { String::new() } else { format!(" at {} per answer", Usage::EXPECTED_OUTPUT) };
    let (sent, got) = (tokens(usage.input_tokens), tokens(usage.output_tokens));
    format!("tokens: about {sent} in, {answers} {got} out{basis}\n")
}

/// Minimum time under the user's limits. `accounts` are the requests and tokens of each. Empty without
/// limits.
fn time(accounts: &[(f64, f64)], rpm: Option<NonZeroU32>, limits: &ModelArgs) -> String {
    let by = |amount: f64, limit: Option<NonZeroU32>, what: &str| {
        limit.map(|limit| {
            let plural = if limit.get() == 1 { "" } else { "s" };
            (amount * 60.0 / f64::from(limit.get()), format!("{limit} {what}{plural}"))
        })
    };
    let times = accounts.iter().flat_map(|(requests, tokens)| {
        // The first request does not wait.
        [by(requests - 1.0, rpm, "request"), by(*tokens, limits.tpm, "token")]
    });
    match times.flatten().filter(|(seconds, _)| *seconds > 0.0).max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((seconds, limit)) => {
            let time = rounded(Duration::from_secs_f64(seconds));
            format!("time: at least {time} at {limit} per minute\n")
        }
        None => String::new(),
    }
}

/// Estimated cost of calls of a model, in US dollars. Each call is priced by itself, since prices depend on
/// the length of its prompt. 0 without a price.
fn usd_of(model: &str, call: &Usage, prices: &Prices, via: Via) -> f64 {
    prices.of(model).map_or(0.0, |price| through(via, price, call))
}

/// Estimated cost with a model. `how` is appended to its name.
fn cost(model: &str, how: &str, usd: f64, prices: &Prices) -> String {
    match prices.of(model) {
        Some(_) => {
            format!("cost: about {} with {model}{how} (prices as of {})\n", dollars(usd), prices.date())
        }
        None => {
            format!("cost: unknown with {model}: no price as of {}; add one with --prices\n", prices.date())
        }
    }
}

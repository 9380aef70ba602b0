//! `--dry-run`: shows prompts and estimates time, tokens and cost without making calls.

pub(crate) mod chain;
mod estimate;
pub(crate) mod rows;
pub(crate) mod texts;

use std::fmt::Write;
use std::num::NonZeroU32;
use std::time::Duration;

use fanweave::models::Prices;
use fanweave::testing::Sim;
use fanweave::{ChatModel, Context, Message, Model, Prompt, Role, Usage, errors::excerpt};

use crate::args::{ModelArgs, Via};
use crate::cost::through;
use estimate::Time;

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

/// Minimum time under the user's limits. `accounts` are the requests and tokens of each. `None` without
/// limits.
fn limit_time(accounts: &[(f64, f64)], rpm: Option<NonZeroU32>, limits: &ModelArgs) -> Option<Time> {
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
    let slowest = times.flatten().filter(|(seconds, _)| *seconds > 0.0).max_by(|a, b| a.0.total_cmp(&b.0));
    slowest.map(|(seconds, limit)| Time::AtLeast(seconds, format!("at {limit} per minute")))
}

/// Time of `rows` rows that take as long as those of earlier runs, with `at_once` in flight, unless limits
/// take longer. `None` if neither is known.
fn time(limits: Option<Time>, rows: u64, mean: Option<Duration>, at_once: usize) -> Option<Time> {
    let Some(mean) = mean.filter(|_| rows > 0) else { return limits };
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let seconds = (rows as f64 / at_once.max(1) as f64).max(1.0) * mean.as_secs_f64();
    match limits {
        Some(Time::AtLeast(least, why)) if least >= seconds => Some(Time::AtLeast(least, why)),
        _ => {
            let why = format!("with {at_once} rows in flight, if they take as long as those before");
            Some(Time::About(seconds, why))
        }
    }
}

/// Estimated cost of calls of a model, in US dollars. Each call is priced by itself, since prices depend on
/// the length of its prompt. 0 without a price.
fn usd_of(model: &str, call: &Usage, prices: &Prices, via: Via) -> f64 {
    prices.of(model).map_or(0.0, |price| through(via, price, call))
}

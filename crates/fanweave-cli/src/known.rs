//! Checks of requests against what the table of models knows, before any call.

use fanweave::models::{Prices, alias};
use fanweave::{Parameters, Prompt};

use crate::args::ModelArgs;
use crate::config::Config;
use crate::exit::Failure;
use crate::out::tell;

/// Variables that replace the servers of providers.
const URL_VARIABLES: [&str; 4] =
    ["OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "GOOGLE_GEMINI_BASE_URL", "AZURE_OPENAI_ENDPOINT"];

/// Parameters, and the flags that set them.
const FLAGS: [(&str, &str); 4] = [
    ("`temperature`", "--temperature"),
    ("`reasoning_effort`", "--reasoning-effort"),
    ("`reasoning_budget`", "--reasoning-budget"),
    ("`max_tokens`", "--max-tokens"),
];

/// Checks the requests of `args` with `parameters`. An objection that a provider may not share is a warning.
///
/// # Errors
/// The first objection that the provider is known to share, unless requests adapt or go to another server.
pub(crate) fn check(
    args: &ModelArgs,
    config: &Config,
    prices: &Prices,
    parameters: &Parameters,
    prompt: Option<&Prompt>,
    is_quiet: bool,
) -> Result<(), Failure> {
    let Some(given) = args.model.as_deref() else { return Ok(()) };
    let name = config.named(given);
    let name = alias(&name).unwrap_or(&name);
    let is_elsewhere =
        args.base_url.is_some() || URL_VARIABLES.iter().any(|name| std::env::var_os(name).is_some());
    if is_elsewhere && prices.capabilities(name).is_none() {
        return Ok(());
    }
    for objection in prices.check(name, parameters, prompt) {
        let message = FLAGS.iter().fold(objection.message, |text, (name, flag)| text.replace(name, flag));
        if objection.is_refused && !is_elsewhere && !args.adapt {
            let hint = format!(
                "as known on {}. --adapt only warns of it, and drops what the server refuses",
                prices.date()
            );
            return Err(Failure::usage(message).with_hint(hint));
        }
        if !is_quiet {
            tell!("warning: {message}");
        }
    }
    Ok(())
}

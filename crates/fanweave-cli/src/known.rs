//! Checks of requests against what the table of models knows, before any call.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fanweave::messages::Part;
use fanweave::models::{Objection, Prices, alias};
use fanweave::{ChainFile, Error, ErrorKind, Parameters, Prompt};

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
    let named = |text: String| FLAGS.iter().fold(text, |text, (name, flag)| text.replace(name, flag));
    for objection in objections(args, config, prices, given, parameters, prompt) {
        object(args, prices, objection.is_refused, named(objection.message), is_quiet)?;
    }
    Ok(())
}

/// Checks the parameters that the steps of a chain file set, with each of their models. A misspelt name is
/// reported here only if `checks_names` is set: connecting to the models reports it too.
///
/// # Errors
/// Those of [`check`], with the name of the step.
pub(crate) fn check_steps(
    args: &ModelArgs,
    config: &Config,
    prices: &Prices,
    file: &ChainFile,
    checks_names: bool,
    is_quiet: bool,
) -> Result<(), Failure> {
    let mut reported = HashSet::new();
    for (step, models, parameters) in file.step_parameters() {
        for given in models.into_iter().filter_map(|name| name.or(args.model.as_deref())) {
            for Objection { message, is_refused, .. } in
                objections(args, config, prices, given, parameters, None)
            {
                let is_name = message.contains("did you mean");
                if !is_name || (checks_names && reported.insert(message.clone())) {
                    object(args, prices, is_refused, format!("step `{step}`: {message}"), is_quiet)?;
                }
            }
        }
    }
    Ok(())
}

/// A check of the prompts of rows for the only model of a run: kinds of input that it does not take fail the
/// row, and a warning tells once of those that it may not take, such as a prompt that is too long.
pub(crate) fn of_prompts(
    args: &ModelArgs,
    config: &Config,
    prices: &Prices,
    model: &str,
    is_quiet: bool,
) -> impl Fn(&Prompt) -> fanweave::Result<()> + Send + Sync + use<> {
    /// Prompts of fewer bytes fit into the context of every model: 4,096 tokens.
    const SHORT: usize = 16 << 10;
    let name = config.named(model);
    let name = alias(&name).unwrap_or(&name).to_owned();
    let is_error = !is_elsewhere(args) && !args.adapt;
    let (prices, has_warned) = (prices.clone(), Arc::new(AtomicBool::new(is_quiet)));
    move |prompt| {
        let parts = || prompt.messages.iter().flat_map(|message| &message.parts);
        let bytes: usize = parts().filter_map(Part::as_text).map(str::len).sum();
        if bytes <= SHORT && !parts().any(|part| matches!(part, Part::Image(_) | Part::Audio(_))) {
            return Ok(());
        }
        for Objection { message, is_refused, .. } in prices.check_prompt(&name, prompt) {
            if is_refused && is_error {
                let message = format!("{message} (as known on {}; --adapt sends it)", prices.date());
                return Err(Error::new(ErrorKind::Input, message));
            }
            if !has_warned.swap(true, Ordering::Relaxed) {
                tell!("warning: {message}; further rows are not checked for it");
            }
        }
        Ok(())
    }
}

fn is_elsewhere(args: &ModelArgs) -> bool {
    args.base_url.is_some() || URL_VARIABLES.iter().any(|name| std::env::var_os(name).is_some())
}

/// Objections to requests for the model `given`.
fn objections(
    args: &ModelArgs,
    config: &Config,
    prices: &Prices,
    given: &str,
    parameters: &Parameters,
    prompt: Option<&Prompt>,
) -> Vec<Objection> {
    let name = config.named(given);
    let name = alias(&name).unwrap_or(&name);
    if is_elsewhere(args) && prices.capabilities(name).is_none() {
        return Vec::new();
    }
    prices.check(name, parameters, prompt)
}

/// Fails with an objection that the provider is known to share, and warns of any other.
fn object(
    args: &ModelArgs,
    prices: &Prices,
    is_refused: bool,
    message: String,
    is_quiet: bool,
) -> Result<(), Failure> {
    if is_refused && !is_elsewhere(args) && !args.adapt {
        let hint = format!(
            "as known on {}. --adapt only warns of it, and drops what the server refuses",
            prices.date()
        );
        return Err(Failure::usage(message).with_hint(hint));
    }
    if !is_quiet {
        tell!("warning: {message}");
    }
    Ok(())
}

/// Rejects flags that ask for several choices, or for the probabilities of tokens, where only the text of
/// one is shown: they would be paid for and lost.
pub(crate) fn refuse_choices(args: &ModelArgs) -> Result<(), Failure> {
    if !args.parameters().asks_for_choices() {
        return Ok(());
    }
    Err(Failure::usage("--param n and --param logprobs ask for more than the one answer that is shown")
        .with_hint(
            "use `fanweave batch` with an output of JSON Lines, without --schema; --samples N gives several answers \
             in any format",
        ))
}

//! Checks of requests against what the table of models knows, before any call.

mod steps;

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

pub(crate) use steps::{StepPrompts, look_ahead};

/// Variables that replace the servers of providers.
const URL_VARIABLES: [&str; 4] =
    ["OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "GOOGLE_GEMINI_BASE_URL", "AZURE_OPENAI_ENDPOINT"];

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
    for objection in objections(args, config, prices, given, parameters, prompt) {
        let message = args.with_flags(&objection.message, None);
        object(args, prices, objection.is_refused, message, is_quiet)?;
    }
    Ok(())
}

/// Checks the parameters of the steps of a chain file, with those of the flags for what they do not set, and
/// with each of their models.
///
/// # Errors
/// Those of [`check`], with the name of the step if it sets the parameter.
pub(crate) fn check_steps(
    args: &ModelArgs,
    config: &Config,
    prices: &Prices,
    file: &ChainFile,
    is_quiet: bool,
) -> Result<(), Failure> {
    let mut reported = HashSet::new();
    let flags = args.parameters();
    for (step, models, own) in file.step_parameters() {
        let all = own.clone().or(&flags);
        for given in models.into_iter().filter_map(|name| name.or(args.model.as_deref())) {
            let of_flags = objections(args, config, prices, given, &flags, None);
            for objection in objections(args, config, prices, given, &all, None) {
                let plain = args.with_flags(&objection.message, Some(own));
                // The step has no part in it.
                let is_of_flags = of_flags.contains(&objection)
                    && plain == args.with_flags(&objection.message, None)
                    && plain != objection.message;
                let message = if is_of_flags { plain.clone() } else { format!("step `{step}`: {plain}") };
                // The name of a model is said once, for the first of its steps.
                let is_name = objection.message.contains("did you mean");
                if reported.insert(if is_name { plain } else { message.clone() }) {
                    object(args, prices, objection.is_refused, message, is_quiet)?;
                }
            }
        }
    }
    Ok(())
}

/// A check of the prompts of a run with one model: kinds of input that it does not take are an error, and a
/// warning tells once of those that it may not take, such as a prompt that is too long. It ends with `more`.
pub(crate) fn of_prompts(
    args: &ModelArgs,
    config: &Config,
    prices: &Prices,
    model: &str,
    more: &'static str,
    is_quiet: bool,
) -> impl Fn(&Prompt) -> fanweave::Result<()> + Send + Sync + use<> {
    let name = full_name(config, model);
    let is_error = !is_elsewhere(args) && !args.adapt;
    let (prices, has_warned) = (prices.clone(), Arc::new(AtomicBool::new(is_quiet)));
    move |prompt| {
        if suits_all(prompt) {
            return Ok(());
        }
        for Objection { message, is_refused, .. } in prices.check_prompt(&name, prompt) {
            if is_refused && is_error {
                let message = format!("{message} (as known on {}; --adapt sends it)", prices.date());
                return Err(Error::new(ErrorKind::Input, message));
            }
            if !has_warned.swap(true, Ordering::Relaxed) {
                tell!("warning: {message}{more}");
            }
        }
        Ok(())
    }
}

/// Prompts of fewer bytes fit into the context of every model: 4,096 tokens.
const SHORT: usize = 16 << 10;

/// Returns true for a prompt that every model takes.
fn suits_all(prompt: &Prompt) -> bool {
    let parts = || prompt.messages.iter().flat_map(|message| &message.parts);
    let bytes: usize = parts().filter_map(Part::as_text).map(str::len).sum();
    bytes <= SHORT && !parts().any(|part| matches!(part, Part::Image(_) | Part::Audio(_) | Part::File(_)))
}

/// The full name of a model that is given by an alias.
fn full_name(config: &Config, given: &str) -> String {
    let name = config.named(given);
    alias(&name).map_or(name.clone(), str::to_owned)
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
    let name = full_name(config, given);
    if is_elsewhere(args) && prices.capabilities(&name).is_none() {
        return Vec::new();
    }
    prices.check(&name, parameters, prompt)
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

//! Builds a model from the model flags.

use std::num::NonZeroU32;
use std::sync::Arc;

use fanweave::models::{
    BatchClient, Budget, Limiter, ModelBuilder, RateLimits, RawModel, RetryPolicy, vendors,
};
use fanweave::stores::SqliteCache;
use fanweave::{Model, Parameters};
use fanweave_sim::{Server, Settings};

use crate::args::{Header, ModelArgs};
use crate::config::Config;
use crate::exit::Failure;
use crate::headers::headers;
use crate::logs::History;
use crate::{cost, dry_run, keys};

/// A model, and its server if it is simulated behind a real socket.
pub(crate) struct Connected {
    pub(crate) model: Model,
    /// Stops when dropped.
    _server: Option<Server>,
}

/// Further options for the calls of a model.
#[derive(Clone, Copy, Default)]
pub(crate) struct Terms<'a> {
    /// The environment variable that holds the key. Default: the provider's own.
    pub(crate) key_env: Option<&'a str>,
    /// Keeps raw response bodies, for outputs in the provider's format.
    pub(crate) keep_raw: bool,
    /// Set for a dry run: uses a simulated model, which needs no key.
    pub(crate) dry: bool,
    /// Budget of the calls.
    pub(crate) budget: Option<&'a Budget>,
    /// History that records the calls.
    pub(crate) history: Option<&'a History>,
    /// Parameters of the requests. Default: those of the flags.
    pub(crate) parameters: Option<&'a Parameters>,
    /// Limits that other processes share.
    pub(crate) limiter: Option<&'a Arc<dyn Limiter>>,
}

/// Builds the model of the flags.
pub(crate) fn connect(args: &ModelArgs, config: &Config, terms: Terms<'_>) -> Result<Connected, Failure> {
    let Terms { key_env, keep_raw, dry, budget, history, parameters, limiter } = terms;
    let parameters = parameters.cloned().unwrap_or_else(|| args.parameters());
    // Resolved here as well: chain files may use the aliases of the configuration.
    let given = args.model.as_deref().ok_or_else(no_model)?;
    if !dry && key_env.is_none() {
        config.check_key(given, args.base_url.as_deref())?;
    }
    let name = &*config.named(given);
    if let (false, None) = (name.contains('/'), &args.base_url)
        && let Some(failure) = without_provider(name)
    {
        return Err(failure);
    }
    let simulated = name.starts_with("sim/") && args.base_url.is_none();
    if dry {
        // Validates everything about the model except its key.
        let real = match simulated {
            true => fanweave::model(name)?,
            false => {
                let key = Some("none".into());
                build(&with_vendor(name, args), args.base_url.clone(), key, args, false, None)?
            }
        };
        if let Some(budget) = budget {
            budget.wrap(real.clone())?;
        }
        let model = dry_run::stand_in(real.name()).with(parameters);
        return Ok(Connected { model, _server: None });
    }
    let key = key_env.map(key_of).transpose()?;
    let plain = limits(args) == RateLimits::default()
        && args.timeout.is_none()
        && args.retries.is_none()
        && args.header.is_empty()
        && limiter.is_none();

    let (model, server) = if simulated && plain {
        (fanweave::model(name)?, None)
    } else if simulated {
        // Limits, timeouts and retries are part of the transport: run the simulated model behind a server.
        fanweave::model(name)?;
        let server = serve()?;
        let name = format!("openai/{name}");
        let model = build(&name, Some(server.base_url()), key, args, keep_raw, limiter)?;
        (model, Some(server))
    } else {
        (build(&with_vendor(name, args), args.base_url.clone(), key, args, keep_raw, limiter)?, None)
    };
    let model = match budget {
        Some(budget) => budget.wrap(model)?,
        None => model,
    };
    let model = match &args.cache {
        // Blocks here: no call can start without the cache.
        Some(path) => model.cached(fanweave::blocking::wait(SqliteCache::open(path))?),
        None => model,
    };
    let model = match history {
        Some(history) => history.wrap(model),
        None => model,
    };
    Ok(Connected { model: model.with(parameters), _server: server })
}

pub(crate) fn no_model() -> Failure {
    Failure::usage("no model given").with_hint(
        "add --model, such as --model openai/gpt-5-mini, or --model sim/writer to try without an API key",
    )
}

/// The error for a name without a provider, if the table of models has it.
fn without_provider(name: &str) -> Option<Failure> {
    let known = cost::catalogue().ok()?;
    let of_this_name = known
        .models()
        .map(|(full, _)| full)
        .filter(|full| full.split_once('/').is_some_and(|(_, own)| own == name));
    // The vendors are listed in the order of their importance.
    let order = |full: &&str| {
        let vendor = full.split('/').next();
        vendors().position(|known| Some(known) == vendor).unwrap_or(usize::MAX)
    };
    let full = of_this_name.min_by_key(order)?;
    let message = format!("`{name}` is not a valid model: use provider/model");
    Some(Failure::usage(message).with_hint(format!("did you mean {full}?")))
}

/// Adds the prefix `openai/` for a custom server, whose models may have any name.
fn with_vendor(name: &str, args: &ModelArgs) -> String {
    let vendor = name.split_once('/').map(|(vendor, _)| vendor);
    let known = vendor.is_some_and(|vendor| vendors().any(|known| known == vendor));
    if known || args.base_url.is_none() { name.to_owned() } else { format!("openai/{name}") }
}

fn serve() -> Result<Server, Failure> {
    let settings = Settings { latency: fanweave::testing::LATENCY, ..Settings::default() };
    Server::start(settings).map_err(|e| Failure::new(format!("cannot start the simulated model: {e}")))
}

/// Builds the batch API client for the model of the flags.
pub(crate) fn batch_api(
    args: &ModelArgs,
    config: &Config,
    key_env: Option<&str>,
    keep_raw: bool,
) -> Result<BatchClient, Failure> {
    let name = args.model.as_deref().ok_or_else(no_model)?;
    if name.starts_with("sim/") && args.base_url.is_none() {
        return Err(Failure::usage(format!(
            "--via batch-api: {name} is simulated in this process, without a batch API"
        ))
        .with_hint("start `fanweave sim` and pass its URL as --base-url"));
    }
    if key_env.is_none() {
        config.check_key(name, args.base_url.as_deref())?;
    }
    let name = with_vendor(name, args);
    let key = given_or_stored(&name, args.base_url.as_deref(), key_env.map(key_of).transpose()?)?;
    let api = builder(&name, args.base_url.clone(), key, args, keep_raw)?.batch_api();
    Ok(api.map_err(|e| Failure::usage(e.to_string()))?.with(args.parameters()))
}

/// The model of the flags for requests that are sent as they are. `None` for a simulated model without a
/// server.
pub(crate) fn raw_model(
    args: &ModelArgs,
    config: &Config,
    key_env: Option<&str>,
) -> Result<Option<(String, RawModel)>, Failure> {
    let given = args.model.as_deref().ok_or_else(no_model)?;
    let name = &*config.named(given);
    if name.starts_with("sim/") && args.base_url.is_none() {
        return Ok(None);
    }
    let name = with_vendor(name, args);
    let key = given_or_stored(&name, args.base_url.as_deref(), key_env.map(key_of).transpose()?)?;
    let raw = builder(&name, args.base_url.clone(), key, args, true)?.build_raw();
    Ok(Some((name, raw.map_err(|e| Failure::usage(e.to_string()))?)))
}

/// Reads a key from an environment variable.
fn key_of(variable: &str) -> Result<String, Failure> {
    let key = std::env::var(variable).ok().filter(|key| !key.trim().is_empty());
    key.ok_or_else(|| Failure::usage(format!("--key-env: the environment variable {variable} is not set")))
}

fn build(
    name: &str,
    base_url: Option<String>,
    key: Option<String>,
    args: &ModelArgs,
    keep_raw: bool,
    limiter: Option<&Arc<dyn Limiter>>,
) -> Result<Model, Failure> {
    let key = given_or_stored(name, base_url.as_deref(), key)?;
    let builder = builder(name, base_url, key, args, keep_raw)?;
    let built = limiter.cloned().into_iter().fold(builder, ModelBuilder::limiter).build();
    built.map_err(|e| {
        let failure = Failure::usage(e.to_string());
        match name.split_once('/') {
            Some((vendor, _)) if e.message().contains("is not set: export it") => {
                failure.with_hint(format!("`fanweave keys set {vendor}` stores a key"))
            }
            _ => failure,
        }
    })
}

/// The given key, or the stored key of the provider. A stored key is never sent to a custom URL.
pub(crate) fn given_or_stored(
    name: &str,
    base_url: Option<&str>,
    key: Option<String>,
) -> Result<Option<String>, Failure> {
    match (key, base_url) {
        (None, None) => keys::stored(name),
        (key, _) => Ok(key),
    }
}

fn builder(
    name: &str,
    base_url: Option<String>,
    key: Option<String>,
    args: &ModelArgs,
    keep_raw: bool,
) -> Result<ModelBuilder, Failure> {
    // Their responses have the form of results for other endpoints, but answer chats: the output has to have
    // the form of chats.
    let is_translated = ["openai-responses/", "openai-completions/"].iter().any(|own| name.starts_with(own));
    let mut builder = ModelBuilder::new(name).keep_raw(keep_raw && !is_translated);
    if args.adapt {
        builder = builder.adapt(true);
    } else if args.strict_request {
        builder = builder.strict_request(true);
    }
    for Header { name, value, is_secret } in headers(&args.header, name)? {
        builder = if is_secret { builder.secret_header(name, value) } else { builder.header(name, value) };
    }
    if let Some(key) = key {
        builder = builder.api_key(key);
    }
    if let Some(url) = base_url {
        builder = builder.base_url(url);
    }
    if let Some(timeout) = args.timeout {
        builder = builder.timeout(timeout);
    }
    if args.retries.is_some() || args.outage_timeout.is_some() {
        let mut policy = RetryPolicy::new();
        policy.outage_timeout = args.outage_timeout;
        if let Some(retries) = args.retries {
            policy.max_attempts = NonZeroU32::MIN.saturating_add(retries);
        }
        builder = builder.retry(policy);
    }
    let limits = limits(args);
    if limits != RateLimits::default() {
        builder = builder.limits(limits);
    }
    Ok(builder)
}

fn limits(args: &ModelArgs) -> RateLimits {
    let mut limits = RateLimits::new();
    limits.requests_per_minute = args.rpm;
    limits.tokens_per_minute = args.tpm;
    limits.concurrency = args.max_in_flight;
    limits
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    #[tokio::test]
    async fn limits_apply_to_simulated_models_too() {
        let has_network = |flags: &[&str]| {
            let words = [&["fanweave", "ask", "hi", "--model", "sim/echo"], flags].concat();
            let Command::Ask(args) = Cli::parse_from(words).command else { unreachable!("it is `ask`") };
            connect(&args.model, &Config::default(), Terms::default()).unwrap()._server.is_some()
        };
        assert!(!has_network(&[]));
        for flag in ["--rpm", "--tpm", "--max-in-flight", "--retries"] {
            assert!(has_network(&[flag, "1"]), "{flag}");
        }
        assert!(has_network(&["--timeout", "1s"]));
    }
}

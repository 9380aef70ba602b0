//! Several models or keys for one batch: rows are distributed by weight, with fallbacks.

use std::num::NonZeroU32;
use std::sync::Arc;

use fanweave::models::{Lane, Limiter, Spread, key_variables};
use fanweave::{Chain, Message, Parameters, Prompt};
use tokio::sync::mpsc;

use crate::args::{BatchArgs, Via, split_share};
use crate::config::Config;
use crate::connect::{Connected, Terms, connect, no_model};
use crate::exit::Failure;
use crate::row_model::RowModel;
use crate::{cost, known};

/// A model of `--model` and its weight.
#[derive(Debug, PartialEq, Eq)]
struct Share {
    model: String,
    weight: NonZeroU32,
}

/// The models of a batch. Dropping it stops their simulated servers.
pub(crate) struct Routed {
    pub(crate) chain: Chain<Prompt, Message>,
    /// Meaning of the model that a row names.
    pub(crate) row_model: RowModel,
    /// Distinct names of all models that may be called.
    pub(crate) names: Vec<String>,
    /// Fraction of the rows that each of them gets, from 0 to 1. 0 for fallback models.
    pub(crate) weights: Vec<f64>,
    /// Largest fraction of the rows that one account gets, from 0 to 1.
    pub(crate) max_share: f64,
    /// Notes to print during the run, such as which models or keys were disabled.
    pub(crate) notes: mpsc::UnboundedReceiver<String>,
    _connected: Vec<Connected>,
}

/// Connects to all models that the flags name.
pub(crate) fn route(args: &BatchArgs, config: &Config, keep_raw: bool) -> Result<Routed, Failure> {
    route_with(args, config, keep_raw, None, None)
}

/// Like [`route`], with `parameters` in place of those of the flags, and limits that other processes share.
pub(crate) fn route_with(
    args: &BatchArgs,
    config: &Config,
    keep_raw: bool,
    parameters: Option<&Parameters>,
    limiter: Option<&Arc<dyn Limiter>>,
) -> Result<Routed, Failure> {
    let shares = shares(args.model.model.as_deref().ok_or_else(no_model)?)?;
    let keys: Vec<_> = match args.key_env.as_slice() {
        [] => vec![None],
        names => names.iter().map(|name| Some(name.as_str())).collect(),
    };
    // Rows at the workers of a broker use the keys of those.
    let is_dry = args.dry_run || args.is_remote();
    let is_quiet = args.quiet;
    let known = cost::catalogue()?;
    // A simulated model answers whatever the rows name.
    let is_real = args.model.base_url.is_some()
        || !args.model.model.as_deref().is_some_and(|model| config.named(model).starts_with("sim/"));
    let mut connected = Vec::new();
    let mut reach = |model: &str, weight: NonZeroU32| -> Result<Vec<Lane>, Failure> {
        let args = crate::args::ModelArgs { model: Some(model.to_owned()), ..args.model.clone() };
        let parameters_of = parameters.cloned().unwrap_or_else(|| args.parameters());
        known::check(&args, config, &known, &parameters_of, None, is_quiet)?;
        let mut lanes = Vec::new();
        for key_env in &keys {
            let terms =
                Terms { key_env: *key_env, keep_raw, dry: is_dry, parameters, limiter, ..Terms::default() };
            let one = connect(&args, config, terms)?;
            let variable = key_env.map(str::to_owned).or_else(|| default_variable(one.model.name()));
            let lane = Lane::new(one.model.clone()).weight(weight);
            lanes.push(variable.into_iter().fold(lane, Lane::key_name));
            connected.push(one);
        }
        Ok(lanes)
    };
    let mut lanes = Vec::new();
    for share in &shares {
        lanes.extend(reach(&share.model, share.weight)?);
    }
    let fallbacks =
        args.fallback_model.iter().map(|name| reach(name, NonZeroU32::MIN)).collect::<Result<Vec<_>, _>>()?;
    let weights = || shares.iter().map(|share| f64::from(share.weight.get()));
    let (mut names, mut of_names) = (Vec::<String>::new(), Vec::new());
    // The models of the shares, each with all keys, and then the fallback models.
    let each = weights().flat_map(|weight| std::iter::repeat_n(weight, keys.len()));
    let each = each.chain(std::iter::repeat(0.0));
    for (one, weight) in connected.iter().zip(each) {
        #[expect(clippy::cast_precision_loss, reason = "the number of keys is small")]
        let share = weight / (weights().sum::<f64>() * keys.len() as f64);
        match names.iter().position(|known| known == one.model.name()) {
            Some(at) => of_names[at] += share,
            None => {
                names.push(one.model.name().to_owned());
                of_names.push(share);
            }
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "the numbers of keys are small")]
    let max_share = weights().fold(0.0, f64::max) / (weights().sum::<f64>() * keys.len() as f64);
    let (note, notes) = mpsc::unbounded_channel();
    let spread = |lanes: Vec<Lane>| {
        let note = note.clone();
        // A dry run has no receiver.
        let spread = Spread::new(lanes).on_change(move |change| _ = note.send(format!("note: {change}")));
        if args.no_fallback_on_outage { spread.wait_in_outages().chain() } else { spread.chain() }
    };
    let row_model = match shares.as_slice() {
        [_] if !args.override_model && args.via == Via::Calls && is_real => {
            RowModel::with_default(connected[0].model.name(), args.model.base_url.is_some())
        }
        _ => RowModel::Ignored,
    };
    let mut routed = row_model.clone().applied(&spread(lanes)?);
    if !fallbacks.is_empty() {
        // They do not have the models of the rows.
        let without_own = |lanes| spread(lanes).map(|models| RowModel::Ignored.applied(&models));
        let fallbacks = fallbacks.into_iter().map(without_own).collect::<fanweave::Result<Vec<_>>>()?;
        routed = match args.no_fallback_on_outage {
            false => routed.fallback(fallbacks),
            true => routed.fallback_except_outages(fallbacks),
        };
    }
    Ok(Routed { chain: routed, row_model, names, weights: of_names, max_share, notes, _connected: connected })
}

/// The environment variable that the key of a model is read from by default. `None` if none is set.
fn default_variable(model: &str) -> Option<String> {
    let (provider, _) = model.split_once('/')?;
    let is_set = |name: &&&str| std::env::var(name).is_ok_and(|key| !key.trim().is_empty());
    key_variables(provider)?.iter().find(is_set).map(|name| (*name).to_owned())
}

/// Parses `a/b=3,c/d`: models with weights. Default weight: 1.
fn shares(text: &str) -> Result<Vec<Share>, Failure> {
    let wrong = |why: String| Failure::usage(format!("--model {text}: {why}"));
    let share = |one: &str| {
        let (model, weight) = split_share(one);
        let weight = weight.unwrap_or("1");
        match weight.parse::<NonZeroU32>() {
            Ok(weight) if weight.get() <= 1_000 => Ok(Share { model: model.to_owned(), weight }),
            _ => Err(wrong(format!("the weight must be a whole number from 1 to 1000, got `{weight}`"))),
        }
    };
    let shares = text.split(',').map(share).collect::<Result<Vec<_>, _>>()?;
    if shares.iter().any(|share| share.model.is_empty()) {
        return Err(wrong("empty model name".to_owned()));
    }
    Ok(shares)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_and_weights_are_read_from_one_word() {
        let read = |text: &str| {
            shares(text).map(|all| all.into_iter().map(|s| (s.model, s.weight.get())).collect::<Vec<_>>())
        };
        assert_eq!(read("a/b").unwrap(), [("a/b".to_owned(), 1)]);
        assert_eq!(read("a/b=3, c/d:free").unwrap(), [("a/b".to_owned(), 3), ("c/d:free".to_owned(), 1)]);
        assert_eq!(read("a/b=c = 3").unwrap(), [("a/b=c".to_owned(), 3)]);
        assert!(read("a/b=0").is_err() && read("a/b,").is_err() && read("a/b=x").is_err());
    }
}

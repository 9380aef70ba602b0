//! Configuration files of the project and of the user.
//!
//! Flags take precedence, followed by `FANWEAVE_*` in the environment, `fanweave.toml` in the current folder
//! or its nearest parent, and the user's `config.toml`. A base URL is only accepted in the user's file: a
//! downloaded project must not be able to send the user's key to another server.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::args::{
    ConfigArgs, ConfigCommand, ModelArgs, duration, duration_or_zero, split_share, temperature,
};
use crate::exit::{Exit, Failure};
use crate::misplaced::line_with_key;
use crate::out::print;

/// Contents of a configuration file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    model: Option<String>,
    base_url: Option<String>,
    rpm: Option<NonZeroU32>,
    tpm: Option<NonZeroU32>,
    max_in_flight: Option<NonZeroUsize>,
    timeout: Option<String>,
    retries: Option<u32>,
    outage_timeout: Option<String>,
    cache: Option<PathBuf>,
    temperature: Option<f64>,
    max_tokens: Option<NonZeroU32>,
    /// Set to record calls in the history. Default: true.
    log: Option<bool>,
    /// Names for models, such as `fast = "openai/gpt-5-nano"`.
    aliases: BTreeMap<String, String>,
}

/// A file and its settings.
#[derive(Debug, Clone)]
struct Layer {
    path: PathBuf,
    settings: Settings,
}

/// The files, in order of precedence.
#[derive(Debug, Clone, Default)]
pub(crate) struct Config {
    layers: Vec<Layer>,
}

/// Reads the files.
pub(crate) fn load() -> Result<Config, Failure> {
    let mut layers = Vec::new();
    if let Some(path) = project_path() {
        let layer = read(&path)?;
        if layer.settings.base_url.is_some() {
            let message = format!("{}: `base-url` is not allowed in a project file", path.display());
            return Err(Failure::usage(message).with_hint(
                "a project could send your keys anywhere: set it in your user config, or use --base-url",
            ));
        }
        layers.push(layer);
    }
    if let Some(path) = user_path().filter(|path| path.exists()) {
        layers.push(read(&path)?);
    }
    Ok(Config { layers })
}

impl Config {
    /// Fills in arguments that no flag and no environment variable sets.
    pub(crate) fn fill(&self, args: &mut ModelArgs, fallbacks: &mut [String]) -> Result<(), Failure> {
        // An empty variable counts as unset: that is how many people reset one.
        for value in [&mut args.model, &mut args.base_url] {
            value.take_if(|value| value.is_empty());
        }
        for Layer { path, settings } in &self.layers {
            fn or<T: Clone>(own: &mut Option<T>, other: &Option<T>) {
                if own.is_none() {
                    own.clone_from(other);
                }
            }
            or(&mut args.model, &settings.model);
            or(&mut args.base_url, &settings.base_url);
            or(&mut args.rpm, &settings.rpm);
            or(&mut args.tpm, &settings.tpm);
            or(&mut args.max_in_flight, &settings.max_in_flight);
            or(&mut args.retries, &settings.retries);
            or(&mut args.cache, &settings.cache);
            or(&mut args.temperature, &settings.temperature);
            or(&mut args.max_tokens, &settings.max_tokens);
            if let (None, Some(text)) = (args.timeout, &settings.timeout) {
                args.timeout = Some(duration(text).map_err(|e| invalid_setting(path, "timeout", &e))?);
            }
            if let (None, Some(text)) = (args.outage_timeout, &settings.outage_timeout) {
                let time = duration_or_zero(text).map_err(|e| invalid_setting(path, "outage-timeout", &e))?;
                args.outage_timeout = Some(time);
            }
        }
        if let Some(models) = &mut args.model {
            // Several models are separated by commas and may have weights.
            let shares = models.split(',').map(|share| match split_share(share) {
                (name, Some(weight)) => format!("{}={weight}", self.named(name)),
                (name, None) => self.named(name),
            });
            *models = shares.collect::<Vec<_>>().join(",");
        }
        fallbacks.iter_mut().for_each(|name| *name = self.named(name));
        Ok(())
    }

    /// Resolves an alias. Other names are returned unchanged.
    pub(crate) fn named(&self, name: &str) -> String {
        let aliases = self.layers.iter().filter_map(|layer| layer.settings.aliases.get(name));
        aliases.into_iter().next().cloned().unwrap_or_else(|| name.to_owned())
    }

    /// Returns true if calls are recorded in the history.
    pub(crate) fn logs(&self) -> bool {
        self.layers.iter().find_map(|layer| layer.settings.log).unwrap_or(true)
    }

    /// The effective settings: name, value and source of each.
    fn effective(&self) -> Vec<(String, Value, String)> {
        let mut all: Vec<(String, Value, String)> = Vec::new();
        let mut add = |name: &str, value: Option<Value>, from: String| {
            if let Some(value) = value
                && !all.iter().any(|(other, ..)| other == name)
            {
                all.push((name.to_owned(), value, from));
            }
        };
        for (name, variable) in [("model", "FANWEAVE_MODEL"), ("base-url", "FANWEAVE_BASE_URL")] {
            let value = std::env::var(variable).ok().filter(|value| !value.is_empty());
            add(name, value.map(Value::from), format!("the environment: {variable}"));
        }
        for Layer { path, settings } in &self.layers {
            let from = || path.display().to_string();
            add("model", settings.model.clone().map(Value::from), from());
            add("base-url", settings.base_url.clone().map(Value::from), from());
            add("rpm", settings.rpm.map(|n| n.get().into()), from());
            add("tpm", settings.tpm.map(|n| n.get().into()), from());
            add("max-in-flight", settings.max_in_flight.map(|n| n.get().into()), from());
            add("timeout", settings.timeout.clone().map(Value::from), from());
            add("retries", settings.retries.map(Value::from), from());
            add("outage-timeout", settings.outage_timeout.clone().map(Value::from), from());
            add("cache", settings.cache.as_ref().map(|path| path.display().to_string().into()), from());
            add("temperature", settings.temperature.map(Value::from), from());
            add("max-tokens", settings.max_tokens.map(|n| n.get().into()), from());
            add("log", settings.log.map(Value::from), from());
            for (alias, model) in &settings.aliases {
                add(&format!("aliases.{alias}"), Some(model.as_str().into()), from());
            }
        }
        all
    }
}

pub(crate) fn run(args: &ConfigArgs, config: &Config) -> Result<Exit, Failure> {
    let text = match args.command {
        ConfigCommand::Path => {
            let paths = [project_path(), user_path()].into_iter().flatten();
            paths.map(|path| format!("{}\n", path.display())).collect()
        }
        ConfigCommand::Show { json } => {
            let all = config.effective();
            if json {
                let object: serde_json::Map<_, _> = all
                    .into_iter()
                    .map(|(name, value, from)| (name, json!({ "value": value, "from": from })))
                    .collect();
                format!("{}\n", serde_json::to_string_pretty(&object).expect("the keys are texts"))
            } else if all.is_empty() {
                "no settings: all values are defaults\n".to_owned()
            } else {
                let line =
                    |(name, value, from): (String, Value, String)| format!("{name} = {value}    # {from}\n");
                all.into_iter().map(line).collect()
            }
        }
    };
    print(text.as_bytes())?;
    Ok(Exit::Ok)
}

/// Path of `fanweave.toml` in the current folder or its nearest parent.
fn project_path() -> Option<PathBuf> {
    let folder = std::env::current_dir().ok()?;
    folder.ancestors().map(|folder| folder.join("fanweave.toml")).find(|path| path.is_file())
}

/// Path of the user's settings. `None` without a home directory.
fn user_path() -> Option<PathBuf> {
    Some(folder()?.join("config.toml"))
}

/// The user's folder for settings and keys. `None` without a home directory.
pub(crate) fn folder() -> Option<PathBuf> {
    own("XDG_CONFIG_HOME", ".config")
}

/// The user's folder for the history. `None` without a home directory.
pub(crate) fn state() -> Option<PathBuf> {
    own("XDG_STATE_HOME", ".local/state")
}

/// The folder `fanweave` in the directory that `variable` names, else in `below` of the home directory.
fn own(variable: &str, below: &str) -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    Some(set(variable).or_else(|| Some(set("HOME")?.join(below)))?.join("fanweave"))
}

/// The error for an invalid value of a setting.
fn invalid_setting(path: &Path, setting: &str, why: &str) -> Failure {
    Failure::usage(format!("{}: `{setting}` {why}", path.display()))
}

fn read(path: &Path) -> Result<Layer, Failure> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|e| Failure::new(format!("{shown}: cannot read the settings: {e}")))?;
    // Checked before an error message could show the line.
    if let Some(line) = line_with_key(&text) {
        return Err(Failure::usage(format!(
            "{shown}: line {line}: API keys are not allowed in configuration files"
        ))
        .with_hint("store it with `fanweave keys set PROVIDER`, or set it in the environment"));
    }
    let mut settings: Settings = toml::from_str(&text).map_err(|e| {
        let failure = Failure::usage(format!("{shown}: {}", e.to_string().trim_end()));
        // The message quotes the unknown field first, then the known ones.
        let mut quoted = e.message().split('`').skip(1).step_by(2);
        let unknown = quoted.next().filter(|_| e.message().starts_with("unknown field "));
        match unknown.and_then(|name| fanweave::errors::closest(name, quoted)) {
            Some(near) => failure.with_hint(format!("did you mean `{near}`?")),
            None => failure,
        }
    })?;
    // Checked here already, so that `config show` only shows valid settings.
    settings
        .timeout
        .as_deref()
        .map(duration)
        .transpose()
        .map_err(|e| invalid_setting(path, "timeout", &e))?;
    let outage_timeout = settings.outage_timeout.as_deref().map(duration_or_zero);
    outage_timeout.transpose().map_err(|e| invalid_setting(path, "outage-timeout", &e))?;
    let value = settings.temperature.map(|value| temperature(&value.to_string()));
    value.transpose().map_err(|e| invalid_setting(path, "temperature", &e))?;
    // Relative to the file, not to the current directory: otherwise each directory would get its own cache.
    settings.cache = settings.cache.map(|cache| path.with_file_name("").join(cache));
    Ok(Layer { path: path.to_owned(), settings })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        model: ModelArgs,
    }

    #[test]
    fn aliases_are_resolved_in_weighted_models() {
        let aliases = [("fast", "openai/x"), ("a=b", "openai/y=z")].map(|(a, b)| (a.into(), b.into()));
        let settings = Settings { aliases: aliases.into(), ..Settings::default() };
        let config = Config { layers: vec![Layer { path: PathBuf::new(), settings }] };
        for (given, resolved) in [
            ("fast", "openai/x"),
            ("fast=3, a=b=2,c/d=e=1", "openai/x=3,openai/y=z=2,c/d=e=1"),
            (" fast = 3 ,c/d", "openai/x=3,c/d"),
        ] {
            let mut flags = Flags::parse_from(["fanweave", "--model", given]);
            config.fill(&mut flags.model, &mut []).unwrap();
            assert_eq!(flags.model.model.as_deref(), Some(resolved), "{given}");
        }
    }
}

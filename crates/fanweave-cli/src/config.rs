//! Configuration files of the project and of the user.
//!
//! Flags take precedence, followed by `FANWEAVE_*` in the environment, `fanweave.toml` in the current folder
//! or its nearest parent, and the user's `config.toml`.
//!
//! A downloaded project must not be able to send the user's key to another server, or to change answers
//! unnoticed. A base URL is therefore only accepted in the user's file, and a project's file is only read if
//! no other user can change it. Its cache lies within its folder, its aliases replace neither full names nor
//! the user's own, and a model that it selects gets no key if its server is set elsewhere.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Component, Path, PathBuf};

use fanweave::models::{key_variables, vendors};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::args::{
    ConfigArgs, ConfigCommand, ModelArgs, duration, duration_or_zero, split_share, temperature,
};
use crate::exit::{Exit, Failure};
use crate::misplaced::line_with_key;
use crate::out::print;
use crate::trust::{distrust, distrust_own, read_small};

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
    /// Folders of projects whose settings are read although other users can change them. `*` is any folder.
    /// Only for the user's file.
    trusted_projects: Option<Vec<String>>,
}

/// A file and its settings.
#[derive(Debug, Clone)]
struct Layer {
    path: PathBuf,
    settings: Settings,
    /// Set for the file of a project.
    is_project: bool,
}

/// The files, in order of precedence.
#[derive(Debug, Clone, Default)]
pub(crate) struct Config {
    layers: Vec<Layer>,
    /// Models that the project's file selected, as resolved names.
    selected: Vec<String>,
}

/// Reads the files.
pub(crate) fn load() -> Result<Config, Failure> {
    let mut layers = Vec::new();
    if let Some(path) = user_path().filter(|path| path.exists()) {
        layers.push(read(&path, None)?);
    }
    if let Some(path) = project_path() {
        let user = layers.first().and_then(|layer| layer.settings.trusted_projects.as_deref());
        let trusted = std::env::var("FANWEAVE_TRUSTED_PROJECTS").unwrap_or_default();
        let separated: Vec<_> = std::env::split_paths(&trusted).collect();
        let named = user.unwrap_or_default().iter().map(PathBuf::from).chain(separated);
        let layer = read(&path, Some(&named.collect::<Vec<_>>()))?;
        let settings = &layer.settings;
        if settings.base_url.is_some() {
            let message = format!("{}: `base-url` is not allowed in a project file", path.display());
            return Err(Failure::usage(message).with_hint(
                "a project could send your keys anywhere: set it in your user config, or use --base-url",
            ));
        }
        if settings.trusted_projects.is_some() {
            let message = format!("{}: `trusted-projects` is not allowed in a project file", path.display());
            return Err(Failure::usage(message).with_hint("set it in your user config"));
        }
        if let Some(cache) = &settings.cache {
            confined(&path, cache)?;
        }
        layers.insert(0, layer);
    }
    Ok(Config { layers, selected: Vec::new() })
}

/// Checks that the cache of a project lies within the project's folder: answers come from it.
fn confined(file: &Path, cache: &Path) -> Result<(), Failure> {
    let folder = file.with_file_name("");
    let relative = cache.strip_prefix(&folder).unwrap_or(cache);
    let is_below = relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    // The folders on the way may be links.
    let real = |path: &Path| path.parent().and_then(|folder| folder.canonicalize().ok());
    let is_inside = match (real(cache), folder.canonicalize()) {
        (Some(at), Ok(folder)) => at.starts_with(folder),
        _ => true,
    };
    if is_below && is_inside && !cache.is_symlink() {
        return Ok(());
    }
    Err(Failure::usage(format!("{}: `cache` must be inside the folder of the project", file.display()))
        .with_hint("set it in your user config, or use --cache"))
}

impl Config {
    /// Fills in arguments that no flag and no environment variable sets.
    ///
    /// Returns a note if the project's file selects the models or the cache.
    pub(crate) fn fill(
        &mut self,
        args: &mut ModelArgs,
        fallbacks: &mut [String],
    ) -> Result<Option<String>, Failure> {
        let (has_model, has_cache) =
            (args.model.as_ref().is_some_and(|m| !m.is_empty()), args.cache.is_some());
        // An empty variable counts as unset: that is how many people reset one.
        for value in [&mut args.model, &mut args.connection.base_url] {
            value.take_if(|value| value.is_empty());
        }
        for Layer { path, settings, .. } in &self.layers {
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
        let project = self.layers.iter().find(|layer| layer.is_project);
        let is_selected = !has_model && project.is_some_and(|layer| layer.settings.model.is_some());
        let mut selected = Vec::new();
        let mut resolve = |name: &str, is_selected: bool| {
            let (resolved, by_project) = self.resolve(name);
            if by_project || is_selected {
                selected.push(resolved.clone());
            }
            resolved
        };
        if let Some(models) = &mut args.model {
            // Several models are separated by commas and may have weights.
            let shares = models.split(',').map(|share| match split_share(share) {
                (name, Some(weight)) => format!("{}={weight}", resolve(name, is_selected)),
                (name, None) => resolve(name, is_selected),
            });
            *models = shares.collect::<Vec<_>>().join(",");
        }
        fallbacks.iter_mut().for_each(|name| *name = resolve(name, false));
        let mut noted = Vec::new();
        if !selected.is_empty() {
            noted.push(format!("model {}", selected.join(", ")));
        }
        if let Some(cache) = args.cache.as_ref().filter(|_| !has_cache)
            && project.is_some_and(|layer| layer.settings.cache.is_some())
        {
            noted.push(format!("cache {}", cache.display()));
        }
        let note = project.filter(|_| !noted.is_empty());
        let note = note.map(|layer| format!("note: {} from {}", noted.join(", "), layer.path.display()));
        self.selected = selected;
        Ok(note)
    }

    /// Resolves an alias. Other names are returned unchanged.
    pub(crate) fn named(&self, name: &str) -> String {
        self.resolve(name).0
    }

    /// Resolves an alias, and returns true if the project's file defines it. The user's own alias takes
    /// precedence. A full name is never an alias.
    fn resolve(&self, name: &str) -> (String, bool) {
        let alias = |layer: &Layer| Some((layer.settings.aliases.get(name)?.clone(), layer.is_project));
        match name.contains('/') {
            true => None,
            false => self.layers.iter().rev().find_map(alias),
        }
        .unwrap_or_else(|| (name.to_owned(), false))
    }

    /// Checks that the key of the provider of `name` is not sent to a server of another origin: a project may
    /// select a model, or a server may be set, but not both without the user naming the model.
    ///
    /// # Errors
    /// If the project's file selected the model, and a key of its provider would go to `base_url`.
    pub(crate) fn check_key(&self, name: &str, base_url: Option<&str>) -> Result<(), Failure> {
        let (resolved, by_project) = self.resolve(name);
        let Some((provider, _)) = resolved.split_once('/') else { return Ok(()) };
        let is_set = |name: &&str| std::env::var(name).is_ok_and(|key| !key.trim().is_empty());
        let variable = key_variables(provider).and_then(|names| names.iter().find(|name| is_set(name)));
        let (Some(variable), Some(_)) = (variable, base_url) else { return Ok(()) };
        if !by_project && !self.selected.contains(&resolved) {
            return Ok(());
        }
        Err(Failure::usage(format!(
            "the project selects {resolved}, and the base URL is set elsewhere: {variable} is not sent there \
             unless you name the model yourself, as {resolved}"
        )))
    }

    /// Returns true if calls are recorded in the history.
    pub(crate) fn logs(&self) -> bool {
        // A project may disable the history, but not enable what the user disabled.
        self.layers.iter().all(|layer| layer.settings.log != Some(false))
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
        for Layer { path, settings, .. } in &self.layers {
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
            add("trusted-projects", settings.trusted_projects.clone().map(Value::from), from());
        }
        for Layer { path, settings, .. } in self.layers.iter().rev() {
            for (alias, model) in &settings.aliases {
                let from = path.display().to_string();
                add(&format!("aliases.{alias}"), Some(model.as_str().into()), from);
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
    // Also a link or a pipe: it is refused, not skipped.
    let is_there = |path: &PathBuf| path.symlink_metadata().is_ok_and(|metadata| !metadata.is_dir());
    folder.ancestors().map(|folder| folder.join("fanweave.toml")).find(is_there)
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

/// Reads the file at `path`. `trusted` is set for the file of a project, and has the folders of projects that
/// the user trusts.
fn read(path: &Path, trusted: Option<&[PathBuf]>) -> Result<Layer, Failure> {
    let shown = path.display();
    let (text, metadata) = read_small(path).map_err(|e| {
        let message = format!("{shown}: cannot read the settings: {e}");
        match e.kind() {
            std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData => Failure::usage(message),
            _ => Failure::new(message),
        }
    })?;
    if let Some(trusted) = trusted
        && let Some((why, command)) = distrust(&metadata)
    {
        let folder = path.parent().unwrap_or(path);
        if !trusted.iter().any(|trusted| trusted == folder || trusted == Path::new("*")) {
            let command = command.map(|command| format!("{command} {shown}, or ")).unwrap_or_default();
            let folder = folder.display();
            return Err(Failure::usage(format!("{shown}: {why}")).with_hint(format!(
                "if you trust it: {command}`trusted-projects = [\"{folder}\"]` in your user config, or \
                 FANWEAVE_TRUSTED_PROJECTS={folder}"
            )));
        }
    }
    if trusted.is_none()
        && let Some((why, hint)) = distrust_own(&metadata)
    {
        return Err(Failure::usage(format!("{shown}: {why}")).with_hint(format!("{hint} {shown}")));
    }
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
    for (alias, model) in &settings.aliases {
        let is_provider = || alias == "sim" || vendors().any(|vendor| vendor == alias);
        if alias.is_empty() || alias.contains(['/', ',']) || is_provider() {
            let why = "is not a valid alias: it must contain neither `/` nor `,` and not be a provider";
            return Err(Failure::usage(format!("{shown}: `{}` {why}", alias.escape_debug())));
        }
        if model.is_empty() {
            return Err(invalid_setting(path, &format!("aliases.{alias}"), "must be a model"));
        }
    }
    // Relative to the file, not to the current directory: otherwise each directory would get its own cache.
    settings.cache = settings.cache.map(|cache| path.with_file_name("").join(cache));
    Ok(Layer { path: path.to_owned(), settings, is_project: trusted.is_some() })
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
        let layer = Layer { path: PathBuf::new(), settings, is_project: false };
        let mut config = Config { layers: vec![layer], selected: Vec::new() };
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

//! API keys stored in a file or in the system keyring.
//!
//! A key in the environment takes precedence. A stored key is only sent to its provider's own URL: with
//! `--base-url`, none is sent.

use std::collections::BTreeMap;
use std::fs;
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use console::Term;
use fanweave::errors::closest;
use fanweave::models::{key_variables, vendors};
use serde::{Deserialize, Serialize};

use crate::args::{KeysArgs, KeysCommand};
use crate::exit::{Exit, Failure};
use crate::keyboard::Terminal;
use crate::keyring;
use crate::out::{print, tell};
use crate::program::Program;
use crate::trust::{check_private_file, read_small};

/// Maximum length of a key. Source: the longest keys of providers are tokens of a few KiB.
const MAX_KEY_BYTES: usize = 16 * 1024;

/// The keys of providers.
type Keys = BTreeMap<String, StoredKey>;

/// A stored key, or its location.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum StoredKey {
    /// The key is in the file.
    Here(String),
    /// The key is stored elsewhere; the file has the location.
    Elsewhere { r#in: KeyLocation },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KeyLocation {
    /// The system keyring.
    Keyring,
}

pub(crate) async fn run(args: KeysArgs, program: &Program) -> Result<Exit, Failure> {
    // Reading a key from a terminal blocks its thread and cannot be cancelled.
    let terminal = program.terminal.clone();
    let work = tokio::task::spawn_blocking(move || change(args, &terminal));
    tokio::select! {
        done = work => done.unwrap_or_else(|ended| std::panic::resume_unwind(ended.into_panic())),
        () = program.stop.requested() => {
            program.terminal.restore();
            tell!("");
            Ok(Exit::Interrupted)
        }
    }
}

fn change(args: KeysArgs, terminal: &Terminal) -> Result<Exit, Failure> {
    let path = path().ok_or_else(|| {
        Failure::usage("no folder for keys: neither XDG_CONFIG_HOME nor HOME is set")
            .with_hint("set the key in the environment instead, such as OPENAI_API_KEY")
    })?;
    match args.command {
        KeysCommand::Path => print(format!("{}\n", path.display()).as_bytes())?,
        KeysCommand::List { json } => print(list(&read(&path)?, json).as_bytes())?,
        KeysCommand::Set { provider, keyring: in_keyring } => {
            known(&provider)?;
            // Checks the file before the user has to enter a key.
            read(&path)?;
            if in_keyring {
                keyring::is_built(&provider)?;
            }
            let key = read_key(&provider, terminal)?;
            let stored = if in_keyring {
                keyring::set(&provider, &key)?;
                StoredKey::Elsewhere { r#in: KeyLocation::Keyring }
            } else {
                StoredKey::Here(key)
            };
            make_folder(&path)?;
            let _lock = lock(&path);
            let mut keys = read(&path)?;
            let was_in_keyring = matches!(keys.get(&provider), Some(StoredKey::Elsewhere { .. }));
            keys.insert(provider.clone(), stored);
            write(&path, &keys)?;
            // The new key is stored even if the old one cannot be removed.
            if was_in_keyring
                && !in_keyring
                && let Err(failure) = keyring::remove(&provider)
            {
                tell!("note: the old key may still be in the system keyring: {}", failure.message());
            }
            let location =
                if in_keyring { "the system keyring".to_owned() } else { path.display().to_string() };
            tell!("stored the key for {provider} in {location}");
        }
        KeysCommand::Remove { provider } => {
            let _lock = lock(&path);
            let mut keys = read(&path)?;
            match keys.remove(&provider) {
                Some(StoredKey::Elsewhere { .. }) => keyring::remove(&provider)?,
                Some(StoredKey::Here(_)) => {}
                None => {
                    return Err(Failure::usage(format!(
                        "no key for {provider} is stored in {}",
                        path.display()
                    )));
                }
            }
            write(&path, &keys)?;
        }
    }
    Ok(Exit::Ok)
}

/// The stored key for the provider of `model`, unless the environment has one.
pub(crate) fn stored(model: &str) -> Result<Option<String>, Failure> {
    let provider = model.split_once('/').map_or(model, |(provider, _)| provider);
    let Some(variables) = key_variables(provider) else { return Ok(None) };
    if variables.iter().any(|name| std::env::var(name).is_ok_and(|key| !key.trim().is_empty())) {
        return Ok(None);
    }
    let Some(path) = path().filter(|path| path.exists()) else { return Ok(None) };
    match read(&path)?.remove(provider) {
        Some(StoredKey::Here(key)) => Ok(Some(key)),
        Some(StoredKey::Elsewhere { .. }) => keyring::get(provider).map(Some),
        None => Ok(None),
    }
}

/// Path of the key file. `None` without a home directory.
fn path() -> Option<PathBuf> {
    Some(crate::config::folder()?.join("keys.json"))
}

fn known(provider: &str) -> Result<(), Failure> {
    if key_variables(provider).is_some() {
        return Ok(());
    }
    let near = closest(provider, vendors()).map(|near| format!("did you mean `{near}`?"));
    let failure = Failure::usage(format!("unknown provider `{provider}`"));
    Err(failure.with_hint(near.unwrap_or_else(|| "`fanweave models` lists them".to_owned())))
}

fn list(keys: &Keys, json: bool) -> String {
    let mut all = Vec::new();
    for provider in vendors() {
        let from_env = key_variables(provider)
            .into_iter()
            .flatten()
            .find(|name| std::env::var(name).is_ok_and(|key| !key.trim().is_empty()));
        let location = match (from_env, keys.get(provider)) {
            (Some(variable), _) => *variable,
            (None, Some(StoredKey::Here(_))) => "file",
            (None, Some(StoredKey::Elsewhere { .. })) => "keyring",
            (None, None) => continue,
        };
        all.push((provider, location));
    }
    if json {
        let object: serde_json::Map<_, _> =
            all.into_iter().map(|(provider, location)| (provider.to_owned(), location.into())).collect();
        return format!("{}\n", serde_json::Value::Object(object));
    }
    if all.is_empty() {
        return "no keys\n".to_owned();
    }
    all.into_iter().map(|(provider, location)| format!("{provider}: {location}\n")).collect()
}

/// Reads a key from a prompt without echo, or from a pipe.
fn read_key(provider: &str, terminal: &Terminal) -> Result<String, Failure> {
    let failed = |e: std::io::Error| Failure::new(format!("cannot read the key: {e}"));
    let key = if std::io::stdin().is_terminal() {
        let _ = write!(anstream::stderr(), "API key for {provider} (not shown): ");
        terminal.remember();
        let line = Term::stderr().read_secure_line();
        terminal.restore();
        line.map_err(failed)?
    } else {
        let mut key = String::new();
        std::io::stdin().take(MAX_KEY_BYTES as u64 + 1).read_to_string(&mut key).map_err(failed)?;
        key
    };
    let key = key.trim();
    if key.is_empty()
        || key.len() > MAX_KEY_BYTES
        || key.contains(|c: char| c.is_control() || c.is_whitespace())
    {
        return Err(Failure::usage("not a valid key: expected one line without spaces"));
    }
    Ok(key.to_owned())
}

fn read(path: &Path) -> Result<Keys, Failure> {
    let shown = path.display();
    let (text, metadata) = match read_small(path) {
        Ok(read) => read,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Keys::new()),
        Err(e) => return Err(Failure::usage(format!("{shown}: cannot read the keys: {e}"))),
    };
    check_private_file(path, &metadata)?;
    // The message of serde is dropped: it may quote parts of a key.
    serde_json::from_str(&text)
        .map_err(|_| Failure::usage(format!("{shown}: must be a JSON object of providers and keys")))
}

/// Locks the folder of the keys until the returned file is dropped: of two concurrent writers, one would
/// overwrite the other's key. Does not lock if the system cannot lock folders.
fn lock(path: &Path) -> Option<fs::File> {
    let folder = fs::File::open(path.parent()?).ok()?;
    folder.lock().ok().map(|()| folder)
}

fn make_folder(path: &Path) -> Result<(), Failure> {
    let folder = path.parent().expect("the key file has a parent folder");
    fs::create_dir_all(folder).map_err(|e| not_stored(path, &e))
}

fn not_stored(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{}: cannot store the key: {error}", path.display()))
}

/// Replaces the file atomically, readable only by the user. A symbolic link is kept.
fn write(path: &Path, keys: &Keys) -> Result<(), Failure> {
    let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().expect("the key file has a parent folder");
    let partial = folder.join(format!("keys.json.{}", std::process::id()));
    let _ = fs::remove_file(&partial);
    let mut options = fs::OpenOptions::new();
    // Never reuses an existing file or follows a link, which could have other permissions.
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&partial).and_then(|mut file| {
        let text = serde_json::to_string_pretty(keys).map_err(std::io::Error::other)?;
        std::io::Write::write_all(&mut file, text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&partial, path)
    });
    written.map_err(|e| {
        let _ = fs::remove_file(&partial);
        not_stored(path, &e)
    })
}

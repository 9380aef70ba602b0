//! Keys that are kept in a file, or in the keyring of the system, for those who do not want them in their environment.
//!
//! A key of the environment comes first. A kept one goes to its provider's own address alone: with `--base-url` none is sent.

use std::collections::BTreeMap;
use std::fs;
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use console::Term;
use fanweave::closest;
use fanweave::models::{key_variables, vendors};
use serde::{Deserialize, Serialize};

use crate::args::{KeysArgs, KeysCommand};
use crate::exit::{Exit, Failure};
use crate::out::{print, tell};
use crate::{keyring, keys, stop};

/// Longest key that is taken. Source: the longest that providers give are tokens of a few KiB.
const LONGEST: usize = 16 * 1024;

/// The keys of providers.
type Keys = BTreeMap<String, Kept>;

/// Where a key is.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Kept {
    /// In the file itself.
    Here(String),
    /// In another place, and the file says in which.
    Elsewhere { r#in: KeyLocation },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KeyLocation {
    /// The keyring of the system.
    Keyring,
}

pub(crate) async fn run(args: KeysArgs) -> Result<Exit, Failure> {
    // Who waits for a key at a terminal holds a thread, and has to be left there.
    let work = tokio::task::spawn_blocking(|| change(args));
    tokio::select! {
        done = work => done.unwrap_or_else(|ended| std::panic::resume_unwind(ended.into_panic())),
        () = stop::signal() => {
            keys::restore();
            tell!("");
            Ok(Exit::Interrupted)
        }
    }
}

fn change(args: KeysArgs) -> Result<Exit, Failure> {
    let path = path().ok_or_else(|| {
        Failure::usage("there is no folder for keys: neither XDG_CONFIG_HOME nor HOME is set")
            .with_hint("set the key in the environment, as in OPENAI_API_KEY")
    })?;
    match args.command {
        KeysCommand::Path => print(format!("{}\n", path.display()).as_bytes())?,
        KeysCommand::List { json } => print(list(&read(&path)?, json).as_bytes())?,
        KeysCommand::Set { provider, keyring: in_keyring } => {
            known(&provider)?;
            // What is wrong with the file is said before anybody looks for a key.
            read(&path)?;
            if in_keyring {
                keyring::is_built(&provider)?;
            }
            let key = ask(&provider)?;
            let kept = if in_keyring {
                keyring::set(&provider, &key)?;
                Kept::Elsewhere { r#in: KeyLocation::Keyring }
            } else {
                Kept::Here(key)
            };
            make_folder(&path)?;
            let _alone = alone(&path);
            let mut keys = read(&path)?;
            let was_in_keyring = matches!(keys.get(&provider), Some(Kept::Elsewhere { .. }));
            keys.insert(provider.clone(), kept);
            write(&path, &keys)?;
            // The new one holds whatever becomes of the old one.
            if was_in_keyring
                && !in_keyring
                && let Err(failure) = keyring::remove(&provider)
            {
                tell!("note: the old one may still be there: {}", failure.message());
            }
            let place =
                if in_keyring { "the keyring of the system".to_owned() } else { path.display().to_string() };
            tell!("the key of {provider} is kept in {place}");
        }
        KeysCommand::Remove { provider } => {
            let _alone = alone(&path);
            let mut keys = read(&path)?;
            match keys.remove(&provider) {
                Some(Kept::Elsewhere { .. }) => keyring::remove(&provider)?,
                Some(Kept::Here(_)) => {}
                None => {
                    return Err(Failure::usage(format!(
                        "no key of {provider} is kept in {}",
                        path.display()
                    )));
                }
            }
            write(&path, &keys)?;
        }
    }
    Ok(Exit::Ok)
}

/// The key that is kept for the provider of a model's name, where the environment has none.
pub(crate) fn kept(model: &str) -> Result<Option<String>, Failure> {
    let provider = model.split_once('/').map_or(model, |(provider, _)| provider);
    let Some(variables) = key_variables(provider) else { return Ok(None) };
    if variables.iter().any(|name| std::env::var(name).is_ok_and(|key| !key.trim().is_empty())) {
        return Ok(None);
    }
    let Some(path) = path().filter(|path| path.exists()) else { return Ok(None) };
    match read(&path)?.remove(provider) {
        Some(Kept::Here(key)) => Ok(Some(key)),
        Some(Kept::Elsewhere { .. }) => keyring::get(provider).map(Some),
        None => Ok(None),
    }
}

/// Where keys are kept. `None` without a home.
fn path() -> Option<PathBuf> {
    Some(crate::config::folder()?.join("keys.json"))
}

fn known(provider: &str) -> Result<(), Failure> {
    if key_variables(provider).is_some() {
        return Ok(());
    }
    let near = closest(provider, vendors()).map(|near| format!("did you mean `{near}`?"));
    let failure = Failure::usage(format!("`{provider}` is no provider that is known here"));
    Err(failure.with_hint(near.unwrap_or_else(|| "`fanweave models` lists them".to_owned())))
}

fn list(keys: &Keys, json: bool) -> String {
    let mut all = Vec::new();
    for provider in vendors() {
        let from_env = key_variables(provider)
            .into_iter()
            .flatten()
            .find(|name| std::env::var(name).is_ok_and(|key| !key.trim().is_empty()));
        let place = match (from_env, keys.get(provider)) {
            (Some(variable), _) => *variable,
            (None, Some(Kept::Here(_))) => "kept",
            (None, Some(Kept::Elsewhere { .. })) => "keyring",
            (None, None) => continue,
        };
        all.push((provider, place));
    }
    if json {
        let object: serde_json::Map<_, _> =
            all.into_iter().map(|(provider, place)| (provider.to_owned(), place.into())).collect();
        return format!("{}\n", serde_json::Value::Object(object));
    }
    if all.is_empty() {
        return "no keys\n".to_owned();
    }
    all.into_iter().map(|(provider, place)| format!("{provider}: {place}\n")).collect()
}

/// Asks for a key: without an echo at a terminal, or from a pipe.
fn ask(provider: &str) -> Result<String, Failure> {
    let failed = |e: std::io::Error| Failure::new(format!("cannot read the key: {e}"));
    let key = if std::io::stdin().is_terminal() {
        let _ = write!(anstream::stderr(), "key of {provider} (it is not shown): ");
        keys::remember();
        let line = Term::stderr().read_secure_line();
        keys::restore();
        line.map_err(failed)?
    } else {
        let mut key = String::new();
        std::io::stdin().take(LONGEST as u64 + 1).read_to_string(&mut key).map_err(failed)?;
        key
    };
    let key = key.trim();
    if key.is_empty() || key.len() > LONGEST || key.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err(Failure::usage("that is no key: one line without spaces is expected"));
    }
    Ok(key.to_owned())
}

fn read(path: &Path) -> Result<Keys, Failure> {
    let shown = path.display();
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Keys::new()),
        Err(e) => return Err(Failure::new(format!("{shown}: cannot read the keys: {e}"))),
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path).map(|file| file.permissions().mode()).unwrap_or_default();
        if mode & 0o077 != 0 {
            return Err(Failure::usage(format!("{shown}: others on this machine may read the keys"))
                .with_hint(format!("take the right away: chmod 600 {shown}")));
        }
    }
    // What serde says of a text may show some of it.
    serde_json::from_str(&text)
        .map_err(|_| Failure::usage(format!("{shown}: this is no JSON object of providers and keys")))
}

/// Waits until no other process changes the keys, and keeps others waiting until it is dropped: two that read the file at
/// once would each write it without the other's key. Where the system cannot lock a folder nobody waits.
fn alone(path: &Path) -> Option<fs::File> {
    let folder = fs::File::open(path.parent()?).ok()?;
    folder.lock().ok().map(|()| folder)
}

fn make_folder(path: &Path) -> Result<(), Failure> {
    let folder = path.parent().expect("the file is in a folder of its own");
    fs::create_dir_all(folder).map_err(|e| unkept(path, &e))
}

fn unkept(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{}: cannot keep the key: {error}", path.display()))
}

/// Replaces the file as a whole: nobody else may read it at any moment. A link to it stays one.
fn write(path: &Path, keys: &Keys) -> Result<(), Failure> {
    let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().expect("the file is in a folder of its own");
    let partial = folder.join(format!("keys.json.{}", std::process::id()));
    let _ = fs::remove_file(&partial);
    let mut options = fs::OpenOptions::new();
    // Never a file, nor what a link leads to, that somebody else has put there with other rights.
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
        unkept(path, &e)
    })
}

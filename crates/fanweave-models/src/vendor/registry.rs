//! Vendors by name: those of the table, and those that the program registers.

use std::iter::successors;
use std::sync::OnceLock;

use fanweave_core::{Error, ErrorKind, Result, closest};

use super::Vendor;
use crate::providers::compatible::ROWS;

/// A registered vendor, and the link to the next.
struct Registered {
    vendor: Vendor,
    key_variables: Vec<&'static str>,
    next: OnceLock<Box<Registered>>,
}

/// The registered vendors, in order. Readers never wait, so that a process can fork at any time.
static REGISTERED: OnceLock<Box<Registered>> = OnceLock::new();

fn registered() -> impl Iterator<Item = &'static Registered> {
    successors(REGISTERED.get(), |entry| entry.next.get()).map(|entry| &**entry)
}

/// Adds a vendor for the rest of the process: [`model`](crate::model) finds its models by name, and errors
/// suggest it for a misspelt name. The list of names grows with each call: register a vendor once, when the
/// program starts.
///
/// # Errors
/// [`ErrorKind::Config`] for a name that is invalid or already taken.
pub fn register(vendor: Vendor) -> Result<()> {
    let taken = |name: &str| {
        let message = format!("there is already a provider `{name}`: choose another name");
        Err(Error::new(ErrorKind::Config, message))
    };
    vendor.check_name()?;
    // `sim/..` are the simulated models.
    if vendor.name == "sim" || ROWS.iter().any(|row| row.name == vendor.name) {
        return taken(&vendor.name);
    }
    // Registered vendors are never dropped: their variables can be lent out for ever.
    let key_variables = vendor.key_variables.iter().map(|variable| &*variable.to_string().leak());
    let mut entry =
        Box::new(Registered { key_variables: key_variables.collect(), vendor, next: OnceLock::new() });
    let mut link = &REGISTERED;
    while let Err(refused) = link.set(entry) {
        let before = link.get().expect("a link is refused only if it is set");
        if before.vendor.name == refused.vendor.name {
            return taken(&refused.vendor.name);
        }
        (entry, link) = (refused, &before.next);
    }
    Ok(())
}

/// Names of all vendors that [`model`](crate::model) supports: the part of a model's name before the first
/// `/`.
///
/// A vendor with several dialects has a name for each: `openai/..` is chat completions, `openai-responses/..`
/// the responses API, and `openai-completions/..` the completions of models without chat. `anthropic/..`,
/// `gemini/..` and `ollama/..` use their own dialects, and all others chat completions.
/// [Registered](register) vendors come last.
///
/// ```
/// assert!(fanweave::models::vendors().any(|vendor| vendor == "openrouter"));
/// ```
pub fn vendors() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.name).chain(registered().map(|entry| &*entry.vendor.name))
}

/// Environment variables for the key of a vendor; the first one set is used. `None` for an unknown vendor,
/// empty for a vendor without keys.
///
/// ```
/// assert_eq!(fanweave::models::key_variables("openai"), Some(&["OPENAI_API_KEY"][..]));
/// assert_eq!(fanweave::models::key_variables("nobody"), None);
/// ```
pub fn key_variables(vendor: &str) -> Option<&'static [&'static str]> {
    match ROWS.iter().find(|row| row.name == vendor) {
        Some(row) => Some(row.key_variables),
        None => registered().find(|entry| entry.vendor.name == vendor).map(|entry| &*entry.key_variables),
    }
}

impl Vendor {
    /// The vendor called `name`, among those of the table and the registered ones.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let row = ROWS.iter().find(|row| row.name == name).map(Self::from);
        row.or_else(|| Some(registered().find(|entry| entry.vendor.name == name)?.vendor.clone()))
    }

    /// Splits a name such as `openrouter/meta-llama/llama-3` into vendor and model.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a name without a known vendor.
    pub(crate) fn of(name: &str) -> Result<(Self, &str)> {
        let (vendor, model) = Self::split(name)?;
        if let Some(found) = Self::named(vendor) {
            return Ok((found, model));
        }
        let hint =
            closest(vendor, vendors()).map(|name| format!("did you mean `{name}`? ")).unwrap_or_default();
        let message = format!("unknown provider `{vendor}`: {hint}known providers: {}", all_names());
        Err(Error::new(ErrorKind::Config, message))
    }

    /// Splits a name into those of vendor and model.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a name without both.
    pub(crate) fn split(name: &str) -> Result<(&str, &str)> {
        name.split_once('/').filter(|(_, model)| !model.is_empty()).ok_or_else(|| {
            let message = format!(
                "`{name}` is not a valid model: use provider/model, such as openai/gpt-5-mini; known providers: {}",
                all_names()
            );
            Error::new(ErrorKind::Config, message)
        })
    }
}

fn all_names() -> String {
    vendors().collect::<Vec<_>>().join(", ")
}

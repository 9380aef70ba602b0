//! Builds models from their names.

use crate::sim::Sim;
use crate::words::HashEmbedder;
use crate::{Embedder, Error, ErrorKind, Model, Result, closest};

/// The model called `name`: `provider/model`, such as `openai/gpt-5-mini`, or one of the simulated models
/// `sim/writer` and `sim/echo`, which need no key and no network.
///
/// Key and base URL are read from the provider's environment variables (`OPENAI_API_KEY`, ..). For other
/// settings, use [`models::ModelBuilder`](fanweave_models::ModelBuilder).
///
/// ```
/// assert_eq!(fanweave::model("sim/writer")?.name(), "sim/writer");
/// let error = fanweave::model("sim/writr").unwrap_err();
/// assert!(error.to_string().contains("did you mean `sim/writer`?"), "{error}");
/// # Ok::<_, fanweave::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::Config`] for an unknown name, with the closest known one; [`ErrorKind::Authentication`] if
/// the provider needs a key and none is set.
pub fn model(name: &str) -> Result<Model> {
    match name.split_once('/') {
        Some(("sim", simulated)) => Sim::named(simulated).map(Model::new).ok_or_else(|| unknown(name)),
        Some(_) => fanweave_models::model(name),
        None => Err(unknown(name)),
    }
}

/// The embedding model called `name`: `provider/model`, such as `openai/text-embedding-3-small`, or
/// `sim/words`, which needs no key and no network.
///
/// ```
/// assert_eq!(fanweave::embedder("sim/words")?.name(), "sim/words");
/// # Ok::<_, fanweave::Error>(())
/// ```
///
/// # Errors
/// Those of [`model`].
pub fn embedder(name: &str) -> Result<Embedder> {
    if name == HashEmbedder::NAME {
        return Ok(HashEmbedder::embedder());
    }
    if name.starts_with("sim/") || !name.contains('/') {
        let message = format!(
            "`{name}` is not a valid embedding model: use provider/model, such as openai/text-embedding-3-small or {}",
            HashEmbedder::NAME
        );
        return Err(Error::new(ErrorKind::Config, message));
    }
    fanweave_models::embedder(name)
}

fn unknown(name: &str) -> Error {
    let hint = match nearest(name) {
        Some(near) => format!("did you mean `{near}`?"),
        None if name.starts_with("sim/") => "the simulated models are sim/writer and sim/echo".to_owned(),
        None => "use provider/model, such as openai/gpt-5-mini or sim/writer".to_owned(),
    };
    Error::new(ErrorKind::Config, format!("`{name}` is not a valid model: {hint}"))
}

/// The simulated model whose name is closest to `name`.
fn nearest(name: &str) -> Option<String> {
    let bare = name.strip_prefix("sim/").unwrap_or(name);
    closest(bare, Sim::NAMES).map(|simulated| format!("sim/{simulated}"))
}

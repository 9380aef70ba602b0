//! Builds models from their names.

#[cfg(feature = "sim")]
use crate::closest;
#[cfg(feature = "sim")]
use crate::sim::Sim;
#[cfg(feature = "sim")]
use crate::words::HashEmbedder;
use crate::{Embedder, Error, ErrorKind, Model, Result};

/// The model called `name`: `provider/model`, such as `openai/gpt-5-mini`, or one of the simulated models
/// `sim/writer` and `sim/echo` of the feature `sim`, which need no key and no network.
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
        #[cfg(not(feature = "sim"))]
        Some(("sim", _)) => Err(needs_sim(name)),
        #[cfg(feature = "sim")]
        Some(("sim", simulated)) => Sim::named(simulated).map(Model::new).ok_or_else(|| unknown(name)),
        Some(_) => fanweave_models::model(name),
        None => Err(unknown(name)),
    }
}

/// The embedding model called `name`: `provider/model`, such as `openai/text-embedding-3-small`, or
/// `sim/words` of the feature `sim`, which needs no key and no network.
///
/// ```
/// assert_eq!(fanweave::embedder("sim/words")?.name(), "sim/words");
/// # Ok::<_, fanweave::Error>(())
/// ```
///
/// # Errors
/// Those of [`model`].
pub fn embedder(name: &str) -> Result<Embedder> {
    #[cfg(feature = "sim")]
    if name == HashEmbedder::NAME {
        return Ok(HashEmbedder::embedder());
    }
    #[cfg(not(feature = "sim"))]
    if name.starts_with("sim/") {
        return Err(needs_sim(name));
    }
    if name.starts_with("sim/") || !name.contains('/') {
        let simulated = if cfg!(feature = "sim") { " or sim/words" } else { "" };
        let message = format!(
            "`{name}` is not a valid embedding model: use provider/model, such as openai/text-embedding-3-small{simulated}"
        );
        return Err(Error::new(ErrorKind::Config, message));
    }
    fanweave_models::embedder(name)
}

#[cfg(not(feature = "sim"))]
fn needs_sim(name: &str) -> Error {
    Error::new(ErrorKind::Config, format!("`{name}` is simulated: enable the feature `sim` of fanweave"))
}

#[cfg(not(feature = "sim"))]
fn unknown(name: &str) -> Error {
    let message = format!("`{name}` is not a valid model: use provider/model, such as openai/gpt-5-mini");
    Error::new(ErrorKind::Config, message)
}

#[cfg(feature = "sim")]
fn unknown(name: &str) -> Error {
    let hint = match nearest(name) {
        Some(near) => format!("did you mean `{near}`?"),
        None if name.starts_with("sim/") => "the simulated models are sim/writer and sim/echo".to_owned(),
        None => "use provider/model, such as openai/gpt-5-mini or sim/writer".to_owned(),
    };
    Error::new(ErrorKind::Config, format!("`{name}` is not a valid model: {hint}"))
}

/// The simulated model whose name is closest to `name`.
#[cfg(feature = "sim")]
fn nearest(name: &str) -> Option<String> {
    let bare = name.strip_prefix("sim/").unwrap_or(name);
    closest(bare, Sim::NAMES).map(|simulated| format!("sim/{simulated}"))
}

#[cfg(test)]
#[cfg(not(feature = "sim"))]
mod tests {
    use super::*;

    #[test]
    fn without_simulated_models_their_names_say_which_feature_has_them() {
        for error in [model("sim/writer").unwrap_err(), embedder("sim/words").unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.message().contains("enable the feature `sim`"), "{error}");
        }
        assert!(model("writer").unwrap_err().message().contains("use provider/model"));
    }
}

//! Work of a run: everything that its answers depend on, apart from the rows.

use std::sync::Arc;

use fanweave::batch::{Fingerprint, Render};
use fanweave::{
    Chain, ChainFile, Error, ErrorKind, Message, Model, Parameters, Prompt, Vars, prompts::Template, step,
};
use serde_json::{Value, json};

use crate::args::BatchArgs;
use crate::exit::Failure;
use crate::text_file::text_or_file;

/// A prompt for every row.
pub(crate) struct PromptWork {
    /// Models with weights, as in `--model`.
    pub(crate) model: String,
    pub(crate) fallback_models: Vec<String>,
    /// Text of the template.
    pub(crate) prompt: Option<String>,
    /// Text of the template of the system message.
    pub(crate) system: Option<String>,
    pub(crate) parameters: Parameters,
}

/// A chain file for every row, or for one run.
pub(crate) struct ChainWork {
    pub(crate) file: Arc<ChainFile>,
    /// Model of the steps that name none.
    pub(crate) model: Option<String>,
    /// Inputs for all rows.
    pub(crate) given: Vars,
    pub(crate) parameters: Parameters,
}

impl PromptWork {
    /// Reads the templates of the flags.
    pub(crate) fn new(args: &BatchArgs) -> Result<Self, Failure> {
        let read = |flag: &str, text: &Option<String>| {
            text.as_deref().map(|text| text_or_file(flag, text)).transpose()
        };
        let prompt = read("--prompt", &args.prompt)?;
        if prompt.as_ref().is_some_and(|text| text.trim().is_empty()) {
            // Usually an unset shell variable: every row would pay for an empty prompt.
            return Err(Failure::usage("--prompt: the template is empty")
                .with_hint("remove --prompt if the rows contain their prompts"));
        }
        Ok(Self {
            model: args.model.model.clone().unwrap_or_default(),
            fallback_models: args.fallback_model.clone(),
            prompt,
            system: read("--system", &args.system)?,
            parameters: args.model.parameters(),
        })
    }

    /// Parses the templates.
    pub(crate) fn render(&self) -> Result<Render, Failure> {
        let parse = |flag: &str, text: &Option<String>| {
            let template = text.as_deref().map(Template::parse).transpose();
            template.map_err(|e| Failure::usage(format!("{flag}: {}", e.message())))
        };
        let mut render = Render::new();
        render.template = parse("--prompt", &self.prompt)?;
        render.system = parse("--system", &self.system)?;
        Ok(render)
    }

    /// The chain of a row. `models` is one step for all models.
    pub(crate) fn chain(models: &Chain<Prompt, Message>) -> Chain<Prompt, Message> {
        // The models of the command line answer, not those of the rows.
        let clear_model = step(|mut prompt: Prompt, _cx| async move {
            prompt.parameters.model = None;
            Ok(prompt)
        });
        clear_model | models
    }

    /// Everything that changes the answers. URLs do not: an account may move.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let texts = [("prompt", self.prompt.clone()), ("system", self.system.clone())];
        let fallback = (!self.fallback_models.is_empty()).then(|| self.fallback_models.join(", "));
        let all =
            texts.into_iter().chain([("model", Some(self.model.clone())), ("fallback model", fallback)]);
        let set = |to: Fingerprint, (name, value): (&str, Option<String>)| match value {
            Some(value) => to.set(name, value),
            None => to,
        };
        with_parameters(all.fold(Fingerprint::new(), set), &self.parameters)
    }
}

impl ChainWork {
    /// The chain with its models. `connect` gets the name of each model, if the file or the flags set one.
    ///
    /// # Errors
    /// Those of the file, with their places, and those of `connect`.
    pub(crate) fn chain(
        &self,
        mut connect: impl FnMut(Option<&str>) -> Result<Model, Failure>,
    ) -> Result<Chain<Vars, Value>, Failure> {
        let mut failed = None;
        let chain = self.file.chain(|name| {
            connect(name).map_err(|failure| {
                let error = Error::new(ErrorKind::Config, failure.message());
                // If no model is set anywhere, the hint helps more than the location.
                if name.is_none() {
                    failed = Some(failure);
                }
                error
            })
        });
        chain.map_err(|error| failed.take().unwrap_or_else(|| error.into()))
    }

    /// Everything that changes the answers.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let given = self.given.as_map().iter();
        let given = given.map(|(name, value)| (format!("--set {name}"), value.to_string()));
        let model = self.model.clone().map(|model| ("model".to_owned(), model));
        let set = |to: Fingerprint, (name, value)| to.set(name, value);
        let file = model.into_iter().chain(given).fold(self.file.fingerprint(), set);
        with_parameters(file, &self.parameters)
    }
}

/// Adds the parameters that the flags set.
fn with_parameters(fingerprint: Fingerprint, parameters: &Parameters) -> Fingerprint {
    let temperature = parameters.temperature.map(|t| ("temperature", t.to_string()));
    let max_tokens = parameters.max_tokens.map(|n| ("max tokens", n.to_string()));
    let top_p = parameters.top_p.map(|p| ("param top_p", p.to_string()));
    let seed = parameters.seed.map(|n| ("param seed", n.to_string()));
    let stop = (!parameters.stop.is_empty()).then(|| ("param stop", json!(parameters.stop).to_string()));
    let known = [temperature, max_tokens, top_p, seed, stop].into_iter().flatten();
    let fingerprint = known.fold(fingerprint, |to, (name, value)| to.set(name, value));
    let extra = parameters.extra.iter();
    extra.fold(fingerprint, |to, (name, value)| to.set(format!("param {name}"), value.to_string()))
}

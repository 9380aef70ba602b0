//! Work of a run: everything that its answers depend on, apart from the rows. As data, it has no path, key or
//! URL of a machine, so that another machine makes the same chain of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use fanweave::batch::{Fingerprint, Render, RequestFields};
use fanweave::chain_file::StepModel;
use fanweave::{Chain, ChainFile, Error, ErrorKind, Model, Parameters, Vars, prompts::Template};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::args::BatchArgs;
use crate::exit::Failure;
use crate::schema;
use crate::text_file::text_or_file;

/// A prompt for every row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PromptWork {
    /// Models with weights, as in `--model`.
    pub(crate) model: String,
    #[serde(default, rename = "fallback", skip_serializing_if = "Vec::is_empty")]
    pub(crate) fallback_models: Vec<String>,
    /// Text of the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) prompt: Option<String>,
    /// Text of the template of the system message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) system: Option<String>,
    /// Schema of structured answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) schema: Option<Value>,
    /// Set if answers at the end of rows are dropped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) drops_answers: bool,
    /// Set if the models answer rows that name others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) overrides_model: bool,
    /// Set if the models are on a server of the user.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    has_own_server: bool,
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub(crate) parameters: Parameters,
}

/// A chain file for every row, or for one run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(into = "ChainData", try_from = "ChainData")]
pub(crate) struct ChainWork {
    /// Name of the file, without its folder.
    name: String,
    pub(crate) file: Arc<ChainFile>,
    /// Model of the steps that name none.
    model: Option<String>,
    /// Inputs for all rows.
    pub(crate) given: Vars,
    parameters: Parameters,
    /// Set if the outputs of all steps are those of the chain.
    all_outputs: bool,
    fallback_models: Vec<String>,
}

/// [`ChainWork`] as data: the chain file and the files that it refers to as texts.
#[derive(Serialize, Deserialize)]
struct ChainData {
    name: String,
    text: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    files: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(default)]
    given: Vars,
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    parameters: Parameters,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    all_outputs: bool,
    #[serde(default, rename = "fallback", skip_serializing_if = "Vec::is_empty")]
    fallback_models: Vec<String>,
}

impl From<ChainWork> for ChainData {
    fn from(work: ChainWork) -> Self {
        let ChainWork { name, file, model, given, parameters, all_outputs, fallback_models } = work;
        let files = file.files().map(|(path, text)| (path.to_owned(), text.to_owned())).collect();
        let text = file.source().to_owned();
        Self { name, text, files, model, given, parameters, all_outputs, fallback_models }
    }
}

impl TryFrom<ChainData> for ChainWork {
    type Error = Error;

    /// Parses the texts. Reads no file.
    fn try_from(data: ChainData) -> fanweave::Result<Self> {
        let ChainData { name, text, files, model, given, parameters, all_outputs, fallback_models } = data;
        let file = ChainFile::parse_with(name.as_str(), text, &files)?;
        let file = if all_outputs { file.with_all_outputs() } else { file };
        let file = match fallback_models.as_slice() {
            [] => file,
            models => file.with_fallback(models),
        };
        let work = Self::new(Path::new(&name), file, model, given, parameters);
        Ok(work.with_flags(all_outputs, fallback_models))
    }
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
            schema: args.schema.as_deref().map(schema::read).transpose()?,
            drops_answers: args.drop_last_assistant,
            overrides_model: args.override_model,
            has_own_server: args.model.base_url.is_some(),
            parameters: args.model.parameters(),
        })
    }

    /// The same work for models that may be on a server of the user who runs it.
    #[cfg(feature = "workers")]
    pub(crate) fn with_own_server(mut self, has_own_server: bool) -> Self {
        self.has_own_server |= has_own_server;
        self
    }

    /// The work in the manifest of a run.
    #[cfg(feature = "workers")]
    pub(crate) fn data(&self) -> Value {
        json!({ "prompts": self })
    }

    /// The prompts of the manifest of a run. `None` if they were written by a version with other fields.
    #[cfg(feature = "workers")]
    pub(crate) fn deserialized(work: &Value) -> Option<Self> {
        Self::deserialize(work).ok()
    }

    /// Parses the templates.
    pub(crate) fn render(&self) -> Result<Render, Failure> {
        let parse = |flag: &str, text: &Option<String>| {
            let template = text.as_deref().map(Template::parse).transpose();
            template.map_err(|e| Failure::usage(format!("{flag}: {}", e.message())))
        };
        let mut render = Render::new().drop_last_assistant(self.drops_answers).other_endpoints(true);
        render.request_fields = self.request_fields();
        render.template = parse("--prompt", &self.prompt)?;
        render.system = parse("--system", &self.system)?;
        Ok(render)
    }

    /// The server whose fields rows with messages may have.
    fn request_fields(&self) -> RequestFields {
        match self.model.split_once('/').map(|(vendor, _)| vendor) {
            None | Some("sim") => RequestFields::Any,
            Some("openrouter") => RequestFields::OpenRouter,
            Some("vllm" | "llamacpp" | "lmstudio" | "ollama") => RequestFields::OwnServer,
            // A server with the API of the vendor, which may be a proxy.
            Some(_) if self.has_own_server => RequestFields::Any,
            Some(_) => RequestFields::Vendor,
        }
    }

    /// Everything that changes the answers. URLs do not: an account may move.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let schema = self.schema.as_ref().map(Value::to_string);
        let texts = [("prompt", self.prompt.clone()), ("system", self.system.clone()), ("schema", schema)];
        let fallback = (!self.fallback_models.is_empty()).then(|| self.fallback_models.join(", "));
        let overrides = self.overrides_model.then(|| "yes".to_owned());
        let drops = self.drops_answers.then(|| "yes".to_owned());
        let models = [
            ("model", Some(self.model.clone())),
            ("fallback model", fallback),
            ("override model", overrides),
            ("drop last assistant", drops),
        ];
        let all = texts.into_iter().chain(models);
        let set = |to: Fingerprint, (name, value): (&str, Option<String>)| match value {
            Some(value) => to.set(name, value),
            None => to,
        };
        with_parameters(all.fold(Fingerprint::new(), set), &self.parameters)
    }
}

impl ChainWork {
    /// The work of the chain in the file at `path`. `model` is that of the steps that name none.
    pub(crate) fn new(
        path: &Path,
        file: ChainFile,
        model: Option<String>,
        given: Vars,
        parameters: Parameters,
    ) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = match &model {
            Some(model) => file.with_model(model),
            None => file,
        };
        let (all_outputs, fallback_models) = (false, Vec::new());
        Self { name, file: Arc::new(file), model, given, parameters, all_outputs, fallback_models }
    }

    /// Records that the file was given all outputs, or other fallback models.
    pub(crate) fn with_flags(self, all_outputs: bool, fallback_models: Vec<String>) -> Self {
        Self { all_outputs, fallback_models, ..self }
    }

    /// The chain of the manifest of a run.
    ///
    /// # Errors
    /// The file is invalid, or has what this version does not know.
    #[cfg(feature = "workers")]
    pub(crate) fn deserialized(work: &Value) -> Result<Self, serde_json::Error> {
        Self::deserialize(work)
    }

    /// Parameters of its requests.
    #[cfg(feature = "workers")]
    pub(crate) fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The chain with its models. `connect` gets the model of each step, whose name is set if the file or the
    /// flags set one.
    ///
    /// # Errors
    /// Those of the file, with their places, and those of `connect`.
    pub(crate) fn chain(
        &self,
        mut connect: impl FnMut(StepModel<'_>) -> Result<Model, Failure>,
    ) -> Result<Chain<Vars, Value>, Failure> {
        let mut failed = None;
        let chain = self.file.chain_with(|step| {
            connect(step).map_err(|failure| {
                let error = Error::new(ErrorKind::Config, failure.message());
                // If no model is set anywhere, the hint helps more than the location.
                if step.name.is_none() {
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
    let effort = parameters.reasoning_effort.clone().map(|level| ("param reasoning_effort", level));
    let budget = parameters.reasoning_budget.map(|n| ("param reasoning_budget", n.to_string()));
    let summary = parameters.reasoning_summary.then(|| ("param reasoning_summary", "true".to_owned()));
    let known = [temperature, max_tokens, top_p, seed, stop, effort, budget, summary].into_iter().flatten();
    let fingerprint = known.fold(fingerprint, |to, (name, value)| to.set(name, value));
    let extra = parameters.extra.iter();
    extra.fold(fingerprint, |to, (name, value)| to.set(format!("param {name}"), value.to_string()))
}

#[cfg(test)]
mod tests {
    use fanweave::blocking::wait;
    use fanweave::{model, vars};

    use super::*;

    fn parameters() -> Parameters {
        let mut parameters = Parameters::new().temperature(0.5);
        parameters.stop = vec!["END".into()];
        parameters
    }

    #[test]
    fn prompts_are_the_same_work_after_they_were_data() {
        let work = PromptWork {
            model: "sim/echo=3,sim/writer".into(),
            fallback_models: vec!["sim/other".into()],
            prompt: Some("Where is {{ city }}?".into()),
            system: None,
            schema: Some(json!({ "type": "object" })),
            drops_answers: true,
            overrides_model: true,
            has_own_server: false,
            parameters: parameters(),
        };
        let data = serde_json::to_value(&work).unwrap();
        assert_eq!(
            data,
            json!({
                "model": "sim/echo=3,sim/writer", "fallback": ["sim/other"], "prompt": "Where is {{ city }}?",
                "schema": { "type": "object" }, "drops_answers": true, "overrides_model": true, "parameters": { "temperature": 0.5, "stop": ["END"] },
            })
        );
        let read: PromptWork = serde_json::from_value(data).unwrap();
        assert_eq!(read, work);
        assert_eq!(read.fingerprint(), work.fingerprint());
        assert!(read.render().unwrap().template.is_some());
    }

    #[test]
    fn a_chain_is_the_same_work_after_it_was_data_without_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ask.txt"), "Greet {{ name }} {{ times }} times").unwrap();
        let path = folder.path().join("greet.yaml");
        let text = "inputs: { name: World, times: 1 }\nsteps: { ask: { prompt: { file: ask.txt } } }";
        std::fs::write(&path, text).unwrap();
        let file = ChainFile::load(&path).unwrap();
        let file = file.with_all_outputs().with_fallback(["sim/writer"]);
        let work = ChainWork::new(&path, file, Some("sim/echo".into()), vars! { times: 3 }, parameters());
        let work = work.with_flags(true, vec!["sim/writer".into()]);
        let data = serde_json::to_string(&work).unwrap();
        assert!(!data.contains(&*folder.path().to_string_lossy()), "{data}");
        drop(folder);

        let read: ChainWork = serde_json::from_str(&data).unwrap();
        assert_eq!(read.fingerprint(), work.fingerprint());
        assert_eq!((read.file.name(), &read.given), ("greet", &work.given));
        assert_eq!(serde_json::to_string(&read).unwrap(), data);
        let answer = |work: &ChainWork| {
            let chain = work.chain(|step| Ok(model(step.name.unwrap()).unwrap())).unwrap();
            wait(chain.invoke(work.given.clone())).unwrap()
        };
        assert_eq!(answer(&read), answer(&work));
        let answer = answer(&read);
        assert!(answer["ask"].as_str().unwrap().contains("Greet World 3 times"), "{answer}");
        let models: Vec<_> = read.file.step_parameters().flat_map(|(_, models, _)| models).collect();
        assert_eq!(models, [Some("sim/echo"), Some("sim/writer")]);

        let broken = data.replace("{{ times }}", "{{ nobody }}");
        let error = serde_json::from_str::<ChainWork>(&broken).unwrap_err().to_string();
        assert!(error.contains("greet.yaml:") && error.contains("unknown variable `nobody`"), "{error}");
    }
}

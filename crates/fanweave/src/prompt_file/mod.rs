//! Prompts in separate files, in two common formats.

mod dotprompt;
mod github;
#[cfg(test)]
mod tests;

use std::ops::BitOr;
use std::path::Path;

use serde_json::{Map, Value};

use crate::chain_file::Problems;
use crate::{
    Chain, Chat, Context, Error, ErrorKind, Node, Parameters, Prompt, Result, Runnable, Vars, chain,
};

/// A prompt from a file: a step from [`Vars`] to [`Prompt`], with the model and the parameters of the file.
///
/// The file name selects the format: `.prompt.yml` and `.prompt.yaml` for that of GitHub Models, `.prompt`
/// for dotprompt (front matter and a Handlebars template). Of Handlebars it supports `{{name}}`,
/// `{{name.field}}`, `{{role "system"}}`, `{{history}}`, `{{#if name}}`, `{{#unless name}}`, `{{else}}` and
/// `{{#each name}}` with `{{this}}`; anything else is an error with its location.
///
/// ```
/// use fanweave::{chain, prompts::PromptFile, vars};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let file = PromptFile::parse(
///     "summary.prompt.yml",
///     "
/// model: openai/gpt-5-mini
/// modelParameters: { temperature: 0.2 }
/// messages:
///   - role: system
///     content: You write summaries.
///   - role: user
///     content: Summarise {{text}}
/// ",
/// )?;
/// assert_eq!(file.model(), Some("openai/gpt-5-mini"));
/// let prompt = chain(file).invoke(vars! { text: "the tides" }).await?;
/// assert_eq!(prompt.messages[1].text(), "Summarise the tides");
/// assert_eq!(prompt.parameters.temperature, Some(0.2));
/// # Ok(())
/// # }) }
/// ```
#[derive(Debug, Clone)]
pub struct PromptFile {
    name: Option<String>,
    model: Option<String>,
    parameters: Parameters,
    defaults: Map<String, Value>,
    chat: Chat,
}

impl PromptFile {
    /// Loads a file.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the file cannot be read, or with all its problems, each with line and column.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = path.display().to_string();
        let text = crate::regular::read(path)
            .map_err(|e| Error::new(ErrorKind::Config, format!("cannot read {file}: {e}")).with_source(e))?;
        Self::parse(&file, &text)
    }

    /// Like [`load`](Self::load), from a string. `file` is the name for errors; its extension selects the
    /// format.
    ///
    /// # Errors
    /// Those of `load`.
    pub fn parse(file: &str, text: &str) -> Result<Self> {
        let read = if file.ends_with(".yml") || file.ends_with(".yaml") {
            github::read(text)
        } else if file.ends_with(".prompt") {
            dotprompt::read(text)
        } else {
            let message = format!("{file} is not a prompt file: its name must end in .prompt.yml or .prompt");
            return Err(Error::new(ErrorKind::Config, message));
        };
        read.map_err(|problems: Problems| problems.placed(file, text).into())
    }

    /// The `name` of the file.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The `model` of the file, as written.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// The parameters of every prompt of this file.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The required variables, sorted.
    pub fn variables(&self) -> Vec<String> {
        self.chat.variables()
    }
}

impl Runnable for PromptFile {
    type Input = Vars;

    const DRIVES_CALLS: bool = true;
    type Output = Prompt;

    async fn run(&self, mut vars: Vars, cx: &Context) -> Result<Prompt> {
        for (name, value) in &self.defaults {
            if vars.get(name).is_none() {
                vars.insert(name, value.clone());
            }
        }
        let mut prompt = self.chat.run(vars, cx).await?;
        prompt.parameters = self.parameters.clone();
        Ok(prompt)
    }

    fn describe(&self) -> Node {
        let node = self.chat.describe();
        match &self.name {
            Some(name) => node.named(name),
            None => node,
        }
    }
}

/// `|` as of a [`Chain`].
impl<R: Runnable<Input = Prompt>> BitOr<R> for PromptFile {
    type Output = Chain<<Self as Runnable>::Input, R::Output>;

    fn bitor(self, next: R) -> Self::Output {
        chain(self).then(next)
    }
}

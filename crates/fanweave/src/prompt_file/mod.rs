//! Prompts kept in files of their own, in the two formats that are about.

mod dotprompt;
mod github;
#[cfg(test)]
mod tests;

use std::path::Path;

use serde_json::{Map, Value};

use crate::chain_file::Problems;
use crate::{Chat, Context, Error, ErrorKind, Node, Parameters, Prompt, Result, Runnable, Vars};

/// A prompt from a file: a step from [`Vars`] to [`Prompt`], with the model and the parameters that the file asks for.
///
/// Two formats are read, told apart by the file's name: `.prompt.yml` or `.prompt.yaml`, as GitHub Models has them, and
/// `.prompt`, front matter and a template in the manner of dotprompt. Of the latter's Handlebars, `{{name}}`,
/// `{{name.field}}`, `{{role "system"}}`, `{{history}}`, `{{#if name}}`, `{{#unless name}}`, `{{else}}` and
/// `{{#each name}}` with `{{this}}` are understood; anything else is an error that says where.
///
/// ```
/// use fanweave::{PromptFile, chain, vars};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> fanweave::Result<()> {
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
/// # }
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
    /// Reads a file.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where it cannot be read, or with all that is wrong with it, each with line and column.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|e| Error::new(ErrorKind::Config, format!("cannot read {file}: {e}")).with_source(e))?;
        Self::parse(&file, &text)
    }

    /// As [`load`](Self::load), of a text. `file` is what it is called, and its ending tells the format.
    ///
    /// # Errors
    /// As `load`.
    pub fn parse(file: &str, text: &str) -> Result<Self> {
        let read = if file.ends_with(".yml") || file.ends_with(".yaml") {
            github::read(text)
        } else if file.ends_with(".prompt") {
            dotprompt::read(text)
        } else {
            let message = format!("{file} is no prompt file by its name: they end in .prompt.yml or .prompt");
            return Err(Error::new(ErrorKind::Config, message));
        };
        read.map_err(|problems: Problems| problems.placed(file, text).into())
    }

    /// The name that the file gives itself.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The model that the file asks for, in the file's words.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// The parameters that every prompt of this file carries.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The variables that have to be given, sorted.
    pub fn variables(&self) -> Vec<String> {
        self.chat.variables()
    }
}

impl Runnable for PromptFile {
    type Input = Vars;

    const DRIVES_CALLS: bool = true;
    type Output = Prompt;

    async fn run(&self, mut vars: Vars, _: &Context) -> Result<Prompt> {
        for (name, value) in &self.defaults {
            if vars.get(name).is_none() {
                vars.insert(name, value.clone());
            }
        }
        let mut prompt = self.chat.render(&vars).await?;
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

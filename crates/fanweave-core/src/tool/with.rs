//! Models with tools.

use super::Tools;
use crate::chain::{Chain, chain};
use crate::{Context, Message, Model, Node, Prompt, Result, Runnable, Streaming};

/// A model with tools: a step from [`Prompt`] to [`Message`], of one call. The message may contain tool
/// calls; [`run_tools`](Self::run_tools) continues from there.
///
/// Made by [`Model::with_tools`] and [`Chain::with_tools`]. Replaces tools in the prompt's own parameters.
#[derive(Debug, Clone)]
pub struct WithTools {
    pub(super) model: Chain<Prompt, Message>,
    pub(super) tools: Tools,
}

impl WithTools {
    /// Sets the tools of a prompt.
    pub(super) fn offer(&self, prompt: &mut Prompt) {
        prompt.parameters.tools = self.tools.specs();
    }
}

impl Runnable for WithTools {
    const DRIVES_CALLS: bool = true;

    type Input = Prompt;
    type Output = Message;

    async fn run(&self, mut prompt: Prompt, cx: &Context) -> Result<Message> {
        self.tools.ready()?;
        self.offer(&mut prompt);
        self.model.run(prompt, cx).await
    }

    fn streaming(&self) -> Streaming {
        self.model.streaming()
    }

    fn describe(&self) -> Node {
        let names: Vec<_> = self.tools.names().collect();
        Node::around(format!("with tools {}", names.join(", ")), [self.model.describe()])
    }
}

impl Model {
    /// Gives tools to the model.
    ///
    /// ```
    /// use fanweave::{Tools, chain, testing::Fake};
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let model = Fake::echo().model().with_tools(Tools::new());
    /// let answer = chain(model.run_tools(5)).invoke("hello").await?;
    /// assert_eq!(answer.text(), "hello");
    /// # Ok(())
    /// # }) }
    /// ```
    pub fn with_tools(&self, tools: Tools) -> WithTools {
        WithTools { model: chain(self.clone()), tools }
    }
}

impl Chain<Prompt, Message> {
    /// Like [`Model::with_tools`], for a model wrapped in fallbacks, retries or other steps.
    ///
    /// ```
    /// use fanweave::{Tools, chain, testing::Fake};
    ///
    /// let model = chain(Fake::echo()).fallback([chain(Fake::echo())]);
    /// let agent = model.with_tools(Tools::new()).run_tools(5);
    /// ```
    pub fn with_tools(self, tools: Tools) -> WithTools {
        WithTools { model: self, tools }
    }
}

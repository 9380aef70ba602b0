//! The answer to a call.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::batch::{Answer, IntoAnswer};
use crate::models::Prices;
use crate::tool::TypedTool;
use crate::{
    Chain, Context, FinishReason, Message, Node, Prompt, Result, Runnable, Streaming, ToolCall, Usage, chain,
};

/// The answer to a call. `Display` writes its text.
///
/// ```
/// #[fanweave::call(model = "sim/writer")]
/// async fn recommend_book(genre: &str) -> String {
///     format!("Recommend a {genre} book.")
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> fanweave::Result<()> {
/// let response = recommend_book("fantasy").await?;
/// assert_eq!(response.content(), response.to_string());
/// assert_eq!(response.model(), Some("sim/writer"));
/// assert!(response.usage().output_tokens > 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    message: Message,
    text: String,
    /// `provider/model`, as it was asked.
    asked: String,
    latency: Duration,
}

impl Response {
    /// The text of the answer. Empty where the model only asks for tools.
    pub fn content(&self) -> &str {
        &self.text
    }

    /// The answer with all of its parts.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// The answer with all of its parts, to go on with: as the next turn of a chat.
    pub fn into_message(self) -> Message {
        self.message
    }

    /// Tokens of all requests that the answer took. Zeros where the provider counted none.
    pub fn usage(&self) -> Usage {
        self.message.usage()
    }

    /// US dollars that the answer cost, by the [prices built in](Prices::builtin). `None` where none is known for the model
    /// that answered. 0 for an answer from a store.
    pub fn cost_usd(&self) -> Option<f64> {
        let prices = Prices::builtin();
        let provider = self.asked.split_once('/').map_or("", |(provider, _)| provider);
        let answered = self.model().map(|model| format!("{provider}/{model}"));
        let price = match &answered {
            Some(answered) => prices.of(answered),
            None => prices.of(&self.asked),
        };
        price.map(|price| price.cost(&self.usage()))
    }

    /// The model that answered, in the provider's words.
    pub fn model(&self) -> Option<&str> {
        self.message.reply.as_ref()?.model.as_deref()
    }

    /// Why the model stopped.
    pub fn finish_reason(&self) -> Option<&FinishReason> {
        self.message.reply.as_ref()?.finish_reason.as_ref()
    }

    /// How long it took, waits and retries included.
    pub fn latency(&self) -> Duration {
        self.latency
    }

    /// The tool calls that the model asks for, in order.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.message.tool_calls()
    }

    /// The first call of the tool `T`, with its arguments read. `None` where the model does not ask for it.
    ///
    /// # Errors
    /// As [`Message::tool`].
    pub fn tool<T: TypedTool>(&self) -> Result<Option<T>> {
        self.message.tool::<T>()
    }

    /// All calls of the tool `T`, in order.
    ///
    /// # Errors
    /// As [`Message::tools`], at the first call that cannot be read.
    pub fn tools<T: TypedTool>(&self) -> Result<Vec<T>> {
        self.message.tools::<T>().collect()
    }
}

/// For journalled batches of files: the answer as that of its model.
impl IntoAnswer for Response {
    fn into_answer(self) -> Answer {
        self.message.into_answer()
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Response> for Message {
    fn from(response: Response) -> Self {
        response.message
    }
}

/// Makes responses of what `model` answers.
pub fn respond(model: Chain<Prompt, Message>, name: &str) -> Chain<Prompt, Response> {
    chain(Respond { model, asked: name.to_owned() })
}

/// Reads what `model` answers as a `T`.
pub fn structured<T>(model: Chain<Prompt, Message>, _name: &str) -> Chain<Prompt, T>
where
    T: serde::de::DeserializeOwned + schemars::JsonSchema + Send + 'static,
{
    chain(crate::structured::<T>(model))
}

struct Respond {
    model: Chain<Prompt, Message>,
    asked: String,
}

impl Runnable for Respond {
    type Input = Prompt;

    const DRIVES_CALLS: bool = true;
    type Output = Response;

    async fn run(&self, prompt: Prompt, cx: &Context) -> Result<Response> {
        let began = Instant::now();
        let message = self.model.run(prompt, cx).await?;
        Ok(Response { text: message.text(), message, asked: self.asked.clone(), latency: began.elapsed() })
    }

    fn streaming(&self) -> Streaming {
        self.model.streaming()
    }

    fn describe(&self) -> Node {
        self.model.describe()
    }
}

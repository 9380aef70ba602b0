//! The response to a call.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

#[cfg(feature = "batch")]
use crate::batch::{Answer, IntoAnswer};
#[cfg(feature = "prices")]
use crate::models::Prices;
use crate::tool::TypedTool;
use crate::{
    Chain, Context, FinishReason, Message, Node, Prompt, Result, Runnable, Streaming, ToolCall, Usage, chain,
};

/// The response to a call. `Display` writes its text.
///
/// ```
/// #[fanweave::call(model = "sim/writer")]
/// async fn recommend_book(genre: &str) -> String {
///     format!("Recommend a {genre} book.")
/// }
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let response = recommend_book("fantasy").await?;
/// assert_eq!(response.content(), response.to_string());
/// assert_eq!(response.model(), Some("sim/writer"));
/// assert!(response.usage().output_tokens > 0);
/// # Ok(())
/// # }) }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    message: Message,
    text: String,
    /// `provider/model`, as requested.
    requested: String,
    latency: Duration,
}

impl Response {
    /// The text of the answer. Empty if the model only calls tools.
    pub fn content(&self) -> &str {
        &self.text
    }

    /// The answer with all of its parts.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// The answer with all of its parts, for example to continue a chat.
    pub fn into_message(self) -> Message {
        self.message
    }

    /// Tokens of all requests of the call. Zero if the provider reported none.
    pub fn usage(&self) -> Usage {
        self.message.usage()
    }

    /// Cost in US dollars, by the [built-in prices](Prices::builtin). `None` if the price of the model is
    /// unknown. 0 for a cached answer.
    #[cfg(feature = "prices")]
    pub fn cost_usd(&self) -> Option<f64> {
        let prices = Prices::builtin();
        let provider = self.requested.split_once('/').map_or("", |(provider, _)| provider);
        let answered = self.model().map(|model| format!("{provider}/{model}"));
        let price = match &answered {
            Some(answered) => prices.of(answered),
            None => prices.of(&self.requested),
        };
        price.map(|price| price.cost(&self.usage()))
    }

    /// The model that answered, as reported by the provider.
    pub fn model(&self) -> Option<&str> {
        self.message.reply.as_ref()?.model.as_deref()
    }

    /// Why the model stopped.
    pub fn finish_reason(&self) -> Option<&FinishReason> {
        self.message.reply.as_ref()?.finish_reason.as_ref()
    }

    /// Duration of the call, including waits and retries.
    pub fn latency(&self) -> Duration {
        self.latency
    }

    /// The tool calls of the model, in order.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.message.tool_calls()
    }

    /// The first call of the tool `T`, with its arguments parsed. `None` if the model does not call it.
    ///
    /// # Errors
    /// Those of [`Message::tool`].
    pub fn tool<T: TypedTool>(&self) -> Result<Option<T>> {
        self.message.tool::<T>()
    }

    /// All calls of the tool `T`, in order.
    ///
    /// # Errors
    /// Those of [`Message::tools`], for the first call that cannot be parsed.
    pub fn tools<T: TypedTool>(&self) -> Result<Vec<T>> {
        self.message.tools::<T>().collect()
    }
}

/// For journalled batches of files: the answer of the model.
#[cfg(feature = "batch")]
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

/// Converts the answers of `model` to responses.
pub fn respond(model: Chain<Prompt, Message>, name: &str) -> Chain<Prompt, Response> {
    chain(Respond { model, requested: name.to_owned() })
}

/// Parses the answers of `model` as a `T`.
pub fn structured<T>(model: Chain<Prompt, Message>, _name: &str) -> Chain<Prompt, T>
where
    T: serde::de::DeserializeOwned + schemars::JsonSchema + Send + 'static,
{
    chain(crate::structured::<T>(model))
}

struct Respond {
    model: Chain<Prompt, Message>,
    requested: String,
}

impl Runnable for Respond {
    type Input = Prompt;

    const DRIVES_CALLS: bool = true;
    type Output = Response;

    async fn run(&self, prompt: Prompt, cx: &Context) -> Result<Response> {
        let began = Instant::now();
        let message = self.model.run(prompt, cx).await?;
        Ok(Response {
            text: message.text(),
            message,
            requested: self.requested.clone(),
            latency: began.elapsed(),
        })
    }

    fn streaming(&self) -> Streaming {
        self.model.streaming()
    }

    fn describe(&self) -> Node {
        self.model.describe()
    }
}

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
    /// unknown. 0 for a cached answer. Each call of a tool loop has its own price, since the price depends on
    /// the length of the prompt.
    #[cfg(feature = "prices")]
    pub fn cost_usd(&self) -> Option<f64> {
        let prices = Prices::builtin();
        let provider = self.requested.split_once('/').map_or("", |(provider, _)| provider);
        let cost = |(model, usage): (Option<&str>, Usage)| {
            let answered = model.map(|model| format!("{provider}/{model}"));
            Some(prices.of(answered.as_deref().unwrap_or(&self.requested))?.cost(&usage))
        };
        match &self.message.reply {
            Some(reply) => reply.calls().map(cost).sum(),
            None => cost((None, Usage::default())),
        }
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

#[cfg(all(test, feature = "prices"))]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::messages::Reply;
    use crate::{ChatModel, Model, Part, Role, Tools};

    struct Now;

    impl<'de> serde::Deserialize<'de> for Now {
        fn deserialize<D: serde::Deserializer<'de>>(arguments: D) -> Result<Self, D::Error> {
            serde::de::IgnoredAny::deserialize(arguments).map(|_| Self)
        }
    }

    impl TypedTool for Now {
        const NAME: &'static str = "now";
        const DESCRIPTION: &'static str = "Says what time it is.";

        fn parameters() -> Value {
            json!({ "type": "object", "properties": {} })
        }

        async fn run_tool(self, _cx: &Context) -> crate::Result<String> {
            Ok("12:00".into())
        }
    }

    /// Calls the tool, then answers. Each prompt has 150,000 tokens.
    struct Gemini;

    impl ChatModel for Gemini {
        fn name(&self) -> &str {
            "gemini/gemini-2.5-pro"
        }

        async fn generate(&self, prompt: Prompt, _cx: &Context) -> crate::Result<Message> {
            let reply = Reply::new().model("gemini-2.5-pro").usage(Usage::new(150_000, 1_000)).attempts(1);
            let call = ToolCall { id: "1".into(), name: "now".into(), arguments: "{}".into() };
            let part = match prompt.messages.last().is_some_and(|message| message.role == Role::Tool) {
                true => Part::text("noon"),
                false => Part::ToolCall(call),
            };
            Ok(Message::from_parts(Role::Assistant, vec![part]).with_reply(reply))
        }
    }

    #[tokio::test]
    async fn each_call_of_a_tool_loop_has_the_price_of_its_own_prompt() {
        let agent = Model::new(Gemini).with_tools(Tools::new().with::<Now>()).run_tools(5);
        let response = respond(chain(agent), "gemini/gemini-2.5-pro").invoke("When?").await.unwrap();
        assert_eq!((response.content(), response.usage().input_tokens), ("noon", 300_000));
        // Twice 0.15 M at $1.25 and 1,000 at $10. Above 200,000 tokens they would be $2.50 and $15.
        let cost = response.cost_usd().unwrap();
        assert!((cost - 0.395).abs() < 1e-9, "{cost}");
        let calls: Vec<_> = response.message().reply.as_ref().unwrap().calls().collect();
        assert_eq!(calls, [(Some("gemini-2.5-pro"), Usage::new(150_000, 1_000)); 2]);
    }
}

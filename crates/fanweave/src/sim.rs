//! The simulated models, in this process: no key, no network, the same answer to the same prompt.

use std::borrow::Cow;
use std::time::Duration;

use fanweave_sim::Latency;
use fanweave_sim::answer::{self, ChatMessage, ChatRequest, Content, Finish};

use crate::{
    ChatModel, Context, Delta, EventKind, FinishReason, Message, Parameters, Part, Prompt, Reply,
    ResponseFormat, Result, Role, ToolCall, ToolChoice, Usage,
};

/// A simulated model.
///
/// `writer` writes plausible text that obeys what the prompt asks for ("five lines", a JSON schema, a tool);
/// `echo` answers with a checksum of the prompt and the prompt. Both take the time that a real model takes.
///
/// ```
/// use fanweave::{Model, sim::Sim};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> fanweave::Result<()> {
/// let model = Model::new(Sim::writer().without_latency());
/// let answer = model.invoke("List 3 titles for an article about tidal power.").await?;
/// assert_eq!(answer.text().lines().count(), 3);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Sim {
    name: &'static str,
    latency: Latency,
    per_token: Duration,
}

/// Time to the first token: that of a small hosted model on a quiet day.
pub const LATENCY: Latency = Latency::LogNormal { median: Duration::from_millis(400), sigma: 0.4 };
/// Time from each token to the next, likewise.
const PER_TOKEN: Duration = Duration::from_millis(10);
/// Longest time that an answer takes from its first token on: an echo of a whole file would take hours.
const LONGEST: Duration = Duration::from_secs(60);

impl Sim {
    /// What simulated models are called, after `sim/`.
    pub const NAMES: [&str; 2] = ["writer", "echo"];

    /// `sim/writer`.
    pub fn writer() -> Self {
        Self { name: "sim/writer", latency: LATENCY, per_token: PER_TOKEN }
    }

    /// `sim/echo`.
    pub fn echo() -> Self {
        Self { name: "sim/echo", ..Self::writer() }
    }

    /// The simulated model called `name`, without `sim/`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "writer" => Some(Self::writer()),
            "echo" => Some(Self::echo()),
            _ => None,
        }
    }

    /// The same model, without any delay.
    #[must_use]
    pub fn without_latency(self) -> Self {
        Self { latency: Latency::ZERO, per_token: Duration::ZERO, ..self }
    }

    /// Time to the first token. Default lognormal around 400 ms, a function of the prompt.
    #[must_use]
    pub fn latency(self, latency: Latency) -> Self {
        Self { latency, ..self }
    }
}

impl ChatModel for Sim {
    const DRIVES_CALLS: bool = true;

    fn name(&self) -> &str {
        self.name
    }

    async fn generate(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
        let sim = self.clone();
        cx.permit(move |cx| async move { sim.answer(&prompt, &cx).await }).await
    }
}

impl Sim {
    async fn answer(&self, prompt: &Prompt, cx: &Context) -> Result<Message> {
        cx.emit(EventKind::RequestStarted).await;
        let reply = answer::answer(&ask(self.name, prompt));
        let usage = Usage {
            input_tokens: reply.input_tokens,
            output_tokens: reply.output_tokens,
            ..Usage::default()
        };
        nap(self.latency.sample(u64::from(crc32fast::hash(prompt.last_user_text().as_bytes())), 0)).await;
        cx.emit(EventKind::FirstByte).await;

        let first = reply.answers.into_iter().next().expect("every reply has at least one answer");
        let tokens = u32::try_from(first.tokens).unwrap_or(u32::MAX);
        let parts = match first.content {
            Content::Text(text) => {
                self.say(&text, tokens, cx).await;
                vec![Part::Text(text)]
            }
            Content::Calls(calls) => {
                nap(self.time_of(tokens)).await;
                calls
                    .into_iter()
                    .map(|c| {
                        Part::ToolCall(ToolCall {
                            id: format!("call_{}", c.id),
                            name: c.name,
                            arguments: c.arguments,
                        })
                    })
                    .collect()
            }
        };
        let finish_reason = Some(match first.finish {
            Finish::Stop | Finish::Sequence(_) => FinishReason::Stop,
            Finish::Length => FinishReason::Length,
            Finish::ToolCalls => FinishReason::ToolCalls,
        });
        let reply = Reply {
            model: Some(self.name.to_owned()),
            finish_reason,
            usage,
            attempts: 1,
            ..Reply::default()
        };
        Ok(Message { role: Role::Assistant, parts, reply: Some(Box::new(reply)) })
    }

    fn time_of(&self, tokens: u32) -> Duration {
        self.per_token.saturating_mul(tokens).min(LONGEST)
    }

    /// Takes the time that the text takes, and hands it out word by word where somebody listens.
    async fn say(&self, text: &str, tokens: u32, cx: &Context) {
        if !cx.wants_deltas() {
            return nap(self.time_of(tokens)).await;
        }
        let pieces: Vec<_> = answer::pieces(text, 0).collect();
        let pause = self.time_of(tokens) / u32::try_from(pieces.len().max(1)).unwrap_or(u32::MAX);
        for (n, piece) in pieces.into_iter().enumerate() {
            nap(pause).await;
            if n == 0 {
                cx.emit(EventKind::FirstChunk).await;
            }
            cx.delta(Delta::text(piece)).await;
        }
    }
}

async fn nap(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// The prompt as the simulated provider reads it.
fn ask<'a>(model: &'a str, prompt: &'a Prompt) -> ChatRequest<'a> {
    let messages = prompt.messages.iter().flat_map(messages).collect();
    let Parameters { max_tokens, stop, seed, tools, tool_choice, format, extra, .. } = &prompt.parameters;
    let mut ask = ChatRequest::from_messages(model, messages);
    ask.max_tokens = max_tokens.map(u64::from);
    ask.stop = stop.iter().map(Into::into).collect();
    ask.seed = seed.map(i64::cast_unsigned);
    ask.tools = tools
        .iter()
        .map(|tool| answer::Tool {
            name: tool.name.clone(),
            description: tool.description.clone(),
            parameters: tool.parameters.clone(),
        })
        .collect();
    ask.tool_choice = match tool_choice {
        None => answer::ToolChoice::Auto,
        Some(ToolChoice::None) => answer::ToolChoice::None,
        Some(ToolChoice::Required) => answer::ToolChoice::Required,
        Some(ToolChoice::Tool(name)) => answer::ToolChoice::Named(name.clone()),
        Some(_) => answer::ToolChoice::Auto,
    };
    ask.format = match format {
        Some(ResponseFormat::JsonObject) => answer::Format::JsonObject,
        Some(ResponseFormat::JsonSchema { schema, .. }) => answer::Format::Schema(schema.clone()),
        _ => answer::Format::Text,
    };
    ask.parallel_tool_calls =
        extra.get("parallel_tool_calls").and_then(serde_json::Value::as_bool).unwrap_or(true);
    ask
}

/// A message as turns: each result of a tool is one, and all else that the message says.
fn messages(message: &Message) -> Vec<ChatMessage<'_>> {
    let role = match message.role {
        Role::System => answer::Role::System,
        Role::Assistant => answer::Role::Assistant,
        Role::Tool => answer::Role::Tool,
        _ => answer::Role::User,
    };
    let results = message.parts.iter().filter_map(|part| match part {
        Part::ToolResult(result) => Some(result.content.as_str()),
        _ => None,
    });
    let mut messages: Vec<_> =
        results.map(|result| ChatMessage { role: answer::Role::Tool, text: Cow::Borrowed(result) }).collect();
    let text = match message.parts.as_slice() {
        [Part::Text(text)] => Cow::Borrowed(text.as_str()),
        _ => Cow::Owned(message.text()),
    };
    if messages.is_empty() || !text.is_empty() {
        messages.push(ChatMessage { role, text });
    }
    messages
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::Model;

    #[tokio::test(start_paused = true)]
    async fn an_echo_of_a_whole_file_comes_to_its_end() {
        let echo = Model::new(Sim::echo().latency(Latency::ZERO));
        let (file, began) = ("word ".repeat(100_000), Instant::now());
        assert!(echo.invoke(&*file).await.unwrap().text().contains(&file));
        assert_eq!(began.elapsed(), LONGEST);
    }
}

//! Simulated models in this process: no key, no network, the same answer to the same prompt.

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
/// `writer` writes plausible text that follows the prompt ("five lines", a JSON schema, a tool). `echo`
/// answers with a checksum of the prompt and the prompt. Both have the latency of a real model.
///
/// ```
/// use fanweave::{Model, testing::Sim};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let model = Model::new(Sim::writer().without_latency());
/// let answer = model.invoke("List 3 titles for an article about tidal power.").await?;
/// assert_eq!(answer.text().lines().count(), 3);
/// # Ok(())
/// # }) }
/// ```
#[derive(Debug, Clone)]
pub struct Sim {
    name: &'static str,
    latency: Latency,
    per_token: Duration,
}

/// Time to the first token, typical of a small hosted model.
pub const LATENCY: Latency = Latency::LogNormal { median: Duration::from_millis(400), sigma: 0.4 };
/// Time between tokens. Source: as above.
const PER_TOKEN: Duration = Duration::from_millis(10);
/// Maximum time from the first token to the end of an answer: an echo of a whole file would take hours.
const MAX_STREAM_TIME: Duration = Duration::from_secs(60);

impl Sim {
    /// Names of the simulated models, without `sim/`.
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

    /// The same model without latency.
    #[must_use]
    pub fn without_latency(self) -> Self {
        Self { latency: Latency::ZERO, per_token: Duration::ZERO, ..self }
    }

    /// Sets the time to the first token. Default: log-normal around 400 ms, a function of the prompt.
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
        let reply = answer::answer(&request(self.name, prompt));
        let usage = Usage::new(reply.input_tokens, reply.output_tokens);
        pause(self.latency.sample(checksum_of_last_user_text(prompt), 0)).await;
        cx.emit(EventKind::FirstByte).await;

        let first = reply.answers.into_iter().next().expect("every reply has at least one answer");
        let tokens = u32::try_from(first.tokens).unwrap_or(u32::MAX);
        let parts = match first.content {
            Content::Text(text) => {
                self.stream(&text, tokens, cx).await;
                vec![Part::Text(text)]
            }
            Content::Calls(calls) => {
                pause(self.time_of(tokens)).await;
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
        let reply = Reply::new().model(self.name).finish_reason(finish_reason).usage(usage).attempts(1);
        Ok(Message::from_parts(Role::Assistant, parts).with_reply(reply))
    }

    fn time_of(&self, tokens: u32) -> Duration {
        self.per_token.saturating_mul(tokens).min(MAX_STREAM_TIME)
    }

    /// Waits for the duration of the text, and emits it word by word if the run has a subscriber.
    async fn stream(&self, text: &str, tokens: u32, cx: &Context) {
        if !cx.wants_deltas() {
            return pause(self.time_of(tokens)).await;
        }
        let pieces: Vec<_> = answer::pieces(text, 0).collect();
        let interval = self.time_of(tokens) / u32::try_from(pieces.len().max(1)).unwrap_or(u32::MAX);
        for (n, piece) in pieces.into_iter().enumerate() {
            pause(interval).await;
            if n == 0 {
                cx.emit(EventKind::FirstChunk).await;
            }
            cx.delta(Delta::text(piece)).await;
        }
    }
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// The checksum of [`Prompt::last_user_text`], without a copy of the text, which can be long.
fn checksum_of_last_user_text(prompt: &Prompt) -> u64 {
    let mut hasher = crc32fast::Hasher::new();
    if let Some(message) = prompt.messages.iter().rfind(|message| message.role == Role::User) {
        message.parts.iter().filter_map(Part::as_text).for_each(|text| hasher.update(text.as_bytes()));
    }
    u64::from(hasher.finalize())
}

/// Converts a prompt to a request of the simulated provider.
fn request<'a>(model: &'a str, prompt: &'a Prompt) -> ChatRequest<'a> {
    let messages = prompt.messages.iter().flat_map(messages).collect();
    let Parameters { max_tokens, stop, seed, tools, tool_choice, format, extra, .. } = &prompt.parameters;
    let mut request = ChatRequest::from_messages(model, messages);
    request.max_tokens = max_tokens.map(u64::from);
    request.stop = stop.iter().map(Into::into).collect();
    request.seed = seed.map(i64::cast_unsigned);
    request.tools = tools
        .iter()
        .map(|tool| answer::Tool {
            name: tool.name.clone(),
            description: tool.description.clone(),
            parameters: tool.parameters.clone(),
        })
        .collect();
    request.tool_choice = match tool_choice {
        None => answer::ToolChoice::Auto,
        Some(ToolChoice::None) => answer::ToolChoice::None,
        Some(ToolChoice::Required) => answer::ToolChoice::Required,
        Some(ToolChoice::Tool(name)) => answer::ToolChoice::Named(name.clone()),
        Some(_) => answer::ToolChoice::Auto,
    };
    request.format = match format {
        Some(ResponseFormat::JsonObject) => answer::Format::JsonObject,
        Some(ResponseFormat::JsonSchema { schema, .. }) => answer::Format::Schema(schema.clone()),
        _ => answer::Format::Text,
    };
    request.parallel_tool_calls =
        extra.get("parallel_tool_calls").and_then(serde_json::Value::as_bool).unwrap_or(true);
    request
}

/// Converts a message to chat messages: one for each tool result, and one for the rest.
fn messages(message: &Message) -> Vec<ChatMessage<'_>> {
    let role = match message.role {
        Role::System => answer::Role::System,
        Role::Assistant => answer::Role::Assistant,
        Role::Tool => answer::Role::Tool,
        _ => answer::Role::User,
    };
    let results = message.parts.iter().filter_map(|part| match part {
        Part::ToolResult(result) => Some(result.text()),
        _ => None,
    });
    let mut messages: Vec<_> =
        results.map(|result| ChatMessage { role: answer::Role::Tool, text: result }).collect();
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

    #[test]
    fn the_latency_depends_on_the_last_text_of_the_user() {
        let user = Message::from_parts(Role::User, vec![Part::text("one "), Part::text("text")]);
        let prompt = Prompt::new([Message::user("before"), user, Message::assistant("after")]);
        let text = prompt.last_user_text();
        assert_eq!(checksum_of_last_user_text(&prompt), u64::from(crc32fast::hash(text.as_bytes())));
    }

    #[tokio::test(start_paused = true)]
    async fn an_echo_of_a_whole_file_ends_in_time() {
        let echo = Model::new(Sim::echo().latency(Latency::ZERO));
        let (file, began) = ("word ".repeat(100_000), Instant::now());
        assert!(echo.invoke(&*file).await.unwrap().text().contains(&file));
        assert_eq!(began.elapsed(), MAX_STREAM_TIME);
    }
}

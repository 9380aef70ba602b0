//! Reading a messages request.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor, value::SeqAccessDeserializer};
use serde_json::Value;

use super::Messages;
use crate::answer::{ChatMessage, ChatRequest, Format, Role, Tool, ToolChoice};
use crate::server::content::{Text, Texts};
use crate::server::openai::parse;
use crate::server::problem::Problem;
use crate::server::{images, reasoning, schema_rules};

#[derive(serde::Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    messages: Option<Vec<Message<'a>>>,
    max_tokens: Option<u64>,
    #[serde(borrow)]
    system: Option<Text<'a>>,
    stream: Option<bool>,
    #[serde(borrow)]
    stop_sequences: Option<Texts<'a>>,
    tools: Option<Vec<ToolEntry>>,
    tool_choice: Option<Choice>,
    output_config: Option<OutputConfig>,
    #[serde(default)]
    thinking: Value,
    /// Former name of `output_config.format`.
    output_format: Option<OutputFormat>,
}

#[derive(serde::Deserialize)]
struct Message<'a> {
    role: Speaker,
    #[serde(borrow)]
    content: Blocks<'a>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Speaker {
    System,
    User,
    Assistant,
}

/// The content of a message: a string, or blocks.
struct Blocks<'a>(Vec<Block<'a>>);

/// A content block. Blocks other than text and tool results count as empty.
#[derive(serde::Deserialize)]
struct Block<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    /// Content of a tool result, which is text; other blocks may have anything here.
    #[serde(borrow, default)]
    content: Option<&'a serde_json::value::RawValue>,
}

#[derive(serde::Deserialize)]
struct ToolEntry {
    name: String,
    #[serde(default)]
    description: Option<String>,
    /// Only the client's own tools have one.
    input_schema: Option<Value>,
}

#[derive(serde::Deserialize)]
struct Choice {
    r#type: String,
    name: Option<String>,
    disable_parallel_tool_use: Option<bool>,
}

#[derive(serde::Deserialize)]
struct OutputConfig {
    format: Option<OutputFormat>,
    #[serde(default)]
    effort: Value,
}

#[derive(serde::Deserialize)]
struct OutputFormat {
    schema: Option<Value>,
}

pub(super) fn read(body: &[u8]) -> Result<Messages<'_>, Problem> {
    let request: Request<'_> = parse(body)?;
    let model =
        request.model.filter(|model| !model.0.is_empty()).ok_or(Problem::Missing { param: "model" })?;
    let max_tokens = request.max_tokens.ok_or(Problem::Missing { param: "max_tokens" })?;
    let messages = request.messages.ok_or(Problem::Missing { param: "messages" })?;
    images::anthropic(body)?;
    if messages.is_empty() {
        return Err(Problem::invalid("messages: at least one message is required", Some("messages")));
    }
    if max_tokens == 0 {
        return Err(Problem::invalid("max_tokens: must be greater than or equal to 1", Some("max_tokens")));
    }
    let system = request.system.map(|text| ChatMessage { role: Role::System, text: text.0 });
    let mut chat_messages: Vec<ChatMessage<'_>> = system.into_iter().collect();
    for message in messages {
        push_messages(message, &mut chat_messages)?;
    }
    let mut chat_request = ChatRequest::from_messages(model.0, chat_messages);
    chat_request.max_tokens = Some(max_tokens);
    chat_request.stop = request.stop_sequences.map(|stop| stop.0).unwrap_or_default();
    chat_request.tools = request.tools.into_iter().flatten().filter_map(tool).collect();
    let (format, effort) =
        request.output_config.map(|config| (config.format, config.effort)).unwrap_or_default();
    let format = format.or(request.output_format);
    chat_request.reasoning_tokens = reasoning::anthropic(&request.thinking, &effort, max_tokens)?;
    chat_request.format = match format.and_then(|format| format.schema) {
        Some(schema) => {
            schema_rules::ANTHROPIC.check(&schema, "output_config.format.schema")?;
            Format::Schema(schema)
        }
        None => Format::Text,
    };
    if let Some(choice) = request.tool_choice {
        chat_request.parallel_tool_calls = !choice.disable_parallel_tool_use.unwrap_or(false);
        chat_request.tool_choice = tool_choice(choice, &chat_request.tools)?;
    }
    Ok(Messages { chat_request, is_stream: request.stream.unwrap_or(false) })
}

/// Adds the messages in a message: the results of tools first, then its text.
fn push_messages<'a>(message: Message<'a>, chat_messages: &mut Vec<ChatMessage<'a>>) -> Result<(), Problem> {
    let role = match message.role {
        Speaker::System => Role::System,
        Speaker::User => Role::User,
        Speaker::Assistant => Role::Assistant,
    };
    let mut text = Cow::Borrowed("");
    let mut is_only_results = !message.content.0.is_empty();
    for block in message.content.0 {
        if block.r#type == "tool_result" {
            let result = block.content.map(|raw| parse::<Text<'a>>(raw.get().as_bytes())).transpose()?;
            chat_messages.push(ChatMessage { role: Role::Tool, text: result.unwrap_or_default().0 });
        } else {
            is_only_results = false;
            text += block.text.unwrap_or_default().0;
        }
    }
    if !is_only_results {
        chat_messages.push(ChatMessage { role, text });
    }
    Ok(())
}

fn tool(entry: ToolEntry) -> Option<Tool> {
    let parameters = entry.input_schema?;
    Some(Tool { name: entry.name, description: entry.description.unwrap_or_default(), parameters })
}

fn tool_choice(choice: Choice, tools: &[Tool]) -> Result<ToolChoice, Problem> {
    let invalid = |what: String| Problem::invalid(format!("tool_choice: {what}"), Some("tool_choice"));
    match (&*choice.r#type, choice.name) {
        ("auto", _) => Ok(ToolChoice::Auto),
        ("none", _) => Ok(ToolChoice::None),
        ("any", _) if tools.is_empty() => {
            Err(invalid("may only be specified while providing tools".to_owned()))
        }
        ("any", _) => Ok(ToolChoice::Required),
        ("tool", Some(name)) if tools.iter().any(|tool| tool.name == name) => Ok(ToolChoice::Named(name)),
        ("tool", Some(name)) => Err(invalid(format!("Tool '{name}' not found in provided tools"))),
        ("tool", None) => Err(invalid("name: Field required".to_owned())),
        (other, _) => Err(invalid(format!("must be auto, any, tool or none (got '{other}')"))),
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Blocks<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BlocksVisitor;

        impl<'de> Visitor<'de> for BlocksVisitor {
            type Value = Blocks<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of content blocks")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Blocks(vec![Block::of_text(Cow::Borrowed(text))]))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Blocks(vec![Block::of_text(Cow::Owned(text.to_owned()))]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, blocks: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(blocks)).map(Blocks)
            }
        }

        deserializer.deserialize_any(BlocksVisitor)
    }
}

impl<'a> Block<'a> {
    fn of_text(text: Cow<'a, str>) -> Self {
        Self { r#type: Cow::Borrowed("text"), text: Some(Text(text)), content: None }
    }
}

//! Reading a chat request.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::Chat;
use crate::answer::{ChatMessage, ChatRequest, Format, Role, Tool, ToolChoice};
use crate::server::content::{Text, Texts};
use crate::server::openai::{StreamOptions, candidates, parse};
use crate::server::problem::Problem;
use crate::server::{reasoning, schema_rules};

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    messages: Option<Vec<Message<'a>>>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_completion_tokens: Option<u64>,
    max_tokens: Option<u64>,
    #[serde(borrow)]
    stop: Option<Texts<'a>>,
    n: Option<usize>,
    seed: Option<i64>,
    response_format: Option<ResponseFormat>,
    tools: Option<Vec<ToolEntry>>,
    tool_choice: Option<Value>,
    parallel_tool_calls: Option<bool>,
    #[serde(default)]
    reasoning_effort: Value,
}

#[derive(Deserialize)]
struct Message<'a> {
    role: Speaker,
    #[serde(borrow, default)]
    content: Text<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Speaker {
    System,
    Developer,
    User,
    Assistant,
    Tool,
    Function,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ResponseFormat {
    Text,
    JsonObject,
    JsonSchema { json_schema: NamedSchema },
}

#[derive(Deserialize)]
struct NamedSchema {
    #[serde(default)]
    schema: Value,
    #[serde(default)]
    strict: Option<bool>,
}

/// A tool. Only tools of type function have a function.
#[derive(Deserialize)]
struct ToolEntry {
    function: Option<FunctionEntry>,
}

#[derive(Deserialize)]
struct FunctionEntry {
    name: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    parameters: Option<Value>,
}

pub(super) fn read(body: &[u8]) -> Result<Chat<'_>, Problem> {
    let request: Request<'_> = parse(body)?;
    let model =
        request.model.filter(|model| !model.0.is_empty()).ok_or(Problem::Missing { param: "model" })?;
    let messages = request.messages.ok_or(Problem::Missing { param: "messages" })?;
    if messages.is_empty() {
        return Err(Problem::invalid(
            "Invalid 'messages': there must be at least one message.",
            Some("messages"),
        ));
    }
    let mut chat_request =
        ChatRequest::from_messages(model.0, messages.into_iter().map(chat_message).collect());
    chat_request.max_tokens = request.max_completion_tokens.or(request.max_tokens);
    chat_request.stop = request.stop.map(|stop| stop.0).unwrap_or_default();
    chat_request.candidates = candidates(request.n)?;
    chat_request.seed = request.seed.map(i64::cast_unsigned);
    chat_request.reasoning_tokens = reasoning::effort(&request.reasoning_effort, "reasoning_effort")?;
    chat_request.parallel_tool_calls = request.parallel_tool_calls.unwrap_or(true);
    chat_request.format = match request.response_format {
        None | Some(ResponseFormat::Text) => Format::Text,
        Some(ResponseFormat::JsonObject) => Format::JsonObject,
        Some(ResponseFormat::JsonSchema { json_schema: NamedSchema { schema, strict } }) => {
            if strict == Some(true) {
                schema_rules::STRICT.check(&schema, "response_format")?;
            }
            Format::Schema(schema)
        }
    };
    chat_request.tools =
        request.tools.into_iter().flatten().filter_map(|entry| entry.function).map(tool).collect();
    chat_request.tool_choice = tool_choice(request.tool_choice.as_ref(), &chat_request.tools)?;
    let wants_usage = request.stream_options.unwrap_or_default().include_usage;
    Ok(Chat { chat_request, is_stream: request.stream.unwrap_or(false), wants_usage })
}

fn chat_message(message: Message<'_>) -> ChatMessage<'_> {
    let role = match message.role {
        Speaker::System | Speaker::Developer => Role::System,
        Speaker::User => Role::User,
        Speaker::Assistant => Role::Assistant,
        Speaker::Tool | Speaker::Function => Role::Tool,
    };
    ChatMessage { role, text: message.content.0 }
}

fn tool(entry: FunctionEntry) -> Tool {
    // A function without parameters takes an empty object.
    let parameters = entry.parameters.unwrap_or_else(|| serde_json::json!({ "type": "object" }));
    Tool { name: entry.name, description: entry.description.unwrap_or_default(), parameters }
}

/// `"auto"`, `"none"`, `"required"`, or an object that names a function.
fn tool_choice(choice: Option<&Value>, tools: &[Tool]) -> Result<ToolChoice, Problem> {
    let invalid =
        |what: Cow<'_, str>| Problem::invalid(format!("Invalid 'tool_choice': {what}."), Some("tool_choice"));
    match choice {
        None | Some(Value::Null) => Ok(ToolChoice::Auto),
        Some(_) if tools.is_empty() => Err(invalid("only allowed with 'tools'".into())),
        Some(Value::String(choice)) => match &**choice {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" => Ok(ToolChoice::Required),
            other => Err(invalid(format!("must be auto, none or required (got '{other}')").into())),
        },
        Some(choice) => match choice["function"]["name"].as_str() {
            Some(name) if tools.iter().any(|tool| tool.name == name) => {
                Ok(ToolChoice::Named(name.to_owned()))
            }
            Some(name) => Err(invalid(format!("unknown tool '{name}'").into())),
            None => Err(invalid("no function named".into())),
        },
    }
}

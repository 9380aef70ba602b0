//! Gemini's dialect: generateContent, plain and streamed, and embeddings.
//!
//! Model and verb are part of the path. Tool calls have no ids, as in the real API.

use serde_json::{Value, json};

use super::content::push_with_results;
use super::endpoint::{PreparedResponse, Request, ResponseContext};
use super::events::Events;
use super::openai::parse;
use super::problem::Problem;
use super::{images, reasoning, schema_rules};
use crate::answer::{
    Answer, ChatMessage, ChatRequest, Content, Finish, Format, Role, Tool, ToolChoice, answer, count_tokens,
    default_dimensions, embed, pieces,
};

/// Maximum texts per request. Source: Gemini's limit.
const MAX_TEXTS: usize = 100;

/// A request to `:generateContent` or `:streamGenerateContent`.
#[derive(Debug)]
pub(super) struct Generate {
    chat_request: ChatRequest<'static>,
    is_stream: bool,
}

/// Reads a request for `model`.
pub(super) fn generate(model: String, is_stream: bool, body: &[u8]) -> Result<Generate, Problem> {
    let request = camel_case(parse(body)?);
    let Some(contents) = request["contents"].as_array().filter(|contents| !contents.is_empty()) else {
        return Err(Problem::invalid("* GenerateContentRequest.contents: contents is not specified", None));
    };
    let mut messages = Vec::new();
    if request["systemInstruction"].is_object() {
        messages.push(ChatMessage { role: Role::System, text: texts(&request["systemInstruction"]).into() });
    }
    for content in contents {
        push_messages(content, &mut messages)?;
    }
    images::gemini(&request)?;
    let config = &request["generationConfig"];
    let mut chat_request = ChatRequest::from_messages(model, messages);
    chat_request.max_tokens = config["maxOutputTokens"].as_u64();
    let stop = config["stopSequences"].as_array().into_iter().flatten();
    chat_request.stop = stop.filter_map(|stop| Some(stop.as_str()?.to_owned().into())).collect();
    chat_request.seed = config["seed"].as_i64().map(i64::cast_unsigned);
    chat_request.reasoning_tokens = reasoning::gemini(&config["thinkingConfig"])?;
    let is_json = config["responseMimeType"] == "application/json";
    if config["responseJsonSchema"].is_object() {
        schema_rules::GEMINI.check(&config["responseJsonSchema"], "generationConfig.responseJsonSchema")?;
    }
    chat_request.format = match [&config["responseJsonSchema"], &config["responseSchema"]] {
        [schema @ Value::Object(_), _] | [_, schema @ Value::Object(_)] if is_json => {
            Format::Schema(schema.clone())
        }
        _ if is_json => Format::JsonObject,
        [Value::Null, Value::Null] => Format::Text,
        _ => return Err(Problem::invalid("a response schema needs responseMimeType application/json", None)),
    };
    let functions = request["tools"].as_array().into_iter().flatten();
    let functions = functions.flat_map(|tool| tool["functionDeclarations"].as_array().into_iter().flatten());
    chat_request.tools = functions.map(tool).collect();
    let calling = &request["toolConfig"]["functionCallingConfig"];
    chat_request.tool_choice = match (calling["mode"].as_str(), calling["allowedFunctionNames"][0].as_str()) {
        (Some("NONE"), _) => ToolChoice::None,
        (Some("ANY"), Some(name)) => ToolChoice::Named(name.to_owned()),
        (Some("ANY"), None) => ToolChoice::Required,
        _ => ToolChoice::Auto,
    };
    Ok(Generate { chat_request, is_stream })
}

/// Writes the names of fields in camel case: the API takes both forms. Schemas, arguments and results are the
/// caller's own.
fn camel_case(request: Value) -> Value {
    const OPAQUE: [&str; 6] =
        ["args", "response", "parameters", "parametersJsonSchema", "responseSchema", "responseJsonSchema"];
    match request {
        Value::Object(fields) => {
            let renamed = fields.into_iter().map(|(name, value)| {
                let mut words = name.split('_');
                let mut camel = words.next().unwrap_or_default().to_owned();
                for word in words.filter(|word| !word.is_empty()) {
                    let (first, rest) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
                    camel += &first.to_uppercase();
                    camel += rest;
                }
                let value = if OPAQUE.contains(&&*camel) { value } else { camel_case(value) };
                (camel, value)
            });
            Value::Object(renamed.collect())
        }
        Value::Array(list) => list.into_iter().map(camel_case).collect(),
        other => other,
    }
}

fn tool(function: &Value) -> Tool {
    let text = |name: &str| function[name].as_str().unwrap_or_default().to_owned();
    let parameters = [&function["parametersJsonSchema"], &function["parameters"]];
    let parameters = parameters.into_iter().find(|schema| schema.is_object()).cloned();
    Tool {
        name: text("name"),
        description: text("description"),
        parameters: parameters.unwrap_or_else(|| json!({ "type": "object" })),
    }
}

/// The texts of a content.
fn texts(content: &Value) -> String {
    content["parts"].as_array().into_iter().flatten().filter_map(|part| part["text"].as_str()).collect()
}

fn push_messages(content: &Value, messages: &mut Vec<ChatMessage<'static>>) -> Result<(), Problem> {
    let role = match content["role"].as_str() {
        Some("model") => Role::Assistant,
        None | Some("user") => Role::User,
        Some(other) => {
            let message = format!("Please use a valid role: user, model. It is {other}.");
            return Err(Problem::invalid(message, None));
        }
    };
    let parts = content["parts"].as_array().into_iter().flatten();
    let results = parts.filter_map(|part| part["functionResponse"]["response"].as_object());
    let results = results.map(|result| {
        let values: Vec<_> =
            result.values().map(|value| value.as_str().map_or(value.to_string(), str::to_owned)).collect();
        values.join(" ")
    });
    push_with_results(role, results, texts(content), messages);
    Ok(())
}

impl Request for Generate {
    fn model(&self) -> &str {
        &self.chat_request.model
    }

    fn estimate(&self) -> (u64, Option<u64>) {
        (self.chat_request.input_tokens(), self.chat_request.max_tokens)
    }

    fn answer(&self, context: &ResponseContext) -> PreparedResponse {
        let reply = answer(&self.chat_request);
        let first = reply.answers.first().expect("a reply has at least one answer");
        let usage = |output: u64| {
            let thoughts = reply.reasoning_tokens.min(output);
            let mut usage = json!({
                "promptTokenCount": reply.input_tokens,
                "candidatesTokenCount": output - thoughts,
                "totalTokenCount": reply.input_tokens + output,
            });
            if thoughts > 0 {
                usage["thoughtsTokenCount"] = thoughts.into();
            }
            usage
        };
        let response = |parts: Value, finish: Option<&str>, output: u64| {
            let mut candidate = json!({ "content": { "parts": parts, "role": "model" }, "index": 0 });
            if let Some(finish) = finish {
                candidate["finishReason"] = finish.into();
            }
            json!({
                "candidates": [candidate],
                "usageMetadata": usage(output),
                "modelVersion": self.chat_request.model,
                "responseId": format!("{:016x}", context.id),
            })
        };
        let finish = Some(finish_reason(&first.finish));
        let (bytes, events) = if self.is_stream {
            let mut events = Events::crlf();
            let parts = streamed(first, context.chunks);
            let last = parts.len() - 1;
            for (at, parts) in parts.into_iter().enumerate() {
                let (finish, output) = if at == last { (finish, reply.output_tokens) } else { (None, 0) };
                events.data(&response(parts, finish, output));
            }
            let (bytes, lengths) = events.finish();
            (bytes, Some(lengths))
        } else {
            let body = response(whole(first), finish, reply.output_tokens);
            (body.to_string().into_bytes().into(), None)
        };
        PreparedResponse {
            bytes,
            events,
            input_tokens: reply.input_tokens,
            output_tokens: reply.output_tokens,
        }
    }
}

fn whole(answer: &Answer) -> Value {
    match &answer.content {
        Content::Text(text) => json!([{ "text": text }]),
        Content::Calls(calls) => calls
            .iter()
            .map(|call| {
                let args: Value =
                    serde_json::from_str(&call.arguments).expect("arguments were written as JSON");
                json!({ "functionCall": { "name": call.name, "args": args } })
            })
            .collect(),
    }
}

/// The parts of each chunk. Tool calls are not split.
fn streamed(answer: &Answer, chunks: usize) -> Vec<Value> {
    match &answer.content {
        Content::Text(text) if !text.is_empty() => {
            pieces(text, chunks).map(|text| json!([{ "text": text }])).collect()
        }
        _ => vec![whole(answer)],
    }
}

fn finish_reason(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::Sequence(_) | Finish::ToolCalls => "STOP",
        Finish::Length => "MAX_TOKENS",
    }
}

/// A request to `:batchEmbedContents`.
#[derive(Debug)]
pub(super) struct Embed {
    model: String,
    texts: Vec<String>,
    dimensions: usize,
}

/// Reads a request for `model`.
pub(super) fn embeddings(model: String, body: &[u8]) -> Result<Embed, Problem> {
    let request: Value = parse(body)?;
    let requests = request["requests"].as_array().cloned().unwrap_or_default();
    if requests.is_empty() || requests.len() > MAX_TEXTS {
        let message =
            format!("* BatchEmbedContentsRequest.requests: at most {MAX_TEXTS} requests can be in one batch");
        return Err(Problem::invalid(message, None));
    }
    let dimensions = requests[0]["outputDimensionality"].as_u64().map(|n| n as usize);
    Ok(Embed {
        dimensions: dimensions.unwrap_or_else(|| default_dimensions(&model)).clamp(1, 8192),
        texts: requests.iter().map(|request| texts(&request["content"])).collect(),
        model,
    })
}

impl Request for Embed {
    fn model(&self) -> &str {
        &self.model
    }

    fn estimate(&self) -> (u64, Option<u64>) {
        (self.texts.iter().map(|text| count_tokens(text)).sum(), Some(0))
    }

    fn answer(&self, _context: &ResponseContext) -> PreparedResponse {
        let (input_tokens, _) = self.estimate();
        let embedding = |text: &String| json!({ "values": embed(text, self.dimensions) });
        let body = json!({ "embeddings": self.texts.iter().map(embedding).collect::<Value>() });
        PreparedResponse {
            bytes: body.to_string().into_bytes().into(),
            events: None,
            input_tokens,
            output_tokens: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_either_case() {
        let request = json!({
            "system_instruction": { "parts": [{ "text": "s" }] },
            "contents": [{ "parts": [{ "function_response": { "response": { "my_key": 1 } } }] }],
            "generation_config": { "max_output_tokens": 5 },
            "tools": [{ "function_declarations": [{ "name": "f", "parameters": { "my_key": 1 } }] }],
        });
        let expected = json!({
            "systemInstruction": { "parts": [{ "text": "s" }] },
            "contents": [{ "parts": [{ "functionResponse": { "response": { "my_key": 1 } } }] }],
            "generationConfig": { "maxOutputTokens": 5 },
            "tools": [{ "functionDeclarations": [{ "name": "f", "parameters": { "my_key": 1 } }] }],
        });
        assert_eq!(camel_case(request), expected);
        assert_eq!(camel_case(expected.clone()), expected);
    }
}

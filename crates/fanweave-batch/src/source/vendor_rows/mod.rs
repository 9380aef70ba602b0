//! Requests of rows in the forms of other vendors and of data sets: batches of Anthropic, Bedrock and Gemini,
//! and rows of ShareGPT, Alpaca and TRL.
//!
//! They become prompts for any provider. Requests of vendors are kept beside their prompts: their own
//! provider gets them as they are. A field that a prompt cannot represent is named, so that nothing is lost
//! silently with other providers.

mod anthropic;
mod gemini;
mod training;

use std::collections::{BTreeMap, HashMap};

use fanweave_core::prompt::{Endpoint, RequestBody};
use fanweave_core::{Part, Prompt};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::chat::whole;
use super::numbers;
use super::request_fields::RequestFields;
use crate::field::field;

type Result<T> = std::result::Result<T, String>;

/// The prompt of a row in one of these forms. `None` for other rows. `json` is that of the row, if it has
/// numbers that the row does not represent exactly.
pub(crate) fn read(
    row: &Map<String, Value>,
    json: Option<&str>,
    fields: RequestFields,
) -> Option<Result<Prompt>> {
    if let Some((name, endpoint, request)) = vendor_request(row) {
        let exact = json.and_then(|json| field_json(json, name));
        return Some(of_request(endpoint, request, exact).map_err(|why| format!("`{name}`: {why}")));
    }
    let object = |name: &str| field(row, name).and_then(Value::as_object);
    if let (Some(input), true) = (object("modelInput"), field(row, "recordId").is_some()) {
        if !input.contains_key("anthropic_version") {
            return Some(Err("`modelInput`: only requests for models of Anthropic can be read".to_owned()));
        }
        // The version is that of Bedrock's API.
        let mut request = input.clone();
        request.shift_remove("anthropic_version");
        let exact =
            json.and_then(|json| field_json(json, "modelInput")).and_then(|json| without_version(&json));
        return Some(
            of_request(Endpoint::Messages, &request, exact).map_err(|why| format!("`modelInput`: {why}")),
        );
    }
    training::read(row, fields)
}

/// The JSON of a field of an object.
fn field_json(json: &str, name: &str) -> Option<String> {
    let fields: HashMap<String, &RawValue> = serde_json::from_str(json).ok()?;
    fields.get(name).map(|value| value.get().to_owned())
}

fn without_version(json: &str) -> Option<String> {
    let mut fields: BTreeMap<String, &RawValue> = serde_json::from_str(json).ok()?;
    fields.remove("anthropic_version");
    serde_json::to_string(&fields).ok()
}

/// The request of a row of a batch of Anthropic or Gemini, with the name of its field.
fn vendor_request(row: &Map<String, Value>) -> Option<(&'static str, Endpoint, &Map<String, Value>)> {
    const FORMS: [(&str, &str, Endpoint); 2] =
        [("custom_id", "params", Endpoint::Messages), ("key", "request", Endpoint::GenerateContent)];
    FORMS.into_iter().find_map(|(id, name, endpoint)| {
        let request = field(row, name)?.as_object()?;
        field(row, id).map(|_| (name, endpoint, request))
    })
}

/// The prompt of a request in the dialect of Anthropic or Gemini, with its body: `exact`, or the JSON of the
/// request.
fn of_request(endpoint: Endpoint, request: &Map<String, Value>, exact: Option<String>) -> Result<Prompt> {
    let json = match exact {
        Some(exact) => exact,
        None => serde_json::to_string(request).map_err(|e| e.to_string())?,
    };
    let mut unmapped = Unmapped::default();
    let prompt = match endpoint {
        Endpoint::GenerateContent => gemini::read(request, &mut unmapped)?,
        _ => anthropic::read(request, &mut unmapped)?,
    };
    let body = RequestBody::new(endpoint, json).map_err(|e| e.message().to_owned())?;
    Ok(prompt.with_body(body.with_unmapped(unmapped.0)))
}

/// Reads the JSON of a request in the dialect of Anthropic or Gemini.
pub(crate) fn parse_vendor(endpoint: Endpoint, json: &str) -> Result<Prompt> {
    match numbers::read(json) {
        Ok((Value::Object(request), is_exact)) => {
            of_request(endpoint, &request, (!is_exact).then(|| json.to_owned()))
        }
        Ok(_) => Err("the request is not a JSON object".to_owned()),
        Err(e) => Err(super::json_error(&e, json)),
    }
}

/// The field that identifies a row in one of these forms.
pub(super) fn id_field(row: &Map<String, Value>) -> Option<&Value> {
    [("key", "request"), ("recordId", "modelInput")].into_iter().find_map(|(id, request)| {
        field(row, request)?.as_object()?;
        field(row, id)
    })
}

/// Paths of the fields that a prompt does not represent.
#[derive(Default)]
struct Unmapped(Vec<String>);

impl Unmapped {
    fn push(&mut self, path: String) {
        self.0.push(path);
    }

    /// Adds the fields of an object that are not `known`, unless they are null.
    fn fields(&mut self, object: &Map<String, Value>, known: &[&str], at: &str) {
        let more = object.iter().filter(|(name, value)| !value.is_null() && !known.contains(&name.as_str()));
        self.0.extend(more.map(|(name, _)| format!("{at}.{name}")));
    }

    /// Adds a part, by its type only, because it may have megabytes. Returns one in its place.
    fn part(&mut self, at: &str, kind: &str) -> Part {
        self.push(format!("{at} ({})", kind.chars().take(40).collect::<String>()));
        Part::text("")
    }
}

/// Takes a field out of a request and converts it. It stays there if `read` returns `None`. Null counts as
/// missing.
fn take<T>(request: &mut Map<String, Value>, name: &str, read: impl Fn(&Value) -> Option<T>) -> Option<T> {
    let value = request.get(name)?;
    let read = read(value);
    if read.is_some() || value.is_null() {
        request.shift_remove(name);
    }
    read
}

fn list(value: Option<Value>, name: &str) -> Result<Vec<Value>> {
    match value {
        Some(Value::Array(items)) if items.is_empty() => Err(format!("`{name}` is empty")),
        Some(Value::Array(items)) => Ok(items),
        _ => Err(format!("`{name}` must be a list")),
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use fanweave_core::{Media, Message, Parameters, Role, ToolCall, ToolChoice, ToolResult, ToolSpec};
    use serde_json::json;

    use super::*;

    fn prompt(row: Value) -> Result<Prompt> {
        let Value::Object(row) = row else { panic!("an object") };
        read(&row, None, RequestFields::Any).expect("a known form")
    }

    #[test]
    fn requests_for_anthropic_are_prompts() {
        let params = json!({
            "model": "claude-x", "max_tokens": 10, "system": "Be brief.", "stop_sequences": ["END"], "top_k": 3,
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}]},
                {"role": "assistant", "content": "b"},
            ],
            "tools": [{"name": "f", "input_schema": {"type": "object"}}], "tool_choice": {"type": "any"},
        });
        let read = prompt(json!({"custom_id": "a", "params": params})).unwrap();
        let image = Part::Image(Media::Inline { media_type: "image/png".into(), base64: "AA==".into() });
        let first = Message::from_parts(Role::User, vec![Part::text("a"), image]);
        assert_eq!(read.messages, [Message::system("Be brief."), first, Message::assistant("b")]);
        let tool =
            ToolSpec { name: "f".into(), description: String::new(), parameters: json!({"type": "object"}) };
        let expected = Parameters::new().model("claude-x").max_tokens(10).stop(["END"]).tools([tool]);
        assert_eq!(read.parameters, expected.tool_choice(ToolChoice::Required).extra("top_k", 3));
        let bedrock = json!({"anthropic_version": "v", "messages": [{"role": "user", "content": "a"}]});
        assert_eq!(
            prompt(json!({"recordId": "R", "modelInput": bedrock})).unwrap().messages,
            [Message::user("a")]
        );
    }

    #[test]
    fn requests_for_gemini_are_prompts() {
        let request = json!({
            "contents": [{"parts": [{"text": "a"}]}, {"role": "model", "parts": [{"text": "b"}]}],
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "generationConfig": {"temperature": 0.5, "maxOutputTokens": 9},
        });
        let read = prompt(json!({"key": "k", "request": request})).unwrap();
        assert_eq!(
            read.messages,
            [Message::system("Be brief."), Message::user("a"), Message::assistant("b")]
        );
        assert_eq!(read.parameters, Parameters::new().temperature(0.5).max_tokens(9));
    }

    #[test]
    fn calls_of_tools_and_their_results_are_represented() {
        let params = json!({"messages": [
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "no", "is_error": true},
                {"type": "text", "text": "and?"},
            ]},
        ]});
        let read = prompt(json!({"custom_id": 1, "params": params})).unwrap();
        let call = ToolCall { id: "c1".into(), name: "f".into(), arguments: "{\"a\":1}".into() };
        let thought = Part::Reasoning { text: "hm".into(), signature: Some("s".into()) };
        let called = Message::from_parts(Role::Assistant, vec![thought, Part::ToolCall(call)]);
        let result = Message::from_parts(Role::Tool, vec![Part::ToolResult(ToolResult::error("c1", "no"))]);
        assert_eq!(read.messages, [called, result, Message::user("and?")]);
        assert_eq!(read.body.unwrap().unmapped(), [""; 0]);
        let request = json!({"contents": [
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": 1}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"b": 2}}}]},
        ], "tools": [{"function_declarations": [{"name": "f", "parameters": {"type": "OBJECT"}}]}]});
        let read = prompt(json!({"key": 1, "request": request})).unwrap();
        let call = ToolCall { id: "call_0".into(), name: "f".into(), arguments: "{\"a\":1}".into() };
        let result = Part::ToolResult(ToolResult::new("call_0", "{\"b\":2}"));
        let result = Message::from_parts(Role::Tool, vec![result]);
        assert_eq!(read.messages, [Message::from_parts(Role::Assistant, vec![Part::ToolCall(call)]), result]);
        assert_eq!(read.parameters.tools[0].parameters, json!({"type": "object"}));
    }

    #[test]
    fn what_a_prompt_does_not_represent_is_named() {
        let unmapped = |row: Value| prompt(row).unwrap().body.unwrap().unmapped().join(" ");
        let part = |part: Value| json!({"custom_id": 1, "params": {"messages": [{"role": "user", "content": [part]}]}});
        assert_eq!(
            unmapped(part(json!({"type": "text", "text": "a", "cache_control": {}}))),
            "messages[0].content[0].cache_control"
        );
        assert_eq!(unmapped(part(json!({"type": "search", "x": "y"}))), "messages[0].content[0] (search)");
        let of_role =
            json!({"custom_id": 1, "params": {"messages": [{"role": "bot", "content": "a", "name": "x"}]}});
        assert_eq!(unmapped(of_role), "messages[0].role messages[0].name");
        let video =
            json!({"contents": [{"parts": [{"executableCode": {}}, {"text": "a", "thought": true}]}]});
        assert_eq!(
            unmapped(json!({"key": 1, "request": video})),
            "contents[0].parts[0] (executableCode) contents[0].parts[1].thought"
        );
        let params = json!({"messages": [{"role": "user", "content": "a"}], "mcp_servers": [], "top_p": "x"});
        let extra = prompt(json!({"custom_id": 1, "params": params})).unwrap().parameters.extra;
        assert_eq!(Value::Object(extra), json!({"mcp_servers": [], "top_p": "x"}));
        let why = |row: Value| prompt(row).unwrap_err();
        assert_eq!(why(json!({"custom_id": 1, "params": {}})), "`params`: `messages` must be a list");
        assert_eq!(
            why(json!({"key": 1, "request": {"contents": [7]}})),
            "`request`: contents[0]: expected an object"
        );
        assert!(
            why(json!({"recordId": 1, "modelInput": {"inputText": "a"}})).contains("models of Anthropic")
        );
    }

    #[test]
    fn a_request_is_kept_beside_its_prompt() {
        let params = json!({"messages": [{"role": "user", "content": "a"}], "max_tokens": 5, "stream": true});
        let body = prompt(json!({"custom_id": 1, "params": params})).unwrap().body.unwrap();
        assert_eq!((body.endpoint(), body.json()), (Endpoint::Messages, &*params.to_string()));
        let input = json!({"anthropic_version": "v", "messages": [{"role": "user", "content": "a"}]});
        let body = prompt(json!({"recordId": "R", "modelInput": input})).unwrap().body.unwrap();
        assert_eq!(body.json(), r#"{"messages":[{"role":"user","content":"a"}]}"#);
    }
}

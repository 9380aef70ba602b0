//! Rows of data sets for training: ShareGPT, Alpaca, pairs of preferred and other answers, and rows of
//! OpenAI for preferences and evaluations.
//!
//! A model is to write what the row has as its answer: `output`, `completion`, `chosen` and the like are not
//! sent. Other fields that belong to the prompt are: `system`, `tools`, `history`.

use fanweave_core::{Message, Part, Prompt, Role, ToolCall, ToolResult, ToolSpec};
use serde_json::{Map, Value};

use super::Result;
use crate::field::field;
use crate::source::chat::{self, tools_of};
use crate::source::request_fields::RequestFields;

/// The prompt of a row in one of these forms. `None` for other rows.
pub(super) fn read(row: &Map<String, Value>, fields: RequestFields) -> Option<Result<Prompt>> {
    if let Some(Value::Array(dialogue)) = field(row, "conversations") {
        return Some(sharegpt(row, dialogue));
    }
    if field(row, "prompt").is_some() {
        return None;
    }
    if let Some(Value::String(instruction)) = field(row, "instruction") {
        return Some(alpaca(row, instruction));
    }
    let named = |name: &str, why: String| format!("`{name}` is not a valid chat: {why}");
    match field(row, "input") {
        // A request, beside the preferred output.
        Some(Value::Object(input)) if input.contains_key("messages") => {
            return Some(chat::read_row(input.clone(), fields).map_err(|why| named("input", why)));
        }
        // The messages of an evaluation.
        Some(Value::Array(messages)) if are_messages(messages) => {
            return Some(with_messages(row, "input", messages, fields).map_err(|why| named("input", why)));
        }
        _ => {}
    }
    if let (Some(Value::Array(chosen)), Some(Value::Array(rejected))) =
        (field(row, "chosen"), field(row, "rejected"))
        && are_messages(chosen)
    {
        // The prompt is what both have in common.
        let common = chosen.iter().zip(rejected).take_while(|(a, b)| a == b).count();
        let prompt = &chosen[..common.min(chosen.len() - 1)];
        return Some(with_messages(row, "chosen", prompt, fields).map_err(|why| named("chosen", why)));
    }
    None
}

fn are_messages(list: &[Value]) -> bool {
    list.first().is_some_and(|first| first.get("role").is_some() && first.get("content").is_some())
}

/// The request of a row with these messages instead of its field `name`.
fn with_messages(
    row: &Map<String, Value>,
    name: &str,
    messages: &[Value],
    fields: RequestFields,
) -> Result<Prompt> {
    let mut row = row.clone();
    row.retain(|field, _| field != name);
    row.insert("messages".to_owned(), Value::Array(messages.to_vec()));
    chat::read_row(row, fields)
}

/// A dialogue of ShareGPT. The answer at the end is what the model is to write.
fn sharegpt(row: &Map<String, Value>, dialogue: &[Value]) -> Result<Prompt> {
    let mut messages = Vec::with_capacity(dialogue.len() + 1);
    let mut calls = 0;
    for (i, entry) in dialogue.iter().enumerate() {
        let of =
            |name: &str, other: &str| entry.get(name).or_else(|| entry.get(other)).and_then(Value::as_str);
        let (Some(from), Some(text)) = (of("from", "role"), of("value", "content")) else {
            return Err(format!("`conversations`: item {} has no `from` and `value`", i + 1));
        };
        messages.push(match from {
            "human" | "user" => Message::user(text),
            "gpt" | "assistant" | "chatgpt" | "bot" | "model" => Message::assistant(text),
            "system" => Message::system(text),
            "function_call" | "tool_call" => {
                let parts = tool_calls(text, &mut calls)
                    .ok_or_else(|| format!("`conversations`: item {} is not a call of a tool", i + 1))?;
                Message::from_parts(Role::Assistant, parts)
            }
            "observation" | "tool" | "function_response" if calls > 0 => {
                let id = format!("call_{}", calls - 1);
                Message::from_parts(Role::Tool, vec![Part::ToolResult(ToolResult::new(id, text))])
            }
            other => {
                return Err(format!(
                    "`conversations`: item {}: cannot represent the speaker `{other}`",
                    i + 1
                ));
            }
        });
    }
    if messages.is_empty() {
        return Err("`conversations`: the list is empty".to_owned());
    }
    of_training(row, messages)
}

/// The calls in a text such as `{"name": "f", "arguments": {..}}`, or in a list of such objects.
fn tool_calls(text: &str, calls: &mut u32) -> Option<Vec<Part>> {
    let all = match serde_json::from_str(text).ok()? {
        Value::Array(all) => all,
        one => vec![one],
    };
    let call = |call: &Value| {
        let arguments = match call.get("arguments") {
            None | Some(Value::Null) => "{}".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(arguments) => arguments.to_string(),
        };
        let (id, name) = (format!("call_{calls}"), call.get("name")?.as_str()?.to_owned());
        *calls += 1;
        Some(Part::ToolCall(ToolCall { id, name, arguments }))
    };
    all.iter().map(call).collect()
}

/// A task of Alpaca: an instruction, and what it applies to.
fn alpaca(row: &Map<String, Value>, instruction: &str) -> Result<Prompt> {
    let mut messages = Vec::new();
    match field(row, "history") {
        None | Some(Value::Null) => {}
        Some(Value::Array(pairs)) => {
            for pair in pairs {
                match pair.as_array().map(Vec::as_slice) {
                    Some([Value::String(user), Value::String(answer)]) => {
                        messages.extend([Message::user(user.as_str()), Message::assistant(answer.as_str())]);
                    }
                    _ => return Err("`history` must be a list of pairs of texts".to_owned()),
                }
            }
        }
        Some(_) => return Err("`history` must be a list of pairs of texts".to_owned()),
    }
    messages.push(match field(row, "input") {
        None | Some(Value::Null) => Message::user(instruction),
        Some(Value::String(input)) if input.trim().is_empty() => Message::user(instruction),
        Some(Value::String(input)) => Message::user(format!("{instruction}\n\n{input}")),
        Some(_) => return Err("`input` must be a text".to_owned()),
    });
    of_training(row, messages)
}

/// The prompt of these messages with the row's system message, unless they begin with one, and its tools.
fn of_training(row: &Map<String, Value>, mut messages: Vec<Message>) -> Result<Prompt> {
    match field(row, "system") {
        None | Some(Value::Null) => {}
        Some(Value::String(system)) if system.trim().is_empty() => {}
        Some(Value::String(system)) => {
            if messages.first().is_none_or(|first| first.role != Role::System) {
                messages.insert(0, Message::system(system.as_str()));
            }
        }
        Some(_) => return Err("`system` must be a text".to_owned()),
    }
    let mut prompt = Prompt { messages, ..Prompt::default() };
    if let Some(tools) = field(row, "tools") {
        prompt.parameters.tools = match tools_of(tools) {
            None => Vec::new(),
            Some(Ok(Value::Array(tools))) => {
                tools.iter().map(tool).collect::<Option<_>>().ok_or(NOT_TOOLS)?
            }
            Some(_) => return Err(NOT_TOOLS.to_owned()),
        };
    }
    Ok(prompt)
}

const NOT_TOOLS: &str = "`tools` must be a list of tools, or its JSON as a text";

/// A tool in the form of OpenAI, with or without its wrapper.
fn tool(tool: &Value) -> Option<ToolSpec> {
    let function = tool.get("function").unwrap_or(tool);
    let text = |name: &str| function.get(name).and_then(Value::as_str).map(str::to_owned);
    let parameters = function.get("parameters").cloned().unwrap_or_default();
    Some(ToolSpec { name: text("name")?, description: text("description").unwrap_or_default(), parameters })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn prompt(row: Value) -> Result<Prompt> {
        let Value::Object(row) = row else { panic!("an object") };
        read(&row, RequestFields::Any).expect("a known form")
    }

    fn messages(row: Value) -> Vec<Message> {
        prompt(row).unwrap().messages
    }

    #[test]
    fn dialogues_have_their_system_message_and_their_tools() {
        let dialogue = json!([{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]);
        let (user, answer) = (Message::user("a"), Message::assistant("b"));
        assert_eq!(messages(json!({"conversations": dialogue})), [user.clone(), answer.clone()]);
        assert_eq!(
            messages(json!({"conversations": dialogue, "system": " "})),
            [user.clone(), answer.clone()]
        );
        assert_eq!(
            messages(json!({"conversations": dialogue, "system": "Be brief."})),
            [Message::system("Be brief."), user, answer]
        );
        // The one in the dialogue counts.
        let own = json!([{"from": "system", "value": "own"}, {"from": "human", "value": "a"}]);
        assert_eq!(
            messages(json!({"conversations": own, "system": "other"})),
            [Message::system("own"), Message::user("a")]
        );
        let tools = json!([{"name": "f", "description": "d", "parameters": {"type": "object"}}]);
        let wrapped = json!([{"type": "function", "function": tools[0]}]);
        for tools in [tools.clone(), Value::from(tools.to_string()), wrapped] {
            let read = prompt(json!({"conversations": dialogue, "tools": tools})).unwrap().parameters.tools;
            assert_eq!((&*read[0].name, &*read[0].description), ("f", "d"));
            assert_eq!(read[0].parameters, json!({"type": "object"}));
        }
        for none in [json!(null), json!(""), json!("[]"), json!([])] {
            let read = prompt(json!({"conversations": dialogue, "tools": none})).unwrap();
            assert!(read.parameters.tools.is_empty());
        }
        let why = prompt(json!({"conversations": dialogue, "tools": "f"})).unwrap_err();
        assert_eq!(why, "`tools` must be a list of tools, or its JSON as a text");
    }

    #[test]
    fn calls_in_dialogues_are_calls_and_observations_their_results() {
        let call = json!({"name": "f", "arguments": {"x": 1}}).to_string();
        let dialogue = json!([
            {"from": "human", "value": "a"}, {"from": "function_call", "value": call},
            {"from": "observation", "value": "2"},
        ]);
        let call = ToolCall { id: "call_0".into(), name: "f".into(), arguments: "{\"x\":1}".into() };
        let called = Message::from_parts(Role::Assistant, vec![Part::ToolCall(call)]);
        let result = Message::from_parts(Role::Tool, vec![Part::ToolResult(ToolResult::new("call_0", "2"))]);
        assert_eq!(messages(json!({"conversations": dialogue})), [Message::user("a"), called, result]);
        let why = |entry: Value| prompt(json!({"conversations": [entry]})).unwrap_err();
        assert!(why(json!({"from": "observation", "value": "x"})).contains("the speaker `observation`"));
        assert!(why(json!({"from": "function_call", "value": "f(x)"})).contains("not a call of a tool"));
        assert!(why(json!({"from": "bard", "value": "x"})).contains("the speaker `bard`"));
        assert!(why(json!({"value": "x"})).contains("item 1 has no `from`"));
    }

    #[test]
    fn tasks_have_their_system_message_and_what_was_said_before() {
        let task = |input: Value| messages(json!({"instruction": "Sum", "input": input, "output": ""}));
        assert_eq!(task(json!("1 2")), [Message::user("Sum\n\n1 2")]);
        assert_eq!(task(json!("")), [Message::user("Sum")]);
        let row = json!({"instruction": "c", "system": "s", "history": [["a", "b"]]});
        let expected =
            [Message::system("s"), Message::user("a"), Message::assistant("b"), Message::user("c")];
        assert_eq!(messages(row), expected);
        let why = prompt(json!({"instruction": "c", "history": [["a"]]})).unwrap_err();
        assert_eq!(why, "`history` must be a list of pairs of texts");
    }

    #[test]
    fn preferences_and_evaluations_have_the_messages_before_the_answers() {
        let user = json!({"role": "user", "content": "a"});
        let said = |text: &str| json!({"role": "assistant", "content": text});
        let row = json!({"chosen": [user, said("b")], "rejected": [user, said("c")]});
        assert_eq!(messages(row), [Message::user("a")]);
        let equal = json!({"chosen": [user, said("b")], "rejected": [user, said("b")]});
        assert_eq!(messages(equal), [Message::user("a")]);
        let row = json!({"input": {"messages": [user], "temperature": 0.5}, "preferred_output": [said("b")]});
        assert_eq!(prompt(row.clone()).unwrap().parameters.temperature, Some(0.5));
        assert_eq!(messages(row), [Message::user("a")]);
        assert_eq!(messages(json!({"input": [user], "ideal": "b"})), [Message::user("a")]);
        for other in
            [json!({"input": ["a"]}), json!({"chosen": ["a"], "rejected": ["b"]}), json!({"input": 1})]
        {
            assert!(read(other.as_object().unwrap(), RequestFields::Any).is_none(), "{other}");
        }
    }
}

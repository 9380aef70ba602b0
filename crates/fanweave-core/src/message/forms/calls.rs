//! Tool calls and the items of the Responses API.

use serde_json::{Map, Value, json};

use super::{At, EXCERPT, Open, Reader, input, required, text, wrong};
use crate::message::{Message, Part, Role, ToolCall, ToolResult};
use crate::{Result, excerpt};

impl Reader {
    /// Reads a call in the form of OpenAI, LangChain, Anthropic, Gemini, Ollama or fanweave.
    pub(super) fn call(&mut self, value: &Value, at: &At<'_>) -> Result<Part> {
        let Value::Object(map) = value else { return Err(wrong(at, "a tool call", value)) };
        self.call_of(map, at)
    }

    /// Like [`call`](Self::call), for the fields of a call.
    pub(super) fn call_of(&mut self, map: &Map<String, Value>, at: &At<'_>) -> Result<Part> {
        let (fields, path) = match (map.get("function"), map.get("custom")) {
            (Some(Value::Object(function)), _) => (function, "function"),
            (_, Some(Value::Object(custom))) => (custom, "custom"),
            _ => (map, ""),
        };
        let arguments = ["arguments", "args", "input"].into_iter().find_map(|key| fields.get(key));
        let arguments = match arguments {
            None | Some(Value::Null) => "{}".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        const KNOWN: [&str; 8] =
            ["name", "arguments", "args", "input", "call_id", "status", "error", "extras"];
        if path.is_empty() {
            self.check(map, &KNOWN, at);
        } else {
            self.check(map, &[path], at);
            self.check(fields, &KNOWN, &At::Key(at, path));
        }
        let name = required(fields, "name", at)?;
        let id = text(map, "call_id", at)?.or(text(map, "id", at)?).filter(|id| !id.is_empty());
        let id = id.unwrap_or_else(|| {
            self.numbered += 1;
            format!("call_{}", self.numbered)
        });
        let call = ToolCall { id, name, arguments };
        self.opened(&call);
        Ok(Part::ToolCall(call))
    }

    /// Notes a call, whose result may follow. Blocks of the content may repeat the calls of a message.
    pub(super) fn opened(&mut self, call: &ToolCall) {
        if !self.open.iter().any(|open| open.id == call.id) {
            self.open.push(Open { id: call.id.clone(), name: call.name.clone() });
        }
    }

    /// The id of a result. One without an id belongs to the only call that is open, or has its name.
    pub(super) fn result_id(
        &mut self,
        id: Option<String>,
        name: Option<&str>,
        at: &At<'_>,
    ) -> Result<String> {
        if let Some(id) = id.filter(|id| !id.is_empty()) {
            self.open.retain(|open| open.id != id);
            return Ok(id);
        }
        let mut fitting = (0..self.open.len()).filter(|&i| name.is_none_or(|name| self.open[i].name == name));
        match (fitting.next(), fitting.next()) {
            (Some(only), None) => Ok(self.open.remove(only).id),
            (first, _) => {
                let calls = if first.is_some() { "several calls" } else { "no call" };
                let of = name.map(|name| format!(" of `{}`", excerpt(name, EXCERPT))).unwrap_or_default();
                Err(input(format!("{at}: a tool result without `tool_call_id`, and {calls}{of} before it")))
            }
        }
    }

    /// Reads an item of the Responses API without a role. `None` if it has another type.
    pub(super) fn item(
        &mut self,
        kind: &str,
        map: &Map<String, Value>,
        at: &At<'_>,
    ) -> Result<Option<Message>> {
        Ok(Some(match kind {
            "function_call" | "custom_tool_call" => {
                let call = self.call_of(map, at)?;
                Message::from_parts(Role::Assistant, vec![call])
            }
            "function_call_output" | "custom_tool_call_output" => {
                self.check(map, &["call_id", "output", "status"], at);
                let id = self.result_id(text(map, "call_id", at)?, None, at)?;
                let output = map.get("output").unwrap_or(&Value::Null);
                let parts = self.output(output, &At::Key(at, "output"))?;
                let result = ToolResult { id, parts, is_error: false };
                Message::from_parts(Role::Tool, vec![Part::ToolResult(result)])
            }
            "reasoning" => Message::from_parts(Role::Assistant, vec![self.reasoning_item(map, at)]),
            // Calls of the provider's own tools, which are sent back verbatim.
            _ if kind.ends_with("_call") => {
                Message::from_parts(Role::Assistant, vec![Part::Other(Value::Object(map.clone()))])
            }
            _ => return Ok(None),
        }))
    }

    /// Reads the reasoning of the Responses API. Its id and its encrypted content are the signature, as in
    /// the answers of fanweave's own client.
    pub(super) fn reasoning_item(&mut self, map: &Map<String, Value>, at: &At<'_>) -> Part {
        self.check(map, &["summary", "content", "encrypted_content", "status"], at);
        let texts = |key: &str| {
            let items = map.get(key).and_then(Value::as_array).into_iter().flatten();
            items.filter_map(|item| item.get("text")?.as_str()).collect::<Vec<_>>()
        };
        let summary = texts("summary");
        let text = if summary.is_empty() { texts("content").concat() } else { summary.join("\n\n") };
        let signature = map.get("id").and_then(Value::as_str).map(|id| {
            let mut signature = json!({ "id": id });
            if let Some(encrypted) = map.get("encrypted_content").and_then(Value::as_str) {
                signature["encrypted_content"] = encrypted.into();
            }
            signature.to_string()
        });
        Part::Reasoning { text, signature }
    }
}

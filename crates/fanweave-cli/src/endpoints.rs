//! Rows of OpenAI batch files for other endpoints than chat completions: their requests are sent as they are.

use fanweave::compose::Node;
use fanweave::messages::{FinishReason, Reply, ReplyBody};
use fanweave::models::{RawModel, RawRequest};
use fanweave::prompts::{Endpoint, RequestBody};
use fanweave::{
    Chain, ChatModel, Context, Error, ErrorKind, Message, Model, Prompt, Result, Runnable, Usage, chain,
};
use serde_json::{Map, Value};

/// Sends chats to `chat`, and requests for other endpoints as they are.
pub(crate) struct Endpoints {
    pub(crate) chat: Chain<Prompt, Message>,
    /// `None` if the models have no such endpoints.
    pub(crate) others: Option<Chain<Prompt, Message>>,
}

impl Runnable for Endpoints {
    type Input = Prompt;
    type Output = Message;

    async fn run(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
        let other = prompt.body.as_deref().map(RequestBody::endpoint);
        match (other.filter(|endpoint| *endpoint != Endpoint::ChatCompletions), &self.others) {
            (None, _) => self.chat.invoke_in(prompt, cx).await,
            (Some(_), Some(others)) => others.invoke_in(prompt, cx).await,
            (Some(endpoint), None) => {
                let message = format!(
                    "requests for {endpoint} need one model, one key and a server: simulated models have no such endpoint"
                );
                Err(Error::new(ErrorKind::Input, message))
            }
        }
    }

    fn describe(&self) -> Node {
        self.chat.describe()
    }
}

/// A model for requests as they are.
struct Unchanged {
    name: String,
    raw: RawModel,
    /// Set if the model of the flags replaces that of the row.
    overrides: bool,
}

/// The chain of a model for requests as they are. `name` is that of the model of the flags, with its vendor.
pub(crate) fn others(name: &str, raw: RawModel, overrides: bool) -> Chain<Prompt, Message> {
    chain(Model::new(Unchanged { name: name.to_owned(), raw, overrides }))
}

impl ChatModel for Unchanged {
    fn name(&self) -> &str {
        &self.name
    }

    async fn generate(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
        let body =
            prompt.body.as_deref().ok_or_else(|| Error::new(ErrorKind::Input, "the row has no request"))?;
        let json = self.with_model(body.json())?;
        let answer = self.raw.send(RawRequest::post(body.endpoint().path(), json), cx).await?;
        let request_id =
            answer.headers.get("x-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        let attempts = answer.attempts;
        let bytes = answer.body.whole().await?;
        let response: Value = serde_json::from_slice(&bytes)
            .map_err(|e| Error::new(ErrorKind::Decode, format!("the response is not JSON: {e}")))?;
        let mut reply = Reply::new();
        reply.id = text(&response["id"]);
        reply.model = text(&response["model"]);
        reply.request_id = request_id;
        reply.attempts = attempts;
        reply.usage = usage(&response["usage"]);
        reply.finish_reason = finish_reason(&response);
        reply.raw = Some(ReplyBody::new(&bytes));
        Ok(Message::assistant(answer_of(&response)).with_reply(reply))
    }
}

impl Unchanged {
    /// The request with the model of the flags, if it names none or it is overridden. A vendor before the
    /// name is dropped.
    fn with_model(&self, json: &str) -> Result<String> {
        let invalid = |e| Error::new(ErrorKind::Input, format!("the request is not JSON: {e}"));
        let (vendor, default) = self.name.split_once('/').unwrap_or(("", &self.name));
        let mut request: Map<String, Value> = serde_json::from_str(json).map_err(invalid)?;
        let named = request.get("model").and_then(Value::as_str);
        let model = match named {
            Some(named) if !self.overrides => {
                let own = named.strip_prefix(vendor).and_then(|rest| rest.strip_prefix('/'));
                // Numbers and unknown fields stay as they are written.
                let Some(own) = own else { return Ok(json.to_owned()) };
                own.to_owned()
            }
            _ => default.to_owned(),
        };
        request.insert("model".to_owned(), model.into());
        Ok(Value::Object(request).to_string())
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// The tokens of a response, which the endpoints name in two ways.
fn usage(usage: &Value) -> Usage {
    let of = |names: [&str; 2]| names.iter().find_map(|name| usage[*name].as_u64()).unwrap_or_default();
    Usage::new(of(["prompt_tokens", "input_tokens"]), of(["completion_tokens", "output_tokens"]))
}

fn finish_reason(response: &Value) -> Option<FinishReason> {
    match (response["choices"][0]["finish_reason"].as_str(), response["status"].as_str()) {
        (Some("length"), _) | (_, Some("incomplete")) => Some(FinishReason::Length),
        (Some(_), _) | (_, Some("completed")) => Some(FinishReason::Stop),
        _ => None,
    }
}

/// The text of a completion or a response, or the vector of an embedding as JSON.
fn answer_of(response: &Value) -> String {
    if let Some(text) = response["choices"][0]["text"].as_str() {
        return text.to_owned();
    }
    if let [first, ..] = response["data"].as_array().map(Vec::as_slice).unwrap_or_default() {
        return first["embedding"].to_string();
    }
    let items = response["output"].as_array().into_iter().flatten();
    let parts = items.flat_map(|item| item["content"].as_array().into_iter().flatten());
    parts.filter_map(|part| part["text"].as_str()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_of_all_endpoints_are_texts() {
        assert_eq!(answer_of(&json!({"choices": [{"text": "a"}]})), "a");
        assert_eq!(answer_of(&json!({"data": [{"embedding": [0.5, 1]}]})), "[0.5,1]");
        let output = json!([
            {"type": "reasoning", "summary": []},
            {"type": "message", "content": [{"type": "output_text", "text": "b"}, {"type": "output_text", "text": "c"}]},
        ]);
        assert_eq!(answer_of(&json!({"output": output})), "bc");
        assert_eq!(usage(&json!({"input_tokens": 3, "output_tokens": 4})), Usage::new(3, 4));
        assert_eq!(usage(&json!({"prompt_tokens": 3, "total_tokens": 3})), Usage::new(3, 0));
    }
}

//! Rows of OpenAI batch files for other endpoints than chat completions: their requests are sent as they are.

use std::collections::BTreeMap;

use fanweave::batch::{Error as BatchError, Input, Source};
use fanweave::compose::Node;
use fanweave::messages::{FinishReason, Reply, ReplyBody};
use fanweave::models::{RawModel, RawRequest};
use fanweave::prompts::{Endpoint, RequestBody};
use fanweave::{
    Chain, ChatModel, Context, Error, ErrorKind, Message, Model, Prompt, Result, Runnable, Usage, chain,
};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::args::BatchArgs;

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

/// A note on flags that do not apply to rows that are sent as they are, if there are both.
pub(crate) fn note(args: &BatchArgs, source: &Source) -> std::result::Result<Option<String>, BatchError> {
    let model = &args.model;
    let given = [
        ("--system", args.system.is_some()),
        ("--temperature", model.temperature.is_some()),
        ("--max-tokens", model.max_tokens.is_some()),
        ("--reasoning-effort", model.reasoning_effort.is_some()),
        ("--reasoning-budget", model.reasoning_budget.is_some()),
        ("--reasoning-summary", model.reasoning_summary),
        ("--param", !model.param.is_empty()),
        ("--cache", model.cache.is_some()),
        ("--adapt", model.adapt),
        ("--fallback-model", !args.fallback_model.is_empty()),
        ("--drop-last-assistant", args.drop_last_assistant),
    ];
    let given: Vec<_> = given.into_iter().filter_map(|(name, is_given)| is_given.then_some(name)).collect();
    let Some(rows) = source.rewound()?.filter(|_| !given.is_empty()) else { return Ok(None) };
    for row in rows {
        let row = row?;
        let Ok(Input::Prompt(prompt)) = &row.input else { continue };
        let endpoint = prompt.body.as_deref().map(RequestBody::endpoint);
        if let Some(endpoint) = endpoint.filter(|endpoint| *endpoint != Endpoint::ChatCompletions) {
            let (flags, verb) = (given.join(", "), if given.len() == 1 { "does" } else { "do" });
            return Ok(Some(format!(
                "rows for {endpoint}, the first in {}, are sent as they are: {flags} {verb} not apply to them",
                row.location()
            )));
        }
    }
    Ok(None)
}

/// A model for requests as they are.
struct Unchanged {
    name: String,
    raw: RawModel,
    /// Set if the model of the flags replaces that of the row.
    overrides: bool,
    /// Set for the vendor's own server: another one has names with slashes of its own.
    is_own_server: bool,
}

/// The chain of a model for requests as they are. `name` is that of the model of the flags, with its vendor.
pub(crate) fn others(
    name: &str,
    raw: RawModel,
    overrides: bool,
    is_own_server: bool,
) -> Chain<Prompt, Message> {
    chain(Model::new(Unchanged { name: name.to_owned(), raw, overrides, is_own_server }))
}

impl ChatModel for Unchanged {
    fn name(&self) -> &str {
        &self.name
    }

    async fn generate(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
        let body =
            prompt.body.as_deref().ok_or_else(|| Error::new(ErrorKind::Input, "the row has no request"))?;
        let json = with_model(body.json(), &self.name, self.overrides, self.is_own_server)?;
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

/// The request with the model `name`, if it names none or `overrides` is set, and without a stream: the
/// output has complete responses. A vendor before the name is dropped for the vendor's own server.
fn with_model(json: &str, name: &str, overrides: bool, is_own_server: bool) -> Result<String> {
    let invalid = |e| Error::new(ErrorKind::Input, format!("the request is not JSON: {e}"));
    let (vendor, default) = name.split_once('/').unwrap_or(("", name));
    // Numbers and unknown fields stay as they are written.
    let mut request: BTreeMap<String, &RawValue> = serde_json::from_str(json).map_err(invalid)?;
    let named = request.get("model").and_then(|model| serde_json::from_str::<String>(model.get()).ok());
    let model = match &named {
        Some(named) if !overrides => {
            let own = named.strip_prefix(vendor).and_then(|rest| rest.strip_prefix('/'));
            own.filter(|_| is_own_server)
        }
        _ => Some(default),
    };
    let streams = ["stream", "stream_options"].map(|name| request.remove(name).is_some()).contains(&true);
    if model.is_none() && !streams {
        return Ok(json.to_owned());
    }
    let model = model.map(to_raw_value).transpose().map_err(invalid)?;
    if let Some(model) = &model {
        request.insert("model".to_owned(), model);
    }
    serde_json::to_string(&request).map_err(invalid)
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// The tokens of a response, which the endpoints name in two ways.
fn usage(usage: &Value) -> Usage {
    let of = |names: [&str; 2]| names.iter().find_map(|name| usage[*name].as_u64()).unwrap_or_default();
    let detail = |names: [&str; 2], field: &str| {
        names.iter().find_map(|name| usage[*name][field].as_u64()).unwrap_or_default()
    };
    Usage::new(of(["prompt_tokens", "input_tokens"]), of(["completion_tokens", "output_tokens"]))
        .cached_tokens(detail(["prompt_tokens_details", "input_tokens_details"], "cached_tokens"))
        .reasoning_tokens(detail(["completion_tokens_details", "output_tokens_details"], "reasoning_tokens"))
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
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_gets_a_model_and_stays_as_it_is_otherwise() {
        let body =
            r#"{"input": [1.0, 12345678901234567890123, 1e-07], "model" : "openai/m", "x": {"b":1,"a":2}}"#;
        let of = |json: &str, overrides| {
            let sent = with_model(json, "openai/n", overrides, true).expect("a request");
            RequestBody::new(Endpoint::Responses, sent).expect("an object").canonical()
        };
        let expected = |model: &str| {
            format!(
                r#"{{"input":[1.0,12345678901234567890123,1e-07],"model":"{model}","x":{{"a":2,"b":1}}}}"#
            )
        };
        assert_eq!(of(body, false), expected("m"));
        assert_eq!(of(body, true), expected("n"));
        assert_eq!(of(&body.replace("\"model\" : \"openai/m\",", ""), false), expected("n"));
        assert_eq!(of(&body.replace("openai/m", "ft:m"), false), expected("ft:m"));
        assert_eq!(
            with_model(&body.replace("openai/m", "m"), "openai/n", false, true).expect("a request"),
            body.replace("openai/m", "m")
        );
        assert_eq!(with_model(body, "openai/n", false, false).expect("a request"), body);
    }

    fn string() -> impl Strategy<Value = String> {
        "[a-zé\u{1F600}\"\\\\\u{7f} /]{0,8}".prop_map(|text| json!(text).to_string())
    }

    /// Any JSON value as text, with numbers as people write them.
    fn value() -> impl Strategy<Value = String> {
        let number = "(-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?)";
        let literal =
            prop::sample::select(vec!["null", "true", "1.50", "1e400", "0.1000000000000000055", "-0"]);
        let leaf = prop_oneof![string(), number.prop_map(|n| n), literal.prop_map(str::to_owned)];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let field = (string(), inner.clone()).prop_map(|(name, value)| format!("{name} : {value}"));
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(" ,"))),
                prop::collection::vec(field, 0..4).prop_map(|fields| format!("{{ {}}}", fields.join(","))),
            ]
        })
    }

    fn fields() -> impl Strategy<Value = BTreeMap<String, String>> {
        let known =
            ["input", "prompt", "instructions", "tools", "metadata", "user", "dimensions", "logit_bias"];
        let known = prop::sample::select(known.to_vec()).prop_map(|name| json!(name).to_string());
        let name = prop_oneof![3 => known, 1 => string()];
        let is_other =
            |name: &String| !["\"model\"", "\"stream\"", "\"stream_options\""].contains(&name.as_str());
        prop::collection::btree_map(name.prop_filter("a field of the test", is_other), value(), 0..6)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_request_for_another_endpoint_stays_as_it_is_except_for_what_flags_replace(
            fields in fields(),
            endpoint in prop::sample::select(vec![Endpoint::Responses, Endpoint::Completions, Endpoint::Embeddings]),
            named in prop::sample::select(vec![None, Some("m"), Some("openai/m"), Some("meta/m")]),
            overrides in any::<bool>(),
            streams in any::<bool>(),
        ) {
            let body = |model: Option<&str>, streams: bool| {
                let mut all = fields.clone();
                all.extend(model.map(|model| ("\"model\"".to_owned(), json!(model).to_string())));
                all.extend(streams.then(|| ("\"stream\"".to_owned(), "true".to_owned())));
                let all: Vec<_> = all.iter().map(|(name, value)| format!("{name}:{value}")).collect();
                format!("{{ {} }}", all.join(" , "))
            };
            let line = format!(
                "{{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1{}\",\"body\":{}}}\n",
                endpoint.path(),
                body(named, streams),
            );
            let mut rows = Source::from_reader("rows", std::io::Cursor::new(line), None).unwrap();
            let input = rows.next().unwrap().unwrap().input.unwrap();
            let prompt = fanweave::batch::Render::new().other_endpoints(true).render(input).unwrap();
            let read = prompt.body.as_deref().unwrap();
            prop_assert_eq!(read.endpoint(), endpoint);
            let sent = with_model(read.json(), "openai/n", overrides, true).unwrap();
            let expected = match named {
                Some(_) if overrides => "n",
                Some(model) => model.trim_start_matches("openai/"),
                None => "n",
            };
            let canonical = |json: String| RequestBody::new(endpoint, json).unwrap().canonical();
            prop_assert_eq!(canonical(sent), canonical(body(Some(expected), false)));
        }
    }

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
        let details = json!({
            "input_tokens": 9, "input_tokens_details": {"cached_tokens": 5},
            "output_tokens": 4, "output_tokens_details": {"reasoning_tokens": 2},
        });
        assert_eq!(usage(&details), Usage::new(9, 4).cached_tokens(5).reasoning_tokens(2));
    }
}

//! Requests of rows, as they arrive at a server.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::{Arc, Mutex};

use fanweave::batch::{BatchJob, Output, Render, Source};
use fanweave::models::ModelBuilder;
use fanweave::prompts::{Endpoint, RequestBody};
use fanweave::{Context, Model, Parameters, chain};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Answers every request, and keeps its path and body.
struct Recorder {
    url: String,
    seen: Arc<Mutex<Vec<(String, String)>>>,
}

impl Recorder {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let log = log.clone();
                tokio::spawn(async move { serve(socket, &log).await });
            }
        });
        Self { url, seen }
    }

    fn model(&self, name: &str) -> Model {
        ModelBuilder::new(name).base_url(self.url.as_str()).api_key("sk-test").build().unwrap()
    }

    /// Runs the lines of a batch file. Returns the bodies that arrived, in the order of the lines.
    async fn bodies(&self, lines: &[String], model: Model, render: Render) -> Vec<String> {
        self.seen.lock().unwrap().clear();
        let source = Source::from_reader("rows", Cursor::new(lines.join("\n")), None).unwrap();
        let job = BatchJob::new(source, render, chain(model), Output::Writer(Box::new(std::io::sink())));
        let settings = fanweave::batch::Settings::default().concurrency(1);
        let summary = job.settings(settings).run().await.unwrap();
        assert_eq!((summary.ok, summary.failed), (lines.len() as u64, 0));
        self.seen.lock().unwrap().iter().map(|(_, body)| body.clone()).collect()
    }
}

async fn serve(mut socket: TcpStream, log: &Mutex<Vec<(String, String)>>) {
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = read.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            if socket.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8_lossy(&read[..end]).into_owned();
        let length = head.lines().find_map(|line| {
            line.to_lowercase().strip_prefix("content-length: ").and_then(|length| length.parse().ok())
        });
        let length: usize = length.unwrap_or(0);
        while read.len() < end + length {
            if socket.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let body = String::from_utf8(read[end..end + length].to_vec()).unwrap();
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        log.lock().unwrap().push((path, body));
        read.drain(..end + length);
        let answer = match head.split(' ').nth(1).unwrap_or_default() {
            path if path.ends_with("/messages") => MESSAGES_ANSWER,
            path if path.ends_with(":generateContent") => GEMINI_ANSWER,
            _ => CHAT_ANSWER,
        };
        let response = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        );
        if socket.write_all(response.as_bytes()).await.is_err() {
            return;
        }
    }
}

const CHAT_ANSWER: &str = r#"{"id":"1","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"ok"},"finish_reason":"stop"}]}"#;
const MESSAGES_ANSWER: &str = r#"{"id":"1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"ok"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}"#;
const GEMINI_ANSWER: &str =
    r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"ok"}]},"finishReason":"STOP"}]}"#;

fn line(id: usize, body: &str) -> String {
    format!(r#"{{"custom_id":"{id}","method":"POST","url":"/v1/chat/completions","body":{body}}}"#)
}

fn canonical(body: &str) -> String {
    RequestBody::new(Endpoint::ChatCompletions, body).unwrap().canonical()
}

fn string() -> impl Strategy<Value = String> {
    "[a-zé\u{1F600}\"\\\\\n\u{7f} /]{0,8}".prop_map(|text| serde_json::to_string(&text).unwrap())
}

/// Any JSON value as text, with numbers as people write them.
fn value() -> impl Strategy<Value = String> {
    let number = "(-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,4})?([eE][+-]?[0-9]{1,2})?)";
    let literal = prop::sample::select(vec!["null", "true", "false", "100.0", "5000000000", "1e-07", "-0.0"]);
    let leaf = prop_oneof![string(), number.prop_map(|n| n), literal.prop_map(str::to_owned)];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let field = (string(), inner.clone()).prop_map(|(name, value)| format!("{name} : {value}"));
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(" ,"))),
            prop::collection::vec(field, 0..4).prop_map(|fields| format!("{{ {}}}", fields.join(","))),
        ]
    })
}

/// Fields of an object whose names are often those of the dialect.
fn fields(names: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    let name =
        prop_oneof![3 => prop::sample::select(names).prop_map(|name| format!("\"{name}\"")), 1 => string()];
    prop::collection::vec((name, value()).prop_map(|(name, value)| format!("{name}:{value}")), 0..5)
}

fn body() -> impl Strategy<Value = String> {
    const MESSAGE: &[&str] = &[
        "content",
        "name",
        "tool_calls",
        "tool_call_id",
        "function_call",
        "refusal",
        "audio",
        "cache_control",
        "reasoning_content",
    ];
    const BODY: &[&str] = &[
        "temperature",
        "top_p",
        "max_tokens",
        "max_completion_tokens",
        "stop",
        "seed",
        "reasoning_effort",
        "tools",
        "tool_choice",
        "response_format",
        "n",
        "logit_bias",
        "metadata",
        "user",
        "functions",
    ];
    let role =
        prop::sample::select(vec!["system", "developer", "user", "assistant", "tool", "function", "bot"]);
    let content = prop_oneof![string(), value(), Just(r#"[{"type":"text","text":"hi","x":1.0}]"#.to_owned())];
    let message = (role, content, fields(MESSAGE)).prop_map(|(role, content, more)| {
        let own = [format!("\"role\":\"{role}\""), format!("\"content\": {content}")];
        format!("{{{}}}", own.into_iter().chain(more).collect::<Vec<_>>().join(", "))
    });
    (prop::collection::vec(message, 1..4), fields(BODY), any::<prop::sample::Index>()).prop_map(
        |(messages, mut fields, at)| {
            fields.insert(at.index(fields.len() + 1), format!("\"messages\":[{}]", messages.join(",")));
            fields.insert(at.index(fields.len() + 1), r#""model" :"m""#.to_owned());
            format!("{{{}}}", fields.join(","))
        },
    )
}

#[tokio::test]
async fn any_body_arrives_as_it_was() {
    let recorder = Recorder::start().await;
    let mut runner = TestRunner::default();
    let strategy = body();
    let mut bodies = Vec::new();
    for _ in 0..200 {
        bodies.push(strategy.new_tree(&mut runner).unwrap().current());
    }
    bodies.extend(FIXED.iter().map(|body| (*body).to_owned()));
    let lines: Vec<_> = bodies.iter().enumerate().map(|(i, body)| line(i, body)).collect();
    let arrived = recorder.bodies(&lines, recorder.model("openai/m"), Render::default()).await;
    for (body, arrived) in bodies.iter().zip(&arrived) {
        assert_eq!(canonical(body), canonical(arrived));
    }
}

/// Bodies of the kinds that people have.
const FIXED: &[&str] = &[
    r#"{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":100.0,"seed":18446744073709551615}"#,
    r#"{"model":"m","messages":[{"role":"user","content":"x"}],"x":12345678901234567890123,"y":1e-07,"stop":[]}"#,
    r#"{"model":"m","messages":[{"role":"user","content":"x","name":"ann"},{"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{}"}},{"role":"function","name":"f","content":"y"}],"functions":[{"name":"f"}]}"#,
    r#"{"model":"m","messages":[{"role":"developer","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}]},{"role":"assistant","refusal":"no","audio":{"id":"a"}},{"role":"user","content":"x"}],"temperature":null}"#,
    r#"{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":"f","strict":true}}],"response_format":{"type":"json_schema","json_schema":{"name":"s","description":"d","schema":{}}}}"#,
];

/// Any JSON object with these fields before random ones, which may repeat their names at other levels only.
fn object(own: Vec<String>, names: &'static [&'static str]) -> impl Strategy<Value = String> {
    fields(names).prop_map(move |more| {
        let is_own = |field: &String| own.iter().any(|own| own.split(':').next() == field.split(':').next());
        let more = more.iter().filter(|field| !is_own(field));
        format!("{{{}}}", own.iter().chain(more).cloned().collect::<Vec<_>>().join(", "))
    })
}

/// A request for Anthropic's Messages API, with known and unknown fields of any type.
fn messages_body() -> impl Strategy<Value = String> {
    const MORE: &[&str] = &[
        "system",
        "temperature",
        "top_p",
        "top_k",
        "stop_sequences",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "metadata",
        "service_tier",
        "mcp_servers",
        "container",
    ];
    const BLOCK: &[&str] = &[
        "text",
        "source",
        "cache_control",
        "citations",
        "id",
        "name",
        "input",
        "tool_use_id",
        "content",
        "thinking",
        "signature",
        "title",
    ];
    let kind = prop::sample::select(vec![
        "text",
        "image",
        "document",
        "thinking",
        "redacted_thinking",
        "tool_use",
        "tool_result",
        "search_result",
    ]);
    let block = kind.prop_flat_map(|kind| object(vec![format!(r#""type":"{kind}""#)], BLOCK));
    let blocks = prop::collection::vec(block, 0..4).prop_map(|blocks| format!("[{}]", blocks.join(",")));
    let role = prop::sample::select(vec!["user", "assistant", "bot"]);
    let message = (role, prop_oneof![string(), value(), blocks]).prop_flat_map(|(role, content)| {
        object(vec![format!(r#""role":"{role}""#), format!(r#""content":{content}"#)], &["name", "x"])
    });
    prop::collection::vec(message, 1..4).prop_flat_map(|messages| {
        let own = [r#""model":"m""#.to_owned(), r#""max_tokens":7"#.to_owned()];
        let messages = format!(r#""messages":[{}]"#, messages.join(","));
        object(own.into_iter().chain([messages]).collect(), MORE)
    })
}

/// A request for Gemini's `generateContent`, with known and unknown fields of any type.
fn generate_content_body() -> impl Strategy<Value = String> {
    const MORE: &[&str] = &[
        "systemInstruction",
        "system_instruction",
        "generationConfig",
        "generation_config",
        "tools",
        "toolConfig",
        "tool_config",
        "safetySettings",
        "cachedContent",
        "labels",
    ];
    const PART: &[&str] = &[
        "text",
        "thought",
        "thoughtSignature",
        "inlineData",
        "inline_data",
        "fileData",
        "functionCall",
        "functionResponse",
        "executableCode",
        "videoMetadata",
    ];
    const CONFIG: &[&str] = &[
        "temperature",
        "topP",
        "top_p",
        "topK",
        "maxOutputTokens",
        "stopSequences",
        "seed",
        "candidateCount",
        "responseMimeType",
        "responseSchema",
        "thinkingConfig",
        "speechConfig",
    ];
    let part = object(Vec::new(), PART);
    let role = prop::sample::select(vec!["user", "model", "function", "bot"]);
    let content = (role, prop::collection::vec(part, 0..4)).prop_flat_map(|(role, parts)| {
        object(vec![format!(r#""role":"{role}""#), format!(r#""parts":[{}]"#, parts.join(","))], &["x"])
    });
    (prop::collection::vec(content, 1..4), object(Vec::new(), CONFIG)).prop_flat_map(|(contents, config)| {
        let contents = format!(r#""contents":[{}]"#, contents.join(","));
        prop_oneof![
            object(vec![contents.clone()], MORE),
            object(vec![contents, format!(r#""generationConfig":{config}"#)], MORE),
        ]
    })
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

/// Checks that random bodies and `fixed` ones arrive as they are in the rows that `row` makes of them.
async fn arrive(
    name: &str,
    bodies: impl Strategy<Value = String>,
    fixed: &[&str],
    row: impl Fn(usize, &str) -> String,
) {
    let recorder = Recorder::start().await;
    let mut runner = TestRunner::default();
    let random = (0..200).map(|_| bodies.new_tree(&mut runner).unwrap().current());
    let bodies: Vec<_> = fixed.iter().map(|body| (*body).to_owned()).chain(random).collect();
    let lines: Vec<_> = bodies.iter().enumerate().map(|(i, body)| row(i, body)).collect();
    let arrived = recorder.bodies(&lines, recorder.model(name), Render::default()).await;
    for (body, arrived) in bodies.iter().zip(&arrived) {
        assert_eq!(canonical(body), canonical(&without_stream(arrived)));
    }
}

/// A request without the field that makes a long answer a stream, with its numbers as they are written.
fn without_stream(text: &str) -> String {
    let mut request: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text).unwrap();
    request.remove("stream");
    serde_json::to_string(&request).unwrap()
}

/// A request without the field that makes a long answer a stream.
fn unstreamed(text: &str) -> serde_json::Value {
    let mut request = json(text);
    request.as_object_mut().unwrap().shift_remove("stream");
    request
}

#[tokio::test]
async fn any_request_of_an_anthropic_batch_arrives_at_its_own_provider_as_it_was() {
    let fixed = [
        r#"{"model":"m","max_tokens":100.0,"messages":[{"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral","ttl":"1h"}}]}],"container":"c","mcp_servers":[{"type":"url"}]}"#,
        r#"{"model":"m","max_tokens":9,"thinking":{"type":"enabled","budget_tokens":5},"messages":[{"role":"user","content":[{"type":"document","source":{"type":"file","file_id":"f"},"citations":{"enabled":true}}]}]}"#,
    ];
    let row = |i: usize, body: &str| format!(r#"{{"custom_id":"{i}","params":{body}}}"#);
    arrive("anthropic/m", messages_body(), &fixed, row).await;
}

/// The rows of scripts that send many requests: the request itself, with fields that are data.
#[tokio::test]
async fn any_row_with_messages_arrives_as_it_was_without_its_data() {
    let fixed = [
        r#"{"messages":[{"role":"user","content":"x"}],"seed":123456789012345678901234567890,"min_p":1e400}"#,
        r#"{"messages":[{"role":"user","content":"x"}],"temperature":0.1000000000000000055,"n":1.50e0}"#,
    ];
    let messages = prop::collection::vec(value(), 1..3);
    let bodies = (messages, fields(&["temperature", "seed", "top_k", "logit_bias", "user"])).prop_map(
        |(all, more)| {
            let message =
                |x: &String| format!(r#"{{"role":"user","content":"x","x":{}}}"#, x.replace("null", "0"));
            let messages: Vec<_> = all.iter().map(message).collect();
            let mut fields: BTreeMap<_, _> =
                more.iter().map(|field| field.split_once(':').unwrap()).collect();
            fields.retain(|name, value| {
                *value != "null" && serde_json::from_str::<String>(name).unwrap().len() > 3
            });
            let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}:{value}")).collect();
            format!(
                r#"{{"messages":[{}]{}{}}}"#,
                messages.join(","),
                if fields.is_empty() { "" } else { "," },
                fields.join(",")
            )
        },
    );
    let known = ["temperature", "seed", "top_k", "logit_bias", "user", "messages", "min_p", "n"];
    let recorder = Recorder::start().await;
    let mut runner = TestRunner::default();
    let random = (0..200).map(|_| bodies.new_tree(&mut runner).unwrap().current());
    let bodies: Vec<_> = fixed.iter().map(|body| (*body).to_owned()).chain(random).collect();
    let arrived = recorder.bodies(&bodies, recorder.model("openai/m"), Render::default()).await;
    for (body, arrived) in bodies.iter().zip(&arrived) {
        let mut expected: BTreeMap<String, Box<RawValue>> = serde_json::from_str(body).unwrap();
        expected.retain(|name, _| known.contains(&name.as_str()));
        expected.insert("model".to_owned(), serde_json::value::to_raw_value("m").unwrap());
        assert_eq!(canonical(&serde_json::to_string(&expected).unwrap()), canonical(arrived));
    }
}

#[tokio::test]
async fn any_request_of_a_gemini_batch_arrives_at_its_own_provider_as_it_was() {
    let fixed = [
        r#"{"contents":[{"parts":[{"file_data":{"file_uri":"u"},"video_metadata":{"fps":1.0}}]}],"safety_settings":[],"generation_config":{"max_output_tokens":5,"media_resolution":"LOW"}}"#,
        r#"{"contents":[{"role":"user","parts":[{"text":"a"}]}],"tools":[{"googleSearch":{}}],"generationConfig":{"responseSchema":{"type":"OBJECT"},"responseMimeType":"application/json"}}"#,
    ];
    let row = |i: usize, body: &str| format!(r#"{{"key":"{i}","request":{body}}}"#);
    arrive("gemini/m", generate_content_body(), &fixed, row).await;
}

#[tokio::test]
async fn flags_replace_their_fields_of_requests_of_other_vendors_alone() {
    let recorder = Recorder::start().await;
    let defaults = Parameters::new().temperature(0.5).top_p(0.25).max_tokens(7).extra("x", "y");
    let system = || Render::new().system(fanweave::prompts::Template::parse("Be brief.").unwrap());
    let row = r#"{"custom_id":"a","params":{"model":"other","system":"Be kind.","messages":[{"role":"user","content":[{"type":"text","text":"a","cache_control":{}}]}],"temperature":0.1,"stream":true}}"#;
    let model = recorder.model("anthropic/m").with(defaults.clone());
    let arrived = recorder.bodies(&[row.to_owned()], model, system()).await;
    assert_eq!(
        json(&arrived[0]),
        json(
            r#"{"model":"other","system":[{"type":"text","text":"Be brief."},{"type":"text","text":"Be kind."}],"messages":[{"role":"user","content":[{"type":"text","text":"a","cache_control":{}}]}],"temperature":0.1,"top_p":0.25,"max_tokens":7,"x":"y"}"#
        )
    );
    // The provider checks the values of the row. A schema that it does not support is a text.
    let row = r#"{"custom_id":"a","params":{"model":"other","max_tokens":9,"system":"Be kind.","thinking":{"type":"enabled","budget_tokens":5},"messages":[{"role":"user","content":"a"}]}}"#;
    let schema = serde_json::json!({"type": "object", "properties": {"a": {"$ref": "#"}}});
    let format = fanweave::models::ResponseFormat::JsonSchema { name: "a".into(), schema, strict: true };
    let model = recorder.model("anthropic/m");
    let source = Source::from_reader("rows", Cursor::new(row), None).unwrap();
    let mut prompt =
        Render::new().render(source.into_iter().next().unwrap().unwrap().input.unwrap()).unwrap();
    prompt.parameters.model = None;
    recorder.seen.lock().unwrap().clear();
    model.invoke(prompt.clone()).await.unwrap();
    (prompt.parameters.format, prompt.parameters.reasoning_budget) = (Some(format), Some(2_000));
    prompt.parameters.max_tokens = Some(4_000);
    model.invoke(prompt).await.unwrap();
    let seen: Vec<_> = recorder.seen.lock().unwrap().iter().map(|(_, body)| json(body)).collect();
    assert_eq!((&seen[0]["thinking"]["budget_tokens"], &seen[0]["system"]), (&5.into(), &"Be kind.".into()));
    assert_eq!(
        (&seen[1]["thinking"]["budget_tokens"], &seen[1]["max_tokens"]),
        (&2_000.into(), &4_000.into())
    );
    let block = seen[1]["system"].to_string();
    assert!(block.contains("Be kind.") && block.contains("Answer with JSON alone"), "{block}");
    // The field is required.
    let row = r#"{"custom_id":"a","params":{"messages":[{"role":"user","content":"a"}]}}"#;
    let arrived = recorder.bodies(&[row.to_owned()], recorder.model("anthropic/m"), Render::new()).await;
    assert_eq!(
        unstreamed(&arrived[0]),
        json(r#"{"messages":[{"role":"user","content":"a"}],"model":"m","max_tokens":8192}"#)
    );
    let row = r#"{"key":"a","request":{"contents":[{"parts":[{"text":"a","thought":true}]}],"system_instruction":{"parts":[{"text":"Be kind."}]},"generation_config":{"temperature":0.1,"top_k":3}}}"#;
    let model = recorder.model("gemini/m").with(defaults);
    let arrived = recorder.bodies(&[row.to_owned()], model, system()).await;
    assert_eq!(
        json(&arrived[0]),
        json(
            r#"{"contents":[{"parts":[{"text":"a","thought":true}]}],"system_instruction":{"parts":[{"text":"Be brief."},{"text":"Be kind."}]},"generation_config":{"temperature":0.1,"top_k":3,"topP":0.25,"maxOutputTokens":7},"x":"y"}"#
        )
    );
}

#[tokio::test]
async fn requests_of_other_vendors_are_translated_or_name_what_would_be_lost() {
    let recorder = Recorder::start().await;
    let params = r#"{"model":"m","max_tokens":9,"system":"Be kind.","top_k":3,"metadata":{"user_id":"u"},"thinking":{"type":"disabled"},"messages":[{"role":"user","content":"a"}]}"#;
    let row = format!(r#"{{"custom_id":"a","params":{params}}}"#);
    let arrived = recorder.bodies(&[row], recorder.model("openai/m"), Render::new()).await;
    let chat = r#"{"model":"m","messages":[{"role":"system","content":"Be kind."},{"role":"user","content":"a"}],"max_completion_tokens":9,"top_k":3,"user":"u"}"#;
    assert_eq!(json(&arrived[0]), json(chat));
    let request =
        r#"{"contents":[{"parts":[{"text":"a"}]}],"generationConfig":{"topK":3,"maxOutputTokens":9}}"#;
    let row = format!(r#"{{"key":"a","request":{request}}}"#);
    let arrived = recorder.bodies(&[row], recorder.model("anthropic/m"), Render::new()).await;
    let chat = r#"{"model":"m","messages":[{"role":"user","content":"a"}],"max_tokens":9,"top_k":3}"#;
    assert_eq!(json(&arrived[0]), json(chat));

    let prompt = |row: &str| {
        let source = Source::from_reader("rows", Cursor::new(row.to_owned()), None).unwrap();
        Render::default().render(source.into_iter().next().unwrap().unwrap().input.unwrap()).unwrap()
    };
    let cached = prompt(
        r#"{"custom_id":"a","params":{"container":"c","metadata":{"user_id":"u","x":1},"messages":[{"role":"user","content":[{"type":"text","text":"a","cache_control":{}}]}]}}"#,
    );
    let limited = prompt(
        r#"{"key":"a","request":{"safetySettings":[],"generationConfig":{"mediaResolution":"LOW"},"contents":[{"parts":[{"executableCode":{}}]}]}}"#,
    );
    let others =
        ["openai/m", "gemini/m", "anthropic/m", "ollama/m", "openai-responses/m", "openai-completions/m"];
    for name in others {
        for (own, prompt, lost) in [
            ("anthropic", &cached, ["`messages[0].content[0].cache_control`", "`container`", "`metadata.x`"]),
            (
                "gemini",
                &limited,
                [
                    "`contents[0].parts[0] (executableCode)`",
                    "`safetySettings`",
                    "`generationConfig.mediaResolution`",
                ],
            ),
        ] {
            if name.starts_with(own) {
                continue;
            }
            let error = recorder.model(name).invoke(prompt.clone()).await.unwrap_err();
            assert_eq!(error.kind(), fanweave::ErrorKind::Input, "{name}: {error}");
            assert!(lost.iter().all(|lost| error.message().contains(lost)), "{name}: {error}");
        }
    }
}

#[tokio::test]
async fn only_what_was_changed_is_replaced() {
    let recorder = Recorder::start().await;
    let body = r#"{"messages":[{"role":"user","name":"ann","content":"x"}],"max_tokens":9,"n":2.0,"stream":true,"model":"other","temperature":0.10}"#;
    let defaults = Parameters::new().temperature(0.5).top_p(0.9).max_tokens(7).extra("user", "u");
    let model = recorder.model("openai/m").with(defaults);
    let render = Render::new().system(fanweave::prompts::Template::parse("Be brief.").unwrap());
    // The model that a row names is another one of the same provider.
    let arrived = recorder.bodies(&[line(0, body)], model, render).await;
    assert_eq!(
        arrived,
        [
            r#"{"messages":[{"role":"system","content":"Be brief."},{"role":"user","name":"ann","content":"x"}],"max_tokens":9,"n":2.0,"model":"other","temperature":0.10,"top_p":0.9,"user":"u"}"#
        ]
    );
}

#[tokio::test]
async fn a_field_without_a_counterpart_in_another_dialect_is_named() {
    let recorder = Recorder::start().await;
    let body = r#"{"messages":[{"role":"user","content":"x"},{"role":"function","name":"f","content":"y"}]}"#;
    let source = Source::from_reader("rows", Cursor::new(line(0, body)), None).unwrap();
    let prompt =
        Render::default().render(source.into_iter().next().unwrap().unwrap().input.unwrap()).unwrap();
    for name in ["anthropic/m", "gemini/m", "ollama/m", "openai-responses/m", "openai-completions/m"] {
        let error = recorder.model(name).invoke(prompt.clone()).await.unwrap_err();
        assert_eq!(error.kind(), fanweave::ErrorKind::Input, "{name}");
        let names = "`messages[1].role`, `messages[1].name`";
        assert!(error.message().contains(names), "{name}: {error}");
    }
    let cx = Context::new();
    assert!(chain(recorder.model("openai/m")).invoke_in(prompt, &cx).await.is_ok());
    assert_eq!(recorder.seen.lock().unwrap().len(), 1);
}

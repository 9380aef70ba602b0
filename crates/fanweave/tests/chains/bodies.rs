//! Requests of rows, as they arrive at a server.

use std::io::Cursor;
use std::sync::{Arc, Mutex};

use fanweave::batch::{BatchJob, Output, Render, Source};
use fanweave::models::ModelBuilder;
use fanweave::prompts::{Endpoint, RequestBody};
use fanweave::{Context, Model, Parameters, chain};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
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
        let answer = r#"{"id":"1","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"ok"},"finish_reason":"stop"}]}"#;
        let response = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        );
        if socket.write_all(response.as_bytes()).await.is_err() {
            return;
        }
    }
}

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

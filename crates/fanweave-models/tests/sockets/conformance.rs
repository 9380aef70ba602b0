//! Behaviour shared by all dialects: with the simulated provider, which shares no code with the code under
//! test, and with recorded streams.

use std::sync::Arc;
use std::time::Duration;

use fanweave_core::{
    Context, Delta, Error, ErrorKind, FinishReason, Message, Model, Parameters, Part, Prompt, ResponseFormat,
    Role, Tool, ToolChoice, ToolResult, ToolSpec, Tools, chain,
};
use fanweave_models::protocol::{Call, HttpRequest, Protocol, StreamDecoder};
use fanweave_models::{ModelBuilder, Quirks, RetryPolicy};
use fanweave_sim::{Server as Sim, Settings};
use futures::{StreamExt, stream};
use serde_json::{Value, json};

use crate::server::{Act, Server, answer};

/// A dialect: a vendor that uses it, and what it does not support.
#[derive(Clone, Copy, Debug)]
struct Dialect {
    vendor: &'static str,
    has_tools: bool,
    has_stop: bool,
    has_tool_choice: bool,
    media_type: &'static str,
    /// A stream in the published format.
    recorded: &'static str,
    /// The text of that stream.
    says: &'static str,
    /// A complete failure response with status 200.
    failure: &'static str,
    /// A failure as the next event of a stream.
    failed_event: &'static str,
    /// Set if answers name their model and have an id.
    names_answers: bool,
}

const OPENAI: Dialect = Dialect {
    vendor: "openai",
    has_tools: true,
    has_stop: true,
    has_tool_choice: true,
    media_type: "text/event-stream",
    recorded: include_str!("../../src/providers/openai/fixtures/stream.sse"),
    says: "Hello there",
    failure: r#"{"error":{"message":"busy","type":"overloaded_error"}}"#,
    failed_event: "data: {\"error\":{\"message\":\"busy\",\"type\":\"overloaded_error\"}}\n\n",
    names_answers: true,
};

/// The dialect of a cloud. Its streams are binary: `providers/bedrock/tests.rs` has recorded ones.
#[cfg(feature = "bedrock")]
const BEDROCK: Dialect = Dialect {
    vendor: "bedrock-converse",
    media_type: "application/vnd.amazon.eventstream",
    recorded: "",
    says: "",
    failure: r#"{"__type":"ServiceUnavailableException","message":"busy"}"#,
    failed_event: "",
    names_answers: false,
    ..OPENAI
};

const ALL: [Dialect; 7] = [
    OPENAI,
    Dialect {
        vendor: "openai-responses",
        has_stop: false,
        recorded: include_str!("../../src/providers/responses/fixtures/stream.sse"),
        says: "Hi there 😀",
        failed_event: "data: {\"type\":\"error\",\"code\":\"overloaded\",\"message\":\"busy\"}\n\n",
        ..OPENAI
    },
    Dialect {
        vendor: "openai-completions",
        has_tools: false,
        recorded: include_str!("../../src/providers/completions/fixtures/stream.sse"),
        says: "This is å test",
        ..OPENAI
    },
    Dialect {
        vendor: "anthropic",
        recorded: include_str!("../../src/providers/anthropic/fixtures/stream.sse"),
        says: "Hello! Ça va 😀",
        failure: r#"{"type":"error","error":{"type":"overloaded_error","message":"busy"}}"#,
        failed_event: "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}\n\n",
        ..OPENAI
    },
    Dialect {
        vendor: "gemini",
        recorded: include_str!("../../src/providers/gemini/fixtures/stream.sse"),
        says: "Once upon a tïme",
        failure: r#"{"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}"#,
        failed_event: "data: {\"error\":{\"code\":503,\"message\":\"busy\",\"status\":\"UNAVAILABLE\"}}\r\n\r\n",
        ..OPENAI
    },
    Dialect {
        vendor: "ollama",
        has_tool_choice: false,
        media_type: "application/x-ndjson",
        recorded: include_str!("../../src/providers/ollama/fixtures/stream.ndjson"),
        says: "Hello thére 😀",
        failure: r#"{"error":{"message":"busy","type":"overloaded"}}"#,
        failed_event: "{\"error\":{\"message\":\"busy\",\"type\":\"overloaded\"}}\n",
        ..OPENAI
    },
    Dialect { vendor: OUTSIDE, ..OPENAI },
];

/// A vendor that is not in the table, with a dialect of another crate.
const OUTSIDE: &str = "outside";

/// A dialect of another crate that differs from OpenAI's in its errors.
struct Outside(Arc<dyn Protocol>);

impl Outside {
    fn new() -> Self {
        Self(fanweave_models::Dialect::OpenAiChat.protocol(Quirks::new()))
    }
}

impl Protocol for Outside {
    fn request(&self, call: &Call<'_>) -> Result<HttpRequest, Error> {
        self.0.request(call)
    }

    fn response(&self, body: &[u8]) -> Result<Message, Error> {
        self.0.response(body)
    }

    fn decoder(&self) -> Box<dyn StreamDecoder> {
        self.0.decoder()
    }
}

fn sim(settings: Settings) -> Sim {
    Sim::start(settings).unwrap()
}

impl Dialect {
    fn on(self, url: &str, model: &str) -> ModelBuilder {
        let is_openai = self.vendor.starts_with("openai") || self.vendor == OUTSIDE;
        let url = if is_openai { format!("{url}/v1") } else { url.to_owned() };
        let name = format!("{}/{model}", self.vendor);
        let model =
            ModelBuilder::new(name).base_url(url).api_key("sk-right-1234").retry(RetryPolicy::never());
        if self.vendor == OUTSIDE { model.protocol(Outside::new()) } else { model }
    }

    fn model(self, sim: &Sim, model: &str) -> Model {
        self.on(&sim.origin(), model).build().unwrap()
    }
}

/// Makes a test for each dialect of a promise that all of them keep.
macro_rules! all_dialects {
    ($promise:ident) => {
        dialects! { $promise: openai openai_responses openai_completions anthropic gemini ollama outside; bedrock_converse }
    };
}

/// Makes a test for each dialect with recorded streams.
macro_rules! recorded_dialects {
    ($promise:ident) => {
        dialects! { $promise: openai openai_responses openai_completions anthropic gemini ollama outside }
    };
}

/// Makes a test for each dialect with tools.
macro_rules! dialects_with_tools {
    ($promise:ident) => {
        dialects! { $promise: openai openai_responses anthropic gemini ollama outside; bedrock_converse }
    };
}

/// Makes a test for each dialect that follows a schema by itself.
macro_rules! dialects_with_schemas {
    ($promise:ident) => {
        dialects! { $promise: openai openai_responses anthropic gemini ollama outside }
    };
}

/// Makes a test for each dialect whose callers can demand that a tool is called.
macro_rules! dialects_with_tool_choice {
    ($promise:ident) => {
        dialects! { $promise: openai openai_responses anthropic gemini outside; bedrock_converse }
    };
}

/// Makes a test for each dialect that can set the reasoning.
macro_rules! dialects_with_reasoning {
    ($promise:ident) => {
        dialects! { $promise: openai openai_responses anthropic gemini ollama }
    };
}

/// Makes a test for each of the dialects, so that the failure of one hides no other.
macro_rules! dialects {
    (list: $($dialect:ident)* $(; $cloud:ident)?) => {
        [$(stringify!($dialect)),*]
    };
    ($promise:ident: $($dialect:ident)* $(; $cloud:ident)?) => {
        mod $promise {
            $(
                #[cfg(feature = "bedrock")]
                #[tokio::test]
                async fn $cloud() {
                    super::$promise(super::BEDROCK).await;
                }
            )?
            $(
                #[tokio::test]
                async fn $dialect() {
                    super::$promise(super::named(stringify!($dialect))).await;
                }
            )*
        }
    };
}

/// The dialect of the vendor with this name, in which `_` stands for `-`.
fn named(name: &str) -> Dialect {
    let vendor = name.replace('_', "-");
    ALL.into_iter().find(|dialect| dialect.vendor == vendor).expect("a dialect of ALL")
}

#[test]
fn every_dialect_is_tested() {
    let names = |is_tested: fn(&Dialect) -> bool| -> Vec<String> {
        ALL.iter()
            .filter(|dialect| is_tested(dialect))
            .map(|dialect| dialect.vendor.replace('-', "_"))
            .collect()
    };
    assert_eq!(names(|_| true), all_dialects!(list));
    assert_eq!(names(|_| true), recorded_dialects!(list));
    assert_eq!(names(|dialect| dialect.has_tools), dialects_with_tools!(list));
    assert_eq!(names(|dialect| dialect.has_tools), dialects_with_schemas!(list));
    assert_eq!(
        names(|dialect| dialect.has_tools && dialect.has_tool_choice),
        dialects_with_tool_choice!(list)
    );
}

/// The response, non-streaming and streaming.
async fn both(model: &Model, prompt: impl Into<Prompt>) -> [Result<Message, Error>; 2] {
    let prompt = prompt.into();
    [model.invoke(prompt.clone()).await, chain(model.clone()).stream(prompt).output().await]
}

fn weather() -> ToolSpec {
    ToolSpec {
        name: "get_weather".into(),
        description: "Current weather of a city".into(),
        parameters: json!({
            "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"],
        }),
    }
}

fn with(prompt: &str, parameters: Parameters) -> Prompt {
    Prompt { parameters, ..Prompt::from(prompt) }
}

all_dialects!(an_answer_is_the_same_with_and_without_streaming);
async fn an_answer_is_the_same_with_and_without_streaming(dialect: Dialect) {
    let sim = sim(Settings::default());
    let [whole, pieces] = both(&dialect.model(&sim, "echo"), "123456789").await;
    for message in [whole.unwrap(), pieces.unwrap()] {
        assert_eq!(message.text(), "cbf43926 123456789", "{dialect:?}");
        assert_eq!(message.finish_reason(), Some(&FinishReason::Stop), "{dialect:?}");
        let usage = message.usage();
        assert!(usage.input_tokens > 0 && usage.output_tokens > 0, "{dialect:?}: {usage:?}");
        let reply = message.reply.unwrap();
        let model = dialect.names_answers.then_some("echo");
        assert_eq!((reply.model.as_deref(), reply.attempts), (model, 1), "{dialect:?}");
        assert!(reply.request_id.is_some_and(|id| id.starts_with("req_")), "{dialect:?}");
    }
}

all_dialects!(a_stream_yields_several_deltas);
async fn a_stream_yields_several_deltas(dialect: Dialect) {
    let sim = sim(Settings { chunks: 5, ..Settings::default() });
    let run = chain(dialect.model(&sim, "echo")).stream("some words to say again");
    let texts: Vec<_> =
        run.filter_map(|piece| async move { piece.unwrap().as_text().map(str::to_owned) }).collect().await;
    assert_eq!(texts.len(), 5, "{dialect:?}: {texts:?}");
}

all_dialects!(a_system_message_and_earlier_turns_are_part_of_the_prompt);
async fn a_system_message_and_earlier_turns_are_part_of_the_prompt(dialect: Dialect) {
    let sim = sim(Settings::default());
    let model = dialect.model(&sim, "echo");
    let short = model.invoke("again").await.unwrap();
    let long = Prompt::new([
        Message::user("a question of several words"),
        Message::assistant("an answer of several words"),
        Message::user("again"),
    ]);
    let long = model.invoke(long.with_system("Do as you are told.")).await.unwrap();
    assert!(long.text().ends_with("again"), "{dialect:?}");
    assert!(long.usage().input_tokens > short.usage().input_tokens + 10, "{dialect:?}");
}

dialects_with_tools!(one_or_several_tools_are_called_and_their_results_are_sent_back);
async fn one_or_several_tools_are_called_and_their_results_are_sent_back(dialect: Dialect) {
    let sim = sim(Settings::default());
    let parameters = Parameters::new().tools([weather()]);
    let model = dialect.model(&sim, "writer").with(parameters);
    for (question, calls) in
        [("What is the weather in Paris?", 1), ("What is the weather in both Paris and Rome?", 2)]
    {
        for message in both(&model, question).await {
            let message = message.unwrap();
            assert_eq!(message.finish_reason(), Some(&FinishReason::ToolCalls), "{dialect:?}");
            let called: Vec<_> = message.tool_calls().cloned().collect();
            assert_eq!(called.len(), calls, "{dialect:?}: {called:?}");
            assert!(calls == 1 || called[0].id != called[1].id, "{dialect:?}: {called:?}");
            for call in &called {
                assert_eq!(call.name, "get_weather", "{dialect:?}");
                assert!(call.parse_arguments().unwrap()["city"].is_string(), "{dialect:?}: {call:?}");
            }
            let result = |id: &String| Part::ToolResult(ToolResult::new(id, "18 degrees"));
            let results = called.iter().map(|call| result(&call.id)).collect();
            let results = Message::from_parts(Role::Tool, results);
            let next = Prompt::new([Message::user(question), message, results]);
            let said = model.invoke(next).await.unwrap();
            assert!(said.text().contains("18 degrees"), "{dialect:?}: {}", said.text());
        }
    }
}

/// Returns the weather.
struct Weather;

impl Tool for Weather {
    type Arguments = City;

    fn spec(&self) -> ToolSpec {
        weather()
    }

    async fn call(&self, City { city }: City, _: &Context) -> Result<String, Error> {
        Ok(format!("18 degrees in {city}"))
    }
}

#[derive(serde::Deserialize)]
struct City {
    city: String,
}

dialects_with_tools!(the_tool_loop_reaches_its_answer_with_and_without_streaming);
async fn the_tool_loop_reaches_its_answer_with_and_without_streaming(dialect: Dialect) {
    let sim = sim(Settings::default());
    let choice = dialect.has_tool_choice.then_some(ToolChoice::Required);
    let mut parameters = Parameters::new();
    parameters.tool_choice = choice;
    let model = dialect.model(&sim, "writer").with(parameters);
    let agent = chain(model.with_tools(Tools::new().tool(Weather)).run_tools(3));
    let prompt = Prompt::from("What is the weather in both Paris and Rome?");
    let whole = agent.invoke(prompt.clone()).await.unwrap();
    let pieces = agent.stream(prompt).output().await.unwrap();
    for answer in [whole, pieces] {
        let said = answer.text();
        assert!(
            ["Paris", "Rome"].iter().all(|city| said.contains(&format!("18 degrees in {city}"))),
            "{said}"
        );
        assert_eq!(answer.reply.unwrap().attempts, 2, "{dialect:?}");
    }
}

#[tokio::test]
async fn errors_in_tool_calls_are_reported_to_the_model() {
    let call = |name: &str, arguments: &str| {
        let call = json!({ "index": 0, "id": "a", "function": { "name": name, "arguments": arguments } });
        json!({ "choices": [{ "delta": { "tool_calls": [call] } }] })
    };
    let end = |reason: &str| json!({ "choices": [{ "delta": {}, "finish_reason": reason }] });
    let answers = [
        [call("get_wether", "{}"), end("tool_calls")],
        [call("get_weather", "{oops"), end("tool_calls")],
        [call("get_weather", "{\"town\": 7}"), end("tool_calls")],
        [json!({ "choices": [{ "delta": { "content": "I give up." } }] }), end("stop")],
    ];
    let received = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let requests = received.clone();
    let server = Server::start(move |request| {
        let body = &request.body;
        let mut requests = requests.lock().unwrap();
        let last = body["messages"].as_array().unwrap().last().unwrap();
        requests.push(last["content"].as_str().unwrap().to_owned());
        let events = answers[requests.len() - 1].iter().map(|event| format!("data: {event}\n\n"));
        streamed(OPENAI, (events.collect::<String>() + "data: [DONE]\n\n").as_bytes())
    })
    .await;
    let model = OPENAI.on(&format!("http://{}", server.address), "m").build().unwrap();
    let tools = model.with_tools(Tools::new().tool(Weather));
    let agent = chain(tools.run_tools(9).max_failures(4.try_into().unwrap()));
    assert_eq!(agent.stream("weather?").output().await.unwrap().text(), "I give up.");
    let received = received.lock().unwrap();
    assert_eq!(
        *received,
        [
            "weather?",
            "unknown tool `get_wether`; did you mean `get_weather`?",
            "the arguments are not valid JSON (key must be a string at line 1 column 2); send one JSON object",
            "the arguments do not fit the schema: missing field `city`",
        ]
    );
}

dialects_with_tool_choice!(a_tool_that_must_be_called_is_called);
async fn a_tool_that_must_be_called_is_called(dialect: Dialect) {
    let sim = sim(Settings::default());
    for (choice, calls) in
        [(ToolChoice::Required, 1), (ToolChoice::Tool("get_weather".into()), 1), (ToolChoice::None, 0)]
    {
        let parameters = Parameters::new().tools([weather()]).tool_choice(choice);
        let model = dialect.model(&sim, "writer");
        let message = model.invoke(with("Is Paris sunny weather?", parameters)).await.unwrap();
        assert_eq!(message.tool_calls().count(), calls, "{dialect:?}");
    }
}

dialects_with_schemas!(structured_output_follows_its_schema);
async fn structured_output_follows_its_schema(dialect: Dialect) {
    let sim = sim(Settings::default());
    let schema = json!({
        "type": "object", "properties": { "age": { "type": "integer" } }, "required": ["age"],
    });
    let format = ResponseFormat::JsonSchema { name: "person".into(), schema, strict: true };
    let parameters = Parameters::new().format(format);
    let prompt = with("How old is the speaker, who says she is 42?", parameters);
    for message in both(&dialect.model(&sim, "writer"), prompt).await {
        let said: Value = serde_json::from_str(&message.unwrap().text()).unwrap();
        assert_eq!(said, json!({ "age": 42 }), "{dialect:?}");
    }
}

all_dialects!(every_finish_reason_is_reported);
async fn every_finish_reason_is_reported(dialect: Dialect) {
    let sim = sim(Settings::default());
    let model = dialect.model(&sim, "echo");
    let limited = Parameters::new().max_tokens(1);
    for message in both(&model, with("one two three four five", limited)).await {
        assert_eq!(message.unwrap().finish_reason(), Some(&FinishReason::Length), "{dialect:?}");
    }
    let stopped = Parameters::new().stop(["three"]);
    for message in both(&model, with("one two three", stopped)).await {
        match message {
            Ok(message) => {
                assert!(message.text().ends_with("one two "), "{dialect:?}: {}", message.text());
                assert_eq!(message.finish_reason(), Some(&FinishReason::Stop), "{dialect:?}");
            }
            Err(error) => {
                assert_eq!((error.kind(), dialect.has_stop), (ErrorKind::Input, false), "{error}");
            }
        }
    }
}

all_dialects!(each_rejection_has_its_error_kind);
async fn each_rejection_has_its_error_kind(dialect: Dialect) {
    let settings = Settings {
        api_key: Some("sk-right-1234".into()),
        models: vec!["echo".into()],
        ..Settings::default()
    };
    let sim = sim(settings);
    let right = dialect.model(&sim, "echo").invoke("x").await;
    assert!(right.is_ok(), "{dialect:?}: {right:?}");
    let wrong = dialect.on(&sim.origin(), "echo").api_key("sk-wrong-canary").build().unwrap();
    let error = wrong.invoke("x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication, "{dialect:?}");
    assert!(!format!("{error:?} {:?}", error.body()).contains("canary"), "{error:?}");
    let error = dialect.model(&sim, "no-such-model").invoke("x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{dialect:?}");
    assert!(error.message().contains("no-such-model"), "{dialect:?}: {error}");
}

all_dialects!(a_rate_limit_reports_its_wait_and_a_server_error_is_retryable);
async fn a_rate_limit_reports_its_wait_and_a_server_error_is_retryable(dialect: Dialect) {
    let limited = sim(Settings { rpm: Some(1), ..Settings::default() });
    dialect.model(&limited, "echo").invoke("x").await.unwrap();
    // The first model would be queued: it already knows the limit.
    let error = dialect.model(&limited, "writer").invoke("x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited, "{dialect:?}");
    let wait = error.retry_after().expect("it says so");
    assert!((1..=61).contains(&wait.as_secs()), "{dialect:?}: {wait:?}");

    let broken = sim(Settings { error_rate: 1.0, ..Settings::default() });
    let error = dialect.model(&broken, "echo").invoke("x").await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Server | ErrorKind::Overloaded), "{dialect:?}: {error:?}");
    assert!(error.is_retryable(), "{dialect:?}");
}

all_dialects!(a_truncated_stream_is_never_a_success_and_carries_the_partial_message);
async fn a_truncated_stream_is_never_a_success_and_carries_the_partial_message(dialect: Dialect) {
    let resets = Settings { reset_rate: 1.0, ..Settings::default() };
    for settings in [Settings { truncate_rate: 1.0, ..Settings::default() }, resets] {
        let sim = sim(settings);
        let question = "one two three four five six seven eight nine ten";
        let [_, pieces] = both(&dialect.model(&sim, "echo"), question).await;
        let error = pieces.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StreamIncomplete, "{dialect:?}: {error:?}");
        let partial = error.partial().expect("half of it had arrived").text();
        assert!(partial.contains("one") && !partial.contains("ten"), "{dialect:?}: {partial}");
    }
}

all_dialects!(dropping_a_stream_closes_its_socket);
async fn dropping_a_stream_closes_its_socket(dialect: Dialect) {
    // A minute of stream, of which only the beginning is read.
    let sim = sim(Settings { chunk_delay: Duration::from_millis(50), chunks: 1200, ..Settings::default() });
    let long = "long ".repeat(400);
    let mut run = chain(dialect.model(&sim, "echo")).stream(long.as_str());
    run.next().await.unwrap().unwrap();
    drop(run);
    let closed = async {
        while sim.stats().client_disconnects == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let closed = tokio::time::timeout(Duration::from_secs(10), closed).await;
    assert!(closed.is_ok(), "{dialect:?}: {:?}", sim.stats());
}

/// A response head and a body that ends when the connection closes.
fn streamed(dialect: Dialect, body: &[u8]) -> Vec<Act> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {}\r\n\r\n", dialect.media_type);
    vec![Act::Send([head.as_bytes(), body].concat()), Act::Close]
}

/// Position of the finish reason in the recorded stream.
fn finished(dialect: Dialect) -> usize {
    const REASONS: [&str; 5] = [
        "\"finish_reason\":\"",
        "\"stop_reason\":\"",
        "\"finishReason\"",
        "\"done_reason\"",
        "response.completed",
    ];
    let finished = REASONS.iter().filter_map(|reason| dialect.recorded.rfind(reason)).max();
    finished.expect("a recorded stream has a finish reason")
}

recorded_dialects!(a_recorded_stream_cut_before_its_finish_reason_is_incomplete);
async fn a_recorded_stream_cut_before_its_finish_reason_is_incomplete(dialect: Dialect) {
    let finished = finished(dialect);
    let server = Server::start(move |seen| {
        let at = seen.head.lines().find_map(|line| line.strip_prefix("x-cut: ")?.parse().ok());
        let at: usize = at.unwrap_or(dialect.recorded.len());
        streamed(dialect, &dialect.recorded.as_bytes()[..at])
    })
    .await;
    let at = |cut: usize| {
        let url = format!("http://{}", server.address);
        dialect.on(&url, "m").header("x-cut", cut.to_string()).build().unwrap()
    };
    let end = dialect.recorded.trim_end().len();
    let cuts = stream::iter((0..end).map(|cut| {
        let model = chain(at(cut));
        async move { (cut, model.stream("x").output().await) }
    }));
    let mut cuts = cuts.buffer_unordered(8);
    while let Some((cut, result)) = cuts.next().await {
        match result {
            Ok(message) => {
                assert!(cut > finished, "{} cut at {cut} of {end}", dialect.vendor);
                assert!(message.finish_reason().is_some() && message.text() == dialect.says);
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::StreamIncomplete, "{} cut at {cut}", dialect.vendor);
            }
        }
    }
    let whole = chain(at(dialect.recorded.len())).stream("x").output().await.unwrap();
    assert_eq!(whole.text(), dialect.says);
}

recorded_dialects!(a_stream_is_known_by_its_first_bytes_whatever_its_label);
async fn a_stream_is_known_by_its_first_bytes_whatever_its_label(dialect: Dialect) {
    for label in ["application/json", "text/html; charset=utf-8"] {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {label}\r\n\r\n\n ");
        let begin = head.clone();
        let server = Server::start(move |seen| {
            // Without an end marker, and without one that is looked for, only the end of the connection ends
            // the stream.
            let is_marked = match dialect.vendor {
                "gemini" => false,
                "ollama" => seen.body["stream"] == true,
                _ => true,
            };
            let end = if is_marked { Act::Hang } else { Act::Close };
            // The first bytes decide, however they are split.
            let (start, rest) = dialect.recorded.as_bytes().split_at(3);
            let sent = [begin.as_bytes(), start].map(<[u8]>::to_vec).map(Act::Send);
            let pause = Act::Wait(Duration::from_millis(1));
            [sent.to_vec(), vec![pause, Act::Send(rest.to_vec()), end]].concat()
        })
        .await;
        let model = dialect.on(&format!("http://{}", server.address), "m").build().unwrap();
        let answers = tokio::time::timeout(Duration::from_secs(8), both(&model, "x")).await;
        for answer in answers.unwrap_or_else(|_| panic!("{} {label}", dialect.vendor)) {
            assert_eq!(answer.unwrap().text(), dialect.says, "{} {label}", dialect.vendor);
        }
        assert_eq!(server.requests().len(), 2);

        let body = format!("{head}{}", &dialect.recorded[..finished(dialect)]);
        let server = Server::start(move |_| vec![Act::Send(body.clone().into_bytes()), Act::Close]).await;
        let model = dialect.on(&format!("http://{}", server.address), "m").build().unwrap();
        for answer in both(&model, "x").await {
            let error = answer.unwrap_err();
            let partial = error.partial().map(Message::text).unwrap_or_default();
            assert_eq!(error.kind(), ErrorKind::StreamIncomplete, "{} {label}", dialect.vendor);
            assert!(
                !partial.is_empty() && dialect.says.starts_with(&partial),
                "{}: {partial}",
                dialect.vendor
            );
        }
        let mut pieces = chain(model).stream("x");
        let first = pieces.next().await.unwrap();
        assert!(first.is_ok(), "{} {label}: {first:?}", dialect.vendor);
    }
}

recorded_dialects!(a_failure_inside_a_success_is_a_failure);
async fn a_failure_inside_a_success_is_a_failure(dialect: Dialect) {
    let server = Server::start(move |seen| {
        let is_stream = seen.body["stream"] == true || seen.head.contains(":streamGenerateContent");
        if is_stream {
            streamed(dialect, dialect.failed_event.as_bytes())
        } else {
            answer(200, "", dialect.failure)
        }
    })
    .await;
    let model = dialect.on(&format!("http://{}", server.address), "m").build().unwrap();
    for result in both(&model, "x").await {
        let error = result.unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Overloaded, "busy"), "{dialect:?}");
        assert!(error.is_retryable(), "{dialect:?}");
    }
}

recorded_dialects!(a_bare_failure_at_the_end_of_a_stream_is_reported);
async fn a_bare_failure_at_the_end_of_a_stream_is_reported(dialect: Dialect) {
    let bare = serde_json::from_str::<Value>(dialect.failure).unwrap();
    let bare = serde_json::to_string_pretty(&bare).unwrap();
    let bare = if dialect.vendor == "gemini" { format!("[{bare}]") } else { bare };
    for before in ["", ": comment\n\n", "data: {}\n\n", "data: {}\r\n\r\n"] {
        let body = match dialect.media_type {
            "text/event-stream" => format!("{before}{bare}\n"),
            // One line is an object like any other.
            _ => dialect.failed_event.to_owned(),
        };
        let server = Server::start(move |_| streamed(dialect, body.as_bytes())).await;
        let model = dialect.on(&format!("http://{}", server.address), "m").build().unwrap();
        let error = chain(model).stream("x").output().await.unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Overloaded, "busy"), "{dialect:?}");
    }
}

#[tokio::test]
async fn calls_of_unknown_tools_and_invalid_json_arguments_are_kept_verbatim() {
    let openai = json!({ "choices": [{ "message": { "tool_calls": [
        { "id": "a", "function": { "name": "no_such_tool", "arguments": "{oops" } },
    ] } }] });
    let responses = json!({ "output": [
        { "type": "function_call", "call_id": "a", "name": "no_such_tool", "arguments": "{oops" },
    ] });
    for (dialect, body) in [(ALL[0], openai), (ALL[1], responses)] {
        let body = body.to_string();
        let server = Server::start(move |_| answer(200, "", &body)).await;
        let model = dialect.on(&format!("http://{}", server.address), "m").build().unwrap();
        let parameters = Parameters::new().tools([weather()]);
        let message = model.invoke(with("x", parameters)).await.unwrap();
        let call = message.tool_calls().next().expect("the call");
        assert_eq!((&*call.name, &*call.arguments), ("no_such_tool", "{oops"), "{dialect:?}");
        assert!(call.parse_arguments().is_err(), "{dialect:?}");
    }
    let events = [
        json!({ "type": "content_block_start", "index": 0, "content_block": {
            "type": "tool_use", "id": "a", "name": "no_such_tool", "input": {},
        } }),
        json!({ "type": "content_block_delta", "index": 0, "delta": {
            "type": "input_json_delta", "partial_json": "{oops",
        } }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "max_tokens" } }),
        json!({ "type": "message_stop" }),
    ];
    let body: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    let server = Server::start(move |_| streamed(ALL[3], body.as_bytes())).await;
    let model = ALL[3].on(&format!("http://{}", server.address), "m").build().unwrap();
    let message = chain(model).stream("x").output().await.unwrap();
    let call = message.tool_calls().next().expect("the call");
    assert_eq!((&*call.name, &*call.arguments), ("no_such_tool", "{oops"));
}

#[tokio::test]
async fn a_long_answer_of_anthropic_is_streamed_internally_and_can_be_retried() {
    let anthropic = ALL[3];
    let server = Server::start(move |seen| {
        let whole = anthropic.recorded;
        let cut = whole.find("event: message_delta").expect("the event with the finish reason");
        streamed(anthropic, if seen.number == 0 { &whole.as_bytes()[..cut] } else { whole.as_bytes() })
    })
    .await;
    let hasty = RetryPolicy::default().initial_backoff(Duration::from_millis(1));
    let model = anthropic.on(&format!("http://{}", server.address), "m").retry(hasty).build().unwrap();
    let long = Parameters::new().max_tokens(64_000);
    let message = model.invoke(with("x", long)).await.unwrap();
    assert_eq!((message.text().as_str(), message.reply.unwrap().attempts), (anthropic.says, 2));
    assert!(server.requests().iter().all(|seen| seen.body["stream"] == true));
}

#[tokio::test]
async fn each_dialect_sends_its_key_in_its_own_header() {
    for (dialect, header) in [
        (ALL[0], "authorization: bearer sk-right-1234"),
        (ALL[3], "x-api-key: sk-right-1234"),
        (ALL[4], "x-goog-api-key: sk-right-1234"),
    ] {
        let server = Server::start(|_| answer(404, "", "{}")).await;
        let url = format!("http://{}", server.address);
        let _ = dialect.on(&url, "m").build().unwrap().invoke("x").await;
        let bearer = dialect.on(&url, "m").key_header(fanweave_models::KeyHeader::Bearer);
        let _ = bearer.build().unwrap().invoke("x").await;
        let heads: Vec<_> = server.requests().iter().map(|seen| seen.head.to_lowercase()).collect();
        assert!(heads[0].contains(header), "{}", heads[0]);
        assert!(heads[1].contains("authorization: bearer sk-right-1234"), "{}", heads[1]);
        assert_eq!(heads[0].contains("anthropic-version: 2023-06-01"), dialect.vendor == "anthropic");
    }
}

#[tokio::test]
async fn a_key_function_is_called_before_each_request_and_its_key_stays_secret() {
    let server = Server::start(|seen| {
        let key = seen.head.lines().find_map(|line| line.strip_prefix("authorization: Bearer ")).unwrap();
        answer(401, "", &json!({ "error": { "message": format!("no such key: {key}") } }).to_string())
    })
    .await;
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let key = move || {
        let n = asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async move { Ok(format!("sk-canary-number-{n}")) }
    };
    let url = format!("http://{}", server.address);
    let model = OPENAI.on(&url, "m").api_key_fn(key).build().unwrap();
    for n in 0..3 {
        let error = model.invoke("x").await.unwrap_err();
        assert!(!format!("{error:?} {:?}", error.body()).contains("canary"), "{error:?} {:?}", error.body());
        assert!(server.requests()[n].head.contains(&format!("sk-canary-number-{n}")));
    }
}

recorded_dialects!(the_first_chunk_of_each_dialect_names_the_answer);
async fn the_first_chunk_of_each_dialect_names_the_answer(dialect: Dialect) {
    let sim = sim(Settings::default());
    let mut run = chain(dialect.model(&sim, "echo")).stream("x");
    let first = run.next().await.unwrap().unwrap();
    assert!(matches!(first, Delta::Started { .. }), "{dialect:?}: {first:?}");
}

#[tokio::test]
async fn any_number_of_embeddings_of_every_dialect_is_returned_in_order() {
    let sim = sim(Settings::default());
    let texts: Vec<_> = (0..300).map(|i| format!("text number {i}")).collect();
    let mut seen: Vec<Vec<Vec<f32>>> = Vec::new();
    for dialect in [ALL[0], ALL[4], ALL[5]] {
        let before = sim.stats().requests;
        let builder = dialect.on(&sim.origin(), "some-embedding").dimensions(8);
        let embedder = builder.build_embedder().unwrap();
        let answer = embedder.embed(texts.clone()).await.unwrap();
        let requests = sim.stats().requests - before;
        let expected = match dialect.vendor {
            "openai" => 1,
            "gemini" => 3,
            _ => 2,
        };
        assert_eq!((answer.vectors.len(), requests), (300, expected), "{dialect:?}");
        assert!(answer.vectors.iter().all(|vector| vector.len() == 8), "{dialect:?}");
        assert!(dialect.vendor == "gemini" || answer.usage.input_tokens > 300, "{dialect:?}");
        seen.push(answer.vectors);
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
    let refused = ALL[3].on(&sim.origin(), "m").build_embedder().unwrap_err();
    assert_eq!(refused.message(), "anthropic has no embeddings: choose another provider for them");
}

#[tokio::test]
async fn an_embedding_is_retried_and_an_error_names_its_model() {
    let server = Server::start(|seen| match seen.number {
        0 => answer(503, "retry-after-ms: 1\r\n", "{}"),
        1 => answer(200, "", r#"{"data":[{"embedding":[1.0]}]}"#),
        _ => answer(200, "", r#"{"data":[]}"#),
    })
    .await;
    let url = format!("http://{}", server.address);
    let hasty = RetryPolicy::default().initial_backoff(Duration::from_millis(1));
    let embedder = OPENAI.on(&url, "e").retry(hasty).build_embedder().unwrap();
    assert_eq!(embedder.embed(["x"]).await.unwrap().vectors, [[1.0]]);
    let error = embedder.embed(["x"]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"step openai/e: openai answered 200: expected 1 embeddings, got 0: {"data":[]}"#
    );
}

#[tokio::test]
async fn several_prompts_are_completed_in_one_request_and_in_order() {
    let sim = sim(Settings::default());
    let completer = ALL[2].on(&sim.origin(), "echo").build_completer().unwrap();
    let prompts: Vec<_> = (0..50).map(|i| format!("number {i}")).collect();
    let cx = fanweave_core::Context::new();
    let answers = completer.complete(prompts.clone(), &Parameters::default(), &cx).await.unwrap();
    assert_eq!(sim.stats().requests, 3);
    for (prompt, answer) in prompts.iter().zip(&answers) {
        assert!(answer.text().ends_with(prompt.as_str()), "{prompt}: {}", answer.text());
        assert!(answer.reply.as_ref().unwrap().request_id.is_some());
    }
    assert_eq!(answers.len(), 50);
    assert!(OPENAI.on(&sim.origin(), "echo").build_completer().is_err());
}

#[tokio::test]
async fn a_logged_call_is_posted_with_its_key_and_its_ids() {
    let log = Server::start(|_| answer(201, "", "{}")).await;
    let sim = sim(Settings::default());
    let sink = fanweave_models::log::PromptLayer::new("pl_right_1234").unwrap();
    let sink = sink.base_url(&format!("http://{}", log.address)).unwrap();
    let requests = fanweave_models::log::RequestLog::new(sink).unwrap();
    let model = requests.wrap(OPENAI.model(&sim, "echo"));
    let reply = model.invoke("x").await.unwrap().reply.unwrap();
    assert_eq!(requests.close().await.to_string(), "1 calls logged, 0 failed, 0 dropped");
    let seen = log.requests().remove(0);
    let head = seen.head.to_lowercase();
    assert!(head.starts_with("post /log-request ") && head.contains("x-api-key: pl_right_1234"), "{head}");
    assert_eq!(seen.body["metadata"]["id"].as_str(), reply.id.as_deref());
    assert_eq!(seen.body["metadata"]["request_id"].as_str(), reply.request_id.as_deref());
}

/// Bodies with status 200 that have no answer in any dialect.
const NO_ANSWERS: [(&str, &str); 9] = [
    ("application/json", ""),
    ("application/json", " \n"),
    ("application/json", "null"),
    ("application/json", "{}"),
    ("application/json", "[]"),
    ("application/json", r#"{"id":"x","choices":[{"index":0,"mess"#),
    ("text/html", "<html><body>maintenance</body></html>"),
    ("text/html", ""),
    ("text/plain", "upstream connect error or disconnect/reset before headers"),
];

all_dialects!(a_success_without_an_answer_is_retried_like_a_lost_connection);
async fn a_success_without_an_answer_is_retried_like_a_lost_connection(dialect: Dialect) {
    for (media_type, body) in NO_ANSWERS {
        let length = body.len();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\ncontent-length: {length}\r\n\r\n");
        let server =
            Server::start(move |_| vec![Act::Send([head.as_bytes(), body.as_bytes()].concat())]).await;
        let retry =
            RetryPolicy::default().initial_backoff(Duration::from_millis(1)).outage_timeout(Duration::ZERO);
        let model = dialect.on(&format!("http://{}", server.address), "m").retry(retry).build().unwrap();
        for result in both(&model, "x").await {
            let error = result.unwrap_err();
            // A body without a media type of its own may be a stream, a list an error of Gemini, and a
            // text the words of a server that is overloaded.
            use ErrorKind::*;
            let is_expected =
                matches!(error.kind(), Decode | StreamIncomplete | Server | Overloaded | Connection);
            assert!(is_expected && error.attempts() == 6, "{dialect:?} {media_type} {body:?}: {error}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_was_billed_and_is_empty_is_not_requested_again() {
    let server = Server::start(|_| {
        answer(200, "", r#"{"id":"x","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":0}}"#)
    })
    .await;
    let model =
        OPENAI.on(&format!("http://{}", server.address), "m").retry(RetryPolicy::default()).build().unwrap();
    let error = model.invoke("x").await.unwrap_err();
    assert_eq!((error.kind(), error.attempts(), server.requests().len()), (ErrorKind::Decode, 1, 1));
}

/// The simulated provider checks the settings strictly, as the real ones do.
async fn reasoning_is_set_in_the_form_of_the_dialect(dialect: Dialect) {
    let sim = sim(Settings::default());
    let is_openai = dialect.vendor.starts_with("openai");
    let takes_summary = dialect.vendor != "openai";
    for name in ["writer", "claude-sonnet-5", "gemini-2.5-flash"] {
        let model = dialect.model(&sim, name);
        let plain = model.invoke("Why?").await.unwrap();
        let plain = plain.reply.unwrap().usage;
        let mut settings: Vec<_> =
            ["none", "low", "medium", "high"].map(|level| Parameters::new().reasoning_effort(level)).into();
        settings.push(Parameters::new().reasoning_budget(0));
        if matches!(dialect.vendor, "anthropic" | "gemini") {
            settings.push(Parameters::new().reasoning_budget(2048));
        }
        for parameters in settings {
            let is_on = parameters.reasoning_effort.as_deref() != Some("none")
                && parameters.reasoning_budget != Some(0);
            let parameters = parameters.reasoning_summary(takes_summary && is_on);
            let answer = model.clone().with(parameters.clone()).invoke("Why?").await;
            let usage = answer.unwrap_or_else(|e| panic!("{name}, {parameters:?}: {e}")).reply.unwrap().usage;
            assert_eq!(usage.output_tokens > plain.output_tokens, is_on, "{name}, {parameters:?}: {usage:?}");
            if is_openai || dialect.vendor == "gemini" {
                let thought = usage.output_tokens - plain.output_tokens;
                assert_eq!(usage.reasoning_tokens, thought, "{name}, {parameters:?}");
            }
        }
    }
}

dialects_with_reasoning!(reasoning_is_set_in_the_form_of_the_dialect);

#[tokio::test]
async fn an_unknown_level_is_an_error_with_the_known_ones_and_can_be_dropped() {
    let sim = sim(Settings::default());
    let hard = Parameters::new().reasoning_effort("hard");
    for (dialect, known) in [(OPENAI, "'none', 'minimal', 'low'"), (named("openai_responses"), "and 'max'")] {
        let refused = dialect.model(&sim, "level").with(hard.clone()).invoke("Why?").await.unwrap_err();
        let said = refused.to_string();
        assert_eq!(refused.kind(), ErrorKind::BadRequest);
        assert_eq!(refused.code(), Some("unsupported_value"));
        assert!(said.contains("'hard'") && said.contains(known) && said.contains("adapt"), "{said}");
        let model = dialect.on(&sim.origin(), "drop").adapt(true).build().unwrap().with(hard.clone());
        assert!(!model.invoke("Why?").await.unwrap().text().is_empty());
    }
}

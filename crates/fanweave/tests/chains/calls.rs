//! Functions as calls, over sockets.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use fanweave::call::{Config, Overrides};
use fanweave::models::{Client, ModelBuilder};
use fanweave::{
    ChatModel, Context, Delta, Error, ErrorKind, Message, Model, Parameters, Prompt, Result, chain,
    compose::RetryPolicy, structured, tools::ToolChoice,
};
use fanweave_sim::Settings;
use futures::future::join_all;

use crate::provider::Provider;

/// The provider of the calls below. Attributes are evaluated once.
fn shared() -> &'static Provider {
    static SHARED: OnceLock<Provider> = OnceLock::new();
    SHARED.get_or_init(|| Provider::slow(300))
}

#[fanweave::call(model = shared().model("echo").build())]
async fn repeat(text: &str) -> String {
    text.to_owned()
}

/// Looks up the weather in a city.
#[fanweave::tool]
async fn get_weather(city: String) -> String {
    format!("It is sunny in {city}.")
}

/// A provider for a single test, which counts its connections.
fn alone() -> &'static Provider {
    static ALONE: OnceLock<Provider> = OnceLock::new();
    ALONE.get_or_init(|| Provider::slow(300))
}

#[fanweave::call(model = alone().model("echo").build())]
async fn count(text: &str) -> String {
    text.to_owned()
}

#[tokio::test]
async fn fifty_concurrent_calls_share_one_client_and_take_the_time_of_one() {
    count("warm").await.unwrap();
    let began = Instant::now();
    count("one").await.unwrap();
    let one = began.elapsed();
    let began = Instant::now();
    let texts: Vec<_> = (0..50).map(|n| format!("number {n}")).collect();
    let responses = join_all(texts.iter().map(|text| count(text))).await;
    let wall = began.elapsed();
    for (text, response) in texts.iter().zip(responses) {
        assert!(response.unwrap().content().ends_with(text.as_str()));
    }
    println!("50 calls took {:.3} times as long as one", wall.as_secs_f64() / one.as_secs_f64());
    assert!(wall < one * 3, "50 calls took {wall:?}, and one {one:?}");
    let stats = alone().stats();
    assert!(stats.peak_connections <= 51, "{} connections", stats.peak_connections);
    // A second round opens no connection.
    let opened = stats.connections_opened;
    join_all(texts.iter().map(|text| count(text))).await;
    assert_eq!(alone().stats().connections_opened, opened);
}

#[tokio::test]
async fn a_call_is_a_chain_and_a_row_and_runs_where_nothing_is_async() {
    let rows = repeat::chain().batch(["a", "b"].map(String::from)).collect().await;
    let texts: Vec<_> = rows.into_iter().map(|row| row.unwrap().content().chars().last()).collect();
    assert_eq!(texts, [Some('a'), Some('b')]);
    let piped = repeat::chain()
        | fanweave::step(|response: fanweave::call::Response, _| async move { Ok(response.content().len()) });
    assert_eq!(piped.invoke("four".to_owned()).await.unwrap(), 8 + 1 + 4);
    let blocking = tokio::task::spawn_blocking(|| repeat("c").blocking()).await.unwrap().unwrap();
    assert!(blocking.content().ends_with('c'));
    assert!(blocking.usage().total_tokens() > 0 && blocking.latency() >= Duration::from_millis(300));
}

#[fanweave::call(model = "sim/echo")]
fn odd_names(
    mut cx: String,
    asks: &[u8],
    asked: &'static str,
    r#type: Option<u8>,
) -> Result<Vec<Message>, std::fmt::Error> {
    cx.push_str(&format!("{asks:?}{asked}{type:?}"));
    Ok(vec![Message::user(cx)])
}

#[fanweave::call(model = "sim/echo")]
async fn within(cx: &Context, text: &str) -> Result<String> {
    // A nested call is part of the same run.
    Ok(odd_names(text.to_owned(), &[1], "!", None).invoke_in(cx).await?.content().to_owned())
}

#[tokio::test(start_paused = true)]
async fn arguments_may_have_any_name_and_the_context_is_not_an_argument() {
    assert!(
        odd_names("a".into(), &[1, 2], "b", Some(3)).await.unwrap().content().ends_with("a[1, 2]bSome(3)")
    );
    let calls = std::sync::Arc::new(AtomicUsize::new(0));
    let seen = calls.clone();
    let cx = Context::new().with_observer(std::sync::Arc::new(move |event: &fanweave::Event| {
        if let fanweave::EventKind::StepFinished { reply: Some(_) } = event.kind {
            seen.fetch_add(1, Ordering::Relaxed);
        }
    }));
    assert!(within("c").invoke_in(&cx).await.unwrap().content().ends_with("c[1]!None"));
    assert_eq!(calls.load(Ordering::Relaxed), 2, "both model calls are seen");
    assert!(within::chain().invoke("d".to_owned()).await.unwrap().content().ends_with("d[1]!None"));
}

/// With lints as errors, and without a prelude.
#[deny(warnings)]
#[no_implicit_prelude]
mod strict {
    use ::std::string::String;

    #[::fanweave::call(model = "sim/echo", stop = ["x"], timeout = ::std::time::Duration::from_secs(1))]
    #[expect(unused_variables, reason = "the tone is not used yet")]
    pub(super) async fn plain(text: &'_ str, tone: u8) -> String {
        text.into()
    }

    use ::std::convert::Into;
}

/// With fanweave under another name.
mod renamed {
    mod re {
        pub(super) use fanweave as ai;
    }

    #[re::ai::tool(crate = "re::ai")]
    pub(super) fn double(n: u8) -> u8 {
        n * 2
    }

    #[re::ai::tool(crate = "re::ai")]
    pub(super) struct Half {
        pub(super) n: u8,
    }

    impl Half {
        async fn call(&self) -> u8 {
            self.n / 2
        }
    }

    #[re::ai::call(crate = "re::ai", model = "sim/echo", tools(double, Half), temperature = 0.5)]
    pub(super) async fn plain(topic: &str) -> re::ai::Prompt {
        re::ai::prompt!("All about {{ topic }}.", topic)
    }
}

#[tokio::test(start_paused = true)]
async fn calls_and_tools_compile_if_fanweave_has_another_name() {
    assert!(renamed::plain("tides").await.unwrap().content().ends_with("All about tides."));
    assert_eq!(renamed::double(2), 4);
    let half = renamed::Half { n: 4 };
    assert_eq!(fanweave::tools::TypedTool::run_tool(half, &Context::new()).await.unwrap(), "2");
}

/// Attributes generated by a macro.
macro_rules! calls {
    ($name:ident, $cx:ty, $of:ty, $model:literal) => {
        #[fanweave::call(model = $model, provider = "sim")]
        fn $name(cx: $cx, text: $of) -> String {
            let _ = cx;
            text.to_owned()
        }
    };
}

calls!(written, &Context, &str, "echo");

#[tokio::test(start_paused = true)]
async fn calls_compile_with_strict_lints_without_a_prelude_and_in_a_macro() {
    assert!(strict::plain("a", 1).await.unwrap().content().ends_with('a'));
    assert!(written("b").with_model("sim/echo").await.unwrap().content().ends_with('b'));
}

/// Answers with its name.
struct Named(String);

impl ChatModel for Named {
    fn name(&self) -> &str {
        &self.0
    }

    async fn generate(&self, _: Prompt, _: &Context) -> Result<Message> {
        tokio::time::sleep(Duration::from_millis(fastrand_ms())).await;
        Ok(Message::assistant(&*self.0))
    }
}

/// A number from 1 to 20, different each time.
fn fastrand_ms() -> u64 {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    (LAST.fetch_add(7, Ordering::Relaxed) % 20 + 1) as u64
}

#[fanweave::call(model = Model::new(Named("test/attribute".into())))]
async fn who(n: usize) -> Config {
    tokio::time::sleep(Duration::from_millis(fastrand_ms())).await;
    let config = Config::new(n.to_string());
    if n % 4 == 3 { config.model(Model::new(Named("test/config".into()))) } else { config }
}

#[tokio::test(start_paused = true)]
async fn overrides_in_one_task_never_affect_another() {
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..1000_usize {
        tasks.spawn(async move {
            let own = |what: &str| Model::new(Named(format!("test/{what} {n}")));
            let (answer, wanted) = match n % 5 {
                0 => (who(n).with_model(own("call")).await, format!("test/call {n}")),
                1 => (
                    Overrides::new().model(own("scope")).scope(async { who(n).await }).await,
                    format!("test/scope {n}"),
                ),
                // The closest override takes precedence.
                2 => {
                    let both = async { who(n).with_model(own("call")).await };
                    (Overrides::new().model(own("scope")).scope(both).await, format!("test/call {n}"))
                }
                _ => (who(n).await, if n % 4 == 3 { "test/config".into() } else { "test/attribute".into() }),
            };
            assert_eq!(answer.unwrap().content(), wanted);
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

#[tokio::test]
async fn overrides_of_a_context_yield_to_those_of_the_scope_and_win_over_the_function() {
    let own = |what: &str| Overrides::new().model(Model::new(Named(format!("test/{what}"))));
    let cx = Context::new().with_extension(Arc::new(own("context")));
    // `who(3)` returns a model of its own.
    assert_eq!(who(3).invoke_in(&cx).await.unwrap().content(), "test/context");
    let scoped = own("scope").scope(async { who(3).invoke_in(&cx).await }).await;
    assert_eq!(scoped.unwrap().content(), "test/scope");
    // The scope is that in which the call is made.
    let made_outside = who(3);
    let run = own("scope").scope(async { made_outside.invoke_in(&cx).await }).await;
    assert_eq!(run.unwrap().content(), "test/context");
    assert_eq!(who(3).await.unwrap().content(), "test/config");
}

/// Runs another call on the thread pool.
#[fanweave::tool]
fn second_opinion() -> Result<String> {
    Ok(who(0).blocking()?.content().to_owned())
}

#[tokio::test]
async fn overrides_of_a_scope_apply_to_its_batches_streams_and_threads() {
    let own = || Overrides::new().model(Model::new(Named("test/scope".into())));
    let rows =
        own().scope(async { who::chain().batch([0_usize, 1, 2]).concurrency(2).collect().await }).await;
    let answer: Vec<_> = rows.into_iter().map(|row| row.unwrap().content().to_owned()).collect();
    assert_eq!(answer, ["test/scope"; 3]);
    let folder = tempfile::tempdir().unwrap();
    let written = folder.path().join("out.jsonl");
    let source = fanweave::batch::Source::from_reader("rows", "a\nb\n".as_bytes(), None).unwrap();
    let output = fanweave::batch::Output::File(written.clone());
    let job = fanweave::batch::BatchJob::over(source, |_| Ok(0_usize), who::chain(), output);
    assert_eq!(own().scope(job.run()).await.unwrap().ok, 2);
    assert_eq!(std::fs::read_to_string(written).unwrap().matches("test/scope").count(), 2);
    let output = own().scope(async { who::chain().stream(1_usize).output().await }).await.unwrap();
    assert_eq!(output.content(), "test/scope");
    let blocking = own().scope(async { who::chain().blocking().invoke(1_usize) }).await.unwrap();
    assert_eq!(blocking.content(), "test/scope");
    let call = || serde_json::from_value::<second_opinion>(serde_json::json!({})).unwrap();
    let tool = own().scope(async { fanweave::tools::TypedTool::run_tool(call(), &Context::new()).await });
    assert_eq!(tool.await.unwrap(), "test/scope");
}

#[fanweave::call(model = "openai/echo", client = Client::builder().build())]
async fn unreachable(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("nothing to say".to_owned()) } else { Ok(text.to_owned()) }
}

#[fanweave::call(model = "sim/echo")]
fn unread() -> std::io::Result<String> {
    Err(std::io::Error::other("no disk"))
}

#[tokio::test]
async fn errors_name_the_function_and_are_returned_by_awaiting_the_call() {
    let error = unreachable("").await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Step, "nothing to say"));
    assert!(error.to_string().contains("unreachable"), "{error}");
    let error = unread().await.unwrap_err();
    let source = std::error::Error::source(&error).expect("what the function returned");
    assert_eq!((error.message(), source.to_string().as_str()), ("no disk", "no disk"));
    let error = repeat("x").with_model("openia/gpt").await.unwrap_err();
    assert!(
        error.to_string().contains("did you mean `openai`?") && error.to_string().contains("repeat"),
        "{error}"
    );
    let error = repeat("x").with_client(Client::builder().build().unwrap()).await.unwrap_err();
    assert!(error.message().contains("override the model, not the client"), "{error}");
}

/// Selects its model, by name or by value.
#[fanweave::call(model = "openai/echo")]
fn decided(by_name: bool) -> Config {
    let config = Config::new("x");
    if by_name { config.model("sim/echo") } else { config.model(fanweave::model("sim/echo").unwrap()) }
}

#[tokio::test]
async fn a_client_override_applies_to_the_model_of_the_function_or_is_an_error() {
    let client = || Client::builder().build().unwrap();
    let error = decided(true).with_client(client()).await.unwrap_err();
    assert!(error.message().contains("`sim/echo` is simulated in this process"), "{error}");
    let error = decided(false).with_client(client()).await.unwrap_err();
    assert!(error.message().contains("override the model, not the client"), "{error}");
    assert!(decided(true).await.is_ok() && decided(false).await.is_ok());
}

/// Fails once, then answers.
fn flaky() -> Model {
    struct Flaky(AtomicUsize);
    impl ChatModel for Flaky {
        fn name(&self) -> &str {
            "test/flaky"
        }
        async fn generate(&self, prompt: Prompt, _: &Context) -> Result<Message> {
            match self.0.fetch_add(1, Ordering::SeqCst) {
                0 => Err(Error::new(ErrorKind::Server, "not yet")),
                _ => Ok(Message::assistant(prompt.last_user_text())),
            }
        }
    }
    Model::new(Flaky(AtomicUsize::new(0)))
}

fn broken() -> Model {
    struct Broken;
    impl ChatModel for Broken {
        fn name(&self) -> &str {
            "test/broken"
        }
        async fn generate(&self, _: Prompt, _: &Context) -> Result<Message> {
            Err(Error::new(ErrorKind::BadRequest, "no"))
        }
    }
    Model::new(Broken)
}

#[fanweave::call(model = flaky(), retry = RetryPolicy::default(), timeout = Duration::from_secs(60))]
async fn retried(text: &str) -> String {
    text.to_owned()
}

#[fanweave::call(model = broken(), fallback = ["sim/echo"])]
async fn falls_back(text: &str) -> String {
    text.to_owned()
}

#[fanweave::call(model = shared().model("echo").build(), timeout = Duration::from_millis(20))]
async fn hurried(text: &str) -> String {
    text.to_owned()
}

#[tokio::test(start_paused = true)]
async fn retries_fallbacks_and_timeouts_are_set_by_the_attribute() {
    assert_eq!(retried("again").await.unwrap().content(), "again");
    assert!(falls_back("other").await.unwrap().content().ends_with("other"));
}

/// Takes a second, and calls a tool the first time.
fn unhurried() -> Model {
    struct Unhurried;
    impl ChatModel for Unhurried {
        fn name(&self) -> &str {
            "test/unhurried"
        }
        async fn generate(&self, prompt: Prompt, _: &Context) -> Result<Message> {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let mut message = Message::assistant("sunny");
            if prompt.messages.len() == 1 {
                let (id, name, arguments) = ("1".into(), "get_weather".into(), r#"{"city": "Paris"}"#.into());
                message.parts = vec![fanweave::messages::Part::ToolCall(fanweave::messages::ToolCall {
                    id,
                    name,
                    arguments,
                })];
            }
            Ok(message)
        }
    }
    Model::new(Unhurried)
}

#[fanweave::call(model = unhurried(), tools(get_weather), run_tools = 3, timeout = Duration::from_millis(1500))]
async fn delayed(wait: Duration) -> String {
    tokio::time::sleep(wait).await;
    "What is the weather in Paris?".to_owned()
}

#[tokio::test(start_paused = true)]
async fn the_timeout_of_a_call_covers_its_function_and_all_rounds() {
    let began = tokio::time::Instant::now();
    assert_eq!(delayed(Duration::ZERO).await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(delayed::chain().invoke(Duration::from_secs(9)).await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(began.elapsed(), Duration::from_secs(3));
}

#[tokio::test]
async fn a_call_that_takes_too_long_times_out() {
    assert_eq!(hurried("slow").await.unwrap_err().kind(), ErrorKind::Timeout);
}

#[fanweave::call(model = shared().model("writer").build(), tools(get_weather))]
async fn offered() -> String {
    "What is the weather in both cities: Paris and London?".to_owned()
}

#[fanweave::call(model = shared().model("writer").build(), tools(get_weather), run_tools = 4)]
async fn run_to_the_end() -> String {
    "What is the weather in both cities: Paris and London?".to_owned()
}

#[fanweave::call(
    model = shared().model("writer").build(),
    tools(get_weather),
    run_tools = 3,
    parameters = Parameters::new().tool_choice(ToolChoice::Required),
)]
async fn made_to_look() -> String {
    "What is the weather in Paris?".to_owned()
}

#[tokio::test]
async fn a_tool_that_the_attribute_forces_is_forced_once() {
    assert!(made_to_look().await.unwrap().content().contains("It is sunny in Paris."));
}

/// Answers with its parameters.
fn reports() -> Model {
    struct Reports;
    impl ChatModel for Reports {
        fn name(&self) -> &str {
            "test/reports"
        }
        async fn generate(&self, prompt: Prompt, _: &Context) -> Result<Message> {
            Ok(Message::assistant(serde_json::to_string(&prompt.parameters).unwrap()))
        }
    }
    Model::new(Reports)
}

/// Has the name of a variable of the expanded code.
fn parameters() -> Parameters {
    Parameters::new().model("big").extra("a", 1)
}

#[fanweave::call(
    model = broken(),
    temperature = 0.5,
    max_tokens = 7,
    parameters = parameters(),
    fallback = [reports()],
)]
async fn set_for_all() -> Config {
    Config::new("").parameters(Parameters::new().max_tokens(9))
}

#[tokio::test]
async fn parameters_of_the_attribute_apply_to_fallbacks_unless_they_belong_to_one_provider() {
    let response = set_for_all().await.unwrap();
    assert_eq!(response.content(), r#"{"temperature":0.5,"max_tokens":9}"#);
}

#[tokio::test]
async fn tools_are_offered_and_typed_or_run_to_the_end() {
    let response = offered().await.unwrap();
    assert_eq!(response.finish_reason(), Some(&fanweave::messages::FinishReason::ToolCalls));
    let first = response.tool::<get_weather>().unwrap().unwrap();
    assert_eq!(first.city, "Paris");
    let cities: Vec<_> = response.tools::<get_weather>().unwrap().into_iter().map(|tool| tool.city).collect();
    assert_eq!(cities, ["Paris", "London"]);

    let response = run_to_the_end().await.unwrap();
    assert!(response.content().contains("It is sunny in London."), "{response}");
}

#[tokio::test]
async fn a_stream_has_deltas_of_text_and_of_tool_calls() {
    let mut stream = repeat("one two three").stream();
    let mut text = String::new();
    while let Some(piece) = stream.next().await {
        text.push_str(&piece.unwrap().to_string());
    }
    assert_eq!(stream.output().await.unwrap().content(), text);

    let mut stream = offered().stream();
    let mut names = HashSet::new();
    while let Some(piece) = stream.next().await {
        if let Delta::ToolCall { name: Some(name), .. } = piece.unwrap() {
            names.insert(name.to_string());
        }
    }
    assert_eq!(names, HashSet::from(["get_weather".to_owned()]));
    assert_eq!(stream.output().await.unwrap().tool_calls().count(), 2);
}

/// Types of many kinds.
mod shapes {
    #![expect(dead_code, reason = "they are read, and few fields are looked at")]

    use std::collections::BTreeMap;

    /// Fields of many kinds.
    #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
    pub(super) struct Library {
        pub(super) name: String,
        /// Opening date.
        #[schemars(extend("format" = "date"))]
        pub(super) opened: String,
        pub(super) shelves: Vec<Shelf>,
        pub(super) curator: Option<Person>,
        pub(super) kind: Kind,
        pub(super) rating: f32,
    }

    #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
    pub(super) struct Shelf {
        #[schemars(range(min = 1, max = 99))]
        pub(super) number: u16,
        #[schemars(length(min = 1))]
        pub(super) books: Vec<Book>,
    }

    #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
    pub(super) struct Book {
        #[schemars(length(min = 1))]
        pub(super) title: String,
        pub(super) cover: Option<Cover>,
    }

    #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
    #[serde(tag = "kind", rename_all = "snake_case")]
    pub(super) enum Cover {
        Paper { colour: String },
        Cloth,
    }

    #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
    pub(super) struct Person {
        pub(super) name: String,
        /// Purchases by year.
        #[serde(default)]
        pub(super) email: Option<String>,
    }

    #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
    #[serde(rename_all = "lowercase")]
    pub(super) enum Kind {
        Public,
        Private,
    }

    /// A type that strict mode cannot express.
    #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
    pub(super) struct Index {
        pub(super) by_year: BTreeMap<String, Vec<String>>,
    }

    /// A struct with a flattened enum.
    #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
    pub(super) struct Figure {
        pub(super) id: u64,
        pub(super) corner: (i8, i8),
        #[serde(flatten)]
        pub(super) shape: Shape,
    }

    #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
    #[serde(tag = "shape")]
    pub(super) enum Shape {
        Circle { radius: f64 },
        Square { side: f64 },
    }

    /// A recursive type with doc comments on the recursion.
    #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
    pub(super) enum Sum {
        Number(f64),
        Plus {
            /// The first one.
            left: Box<Sum>,
            right: Box<Sum>,
        },
    }

    /// A recursive type.
    #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
    pub(super) struct Folder {
        pub(super) name: String,
        pub(super) folders: Vec<Folder>,
    }
}

use shapes::{Book, Figure, Folder, Index, Kind, Library, Sum};

#[tokio::test]
async fn every_provider_accepts_the_schema_of_a_type_and_its_answer_is_parsed() {
    let provider = Provider::start(Settings::default());
    let url = provider.url();
    for (vendor, base) in [
        ("openai", url.clone()),
        ("openai-responses", url.clone()),
        ("anthropic", url.trim_end_matches("/v1").to_owned()),
        ("gemini", url.trim_end_matches("/v1").to_owned()),
        ("ollama", url.trim_end_matches("/v1").to_owned()),
    ] {
        let model =
            ModelBuilder::new(format!("{vendor}/writer")).base_url(base).api_key("sk-test").build().unwrap();
        let library = chain(structured::<Library>(model.clone())).invoke("Describe a library.").await;
        let library = library.unwrap_or_else(|error| panic!("{vendor}: {error}"));
        assert_eq!(library.opened.len(), "2026-11-21".len(), "{vendor}: {library:?}");
        let index = chain(structured::<Index>(model.clone())).invoke("Index a library.").await.map(drop);
        let folder = chain(structured::<Folder>(model.clone())).invoke("A folder.").await.map(drop);
        let sum = chain(structured::<Sum>(model.clone())).invoke("A sum.").await.map(drop);
        let figure = chain(structured::<Figure>(model.clone()).max_retries(0)).invoke("A figure.").await;
        // For Anthropic, the length of a list is described in words.
        let is_long = |error: &Error| vendor == "anthropic" && error.message().contains("invalid length");
        assert!(figure.as_ref().map_or_else(is_long, |_| true), "{vendor}: {figure:?}");
        for result in [index, folder, sum] {
            match result {
                // The schema is sent in words, which the simulated model does not understand.
                Err(error) if vendor == "anthropic" => assert_eq!(error.kind(), ErrorKind::Parse),
                other => other.unwrap_or_else(|error| panic!("{vendor}: {error}")),
            }
        }
        let list = chain(structured::<Vec<Kind>>(model)).invoke("List 3 kinds.").await;
        list.unwrap_or_else(|error| panic!("{vendor}: {error}"));
    }
}

#[fanweave::call(model = shared().model("writer").build(), response = Book, temperature = 0.0)]
async fn describe(title: &str) -> String {
    format!("Describe the book {title}.")
}

#[tokio::test]
async fn a_call_with_a_type_streams_the_value_so_far() {
    let mut stream = describe("Emma").stream();
    let mut last = None;
    while let Some(piece) = stream.next().await {
        let Delta::Value(value) = piece.unwrap() else { panic!("no value") };
        last = Some(value);
    }
    let book = stream.output().await.unwrap();
    assert_eq!(last.unwrap()["title"], book.title);
    let short = Parameters::new().max_tokens(1);
    let error = describe("Emma").with(short).await.unwrap_err();
    assert!(error.message().contains("raise `max_tokens`"), "{error}");
}

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::*;
use crate::model::fake::{Answer, Asked, Fake};
use crate::{
    ChatModel, Delta, Error, ErrorKind, EventKind, FinishReason, Message, Model, Parameters, Part, Prompt,
    Reply, Role, ToolCall, ToolChoice, Usage, chain, text,
};

#[derive(Debug, PartialEq, Deserialize)]
struct FormatBook {
    title: String,
    author: String,
}

impl TypedTool for FormatBook {
    const NAME: &'static str = "format_book";
    const DESCRIPTION: &'static str = "Writes a book the way that we write books.";

    fn parameters() -> Value {
        json!({
            "type": "object",
            "properties": { "title": { "type": "string" }, "author": { "type": "string" } },
            "required": ["title", "author"],
        })
    }

    async fn run_tool(self, _: &Context) -> Result<String> {
        Ok(format!("{} by {}", self.title, self.author))
    }
}

/// A tool of any name that behaves as its arguments specify.
struct Any(&'static str, Option<Duration>);

impl Tool for Any {
    type Arguments = Value;

    fn spec(&self) -> ToolSpec {
        ToolSpec { name: self.0.into(), description: String::new(), parameters: json!({ "type": "object" }) }
    }

    fn timeout(&self) -> Option<Duration> {
        self.1
    }

    async fn call(&self, arguments: Value, _: &Context) -> Result<String> {
        if let Some(seconds) = arguments["sleep"].as_u64() {
            sleep(Duration::from_secs(seconds)).await;
        }
        if arguments["panic"] == true {
            panic!("out of cheese");
        }
        match arguments["fail"].as_str() {
            Some(why) => Err(Error::new(ErrorKind::Step, why)),
            None => Ok(arguments["say"].as_str().unwrap_or("done").to_owned()),
        }
    }
}

/// A blocking tool.
struct Thread;

impl BlockingTool for Thread {
    type Arguments = Value;

    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "thread".into(),
            description: String::new(),
            parameters: json!({ "type": "object" }),
        }
    }

    fn call(&self, _: Value, _: &Context) -> Result<String> {
        // Needs no runtime, otherwise it would panic.
        crate::blocking::wait(async {});
        Ok(format!("{:?}", std::thread::current().id()))
    }
}

fn asks(calls: &[(&str, &str)]) -> Message {
    let parts = calls.iter().enumerate().map(|(i, (name, arguments))| {
        let (name, arguments) = ((*name).to_owned(), (*arguments).to_owned());
        Part::ToolCall(ToolCall { id: format!("call_{i}"), name, arguments })
    });
    Message {
        reply: Some(reply(FinishReason::ToolCalls)),
        ..Message::from_parts(Role::Assistant, parts.collect())
    }
}

fn says(text: &str) -> Message {
    Message { reply: Some(reply(FinishReason::Stop)), ..Message::assistant(text) }
}

fn reply(finish_reason: FinishReason) -> Box<Reply> {
    let usage = Usage::new(10, 3);
    Box::new(Reply { usage, attempts: 1, finish_reason: Some(finish_reason), ..Reply::default() })
}

/// A model with a script of messages, which records its prompts.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<Result<Message>>>>,
    prompts: Arc<Mutex<Vec<Prompt>>>,
}

impl Script {
    fn new(answers: impl IntoIterator<Item = Message>) -> Self {
        let answers = Arc::new(Mutex::new(answers.into_iter().map(Ok).collect()));
        Self { answers, ..Self::default() }
    }

    fn tools(&self, tools: Tools) -> WithTools {
        Model::new(self.clone()).with_tools(tools)
    }
}

impl ChatModel for Script {
    fn name(&self) -> &str {
        "test/script"
    }

    async fn generate(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
        self.prompts.lock().unwrap().push(prompt);
        let answer = self.answers.lock().unwrap().pop_front().expect("the script is long enough")?;
        for delta in crate::delta::of_message(&answer) {
            cx.delta(delta).await;
        }
        let reply = answer.reply.clone().unwrap_or_default();
        cx.delta(Delta::Usage(reply.usage)).await;
        cx.delta(Delta::Finished(reply.finish_reason.expect("it says so"))).await;
        Ok(answer)
    }
}

fn any() -> Tools {
    Tools::new().tool(Any("any", None)).with::<FormatBook>()
}

async fn results(tools: &Tools, calls: &[(&str, &str)]) -> Vec<(String, bool)> {
    let results = tools.execute(&asks(calls), &Context::new()).await;
    results.into_iter().map(|result| (result.text().into_owned(), result.is_error)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_limit_beyond_the_range_of_the_clock_never_ends() {
    let tools = Tools::new().tool(Any("t", Some(Duration::MAX))).timeout(Duration::MAX);
    let results = tools.execute(&asks(&[("t", r#"{"sleep": 1}"#)]), &Context::new()).await;
    assert_eq!((&*results[0].text(), results[0].is_error), ("done", false));
    let never = chain(crate::model::fake::Fake::echo()).timeout(Duration::MAX);
    assert_eq!(never.invoke("x").await.unwrap().text(), "x");
}

#[tokio::test]
async fn a_null_of_an_optional_argument_is_its_default() {
    #[derive(Deserialize)]
    struct Search {
        #[serde(default)]
        limit: u8,
    }
    impl TypedTool for Search {
        const NAME: &'static str = "search";
        const DESCRIPTION: &'static str = "";
        fn parameters() -> Value {
            json!({ "type": "object", "properties": { "limit": { "type": "integer" } } })
        }
        async fn run_tool(self, _: &Context) -> Result<String> {
            Ok(self.limit.to_string())
        }
    }
    let message =
        asks(&[("search", "null"), ("search", r#"{"limit": null}"#), ("search", r#"{"limit": 3}"#)]);
    let results = Tools::new().with::<Search>().execute(&message, &Context::new()).await;
    assert_eq!(results.iter().map(|result| result.text()).collect::<Vec<_>>(), ["0", "0", "3"]);
    assert_eq!(message.tools::<Search>().map(|search| search.unwrap().limit).collect::<Vec<_>>(), [0, 0, 3]);
    let huge = format!(r#"{{"limit": "{}"}}"#, "x".repeat(1_000_000));
    let results = Tools::new().with::<Search>().execute(&asks(&[("search", &huge)]), &Context::new()).await;
    assert!(
        results[0].text().len() < 1000 && results[0].text().contains("limit: expected integer, got \"xxx")
    );
    let wrong = asks(&[("format_book", r#"{"title": null, "author": "x"}"#)]);
    let results = Tools::new().with::<FormatBook>().execute(&wrong, &Context::new()).await;
    assert!(results[0].text().contains("title: expected string, got null"), "{results:?}");
}

#[tokio::test]
async fn arguments_encoded_twice_are_read() {
    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Search {
        q: String,
        #[serde(default)]
        limit: u8,
        #[serde(default)]
        tags: Vec<String>,
    }
    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "q": { "type": "string" },
                "limit": { "type": "integer" },
                "tags": { "type": "array", "items": { "type": "string" } },
            },
            "required": ["q"],
        })
    }
    impl TypedTool for Search {
        const NAME: &'static str = "search";
        const DESCRIPTION: &'static str = "";
        fn parameters() -> Value {
            schema()
        }
        async fn run_tool(self, _: &Context) -> Result<String> {
            Ok(format!("{} {} {}", self.q, self.limit, self.tags.join(" ")))
        }
    }
    struct Untyped;
    impl Tool for Untyped {
        type Arguments = Value;
        fn spec(&self) -> ToolSpec {
            ToolSpec { name: "search".into(), description: String::new(), parameters: schema() }
        }
        async fn call(&self, arguments: Value, _: &Context) -> Result<String> {
            let tags: Vec<_> =
                arguments["tags"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            Ok(format!(
                "{} {} {}",
                arguments["q"].as_str().unwrap(),
                arguments["limit"].as_u64().unwrap(),
                tags.join(" ")
            ))
        }
    }
    for arguments in [
        r#"{"q": "a", "limit": 5, "tags": ["x", "y"]}"#,
        r#"{"q": "a", "limit": "5", "tags": ["x", "y"]}"#,
        r#"{"q": "a", "limit": 5.0, "tags": ["x", "y"]}"#,
        r#"{"q": "a", "limit": 5, "tags": "[\"x\", \"y\"]"}"#,
        r#""{\"q\": \"a\", \"limit\": 5, \"tags\": [\"x\", \"y\"]}""#,
        r#"{"arguments": {"q": "a", "limit": 5, "tags": ["x", "y"]}}"#,
        r#"{"parameters": "{\"q\": \"a\", \"limit\": 5, \"tags\": [\"x\", \"y\"]}"}"#,
        r#"{"search": {"q": "a", "limit": 5, "tags": ["x", "y"]}}"#,
        r#"{"Q": "a", "Limit": 5, "TAGS": ["x", "y"]}"#,
        r"{q: 'a', limit: 5, tags: ['x', 'y',]}",
        r#"{"q": "a", "limit": "5", "tags": "['x', 'y']"}"#,
    ] {
        let message = asks(&[("search", arguments)]);
        for tools in [Tools::new().with::<Search>(), Tools::new().tool(Untyped)] {
            let results = tools.execute(&message, &Context::new()).await;
            assert_eq!(results[0].text(), "a 5 x y", "{arguments}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn eight_calls_take_the_time_of_one_and_keep_their_order() {
    let calls: Vec<_> = (0..8).map(|i| format!(r#"{{"sleep": {}, "say": "{i}"}}"#, 8 - i)).collect();
    let calls: Vec<_> = calls.iter().map(|arguments| ("any", arguments.as_str())).collect();
    let started = Instant::now();
    let outcomes = results(&any(), &calls).await;
    assert_eq!(started.elapsed().as_secs(), 8);
    let outcomes: Vec<_> = outcomes.iter().map(|(outcomes, _)| outcomes.as_str()).collect();
    assert_eq!(outcomes, ["0", "1", "2", "3", "4", "5", "6", "7"]);
    let started = Instant::now();
    results(&any().concurrency(1), &calls).await;
    assert_eq!(started.elapsed().as_secs(), 36);
}

#[tokio::test(start_paused = true)]
async fn whatever_is_wrong_with_a_call_the_model_gets_to_read() {
    let tools = any().tool(Any("slow", Some(Duration::from_secs(2)))).timeout(Duration::from_secs(5));
    let outcomes = results(
        &tools,
        &[
            ("format_bok", "{}"),
            ("weather", "{}"),
            ("format_book", r#"{"title": "Emma""#),
            ("format_book", r#"{"title": "Emma"}"#),
            ("any", r#"{"fail": "the disk is full"}"#),
            ("any", r#"{"panic": true}"#),
            ("slow", r#"{"sleep": 60}"#),
            ("any", r#"{"sleep": 60}"#),
            ("any", ""),
            ("format_book", r#"{"title": "Emma", "author": "Jane Austen"}"#),
        ],
    );
    let outcomes: Vec<_> =
        outcomes.await.into_iter().map(|(content, is_error)| format!("{is_error} {content}")).collect();
    insta::assert_snapshot!(outcomes.join("\n"), @"
    true unknown tool `format_bok`; did you mean `format_book`?
    true unknown tool `weather`; the tools are `any`, `format_book`, `slow`
    true the arguments are not valid JSON (EOF while parsing an object at line 1 column 16); send one JSON object
    true the arguments do not fit the schema: missing field `author`
    true the disk is full
    true a step panicked: out of cheese
    true the tool `slow` timed out after 2s
    true the tool `any` timed out after 5s
    false done
    false Emma by Jane Austen
    ");
}

#[tokio::test(start_paused = true)]
async fn a_raised_tool_error_is_the_error_of_the_run_with_its_payload() {
    struct Raises;
    impl Tool for Raises {
        type Arguments = Value;
        fn spec(&self) -> ToolSpec {
            let parameters = json!({ "type": "object" });
            ToolSpec { name: "raises".into(), description: String::new(), parameters }
        }
        async fn call(&self, arguments: Value, _: &Context) -> Result<String> {
            Err(match arguments.get("year") {
                Some(_) => Error::new(ErrorKind::Input, "the year must not be in the future"),
                None => Error::foreign(Arc::new(7_u32), "out of range"),
            })
        }
    }
    let run = async |calls: &[(&str, &str)], errors: ToolErrors| {
        let tools = any().tool(Raises).on_error(errors);
        let agent = Script::new([asks(calls), says("fine")]).tools(tools).run_tools(3);
        chain(agent).invoke("x").await
    };
    let started = Instant::now();
    let calls = [("raises", "{}"), ("any", r#"{"sleep": 60}"#)];
    let error = run(&calls, ToolErrors::Raise).await.unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Step, "step raises: out of range"));
    assert_eq!(error.payload().unwrap().downcast_ref::<u32>(), Some(&7));
    assert_eq!(started.elapsed().as_secs(), 0, "the other calls are dropped");
    assert_eq!(run(&calls, ToolErrors::ToModel).await.unwrap().text(), "fine");
    // Mistakes of the model are reported to the model, also those that the tool itself finds.
    for calls in [[("weather", "{}")], [("format_book", "{}")], [("raises", r#"{"year": 3000}"#)]] {
        assert_eq!(run(&calls, ToolErrors::Raise).await.unwrap().text(), "fine");
    }
}

#[tokio::test]
async fn a_tool_that_blocks_leaves_the_runtime_alone() {
    let outcomes = results(&Tools::new().blocking_tool(Thread), &[("thread", "{}")]).await;
    let here = format!("{:?}", std::thread::current().id());
    assert!(!outcomes[0].1 && outcomes[0].0 != here, "{outcomes:?}");
}

#[tokio::test]
async fn a_tool_that_blocks_too_long_or_panics_is_not_waited_for() {
    /// Blocks until the other end is dropped, and then panics.
    struct Stuck(Mutex<std::sync::mpsc::Receiver<()>>);

    impl BlockingTool for Stuck {
        type Arguments = Value;

        fn spec(&self) -> ToolSpec {
            Any("stuck", None).spec()
        }

        fn call(&self, _: Value, _: &Context) -> Result<String> {
            self.0.lock().expect("one call holds it").recv().expect("nobody is there");
            Ok(String::new())
        }
    }

    let (release, stuck) = std::sync::mpsc::channel();
    let tools = Tools::new().blocking_tool(Stuck(Mutex::new(stuck)));
    let limited = tools.clone().timeout(Duration::from_millis(20));
    let outcomes = results(&limited, &[("stuck", "{}")]).await;
    assert_eq!(outcomes, [("the tool `stuck` timed out after 20ms".to_owned(), true)]);
    drop(release);
    let outcomes = results(&tools, &[("stuck", "{}")]).await;
    assert!(outcomes[0].1 && outcomes[0].0.starts_with("a step panicked: "), "{outcomes:?}");
}

#[tokio::test]
async fn concurrency_0_is_an_error_of_the_run_and_not_of_the_model() {
    let script = Script::new([asks(&[("any", "{}")]), says("done")]);
    let agent = script.tools(any().concurrency(0)).run_tools(3);
    let error = chain(agent).invoke("x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(error.message(), "concurrency must be at least 1 (got 0)");
}

proptest! {
    #[test]
    fn results_keep_the_order_of_their_calls(
        calls in prop::collection::vec((0u8..5, 0u64..4), 0..12),
        at_once in 1usize..5,
    ) {
        let written: Vec<_> = calls.iter().enumerate().map(|(i, (kind, seconds))| match kind {
            0 => ("nobody", "{}".to_owned()),
            1 => ("any", "{oops".to_owned()),
            2 => ("any", format!(r#"{{"sleep": {seconds}, "fail": "{i}"}}"#)),
            3 => ("any", format!(r#"{{"sleep": {seconds}, "panic": true}}"#)),
            _ => ("any", format!(r#"{{"sleep": {seconds}, "say": "{i}"}}"#)),
        }).collect();
        let written: Vec<_> = written.iter().map(|(name, arguments)| (*name, arguments.as_str())).collect();
        let tools = any().concurrency(at_once);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let results = runtime.block_on(tools.execute(&asks(&written), &Context::new()));
        prop_assert_eq!(results.len(), calls.len());
        for (i, (result, (kind, _))) in results.iter().zip(&calls).enumerate() {
            prop_assert_eq!(&result.id, &format!("call_{i}"));
            prop_assert_eq!(result.is_error, *kind < 4);
            if [2, 4].contains(kind) {
                prop_assert_eq!(&result.text(), &i.to_string());
            }
        }
    }
}

#[test]
fn a_name_that_is_there_twice_is_refused() {
    let error = any().with::<FormatBook>().check().unwrap_err();
    assert_eq!(error.to_string(), "two tools have the name `format_book`: rename one of them");
    let error = Tools::new().tool(Any("two words", None)).check().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[tokio::test]
async fn an_invalid_set_fails_before_the_model_is_called() {
    let model = Script::default();
    let agent = chain(model.tools(any().with::<FormatBook>()).run_tools(3));
    assert_eq!(agent.invoke("x").await.unwrap_err().kind(), ErrorKind::Config);
    assert!(model.prompts.lock().unwrap().is_empty());
}

#[test]
fn arguments_are_typed() {
    let right = r#"{"title": "Emma", "author": "Jane Austen"}"#;
    let message = asks(&[("any", "{}"), ("format_book", right), ("format_book", r#"{"title": 7}"#)]);
    let book = message.tool::<FormatBook>().unwrap().expect("it is called");
    assert_eq!(book, FormatBook { title: "Emma".into(), author: "Jane Austen".into() });
    let all: Vec<_> = message.tools::<FormatBook>().map(|book| book.map_err(|e| e.to_string())).collect();
    assert_eq!(all[0], Ok(book));
    assert_eq!(
        all[1],
        Err("step format_book: the arguments do not fit the schema: missing field `author`; title: expected string, got 7"
            .to_owned())
    );
    assert!(says("none").tool::<FormatBook>().unwrap().is_none());
}

#[tokio::test]
async fn the_model_is_handed_the_results_until_it_answers() {
    let model = Script::new([
        asks(&[("any", r#"{"say": "one"}"#), ("any", r#"{"fail": "no"}"#)]),
        asks(&[("any", r#"{"say": "two"}"#)]),
        says("three"),
    ]);
    let answer = chain(model.tools(any()).run_tools(3)).invoke("count").await.unwrap();
    assert_eq!(answer.text(), "three");
    // Of all rounds.
    assert_eq!(answer.usage(), Usage::new(30, 9));
    assert_eq!(answer.reply.unwrap().attempts, 3);

    let prompts = model.prompts.lock().unwrap();
    assert!(prompts.iter().all(|prompt| prompt.parameters.tools == any().specs()));
    let results: Vec<_> = prompts[2].messages[2].parts.iter().map(|part| format!("{part:?}")).collect();
    assert!(results[0].contains(r#"id: "call_0", parts: [Text("one")], is_error: false"#), "{results:?}");
    assert!(results[1].contains(r#"id: "call_1", parts: [Text("no")], is_error: true"#), "{results:?}");
    let roles: Vec<_> = prompts[2].messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::User, Role::Assistant, Role::Tool, Role::Assistant, Role::Tool]);
}

#[tokio::test]
async fn a_transcript_is_all_that_was_said() {
    let model = Script::new([asks(&[("any", r#"{"say": "one"}"#)]), says("two")]);
    let transcript = model.tools(any()).run_tools(2).transcript().invoke("count").await.unwrap();
    assert_eq!((transcript.rounds, transcript.usage.total_tokens()), (2, 26));
    assert_eq!(
        transcript.to_string(),
        "user: count\ncall any({\"say\": \"one\"})\nresult one\nassistant: two\n"
    );
    // Each message with the usage of its own call.
    assert_eq!(transcript.answer().usage().total_tokens(), 13);
}

#[tokio::test]
async fn the_limit_of_rounds_is_an_error_with_the_transcript() {
    let model = Script::new([asks(&[("any", r#"{"say": "one"}"#)]), asks(&[("format_book", "{}")])]);
    let agent = chain(model.tools(any()).run_tools(2)).named("agent");
    let error = agent.invoke("count").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RecursionLimit);
    insta::assert_snapshot!(error.to_string(), @r#"
    step agent: the model still calls tools in round 2 of 2; raise max_rounds of run_tools, or check the calls:
    user: count
    call any({"say": "one"})
    result one
    call format_book({})
    "#);
    let transcript = Transcript::of(&error).expect("the loop has left it");
    assert_eq!((transcript.messages.len(), transcript.rounds), (4, 2));
    assert_eq!(transcript.usage.total_tokens(), 26);
    assert_eq!(error.partial().unwrap().tool_calls().next().unwrap().name, "format_book");
}

#[tokio::test]
async fn tools_that_fail_repeatedly_end_the_run() {
    let fails = || asks(&[("any", r#"{"fail": "no"}"#), ("any", r#"{"fail": "no"}"#)]);
    let mixed = || asks(&[("any", r#"{"fail": "no"}"#), ("any", "{}")]);
    let run = async |answers: Vec<Message>| {
        let twice = NonZeroU32::new(2).unwrap();
        chain(Script::new(answers).tools(any()).run_tools(9).max_failures(twice)).invoke("x").await
    };
    // A success in between resets the count.
    assert!(run(vec![fails(), mixed(), fails(), says("well")]).await.is_ok());
    let error = run(vec![mixed(), fails(), fails(), says("well")]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Step);
    assert!(error.to_string().starts_with("every tool call failed in 2 consecutive rounds"), "{error}");
    assert_eq!(Transcript::of(&error).unwrap().messages.len(), 7);
}

#[tokio::test]
async fn a_model_that_fails_in_a_later_round_leaves_the_transcript() {
    let model = Script::new([asks(&[("any", "{}")])]);
    let busy = Error::new(ErrorKind::Overloaded, "busy").with_source(std::io::Error::other("root"));
    model.answers.lock().unwrap().push_back(Err(busy));
    let error = chain(model.tools(any()).run_tools(5)).invoke("x").await.unwrap_err();
    assert_eq!(error.to_string(), "step test/script: busy");
    assert_eq!(Transcript::of(&error).unwrap().messages.len(), 3);
    let sources = std::iter::successors(std::error::Error::source(&error), |error| error.source());
    assert!(sources.last().unwrap().to_string().contains("root"));
}

#[tokio::test]
async fn no_round_is_an_error() {
    let error = chain(Script::default().tools(any()).run_tools(0)).invoke("x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[tokio::test]
async fn a_forced_call_is_forced_once() {
    let run = async |model: &Script, of_model: Option<ToolChoice>, of_prompt: Option<ToolChoice>| {
        let parameters = Parameters { tool_choice: of_model, ..Parameters::default() };
        let agent = Model::new(model.clone()).with(parameters).with_tools(any()).run_tools(5);
        let mut prompt = Prompt::from("x");
        prompt.parameters.tool_choice = of_prompt;
        chain(agent).invoke(prompt).await.unwrap();
        let prompts = model.prompts.lock().unwrap();
        prompts.iter().map(|prompt| prompt.parameters.tool_choice.clone()).collect::<Vec<_>>()
    };
    let script = || Script::new([asks(&[("any", "{}")]), says("x")]);
    let (required, auto) = (Some(ToolChoice::Required), Some(ToolChoice::Auto));
    assert_eq!(run(&script(), required.clone(), None).await, [required.clone(), auto.clone()]);
    assert_eq!(run(&script(), None, required.clone()).await, [required.clone(), auto]);
    assert_eq!(run(&script(), None, None).await, [None, None]);
}

#[tokio::test]
async fn a_forced_choice_ends_after_one_round_whatever_wraps_the_model() {
    let forced = |script: &Script, choice: ToolChoice| {
        Model::new(script.clone()).with(Parameters { tool_choice: Some(choice), ..Parameters::default() })
    };
    for choice in [ToolChoice::Required, ToolChoice::Tool("any".into())] {
        type Wrap = fn(Model) -> crate::Chain<Prompt, Message>;
        let wraps: [(&str, Wrap); 4] = [
            ("fallback", |model| {
                chain(model).fallback([chain(Model::new(crate::model::fake::Fake::echo()))])
            }),
            ("retry", |model| chain(model).retry(crate::compose::retry::RetryPolicy::default())),
            ("step", |model| {
                crate::step(move |prompt: Prompt, cx: Context| {
                    let model = model.clone();
                    async move { chain(model).invoke_in(prompt, &cx).await }
                })
            }),
            ("outer model", |model| {
                struct Outer(Model);
                impl ChatModel for Outer {
                    fn name(&self) -> &str {
                        "test/outer"
                    }
                    async fn generate(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
                        self.0.generate_in(prompt, cx).await
                    }
                }
                chain(Model::new(Outer(model)))
            }),
        ];
        for (name, wrap) in wraps {
            let script = Script::new([asks(&[("any", "{}")]), says("x")]);
            let agent = wrap(forced(&script, choice.clone())).with_tools(any()).run_tools(5);
            assert_eq!(chain(agent).invoke("x").await.unwrap().text(), "x", "{name}");
            let choices: Vec<_> = script
                .prompts
                .lock()
                .unwrap()
                .iter()
                .map(|prompt| prompt.parameters.tool_choice.clone())
                .collect();
            assert_eq!(choices, [Some(choice.clone()), Some(ToolChoice::Auto)], "{name}");
        }
    }
    // A choice of none stays.
    let script = Script::new([asks(&[("any", "{}")]), says("x")]);
    let agent = chain(forced(&script, ToolChoice::None)).with_tools(any()).run_tools(5);
    chain(agent).invoke("x").await.unwrap();
    assert!(
        script.prompts.lock().unwrap().iter().all(|p| p.parameters.tool_choice == Some(ToolChoice::None))
    );
}

#[tokio::test]
async fn a_last_answer_is_asked_for_at_the_limit() {
    let ask = || asks(&[("any", "{}")]);
    let fail = || asks(&[("any", r#"{"fail": "no"}"#)]);
    for (answers, rounds) in
        [(vec![ask(), ask(), says("x")], 3), (vec![fail(), fail(), fail(), says("x")], 9)]
    {
        let script = Script::new(answers);
        let agent = script.tools(any()).run_tools(rounds).at_limit(AtLimit::Answer);
        let transcript = agent.transcript().invoke("x").await.unwrap();
        assert_eq!(transcript.answer().text(), "x");
        assert!(transcript.ended_at_limit);
        let last = script.prompts.lock().unwrap().last().cloned().unwrap();
        assert_eq!(last.parameters.tool_choice, Some(ToolChoice::None));
        assert_eq!(last.parameters.tools.len(), 2);
        assert_eq!(last.messages.last().unwrap().role, Role::Tool);
    }
    let script = Script::new([ask(), ask()]);
    let agent = chain(script.tools(any()).run_tools(2).at_limit(AtLimit::Answer));
    assert_eq!(agent.invoke("x").await.unwrap_err().kind(), ErrorKind::RecursionLimit);
}

#[tokio::test]
async fn the_result_of_a_direct_tool_is_the_answer() {
    let call = |arguments: &[&str]| asks(&arguments.iter().map(|one| ("any", *one)).collect::<Vec<_>>());
    let script = Script::new([
        call(&[r#"{"fail": "no"}"#, r#"{"say": "z"}"#]),
        call(&[r#"{"say": "a"}"#, r#"{"say": "b"}"#]),
    ]);
    let agent = script.tools(any().return_direct("any")).run_tools(5);
    let mut run = chain(agent.clone()).stream("x");
    let mut text = String::new();
    while let Some(delta) = run.next().await {
        text += delta.unwrap().as_text().unwrap_or_default();
    }
    let answer = run.output().await.unwrap();
    assert_eq!((text.as_str(), answer.text().as_str()), ("a\n\nb", "a\n\nb"));
    assert_eq!(answer.usage().input_tokens, 20);
    let script = Script::new([call(&[r#"{"say": "a"}"#])]);
    let transcript =
        script.tools(any().return_direct("any")).run_tools(5).transcript().invoke("x").await.unwrap();
    assert!(transcript.returned_direct);
    let roles: Vec<_> = transcript.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::User, Role::Assistant, Role::Tool, Role::Assistant]);
    let unknown = any().return_direct("other").check().unwrap_err();
    assert!(unknown.message().contains("unknown tool `other`"), "{unknown}");
}

#[tokio::test]
async fn a_stream_keeps_the_rounds_apart() {
    let mut first = asks(&[("any", "{}")]);
    first.parts.insert(0, Part::Text("Let me see. ".into()));
    let model = Script::new([first, says("Done.")]);
    let agent = chain(model.tools(any()).run_tools(5));
    let deltas: Vec<_> = agent.stream("x").map(Result::unwrap).collect().await;
    let usage = |input_tokens, output_tokens| Usage::new(input_tokens, output_tokens);
    assert_eq!(
        deltas,
        [
            Delta::Text { part: 0, text: "Let me see. ".into() },
            Delta::Usage(usage(10, 3)),
            Delta::Text { part: 1, text: "Done.".into() },
            Delta::Usage(usage(20, 6)),
            Delta::Finished(FinishReason::Stop),
        ]
    );
}

#[tokio::test]
async fn calls_are_steps_of_the_run() {
    let model = Script::new([asks(&[("any", "{}"), ("any", r#"{"fail": "no"}"#)]), says("x")]);
    let agent = model.tools(any()).run_tools(5) | text();
    let mut seen = Vec::new();
    let mut events = agent.events("x");
    while let Some(event) = events.next().await {
        let what = match &event.kind {
            EventKind::StepStarted => "started",
            EventKind::StepFinished { .. } => "finished",
            EventKind::StepFailed(_) => "failed",
            _ => continue,
        };
        seen.push(format!("{} {what}", event.path));
    }
    assert_eq!(
        seen,
        [
            "test/script started",
            "test/script finished",
            "any started",
            "any finished",
            "any started",
            "any failed",
            "test/script started",
            "test/script finished",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_the_run_ends_its_tools() {
    let model = Script::new([asks(&[("any", r#"{"sleep": 60}"#)])]);
    let cx = Context::new().with_timeout(Duration::from_secs(5));
    let started = Instant::now();
    let error = chain(model.tools(any()).run_tools(5)).invoke_in("x", &cx).await.unwrap_err();
    assert_eq!((error.kind(), started.elapsed().as_secs()), (ErrorKind::Timeout, 5));
}

#[tokio::test(start_paused = true)]
async fn dropping_a_run_ends_its_tools() {
    struct Holds(Arc<()>);

    impl Tool for Holds {
        type Arguments = Value;

        fn spec(&self) -> ToolSpec {
            Any("holds", None).spec()
        }

        async fn call(&self, _: Value, _: &Context) -> Result<String> {
            let _held = self.0.clone();
            std::future::pending().await
        }
    }

    let held = Arc::new(());
    let model = Script::new([asks(&[("holds", "{}"), ("holds", "{}")])]);
    let agent = chain(model.tools(Tools::new().tool(Holds(held.clone()))).run_tools(5));
    let run = tokio::time::timeout(Duration::from_secs(1), agent.invoke("x"));
    let mut run = Box::pin(run);
    assert!(futures::poll!(&mut run).is_pending());
    assert_eq!(Arc::strong_count(&held), 4);
    drop(run);
    assert_eq!(Arc::strong_count(&held), 2);
}

#[tokio::test]
async fn a_round_with_a_tool_call_continues_whatever_the_finish_reason() {
    let mut first = asks(&[("any", "{}")]);
    first.reply = Some(reply(FinishReason::Stop));
    let agent = chain(Script::new([first, says("Done.")]).tools(any()).run_tools(5));
    let deltas: Vec<_> = agent.stream("x").map(Result::unwrap).collect().await;
    let ends = deltas.iter().filter(|delta| matches!(delta, Delta::Finished(_))).count();
    assert_eq!(ends, 1, "{deltas:?}");
}

#[test]
fn a_picture_shows_the_loop_and_its_tools() {
    let agent = Model::new(Script::default()).with_tools(any()).run_tools(5) | text();
    insta::assert_snapshot!(agent.graph().to_ascii(), @"
    tools, at most 5 rounds
    └─ with tools any, format_book
       └─ test/script
    text
    ");
}

#[tokio::test]
async fn a_transcript_survives_json() {
    let model = Script::new([asks(&[("any", "{}")]), says("two")]);
    let transcript = model.tools(any()).run_tools(2).transcript().invoke("count").await.unwrap();
    let json = serde_json::to_string(&transcript).unwrap();
    assert_eq!(serde_json::from_str::<Transcript>(&json).unwrap(), transcript);
}

/// Returns a picture of what it is asked for.
struct Draw;

impl Tool for Draw {
    type Arguments = Value;

    fn spec(&self) -> ToolSpec {
        ToolSpec { name: "draw".into(), description: String::new(), parameters: json!({ "type": "object" }) }
    }

    async fn call(&self, _: Value, _: &Context) -> Result<String> {
        Ok("only a text".into())
    }

    async fn call_parts(&self, arguments: Value, cx: &Context) -> Result<Vec<Part>> {
        let url = format!("https://x.test/{}.png", arguments["what"].as_str().unwrap_or("blank"));
        Ok(vec![Part::Text(self.call(arguments, cx).await?), Part::image_url(url)])
    }
}

#[tokio::test]
async fn a_tool_returns_parts_of_any_kind() {
    let calls =
        Message::from_parts(Role::Assistant, vec![Part::tool_call("c1", "draw", json!({ "what": "bear" }))]);
    let results = Tools::new().tool(Draw).execute(&calls, &Context::new()).await;
    assert_eq!(results[0].parts, [Part::text("only a text"), Part::image_url("https://x.test/bear.png")]);
}

#[tokio::test]
async fn rounds_beyond_a_window_are_not_sent_and_stay_in_the_transcript() {
    let draw = || Answer::calls([("draw", json!({ "what": "bear" }))]);
    let asked = Asked::default();
    let model = Fake::script([draw(), draw(), draw(), Answer::text("done")]).record_in(&asked).model();
    let window = crate::prompt::Window::tokens(50).counting(|_| 10);
    let agent = model.with_tools(Tools::new().tool(Draw)).run_tools(9).window(window);
    let transcript = agent.transcript().invoke("Draw bears.").await.unwrap();
    assert_eq!(transcript.messages.len(), 8);
    let sent: Vec<_> = asked.prompts().iter().map(|prompt| prompt.messages.len()).collect();
    assert_eq!(sent, [1, 3, 5, 5]);
    assert_eq!(asked.last().unwrap().messages[1], transcript.messages[3]);
}

/// A tool whose result never seems to end.
struct Endless;

impl Tool for Endless {
    type Arguments = Value;

    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "endless".into(),
            description: String::new(),
            parameters: json!({ "type": "object" }),
        }
    }

    async fn call(&self, arguments: Value, _: &Context) -> Result<String> {
        let text = "x".repeat(usize::try_from(arguments["n"].as_u64().unwrap()).unwrap());
        if arguments["fails"] == true { Err(Error::new(ErrorKind::Step, text)) } else { Ok(text) }
    }
}

#[tokio::test]
async fn results_arguments_and_errors_of_100_mb_are_short_errors_that_the_model_reads() {
    let tools = Tools::new().tool(Endless);
    let huge = format!("{{\"n\": 1, \"more\": \"{}\"}}", "x".repeat(100 << 20));
    let calls = [
        ("endless", "{\"n\": 104857600}"),
        ("endless", "{\"n\": 104857600, \"fails\": true}"),
        ("endless", &*huge),
        ("endless", "{\"n\": 1048576}"),
    ];
    let results = results(&tools, &calls).await;
    let wanted = "the result has 104857600 bytes; at most 1048576 are allowed: return less";
    assert!(results[0].1 && results[0].0.contains(wanted), "{}", results[0].0);
    assert!(results[1].1 && results[1].0.len() < 5_000);
    assert!(
        results[2].1 && results[2].0.contains("at most 4194304 are allowed: send less"),
        "{}",
        results[2].0
    );
    assert!(!results[3].1 && results[3].0.len() == 1 << 20, "as much as is allowed");
    let tools = tools.max_result_bytes(9);
    assert!(self::results(&tools, &[("endless", "{\"n\": 10}")]).await[0].1);
    assert!(!self::results(&tools, &[("endless", "{\"n\": 9}")]).await[0].1);
}

#[tokio::test]
async fn the_answers_and_results_of_a_loop_end_at_their_limit_also_within_a_round() {
    let text = "x".repeat(5_000);
    let says_long = format!(r#"{{"say": "{text}"}}"#);
    let run = async |answers: Vec<Message>| {
        let model = Script::new(answers);
        let run = model.tools(any()).run_tools(50).max_transcript_bytes(30_000);
        let done = chain(run).invoke("x").await;
        (done, model.prompts.lock().unwrap().len())
    };
    let one = || asks(&[("any", says_long.as_str())]);
    let (done, calls) = run([one(), one(), says("well")].into()).await;
    assert_eq!((done.unwrap().text(), calls), ("well".to_owned(), 3));
    // A call and its result have 10,000 bytes and more.
    let (done, calls) = run((0..9).map(|_| one()).collect()).await;
    let error = done.unwrap_err();
    assert_eq!((error.kind(), calls), (ErrorKind::Input, 3));
    assert!(error.message().contains("longer than max_transcript_bytes of run_tools"), "{error}");
    let short = r#"{"say": "x"}"#;
    let (done, calls) = run(vec![asks(&vec![("any", short); 1_000])]).await;
    assert_eq!((done.unwrap_err().kind(), calls), (ErrorKind::Input, 1));
}

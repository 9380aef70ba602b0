//! Tools over sockets: tool calls arrive in chunks, are run, and their results are sent back.

use std::time::Duration;

use fanweave::Tools;
use fanweave::{
    Context, Delta, ErrorKind, EventKind, Message, Parameters, Result, chain, prompt, text,
    tools::{ToolChoice, Transcript, TypedTool},
    vars,
};
use fanweave_sim::Settings;
use serde_json::json;

use crate::provider::Provider;

/// Writes a book the way that we write books.
#[fanweave::tool]
async fn format_book(
    /// The full title.
    title: String,
    author: Option<String>,
) -> String {
    format!("{title} by {}", author.unwrap_or_else(|| "nobody".to_owned()))
}

/// Adds numbers, on a thread.
#[fanweave::tool(timeout = Duration::from_secs(30))]
fn sum(numbers: Vec<i64>) -> Result<i64, String> {
    numbers.into_iter().try_fold(0, i64::checked_add).ok_or_else(|| "the sum is too large".to_owned())
}

/// Looks up the weather.
#[fanweave::tool(name = "weather")]
struct GetWeather {
    /// A city, such as `Paris`.
    city: String,
}

impl GetWeather {
    async fn call(self) -> Result<String> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(format!("{}: sunny", self.city))
    }
}

/// Looks up the weather for the reader.
#[fanweave::tool(return_direct)]
fn forecast(city: String) -> String {
    format!("{city}: rain")
}

/// Looks up the weather, and is never done.
#[fanweave::tool(timeout = Duration::from_millis(20))]
async fn slow_weather(city: String) -> String {
    tokio::time::sleep(Duration::from_secs(600)).await;
    city
}

/// Looks up the weather, and fails.
#[fanweave::tool]
async fn broken_weather(city: String) -> Result<String, std::io::Error> {
    Err(std::io::Error::other(format!("no station in {city}")))
}

fn calls(message: &Message) -> Vec<(&str, serde_json::Value)> {
    message.tool_calls().map(|call| (call.name.as_str(), call.parse_arguments().unwrap())).collect()
}

#[tokio::test]
async fn the_result_of_a_direct_tool_is_the_answer_of_one_request() {
    let provider = Provider::start(Settings::default());
    let model = provider.model("writer").build().unwrap();
    let agent = chain(model.with_tools(Tools::new().with::<forecast>()).run_tools(3));
    let answer = agent.invoke("Look up the weather in Paris.").await.unwrap();
    assert_eq!(answer.text(), "Paris: rain");
    assert_eq!(provider.stats().requests, 1);
}

/// The weather that a question is about.
#[fanweave::schema]
#[derive(Debug, PartialEq)]
struct Weather {
    city: String,
}

#[tokio::test]
async fn a_structured_answer_by_a_tool_call_takes_one_request_and_streams() {
    let provider = Provider::start(Settings::default());
    let model = provider.model("writer").build().unwrap();
    let weather = chain(fanweave::structured::<Weather>(model).by_tool());
    let mut run = weather.stream("Look up the weather in Paris.");
    let mut last = None;
    while let Some(delta) = run.next().await {
        last = Some(delta.unwrap());
    }
    assert_eq!(run.output().await.unwrap(), Weather { city: "Paris".to_owned() });
    assert_eq!(last, Some(Delta::Value(json!({ "city": "Paris" }))));
    assert_eq!(provider.stats().requests, 1);
}

#[tokio::test]
async fn two_calls_that_arrive_interleaved_in_one_stream_are_both_run() {
    let ask = "Look up the weather in both cities: Paris and London.";
    let mut seen = Vec::new();
    for interleaved_calls in [false, true] {
        let provider = Provider::start(Settings { interleaved_calls, ..Settings::default() });
        let model = provider.model("writer").build().unwrap();
        let agent = model.with_tools(Tools::new().with::<GetWeather>()).run_tools(3).transcript();
        let mut events = agent.events(ask);
        // The tool call that each delta belongs to.
        let mut parts = Vec::new();
        let mut tools = 0;
        while let Some(event) = events.next().await {
            match &event.kind {
                EventKind::Delta(Delta::ToolCall { part, .. }) => parts.push(*part),
                EventKind::StepFinished { .. } if event.path.name() == Some("weather") => tools += 1,
                _ => {}
            }
        }
        let switches = parts.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert_eq!(switches > 1, interleaved_calls, "{parts:?}");
        let transcript = events.output().await.unwrap();
        assert_eq!((transcript.rounds, tools), (2, 2));
        assert_eq!(calls(&transcript.messages[1]).len(), 2);
        let answer = transcript.answer().text();
        for call in transcript.messages[1].tools::<GetWeather>() {
            let answer_text = format!("{}: sunny", call.unwrap().city);
            assert!(answer.contains(&answer_text), "{answer}");
        }
        seen.push(transcript.to_string());
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn the_answer_streams_and_counts_the_tokens_of_all_rounds() {
    let provider = Provider::start(Settings::default());
    let model = provider.model("writer").build().unwrap();
    let agent = prompt("What is the weather in {{ city }}?")
        | model.with_tools(Tools::new().with::<GetWeather>()).run_tools(3);
    let mut run = agent.stream(vars! { city: "Paris" });
    let mut pieces = Vec::new();
    while let Some(piece) = run.next().await {
        let piece = piece.unwrap();
        assert!(!matches!(piece, Delta::ToolCall { .. }), "{piece:?}");
        pieces.extend(piece.as_text().map(str::to_owned));
    }
    let answer = run.output().await.unwrap();
    assert_eq!(answer.text(), pieces.concat());
    assert!(pieces.len() > 1 && answer.text().contains("Paris: sunny"), "{pieces:?}");
    assert_eq!(provider.stats().requests, 2);
    assert_eq!(answer.reply.as_ref().unwrap().attempts, 2);

    let plain = chain(agent).invoke(vars! { city: "Paris" }).await.unwrap();
    assert_eq!((plain.text(), plain.usage()), (answer.text(), answer.usage()));
    assert!(plain.usage().input_tokens > 8);
}

#[tokio::test]
async fn the_model_receives_errors_and_timeouts_of_tools() {
    let provider = Provider::start(Settings::default());
    let model = provider.model("writer").build().unwrap();
    let answer = async |tools: Tools| {
        let agent = model.with_tools(tools).run_tools(3) | text();
        agent.invoke("What is the weather in Paris?").await.unwrap()
    };
    let answer_text = answer(Tools::new().with::<broken_weather>()).await;
    assert!(answer_text.contains("no station in Paris"), "{answer_text}");
    let answer_text = answer(Tools::new().with::<slow_weather>()).await;
    assert!(answer_text.contains("`slow_weather` timed out after 20ms"), "{answer_text}");
}

#[tokio::test]
async fn a_forced_choice_applies_to_the_first_round_wherever_it_is_set() {
    let provider = Provider::start(Settings::default());
    let forced = Parameters::new().tool_choice(ToolChoice::Required);
    let tools = || Tools::new().with::<sum>();
    let model = provider.model("writer").build().unwrap().with(forced);
    let within_a_chain = chain(model.clone()).with_tools(tools());
    for agent in [within_a_chain, model.with_tools(tools())] {
        let transcript = agent.run_tools(3).transcript().invoke("x").await.unwrap();
        assert_eq!((transcript.rounds, transcript.messages.len()), (2, 4));
        assert!(!transcript.answer().text().is_empty());
    }
    assert_eq!(provider.stats().requests, 4);
}

#[tokio::test]
async fn a_model_that_calls_tools_in_every_round_is_stopped() {
    let provider = Provider::start(Settings::default());
    let model = provider.model("writer").build().unwrap();
    let tools = Tools::new().with::<GetWeather>();
    let agent = chain(chain(model).with_tools(tools).run_tools(1));
    let error = agent.invoke("Look up the weather in Paris.").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RecursionLimit);
    assert!(error.to_string().contains("round 1 of 1"), "{error}");
    assert_eq!(Transcript::of(&error).unwrap().rounds, 1);
    assert_eq!(provider.stats().requests, 1);
}

#[tokio::test]
async fn every_row_of_a_batch_runs_its_own_tools() {
    let provider = Provider::start(Settings::default());
    let model = provider.model("writer").build().unwrap();
    let tools = Tools::new().with::<GetWeather>();
    let agent = prompt("What is the weather in {{ city }}?") | model.with_tools(tools).run_tools(3) | text();
    let cities = ["Paris", "London", "Oslo", "Rome"];
    let answers = agent.batch(cities.map(|city| vars! { city: city })).concurrency(4).collect().await;
    for (city, answer) in cities.iter().zip(answers) {
        assert!(answer.as_ref().unwrap().contains(&format!("{city}: sunny")), "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_simulated_model_in_this_process_reads_all_results() {
    let agent =
        fanweave::model("sim/writer").unwrap().with_tools(Tools::new().with::<GetWeather>()).run_tools(3);
    let answer = chain(agent).invoke("Look up the weather in both cities: Paris and London.").await.unwrap();
    assert_eq!(answer.text(), "Here is what I found: Paris: sunny; London: sunny.");
}

#[test]
fn schemas_come_from_types_and_doc_comments() {
    let tools = Tools::new().with::<format_book>().with::<sum>().with::<GetWeather>().specs();
    insta::assert_snapshot!(serde_json::to_string_pretty(&tools).unwrap());
}

#[tokio::test]
async fn a_tool_stays_a_function_and_its_arguments_can_be_called() {
    assert_eq!(format_book("Emma".into(), None).await, "Emma by nobody");
    let arguments: format_book = serde_json::from_value(json!({ "title": "Emma" })).unwrap();
    assert_eq!(arguments.run_tool(&Context::new()).await.unwrap(), "Emma by nobody");
}

/// Accepted forms of tools.
mod forms {
    use fanweave::{
        Context, Message, Tools,
        messages::{Part, ToolCall},
        tools::TypedTool,
    };
    use serde::{Deserialize, Serialize};
    use serde_json::{Value, json};

    #[derive(Debug, PartialEq, Deserialize, Serialize, schemars::JsonSchema)]
    struct Venue {
        city: String,
        #[serde(default)]
        floors: Vec<u8>,
    }

    type Outcome<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

    /// An alias of `Result`, a struct as the result, and the context.
    #[fanweave::tool]
    async fn with_context(cx: &Context, venue: Venue, #[serde(default)] extra: u8) -> Outcome<Venue> {
        if extra > 1 {
            return Err(format!("{extra} at {}", cx.path()).into());
        }
        Ok(venue)
    }

    #[fanweave::tool(description = "Blocks, and needs no arguments.")]
    fn here(cx: &Context) -> Vec<String> {
        cx.tags().map(str::to_owned).collect()
    }

    /// Names that the expansion of the attribute might use as well.
    #[fanweave::tool]
    fn cx(call: u8, r#type: u8, returned: u8) -> u8 {
        call + r#type + returned
    }

    #[fanweave::tool]
    async fn call(run_tool: u8) -> u8 {
        run_tool
    }

    #[fanweave::tool(blocking, context)]
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Blocks {
        first_name: String,
    }

    impl Blocks {
        fn call(self, cx: &Context) -> String {
            format!("{} {}", self.first_name, cx.tags().count())
        }
    }

    async fn run<T: TypedTool>(arguments: Value) -> Result<String, String> {
        let cx = Context::new().with_tag("tagged");
        let arguments: T = serde_json::from_value(arguments).map_err(|error| error.to_string())?;
        arguments.run_tool(&cx).await.map_err(|error| error.to_string())
    }

    #[deny(warnings)]
    pub(super) mod gone_soon {
        #[fanweave::tool]
        #[deprecated(note = "it is known what time it is")]
        pub(super) fn double(n: u128) -> u128 {
            n * 2
        }
    }

    #[tokio::test]
    async fn integers_of_128_bits_and_tools_that_are_deprecated_are_tools_like_others() {
        let calls = ToolCall {
            id: "1".into(),
            name: "double".into(),
            arguments: r#"{"n": 36893488147419103232}"#.into(),
        };
        let mut message = Message::assistant("");
        message.parts = vec![Part::ToolCall(calls)];
        let tools = Tools::new().with::<gone_soon::double>();
        assert_eq!(tools.execute(&message, &Context::new()).await[0].text(), "73786976294838206464");
    }

    #[tokio::test]
    async fn arguments_results_and_contexts_come_in_many_forms() {
        let venue = json!({ "venue": { "city": "Paris" } });
        assert_eq!(run::<with_context>(venue).await.unwrap(), r#"{"city":"Paris","floors":[]}"#);
        let venue = json!({ "venue": { "city": "Paris" }, "extra": 2 });
        assert_eq!(run::<with_context>(venue).await.unwrap_err(), "2 at ");
        assert_eq!(run::<here>(json!({})).await.unwrap(), r#"["tagged"]"#);
        assert_eq!(run::<Blocks>(json!({ "firstName": "Ann" })).await.unwrap(), "Ann 1");
        let error = run::<Blocks>(json!({ "firstName": "Ann", "age": 7 })).await.unwrap_err();
        assert!(error.starts_with("unknown field `age`"), "{error}");
        assert_eq!(run::<cx>(json!({ "call": 1, "type": 2, "returned": 3 })).await.unwrap(), "6");
        assert_eq!(run::<call>(json!({ "run_tool": 7 })).await.unwrap(), "7");
        assert_eq!(here::DESCRIPTION, "Blocks, and needs no arguments.");
        assert_eq!(Blocks::parameters()["required"], json!(["firstName"]));
        // Nested types are inlined.
        assert!(!with_context::parameters().to_string().contains("$ref"));
    }
}

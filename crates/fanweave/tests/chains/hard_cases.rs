//! Common failures of libraries of this kind, one test for each. Those that need no network are next to the
//! code: retry, branch, fallback, dynamic steps, generators, scopes, `assign` and the batch itself.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanweave::{
    Chain, ChatModel, Context, Delta, Error, ErrorKind, Event, EventKind, Message, Model, Prompt, Result,
    Vars, chain,
    compose::{RetryPolicy, passthrough},
    json,
    parsers::tool_calls,
    prompt, step, text, vars,
};
use fanweave_sim::{Latency, Settings};
use serde_json::Value;

use crate::provider::{Provider, short};

/// A chain of one echo, which answers with a checksum and its prompt.
fn echo(model: &Model) -> Chain<Vars, String> {
    prompt("row {{ n }}") | model | text()
}

fn rows(n: u32) -> impl Iterator<Item = Vars> + Send {
    (0..n).map(|n| vars! { n: n })
}

#[tokio::test]
async fn order_kept_under_random_latencies() {
    let latency = Latency::LogNormal { median: Duration::from_millis(20), sigma: 1.0 };
    let provider = Provider::start(Settings { latency, ..Settings::default() });
    let answers = echo(&provider.echo()).batch(rows(200)).concurrency(64).collect().await;
    for (n, answer) in answers.into_iter().enumerate() {
        let answer = answer.unwrap();
        assert!(answer.ends_with(&format!("row {n}")), "row {n}: {answer}");
    }
}

#[tokio::test]
async fn failed_rows_by_index_others_intact() {
    let provider = Provider::slow(1);
    let model = provider.echo();
    let picky = step(|n: u32, _| async move {
        if n % 3 == 1 {
            Err(Error::new(ErrorKind::Step, format!("row {n} is refused")))
        } else {
            Ok(vars! { n: n })
        }
    });
    let results = (picky | echo(&model)).batch(0..30u32).collect().await;
    for (n, result) in results.into_iter().enumerate() {
        match result {
            Ok(answer) => assert!(n % 3 != 1 && answer.ends_with(&format!("row {n}")), "row {n}: {answer}"),
            Err(error) => assert_eq!(error.to_string(), format!("row {n} is refused")),
        }
    }
    assert_eq!(provider.stats().requests, 20);
}

#[tokio::test]
async fn retry_keeps_order_and_never_mixes_rows() {
    let latency = Latency::LogNormal { median: Duration::from_millis(5), sigma: 1.0 };
    let settings =
        Settings { latency, error_rate: 0.15, reset_rate: 0.1, truncate_rate: 0.1, ..Settings::default() };
    let provider = Provider::start(settings);
    // Six attempts would not be enough for each of 150 rows if one in three fails.
    let policy = RetryPolicy::default()
        .max_attempts(NonZeroU32::new(30).unwrap())
        .initial_backoff(Duration::from_millis(1));
    let model = provider.model("echo").retry(policy).build().unwrap();
    let answers = echo(&model).batch(rows(150)).concurrency(32).collect().await;
    for (n, answer) in answers.into_iter().enumerate() {
        let answer = answer.unwrap();
        assert!(answer.ends_with(&format!("row {n}")), "row {n}: {answer}");
    }
    assert!(provider.stats().requests > 160, "{:?}", provider.stats());
}

#[tokio::test]
async fn nested_concurrency_cap_holds() {
    let provider = Provider::slow(20);
    let fan = passthrough::<Vec<Vars>>().many().each(echo(&provider.echo())).collect();
    let inputs = (0..20u32).map(|row| (0..8u32).map(|n| vars! { n: row * 8 + n }).collect::<Vec<_>>());
    let rows = fan.batch(inputs).concurrency(16).collect().await;
    assert_eq!(rows.into_iter().map(|row| row.unwrap().len()).sum::<usize>(), 160);
    let peak = provider.stats().peak_in_flight;
    assert!((9..=16).contains(&peak), "{peak} in flight");
}

#[tokio::test]
async fn dropping_a_stream_closes_the_socket() {
    let settings = Settings { chunk_delay: Duration::from_millis(50), chunks: 1000, ..Settings::default() };
    let provider = Provider::start(settings);
    let mut run = echo(&provider.echo()).stream(vars! { n: "word ".repeat(500) });
    run.next().await.unwrap().unwrap();
    assert_eq!(provider.stats().connections_open, 1);
    drop(run);
    provider.until("the end of the connection", |stats| stats.connections_open == 0).await;
    assert_eq!((provider.stats().client_disconnects, provider.stats().in_flight), (1, 0));
}

#[tokio::test]
async fn empty_batch_is_empty() {
    let provider = Provider::slow(1);
    assert!(echo(&provider.echo()).batch(Vec::<Vars>::new()).collect().await.is_empty());
    assert_eq!(provider.stats().requests, 0);
}

#[tokio::test]
async fn one_row_batch_behaves_as_invoke() {
    let provider = Provider::slow(1);
    let chain = echo(&provider.echo());
    let rows = chain.batch(rows(1)).collect().await;
    assert_eq!(rows.len(), 1);
    assert_eq!(*rows[0].as_ref().unwrap(), chain.invoke(vars! { n: 0 }).await.unwrap());
}

#[tokio::test]
async fn event_order_for_a_three_deep_chain() {
    let provider = Provider::slow(1);
    let fails = step(|_: String, _| async { Err::<String, _>(Error::new(ErrorKind::Step, "no room")) });
    let inner = echo(&short(&provider.echo(), 4)).named("inner");
    let outer = ((inner | fails.named("shelve")).named("middle")).named("outer");
    let mut events = outer.events(vars! { n: 1 });
    let mut told = Vec::new();
    while let Some(event) = events.next().await {
        let what = match &event.kind {
            EventKind::Delta(Delta::Text { text, .. }) => format!("delta {text:?}"),
            EventKind::Delta(Delta::Started { .. }) => "delta started".to_owned(),
            EventKind::Delta(delta) => format!("delta {delta:?}"),
            EventKind::StepFinished { reply } => {
                format!("finished, {} tokens", reply.as_ref().map_or(0, |reply| reply.usage.output_tokens))
            }
            EventKind::StepFailed(error) => format!("failed: {error}"),
            EventKind::PromptSent(prompt) => format!("asked {:?}", prompt.last_user_text()),
            EventKind::Answered(message) => format!("answered {:?}", message.text()),
            kind => format!("{kind:?}").to_lowercase(),
        };
        told.push(format!("{}: {what}", event.path));
    }
    insta::assert_snapshot!(told.join("\n"));
}

#[tokio::test]
async fn cancelling_events_cancels_the_work() {
    let provider = Provider::slow(60_000);
    let mut events = echo(&provider.echo()).events(vars! { n: 1 });
    while let Some(event) = events.next().await {
        if let EventKind::RequestStarted = event.kind {
            break;
        }
    }
    let work = tokio::time::timeout(Duration::from_millis(100), events.next()).await;
    assert!(work.is_err(), "the answer takes a minute");
    assert_eq!(provider.stats().in_flight, 1);
    drop(events);
    provider
        .until("the end of the request", |stats| stats.in_flight == 0 && stats.connections_open == 0)
        .await;
}

#[tokio::test]
async fn concurrency_0_is_rejected() {
    let provider = Provider::slow(1);
    let rows = echo(&provider.echo()).batch(rows(3)).concurrency(0).collect().await;
    assert_eq!(rows.len(), 3);
    for row in rows {
        let error = row.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("must be at least 1"), "{error}");
    }
    assert_eq!(provider.stats().requests, 0);
}

/// Answers with these deltas.
struct Deltas(Vec<Delta>);

impl ChatModel for Deltas {
    fn name(&self) -> &str {
        "test/deltas"
    }

    async fn generate(&self, _: Prompt, cx: &Context) -> Result<Message> {
        let mut fold = fanweave::events::Fold::default();
        for delta in &self.0 {
            fold.push(delta);
            cx.delta(delta.clone()).await;
        }
        Ok(fold.into_message())
    }
}

#[tokio::test]
async fn parallel_tool_calls_with_interleaved_argument_deltas() {
    let piece = |part: u32, name: Option<&str>, arguments: &str| Delta::ToolCall {
        part,
        id: name.map(|_| format!("call_{part}")),
        name: name.map(str::to_owned),
        arguments: arguments.to_owned(),
    };
    let model = Model::new(Deltas(vec![
        piece(0, Some("book"), ""),
        piece(1, Some("film"), "{\"ti"),
        piece(0, None, "{\"title\": \"Du"),
        piece(1, None, "tle\": \"Stalker\"}"),
        piece(0, None, "ne\"}"),
        piece(2, Some("song"), "{broken"),
    ]));
    let chain = chain(model) | tool_calls();
    let calls = chain.stream("x").output().await.unwrap();
    let names: Vec<_> = calls.iter().map(|call| (call.call.id.as_str(), call.call.name.as_str())).collect();
    assert_eq!(names, [("call_0", "book"), ("call_1", "film"), ("call_2", "song")]);
    assert_eq!(calls[0].arguments.as_ref().unwrap()["title"], "Dune");
    assert_eq!(calls[1].arguments.as_ref().unwrap()["title"], "Stalker");
    assert!(calls[2].arguments.is_err(), "invalid arguments are kept and reported");
    assert_eq!(calls[2].call.arguments, "{broken");
}

/// The values that the JSON parser emits for these chunks, and its output.
async fn partial(chunks: &[&str]) -> (Vec<Value>, Result<Value>) {
    let model = Model::new(Deltas(chunks.iter().map(|text| Delta::text(*text)).collect()));
    let mut run = (chain(model) | json()).stream("x");
    let mut values = Vec::new();
    while let Some(Ok(piece)) = run.next().await {
        let Delta::Value(value) = piece else { panic!("{piece:?}") };
        values.push(value);
    }
    (values, run.output().await)
}

#[tokio::test]
async fn partial_json_a_word_that_is_not_complete_is_not_shown() {
    let (values, whole) = partial(&[r#"{"a": tru"#]).await;
    assert_eq!(values, [serde_json::json!({})]);
    assert_eq!(whole.unwrap_err().kind(), ErrorKind::Parse);
}

#[tokio::test]
async fn partial_json_a_number_that_is_not_complete_is_not_shown() {
    let (values, whole) = partial(&[r#"{"a": 1."#, "5}"]).await;
    assert_eq!(values, [serde_json::json!({}), serde_json::json!({ "a": 1.5 })]);
    assert_eq!(whole.unwrap()["a"], 1.5);
}

#[tokio::test]
async fn partial_json_what_follows_the_value_is_not_part_of_it() {
    let (values, whole) = partial(&[r#"{"a": 1}}"#]).await;
    assert_eq!(values, [serde_json::json!({ "a": 1 })]);
    assert_eq!(whole.unwrap()["a"], 1);
}

#[tokio::test]
async fn partial_json_raw_newline_in_a_string() {
    let (values, whole) = partial(&["{\"a\": \"x\n", "y\"}"]).await;
    assert_eq!(values, [serde_json::json!({ "a": "x\n" }), serde_json::json!({ "a": "x\ny" })]);
    assert_eq!(whole.unwrap()["a"], "x\ny");
}

#[tokio::test]
async fn partial_json_code_fence_split_over_chunks() {
    let (values, whole) = partial(&["Sure:\n`", "``js", "on\n{\"a\"", ": 1}\n``", "`"]).await;
    assert_eq!(values.last().unwrap(), &serde_json::json!({ "a": 1 }));
    assert_eq!(whole.unwrap()["a"], 1);
}

#[tokio::test]
async fn partial_json_utf8_split_over_chunks() {
    // Over a socket, where chunks end at any byte: the simulator sends each byte of the stream by itself.
    let provider = Provider::start(Settings { chunks: 1000, ..Settings::default() });
    let chain = prompt("{{ n }}") | provider.echo() | text();
    let mut run = chain.stream(vars! { n: "{\"größe\": \"5 € 😀\"}" });
    let mut received = String::new();
    while let Some(piece) = run.next().await {
        received.push_str(&piece.unwrap().to_string());
    }
    assert!(received.ends_with("{\"größe\": \"5 € 😀\"}"), "{received}");
    let escaped = ["{\"a\": \"\\ud83d", "\\ude00 \\u00", "e9\"}"];
    assert_eq!(partial(&escaped).await.1.unwrap()["a"], "😀 é");
}

#[tokio::test]
async fn waiting_for_a_permit_is_an_event() {
    let provider = Provider::slow(20);
    let waits = Arc::new(Mutex::new(0));
    let noted = waits.clone();
    let observer = move |event: &Event| {
        if let EventKind::Waiting(_) = event.kind {
            *noted.lock().unwrap() += 1;
        }
    };
    let cx = Context::new().with_concurrency(1).with_observer(Arc::new(observer));
    let chain = echo(&provider.echo());
    let (one, other) =
        tokio::join!(chain.invoke_in(vars! { n: 1 }, &cx), chain.invoke_in(vars! { n: 2 }, &cx));
    one.unwrap();
    other.unwrap();
    assert_eq!(*waits.lock().unwrap(), 1);
}

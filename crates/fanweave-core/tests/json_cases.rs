//! Reads every case of `json_cases/cases.jsonl`, and compares it with its expected value.
#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::collections::BTreeMap;

use fanweave_core::{
    ChatModel, Context, Delta, Message, Model, Prompt, Result, chain, json, structured_value,
};
use serde::Deserialize;
use serde_json::Value;

/// Cases that differ from their expected values. Their reasons are in `json_cases/SOURCES.md`.
const DIFFERENT: [&str; 0] = [];

/// Maximum share of cases that differ, in percent.
const MAX_DIFFERENT: usize = 2;

#[derive(Deserialize)]
struct Case {
    id: String,
    kind: String,
    text: Option<String>,
    #[serde(default)]
    chunks: Vec<String>,
    schema: Option<Value>,
    /// A double option, because `null` is a value.
    #[serde(default, deserialize_with = "some")]
    expected: Option<Value>,
    sequence: Option<Vec<Value>>,
    error: Option<String>,
}

fn some<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// A model that streams chunks.
struct Chunks(Vec<String>);

impl ChatModel for Chunks {
    fn name(&self) -> &str {
        "test/chunks"
    }

    async fn generate(&self, _: Prompt, cx: &Context) -> Result<Message> {
        for chunk in &self.0 {
            cx.delta(Delta::text(chunk)).await;
        }
        Ok(Message::assistant(self.0.concat()))
    }
}

/// Every value that a stream of the answer shows. Its output may be an error: the answer may be incomplete.
async fn shown(chunks: Vec<String>) -> Vec<Value> {
    let mut run = (chain(Model::new(Chunks(chunks))) | json()).stream("?");
    let mut values = Vec::new();
    while let Some(Ok(delta)) = run.next().await {
        let Delta::Value(value) = delta else { panic!("not a value: {delta:?}") };
        values.push(value);
    }
    values
}

/// The reason why a case differs.
async fn difference(case: &Case) -> Option<String> {
    let text = case.text.clone().unwrap_or_else(|| case.chunks.concat());
    let read = match case.kind.as_str() {
        "strict" => chain(json()).invoke(Message::assistant(text)).await,
        "lenient" => chain(json().lenient()).invoke(Message::assistant(text)).await,
        "schema" => {
            let model = Model::new(Chunks(vec![text]));
            let schema = case.schema.clone().unwrap();
            chain(structured_value(model, "case", schema).max_retries(0)).invoke("?").await
        }
        "partial" => {
            let chunks = if case.chunks.is_empty() { vec![text] } else { case.chunks.clone() };
            Ok(shown(chunks).await.pop().unwrap_or_default())
        }
        "stream" => {
            let mut values = shown(case.chunks.clone()).await;
            // The end of the value is shown, even if nothing else has changed. Values that differ by little
            // are not all shown: those that are must be the expected ones, in their order, up to the last
            // one.
            values.dedup();
            let expected = case.sequence.as_ref().unwrap();
            let mut rest = expected.iter();
            let are_in_order = values.iter().all(|value| rest.any(|expected| expected == value));
            let is_complete = values.last() == expected.last();
            return (!are_in_order || !is_complete).then(|| format!("{values:?}"));
        }
        other => panic!("unknown kind {other}"),
    };
    match (read, &case.error, &case.expected) {
        (Ok(value), None, Some(expected)) => (value != *expected).then(|| value.to_string()),
        (Ok(value), _, _) => Some(format!("{value}, not an error")),
        (Err(error), Some(says), _) => (!error.message().contains(says)).then(|| error.to_string()),
        (Err(error), None, _) => Some(error.to_string()),
    }
}

#[tokio::test]
async fn at_least_98_percent_of_the_cases_give_the_expected_value() {
    let cases: Vec<Case> = include_str!("json_cases/cases.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let mut kinds: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut different = Vec::new();
    for case in &cases {
        let (count, differ) = kinds.entry(&case.kind).or_default();
        *count += 1;
        if let Some(difference) = difference(case).await {
            println!("{}: {difference}\n    {:?}", case.id, case.text);
            *differ += 1;
            different.push(case.id.as_str());
        }
    }
    println!("kind: cases, different: {kinds:?}");
    assert_eq!(different, DIFFERENT);
    assert!(different.len() * 100 <= cases.len() * MAX_DIFFERENT);
}

//! The account's limits, as observed by clients.

use std::time::Duration;

use fanweave_sim::{Latency, Settings};
use serde_json::{Value, json};

use crate::client::{Client, calm, start};

fn hello() -> Value {
    json!({ "model": "echo", "max_tokens": 50, "messages": [{ "role": "user", "content": "hello" }] })
}

#[tokio::test]
async fn an_account_without_limits_has_no_limit_headers() {
    let server = calm();
    let answer = Client::connect(&server).await.chat(&hello()).await;
    assert!(answer.headers.keys().all(|name| !name.as_str().contains("ratelimit")), "{:?}", answer.headers);
    assert!(answer.header("x-request-id").starts_with("req_"));
    assert!(answer.header("openai-processing-ms").parse::<u64>().is_ok());
}

#[tokio::test]
async fn every_answer_tells_the_limits() {
    let server = start(Settings { rpm: Some(60), tpm: Some(60_000), ..Settings::default() });
    let answer = Client::connect(&server).await.chat(&hello()).await;
    assert_eq!(answer.header("x-ratelimit-limit-requests"), "60");
    assert_eq!(answer.header("x-ratelimit-remaining-requests"), "59");
    assert_eq!(answer.header("x-ratelimit-reset-requests"), "1s");
    assert_eq!(answer.header("x-ratelimit-limit-tokens"), "60000");
    // Two tokens of "hello" and a maximum output of fifty.
    assert_eq!(answer.header("x-ratelimit-remaining-tokens"), "59948");
    assert_eq!(answer.header("x-ratelimit-reset-tokens"), "52ms");
}

#[tokio::test]
async fn a_429_says_when_to_come_back() {
    let server = start(Settings { rpm: Some(30), ..Settings::default() });
    let mut client = Client::connect(&server).await;
    assert_eq!(client.chat(&hello()).await.status, 200);
    let answer = client.chat(&hello()).await;
    assert_eq!(answer.status, 429);
    let milliseconds: u64 = answer.header("retry-after-ms").parse().unwrap();
    assert!((1_001..=2_000).contains(&milliseconds), "{milliseconds}");
    assert_eq!(answer.header("retry-after"), "2");
    let error = &answer.json()["error"];
    assert_eq!((&error["type"], &error["code"]), (&json!("requests"), &json!("rate_limit_exceeded")));
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("Limit 30") && message.contains("try again in"), "{message}");
    assert_eq!(server.stats().rejected_429, 1);
}

#[tokio::test]
async fn tokens_run_out_too_and_are_named_as_the_reason() {
    let server = start(Settings { tpm: Some(600), ..Settings::default() });
    let mut client = Client::connect(&server).await;
    assert_eq!(client.chat(&hello()).await.status, 200);
    assert_eq!(client.chat(&hello()).await.json()["error"]["type"], "tokens");
}

#[tokio::test]
async fn a_finished_answer_gives_back_the_tokens_it_did_not_use() {
    let quantum = Duration::from_secs(60);
    let server = start(Settings { tpm: Some(600), quantum, ..Settings::default() });
    let mut client = Client::connect(&server).await;
    assert_eq!(client.chat(&hello()).await.header("x-ratelimit-remaining-tokens"), "548");
    // Two tokens in and four out were used of the first 52; the second request has its 52 still charged.
    let remaining: u32 = client.chat(&hello()).await.header("x-ratelimit-remaining-tokens").parse().unwrap();
    assert!((542..548).contains(&remaining), "{remaining}");
}

#[tokio::test]
async fn anthropics_headers_have_dates() {
    let server = start(Settings { rpm: Some(60), ..Settings::default() });
    let mut client = Client::connect_anthropic(&server).await;
    let answer = client.message(&hello()).await;
    assert_eq!(answer.header("anthropic-ratelimit-requests-remaining"), "59");
    let reset = answer.header("anthropic-ratelimit-requests-reset");
    assert!(reset.len() == 20 && reset.ends_with('Z'), "{reset}");
    let limited = client.message(&hello()).await;
    assert_eq!(
        (limited.status.as_u16(), &limited.json()["error"]["type"]),
        (429, &json!("rate_limit_error"))
    );
}

#[tokio::test]
async fn capacity_is_refused_without_a_hint() {
    let latency = Latency::Fixed(Duration::from_secs(60));
    let server = start(Settings { max_in_flight: Some(1), latency, ..Settings::default() });
    let mut first = Client::connect(&server).await;
    let body = hello();
    let waiting = first.chat(&body);
    tokio::pin!(waiting);
    while server.stats().in_flight == 0 {
        tokio::select! { _ = &mut waiting => unreachable!("it waits a minute"), () = tokio::task::yield_now() => {} }
    }
    let refused = Client::connect(&server).await.chat(&hello()).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["error"]["type"]),
        (429, &json!("server_overloaded"))
    );
    let hints = refused
        .headers
        .keys()
        .filter(|name| name.as_str().contains("retry") || name.as_str().contains("ratelimit"));
    assert_eq!(hints.count(), 0);
    let refused = Client::connect_anthropic(&server).await.message(&hello()).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["error"]["type"]),
        (529, &json!("overloaded_error"))
    );
}

#[tokio::test]
async fn capacity_is_free_again_after_each_answer_and_each_refusal() {
    let server = start(Settings { max_in_flight: Some(1), rpm: Some(60_000), ..Settings::default() });
    let mut client = Client::connect(&server).await;
    for _ in 0..5 {
        assert_eq!(client.chat(&hello()).await.status, 200);
    }
}

#[tokio::test]
async fn a_reset_refills_the_limits() {
    let server = start(Settings { rpm: Some(1), ..Settings::default() });
    let mut client = Client::connect(&server).await;
    assert_eq!(client.chat(&hello()).await.status, 200);
    assert_eq!(client.chat(&hello()).await.status, 429);
    assert_eq!(client.post("/reset", &json!({})).await.status, 200);
    assert_eq!((server.stats().requests, server.stats().peak_in_flight), (0, 0));
    assert_eq!(client.chat(&hello()).await.status, 200);
}

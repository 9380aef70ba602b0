//! Outages and flaky answers, observed at the socket.

use std::io::ErrorKind;
use std::time::Duration;

use fanweave_sim::{First429, Flake, Flaky, Latency, Outage, OutageKind, Server, Settings};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::client::{Client, start, wait_for};

/// Long enough for a slow machine to meet it, short enough to wait for.
const LENGTH: Duration = Duration::from_millis(400);

/// A provider in an outage that begins with its first request.
fn failing(kind: OutageKind) -> Server {
    start(Settings { outages: vec![Outage::new(Duration::ZERO, LENGTH, kind)], ..Settings::default() })
}

fn prompt(text: &str) -> Value {
    json!({ "model": "echo", "messages": [{ "role": "user", "content": text }] })
}

/// The status of a chat over a fresh connection, or the error of the connection or the request.
async fn attempt(server: &Server) -> Result<u16, String> {
    TcpStream::connect(server.addr()).await.map_err(|error| error.kind().to_string())?;
    let mut client = Client::connect(server).await;
    let body = prompt("hello").to_string();
    let sent = client.send(hyper::Method::POST, "/v1/chat/completions", body).await;
    sent.map(|answer| answer.status.as_u16()).map_err(|error| error.to_string())
}

/// Retries until a request succeeds, and returns the failures before.
async fn recovers(server: &Server) -> Vec<Result<u16, String>> {
    let mut failures = Vec::new();
    let recovered = async {
        loop {
            match attempt(server).await {
                Ok(200) => break,
                failure => failures.push(failure),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), recovered).await.expect("the outage ends");
    failures
}

#[tokio::test]
async fn a_status_outage_has_the_body_of_a_proxy_or_of_the_dialect_and_ends() {
    for (status, body) in [(502, "<h1>502 Bad Gateway</h1>"), (524, "A timeout occurred")] {
        let server = failing(OutageKind::Status(status));
        let answer = Client::connect(&server).await.chat(&prompt("hello")).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (status, "text/html"));
        assert!(answer.body.contains(body), "{}", answer.body);
    }
    for (status, kind) in [
        (500, "server_error"),
        (503, "service_unavailable_error"),
        (429, "requests"),
        (529, "server_overloaded"),
    ] {
        let server = failing(OutageKind::Status(status));
        let answer = Client::connect(&server).await.chat(&prompt("hello")).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["error"]["type"]), (status, &json!(kind)));
    }
    let server = failing(OutageKind::Status(503));
    assert_eq!(
        Client::connect_anthropic(&server).await.message(&prompt("hello")).await.json()["error"]["type"],
        "api_error"
    );
    assert!(recovers(&server).await.iter().all(|failure| *failure == Ok(503)));
    let stats = server.stats();
    assert_eq!((stats.outage_status + 1, stats.ok, stats.client_disconnects), (stats.requests, 1, 0));
}

#[tokio::test]
async fn an_outage_begins_after_the_first_request_and_again_after_a_reset() {
    let outage = Outage::new(LENGTH / 4, 100 * LENGTH, OutageKind::Status(500));
    let server = start(Settings { outages: vec![outage], ..Settings::default() });
    for _ in 0..2 {
        tokio::time::sleep(LENGTH / 2).await;
        assert_eq!(attempt(&server).await, Ok(200));
        tokio::time::sleep(LENGTH / 2).await;
        assert_eq!(attempt(&server).await, Ok(500));
        server.reset();
    }
}

#[tokio::test]
async fn refused_connects_cut_what_is_in_flight_and_the_same_port_answers_afterwards() {
    let outage = Outage::new(LENGTH / 4, LENGTH, OutageKind::Refuse);
    let latency = Latency::Fixed(LENGTH / 2);
    let server = start(Settings { outages: vec![outage], latency, ..Settings::default() });
    let began = Instant::now();
    let mut idle = Client::connect(&server).await;
    assert_eq!(idle.get("/stats").await.status, 200);
    let cut = attempt(&server).await;
    assert!(cut.is_err() && began.elapsed() < LENGTH, "{cut:?}");
    assert_eq!((server.stats().outage_cut, server.stats().client_disconnects), (1, 0));
    assert!(idle.send(hyper::Method::GET, "/stats", "").await.is_err(), "idle connections are closed, too");
    let refused = TcpStream::connect(server.addr()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let failures = recovers(&server).await;
    assert!(failures.iter().all(|failure| *failure == Err("connection refused".to_owned())), "{failures:?}");
    assert!(began.elapsed() >= LENGTH);
    wait_for(&server, |stats| stats.connections_open == 0).await;
}

#[tokio::test]
async fn a_server_that_refuses_can_be_stopped() {
    let outage = Outage::new(Duration::ZERO, Duration::from_secs(60), OutageKind::Refuse);
    let server = start(Settings { outages: vec![outage], ..Settings::default() });
    assert!(attempt(&server).await.is_err());
    timeout(Duration::from_secs(5), server.shutdown()).await.expect("it stops at once");
}

#[tokio::test]
async fn a_reset_outage_reads_requests_and_answers_none() {
    let server = failing(OutageKind::Reset);
    assert!(attempt(&server).await.is_err());
    assert!(recovers(&server).await.iter().all(Result::is_err));
    let stats = server.stats();
    assert!(stats.outage_reset >= 1 && stats.outage_reset + 1 == stats.requests, "{stats:?}");
    assert_eq!((stats.ok, stats.client_disconnects, stats.resets), (1, 0, 0));
}

#[tokio::test]
async fn a_hang_holds_requests_until_it_ends() {
    let server = failing(OutageKind::Hang);
    let began = Instant::now();
    let answers = tokio::join!(attempt(&server), attempt(&server));
    assert_eq!(answers, (Ok(200), Ok(200)));
    assert!(began.elapsed() >= LENGTH);
    assert_eq!((server.stats().outage_hang, server.stats().ok), (2, 2));
}

#[tokio::test]
async fn a_hang_holds_an_answer_that_is_being_written() {
    let outage = Outage::new(LENGTH / 4, LENGTH, OutageKind::Hang);
    let server = start(Settings {
        outages: vec![outage],
        chunk_delay: Duration::from_millis(40),
        ..Settings::default()
    });
    let began = Instant::now();
    let body = json!({ "model": "echo", "stream": true, "messages": prompt("1 2 3 4")["messages"] });
    let answer = Client::connect(&server).await.chat(&body).await;
    assert!(answer.body.ends_with("data: [DONE]\n\n") && began.elapsed() >= LENGTH, "{}", answer.body);
    assert_eq!((server.stats().outage_hang, server.stats().ok), (0, 1));
}

#[tokio::test]
async fn silence_lasts_for_the_requests_that_met_it() {
    let server = failing(OutageKind::Silence);
    let silent = timeout(2 * LENGTH, attempt(&server)).await;
    assert!(silent.is_err(), "answered: {silent:?}");
    assert_eq!(attempt(&server).await, Ok(200));
    wait_for(&server, |stats| stats.client_disconnects == 1).await;
    assert_eq!((server.stats().outage_silence, server.stats().in_flight), (1, 0));
}

#[tokio::test]
async fn garbage_is_html_or_incomplete_json_with_status_200() {
    let outage = Outage::new(Duration::ZERO, 100 * LENGTH, OutageKind::Garbage);
    let server = start(Settings { outages: vec![outage], ..Settings::default() });
    let mut client = Client::connect(&server).await;
    let mut kinds = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let answer = client.chat(&prompt("hello")).await;
        assert!(serde_json::from_str::<Value>(&answer.body).is_err(), "{}", answer.body);
        kinds.insert((answer.status.as_u16(), answer.header("content-type").to_owned()));
    }
    assert_eq!(Vec::from_iter(kinds), [(200, "application/json".to_owned()), (200, "text/html".to_owned())]);
    assert_eq!(server.stats().outage_garbage, 20);
}

#[tokio::test]
async fn flaky_requests_fail_as_configured_and_retries_are_independent() {
    let flaky = |how| start(Settings { flaky: Some(Flaky { rate: 0.5, how }), ..Settings::default() });
    let server = flaky(Flake::Status(503));
    let mut statuses = Vec::new();
    for _ in 0..40 {
        statuses.push(attempt(&server).await.unwrap());
    }
    let failed = statuses.iter().filter(|status| **status == 503).count();
    assert!((10..=30).contains(&failed) && statuses.iter().all(|s| [200, 503].contains(s)), "{statuses:?}");
    assert_eq!(server.stats().errors, failed as u64);
    let server = flaky(Flake::Reset);
    let mut resets = 0;
    for _ in 0..40 {
        resets += u64::from(attempt(&server).await.is_err());
    }
    assert!((10..=30).contains(&resets), "{resets} of 40");
    assert_eq!((server.stats().resets, server.stats().ok), (resets, 40 - resets));
}

#[tokio::test]
async fn the_first_requests_get_a_429_and_later_ones_are_not_limited() {
    let first_429 = First429 { wait: Duration::from_secs(2), requests: Some(2) };
    let server = start(Settings { first_429: Some(first_429), ..Settings::default() });
    let mut client = Client::connect(&server).await;
    for _ in 0..2 {
        let answer = client.chat(&prompt("hello")).await;
        assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (429, "2"));
        assert_eq!(answer.json()["error"]["message"], "Rate limit reached. Please try again in 2s.");
    }
    assert_eq!(client.chat(&prompt("hello")).await.status, 200);
    assert_eq!((server.stats().first_429, server.stats().rejected_429), (2, 2));
}

#[tokio::test]
async fn a_poison_prompt_is_always_answered_with_a_500() {
    let server = start(Settings { poison: Some("poison".to_owned()), ..Settings::default() });
    let mut client = Client::connect(&server).await;
    for _ in 0..3 {
        assert_eq!(client.chat(&prompt("a poison apple")).await.status, 500);
        assert_eq!(client.chat(&prompt("an apple")).await.status, 200);
    }
    assert_eq!((server.stats().poisoned, server.stats().errors, server.stats().ok), (3, 3, 3));
}

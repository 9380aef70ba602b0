//! Every fault, observed at the socket.

use std::io::ErrorKind;
use std::time::Duration;

use fanweave_sim::{Server, Settings};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Client, start, wait_for};

fn request(is_stream: bool) -> String {
    let body = json!({
        "model": "echo", "stream": is_stream,
        "messages": [{ "role": "user", "content": "one two three four five six seven eight nine ten" }]
    })
    .to_string();
    format!("POST /v1/chat/completions HTTP/1.1\r\nhost: sim\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// All bytes received over a fresh connection, and its end.
async fn raw_exchange(server: &Server, request: &str) -> (String, std::io::Result<()>) {
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    let end = loop {
        match stream.read_buf(&mut received).await {
            Ok(0) => break Ok(()),
            Ok(_) => {}
            Err(error) => break Err(error),
        }
    };
    (String::from_utf8(received).unwrap(), end)
}

fn announced_and_received(answer: &str) -> (usize, usize) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    (length.parse().unwrap(), body.len())
}

#[tokio::test]
async fn a_reset_interrupts_a_plain_answer_at_half() {
    let server = start(Settings { reset_rate: 1.0, ..Settings::default() });
    let (answer, end) = raw_exchange(&server, &request(false)).await;
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
    let (announced, received) = announced_and_received(&answer);
    assert_eq!(received, announced / 2);
    assert_eq!((server.stats().resets, server.stats().client_disconnects, server.stats().ok), (1, 0, 0));
}

#[tokio::test]
async fn a_reset_interrupts_a_stream_at_half() {
    let server = start(Settings { reset_rate: 1.0, ..Settings::default() });
    let (answer, end) = raw_exchange(&server, &request(true)).await;
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(
        answer.contains("\"content\":\" one\"") && !answer.contains(" ten") && !answer.contains("[DONE]"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_truncated_plain_answer_is_shorter_than_announced() {
    let server = start(Settings { truncate_rate: 1.0, ..Settings::default() });
    let (answer, end) = raw_exchange(&server, &request(false)).await;
    end.unwrap();
    let (announced, received) = announced_and_received(&answer);
    assert_eq!(received, announced / 2);
    assert_eq!(server.stats().truncated, 1);
}

#[tokio::test]
async fn a_truncated_stream_ends_in_good_order_without_its_last_events() {
    let server = start(Settings { truncate_rate: 1.0, ..Settings::default() });
    let body: Value = serde_json::from_str(request(true).split_once("\r\n\r\n").unwrap().1).unwrap();
    let mut client = Client::connect(&server).await;
    let answer = client.chat(&body).await;
    assert!(!answer.body.contains("[DONE]"), "{}", answer.body);
    assert!(answer.events().iter().all(|event| event["choices"][0]["finish_reason"].is_null()));
    // The connection stays usable.
    assert_eq!(client.chat(&body).await.status, 200);
}

#[tokio::test]
async fn an_error_is_a_500_or_a_503_with_a_proper_body() {
    let server = start(Settings { error_rate: 1.0, ..Settings::default() });
    let body = json!({ "model": "echo", "max_tokens": 9, "messages": [{ "role": "user", "content": "hi" }] });
    let mut client = Client::connect(&server).await;
    let mut types = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let answer = client.chat(&body).await;
        types.insert((answer.status.as_u16(), answer.json()["error"]["type"].as_str().unwrap().to_owned()));
    }
    assert_eq!(
        Vec::from_iter(types),
        [(500, "server_error".to_owned()), (503, "service_unavailable_error".to_owned())]
    );
    assert_eq!(
        Client::connect_anthropic(&server).await.message(&body).await.json()["error"]["type"],
        "api_error"
    );
    assert_eq!(server.stats().errors, 21);
}

#[tokio::test]
async fn a_surplus_answer_follows_the_answer_and_the_connection_stays_usable() {
    let server = start(Settings { surplus_rate: 1.0, ..Settings::default() });
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    let mut received = Vec::new();
    for exchange in 1..=2 {
        stream.write_all(request(false).as_bytes()).await.unwrap();
        let both = async {
            while String::from_utf8_lossy(&received).matches(" ten\"").count() < 2 * exchange {
                assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0);
            }
        };
        tokio::time::timeout(Duration::from_secs(10), both).await.expect("two answers for each request");
    }
    let received = String::from_utf8(received).unwrap();
    assert_eq!(received.matches("HTTP/1.1 200 OK\r\n").count(), 4, "{received}");
    let bodies: Vec<_> = received.split("\r\n\r\n").skip(1).map(|body| body.split("HTTP/").next()).collect();
    assert_eq!(bodies[0], bodies[1]);
    assert_eq!((server.stats().surplus, server.stats().requests), (2, 2));
    let body: Value = serde_json::from_str(request(true).split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(Client::connect(&server).await.chat(&body).await.status, 200);
    assert_eq!((server.stats().surplus, server.stats().ok), (2, 3), "streams are sent once");
}

#[tokio::test]
async fn a_hanging_request_is_never_answered_until_its_client_leaves() {
    let server = start(Settings { hang_rate: 1.0, ..Settings::default() });
    let waited =
        tokio::time::timeout(Duration::from_millis(50), raw_exchange(&server, &request(false))).await;
    assert!(waited.is_err(), "answered: {waited:?}");
    wait_for(&server, |stats| stats.client_disconnects == 1).await;
    assert_eq!((server.stats().hangs, server.stats().in_flight), (1, 0));
}

#[tokio::test]
async fn the_same_seed_gives_the_same_faults() {
    let statuses = async || {
        let server = start(Settings { error_rate: 0.5, seed: 7, ..Settings::default() });
        let mut client = Client::connect(&server).await;
        let body = json!({ "model": "echo", "messages": [{ "role": "user", "content": "hi" }] });
        let mut statuses = Vec::new();
        for _ in 0..30 {
            statuses.push(client.chat(&body).await.status.as_u16());
        }
        statuses
    };
    let first = statuses().await;
    assert_eq!(first, statuses().await);
    assert!(first.contains(&200) && (first.contains(&500) || first.contains(&503)));
}

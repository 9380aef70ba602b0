//! Counts, and the shutdown.

use std::time::Duration;

use bytes::Bytes;
use fanweave_sim::{Latency, Settings};
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::{Client, calm, start, wait_for};

#[tokio::test]
async fn stats_count_requests_tokens_and_connections() {
    let server = calm();
    let mut client = Client::connect(&server).await;
    let body = json!({ "model": "echo", "messages": [{ "role": "user", "content": "hello" }] });
    client.chat(&body).await;
    client.chat(&json!({ "model": "echo", "stream": true, "messages": body["messages"] })).await;
    let stats = server.stats();
    assert_eq!(
        (stats.requests, stats.ok, stats.streams, stats.in_flight, stats.peak_in_flight),
        (2, 2, 1, 0, 1)
    );
    assert_eq!((stats.connections_opened, stats.connections_open, stats.peak_connections), (1, 1, 1));
    // "hello" is 2 tokens; with its checksum 4.
    assert_eq!((stats.input_tokens, stats.output_tokens), (4, 8));
    let shown = client.get("/stats").await.json();
    assert_eq!((&shown["requests"], &shown["output_tokens"]), (&json!(2), &json!(8)));
}

#[tokio::test]
async fn a_client_that_leaves_early_is_counted() {
    let latency = Latency::Fixed(Duration::from_secs(60));
    let server = start(Settings { latency, ..Settings::default() });
    let body = json!({ "model": "echo", "messages": [{ "role": "user", "content": "hello" }] }).to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: sim\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    wait_for(&server, |stats| stats.in_flight == 1).await;
    drop(stream);
    wait_for(&server, |stats| stats.client_disconnects == 1 && stats.in_flight == 0).await;
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_stream_is_counted() {
    let server = start(Settings { chunk_delay: Duration::from_secs(60), ..Settings::default() });
    let body =
        json!({ "model": "echo", "stream": true, "messages": [{ "role": "user", "content": "hello" }] })
            .to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: sim\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    wait_for(&server, |stats| stats.streams == 1).await;
    drop(stream);
    wait_for(&server, |stats| stats.client_disconnects == 1).await;
}

#[tokio::test]
async fn the_same_request_gets_the_same_text_from_another_server() {
    let body = json!({ "model": "writer", "messages": [{ "role": "user", "content": "Write a paragraph about lighthouses." }] });
    let (one, other) = (calm(), start(Settings { seed: 99, ..Settings::default() }));
    let text = async |server| {
        Client::connect(server).await.chat(&body).await.json()["choices"][0]["message"]["content"].clone()
    };
    assert_eq!(text(&one).await, text(&other).await);
}

#[tokio::test]
async fn a_shutdown_closes_all_connections() {
    let server = calm();
    let mut client = Client::connect(&server).await;
    client.get("/stats").await;
    let addr = server.addr();
    server.shutdown().await;
    assert!(client.send(hyper::Method::GET, "/stats", "").await.is_err());
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn dropping_a_server_frees_its_port() {
    let server = calm();
    let addr = server.addr();
    drop(server);
    while TcpStream::connect(addr).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_port_in_use_is_an_error() {
    let server = calm();
    let taken = Settings { addr: server.addr(), ..Settings::default() };
    assert_eq!(fanweave_sim::Server::start(taken).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn http2_carries_several_requests_over_one_connection() {
    let server =
        start(Settings { latency: Latency::Fixed(Duration::from_millis(20)), ..Settings::default() });
    let stream = TokioIo::new(TcpStream::connect(server.addr()).await.unwrap());
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let body = json!({ "model": "echo", "messages": [{ "role": "user", "content": "hello" }] }).to_string();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let uri = format!("{}/chat/completions", server.base_url());
        let request = hyper::Request::post(uri).body(Full::new(Bytes::from(body.clone()))).unwrap();
        let mut sender = sender.clone();
        calls.spawn(async move { sender.send_request(request).await.unwrap().status() });
    }
    assert!(calls.join_all().await.iter().all(|status| *status == 200));
    assert_eq!((server.stats().connections_opened, server.stats().peak_in_flight), (1, 10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_connections_at_once_are_all_answered() {
    let latency = Latency::Fixed(Duration::from_millis(200));
    let server = start(Settings { latency, ..Settings::default() });
    let mut calls = tokio::task::JoinSet::new();
    let server = std::sync::Arc::new(server);
    for number in 0..2_000 {
        let server = std::sync::Arc::clone(&server);
        calls.spawn(async move {
            let prompt = format!("prompt {number}");
            let body = json!({ "model": "echo", "messages": [{ "role": "user", "content": prompt }] });
            let answer = Client::connect(&server).await.chat(&body).await.json();
            answer["choices"][0]["message"]["content"].as_str().unwrap().ends_with(&prompt)
        });
    }
    assert!(calls.join_all().await.into_iter().all(|is_right| is_right));
    assert_eq!(server.stats().ok, 2_000);
}

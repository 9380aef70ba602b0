//! Invalid requests and their error responses.

use std::time::Duration;

use fanweave_sim::Settings;
use hyper::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Client, calm, start};

#[tokio::test]
async fn invalid_requests_report_the_problem() {
    let server = calm();
    let mut client = Client::connect(&server).await;
    let mut problems = Vec::new();
    for (method, path, body) in [
        (Method::GET, "/v1/nothing", ""),
        (Method::GET, "/v1/chat/completions", ""),
        (Method::POST, "/v1/chat/completions", "{\"model\": "),
        (Method::POST, "/v1/chat/completions", "{\"messages\":[]}"),
        (Method::POST, "/v1/chat/completions", "{\"model\":\"echo\"}"),
        (Method::POST, "/v1/chat/completions", "{\"model\":\"echo\",\"messages\":[]}"),
        (Method::POST, "/v1/chat/completions", "{\"model\":\"echo\",\"messages\":[{\"role\":\"robot\"}]}"),
        (Method::POST, "/v1/completions", "{\"model\":\"echo\"}"),
        (Method::POST, "/v1/embeddings", "{\"model\":\"e\",\"input\":\"x\",\"dimensions\":0}"),
        (Method::POST, "/v1/messages", "{\"model\":\"echo\""),
    ] {
        let answer = client.send(method.clone(), path, body).await.unwrap();
        let error = &answer.json()["error"];
        problems.push(format!("{method} {path} {body}\n  {} {error}", answer.status));
    }
    insta::assert_snapshot!(problems.join("\n"));
    assert_eq!(server.stats().invalid, 10);
}

#[tokio::test]
async fn a_key_must_be_the_right_one_in_either_header() {
    let server = start(Settings { api_key: Some("sk-right-and-proper".into()), ..Settings::default() });
    let body = json!({ "model": "echo", "messages": [{ "role": "user", "content": "hi" }] });
    for (name, value) in
        [("authorization", "Bearer sk-right-and-proper"), ("x-api-key", "sk-right-and-proper")]
    {
        let answer = Client::connect(&server).await.with_header(name, value).chat(&body).await;
        assert_eq!(answer.status, 200);
    }
    let wrong = Client::connect(&server)
        .await
        .with_header("authorization", "Bearer sk-wrong-0123456789")
        .chat(&body)
        .await;
    assert_eq!(wrong.status, 401);
    assert_eq!(wrong.json()["error"]["code"], "invalid_api_key");
    assert!(wrong.body.contains("sk-wr****89") && !wrong.body.contains("0123456789"), "{}", wrong.body);

    let missing = Client::connect_anthropic(&server).await.message(&body).await;
    assert_eq!(
        (missing.status.as_u16(), &missing.json()["error"]["type"]),
        (401, &json!("authentication_error"))
    );
    assert_eq!(Client::connect(&server).await.get("/stats").await.status, 200);
}

#[tokio::test]
async fn an_unknown_model_is_not_found_in_either_dialect() {
    let server = start(Settings { models: vec!["echo".into()], ..Settings::default() });
    let body =
        json!({ "model": "gpt-9", "max_tokens": 9, "messages": [{ "role": "user", "content": "hi" }] });
    let answer = Client::connect(&server).await.chat(&body).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["error"]["code"]), (404, &json!("model_not_found")));
    let answer = Client::connect_anthropic(&server).await.message(&body).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["error"]["message"]), (404, &json!("model: gpt-9")));
}

#[tokio::test]
async fn a_body_over_64_mib_is_too_large() {
    let server = calm();
    let answer = Client::connect(&server)
        .await
        .send(Method::POST, "/v1/completions", vec![b' '; (64 << 20) + 1])
        .await;
    // The answer may arrive before the whole body is sent; the client may then see a closed connection
    // instead.
    if let Ok(answer) = answer {
        assert_eq!(answer.status, 413);
    }
    assert_eq!(server.stats().invalid, 1);
}

#[tokio::test]
async fn the_index_page_lists_the_endpoints() {
    let server = calm();
    let answer = Client::connect(&server).await.get("/").await;
    assert!(answer.body.contains("/v1/chat/completions"), "{}", answer.body);
}

#[tokio::test]
async fn a_connection_stays_usable_after_a_rejected_request_with_a_late_body() {
    let server = start(Settings { api_key: Some("sk-right".into()), ..Settings::default() });
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    for path in ["/v1/chat/completions", "/v1/nothing", "/v1/chat/completions"] {
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // Some clients write head and body separately.
        tokio::time::sleep(Duration::from_millis(30)).await;
        stream.write_all(b"{}").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"}}") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "{path}: the connection was closed");
        }
        assert!(answer.starts_with(b"HTTP/1.1 401"), "{}", String::from_utf8_lossy(&answer));
    }
}

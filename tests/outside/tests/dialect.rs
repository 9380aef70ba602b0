//! A dialect of another crate, against a server of its own.

use std::time::Duration;

use fanweave::models::protocol::HeaderName;
use fanweave::models::{KeyHeader, ModelBuilder, Vendor};
use fanweave::{Context, ErrorKind, Prompt, chain, compose::RetryPolicy, messages::FinishReason, text};
use futures::StreamExt;
use outside::acme::Acme;
use outside::server::Server;
use serde_json::{Value, json};

/// Answers with what was said last.
fn said(request: &Value) -> (u16, String, String) {
    let text = request["said"].as_array().unwrap().last().unwrap()["text"].as_str().unwrap();
    if request["lines"] == false {
        let answer = json!({ "text": text, "read": 7, "wrote": 2 });
        return (200, String::new(), answer.to_string());
    }
    let words = text.split_inclusive(' ').map(|word| json!({ "text": word }).to_string());
    let end = json!({ "end": true, "read": 7, "wrote": 2 }).to_string();
    let lines: Vec<_> = words.chain([end]).collect();
    (200, "content-type: text/plain\r\n".to_owned(), lines.join("\n") + "\n")
}

fn acme(server: &Server) -> ModelBuilder {
    let key = KeyHeader::Named(HeaderName::from_static("x-acme-key"));
    let vendor = Vendor::new("acme", server.origin()).key_header(key).protocol(Acme);
    ModelBuilder::new("acme/writer").vendor(vendor).api_key("sk-canary-1234")
}

#[tokio::test]
async fn a_dialect_of_its_own() {
    let server = Server::start(|_, request| said(request));
    let model = acme(&server).build().unwrap();
    let answer = model.invoke("Say it all at once").await.unwrap();
    assert_eq!(answer.text(), "Say it all at once");
    let reply = answer.reply.unwrap();
    assert_eq!((reply.usage.input_tokens, reply.usage.output_tokens), (7, 2));
    assert_eq!(reply.finish_reason, Some(FinishReason::Stop));
    let head = &server.heads()[0];
    assert!(head.starts_with("post /v2/generate http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nx-acme-key: sk-canary-1234\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-type: application/json\r\n"), "{head}");

    // Streamed, in a chain.
    let chain = chain(model.clone()) | text();
    let words: Vec<_> = chain.stream("one two three").map(|delta| delta.unwrap().to_string()).collect().await;
    assert_eq!(words, ["one ", "two ", "three"]);
    assert!(server.heads()[1].contains("\r\naccept: application/x-ndjson\r\n"));

    // Many at once.
    let rows = chain.batch((0..20).map(|n| n.to_string())).concurrency(8).collect().await;
    assert!(rows.into_iter().zip(0..).all(|(row, n): (_, u32)| row.unwrap() == n.to_string()));
}

#[tokio::test]
async fn its_errors_are_retried_and_redacted_by_the_transport() {
    let server = Server::start(|n, request| match n {
        0 => (429, String::new(), json!({ "wrong": "slow down", "wait_ms": 20 }).to_string()),
        1 => (500, String::new(), "oops".to_owned()),
        2 => said(request),
        _ => (401, String::new(), json!({ "wrong": "who is sk-canary-1234?" }).to_string()),
    });
    let retry = RetryPolicy::default();
    let model = acme(&server).retry(retry).build().unwrap();
    let answer = model.invoke("at last").await.unwrap();
    assert_eq!((answer.text().as_str(), answer.reply.unwrap().attempts), ("at last", 3));

    let error = model.invoke("again").await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::Authentication, Some(401)));
    assert!(error.message().starts_with("who is ") && !format!("{error} {error:?}").contains("canary"));

    // A call that the dialect refuses is not sent.
    let mut prompt = Prompt::from("no");
    prompt.parameters.stop = vec!["x".to_owned()];
    let refused = model.invoke(prompt).await.unwrap_err();
    assert_eq!((refused.kind(), server.requests()), (ErrorKind::Input, 4));
}

#[tokio::test]
async fn its_truncated_stream_is_an_error_with_the_part_that_arrived() {
    let server = Server::start(|_, _| {
        (200, "content-type: text/plain\r\n".to_owned(), "{\"text\":\"half \"}\n".to_owned())
    });
    let model = acme(&server).retry(RetryPolicy::never()).build().unwrap();
    let cx = Context::new().with_timeout(Duration::from_secs(20));
    let error = chain(model).stream_in("x", &cx).output().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StreamIncomplete);
    assert_eq!(error.partial().unwrap().text(), "half ");
}

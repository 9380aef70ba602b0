//! The baseline: a pooled hyper client with typed JSON and a fixed number of workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};

#[derive(Serialize)]
struct ChatRequest<'a> {
    model: &'a str,
    messages: [ChatMessage<'a>; 1],
}

#[derive(Serialize)]
struct ChatMessage<'a> {
    role: &'a str,
    content: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: AnswerMessage,
}

#[derive(Deserialize)]
struct AnswerMessage {
    content: String,
}

/// The prompt of row `i`.
pub(crate) fn prompt(i: usize) -> String {
    format!("row {i:06}, please echo")
}

/// `bare URL ROWS CONCURRENCY`.
pub(crate) fn run(args: &[String]) {
    let [url, rows, concurrency] = args else { panic!("bare URL ROWS CONCURRENCY") };
    let (rows, concurrency): (usize, usize) =
        (rows.parse().expect("a number"), concurrency.parse().expect("a number"));
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let uri: hyper::Uri = format!("{url}/chat/completions").parse().expect("a URL");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(tcp);
        let next = Arc::new(AtomicUsize::new(0));
        let workers: Vec<_> = (0..concurrency.min(rows))
            .map(|_| {
                let (client, next, uri) = (client.clone(), next.clone(), uri.clone());
                tokio::spawn(async move {
                    loop {
                        let i = next.fetch_add(1, Ordering::Relaxed);
                        if i >= rows {
                            return;
                        }
                        let prompt = prompt(i);
                        let chat = ChatRequest {
                            model: "echo",
                            messages: [ChatMessage { role: "user", content: &prompt }],
                        };
                        let request = Request::post(uri.clone())
                            .header(CONTENT_TYPE, "application/json")
                            .header(AUTHORIZATION, "Bearer none")
                            .body(Full::from(serde_json::to_vec(&chat).expect("a request is JSON")))
                            .expect("a request");
                        let response = client.request(request).await.expect("an answer");
                        let body = response.into_body().collect().await.expect("a body").to_bytes();
                        let answer: Answer = serde_json::from_slice(&body).expect("an answer is JSON");
                        assert!(answer.choices[0].message.content.ends_with(&prompt), "the answer is ours");
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.await.expect("a worker ends well");
        }
    });
}

//! A custom transport.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fanweave_core::{Error, ErrorKind, Result, chain};
use fanweave_models::{Body, Client, HttpTransport, ModelBuilder, RetryPolicy, Timeouts};
use http::{Request, Response};
use http_body_util::StreamBody;
use hyper::body::Frame;

use crate::server::{Server, completion};

/// Fails the first time, and then plays back a stream.
struct Recorded {
    asked: AtomicUsize,
}

impl HttpTransport for Recorded {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>> {
        assert_eq!(request.uri(), "http://recorded/v1/chat/completions");
        if self.asked.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err(Error::new(ErrorKind::Connection, "out of tape"));
        }
        let pieces = [
            "data: {\"choices\":[{\"delta\":{\"content\":\"Hel",
            "lo\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
        ];
        let frames = pieces.map(|piece| Ok::<_, std::io::Error>(Frame::data(Bytes::from(piece))));
        let body = Body::new(StreamBody::new(futures::stream::iter(frames)));
        Ok(Response::builder().header("content-type", "text/event-stream").body(body).unwrap())
    }
}

fn model(client: Client) -> ModelBuilder {
    let hasty = RetryPolicy::default().initial_backoff(Duration::from_millis(1));
    ModelBuilder::new("vllm/x").base_url("http://recorded/v1").client(client).retry(hasty)
}

#[tokio::test]
async fn recorded_answers_pass_through_retries_and_decoders() {
    let client = Client::builder().transport(Recorded { asked: AtomicUsize::new(0) }).build().unwrap();
    let message = chain(model(client).build().unwrap()).stream("x").output().await.unwrap();
    assert_eq!((message.text().as_str(), message.reply.unwrap().attempts), ("Hello", 2));
}

#[tokio::test]
async fn a_transport_that_never_answers_is_given_up() {
    struct Silent;
    impl HttpTransport for Silent {
        async fn send(&self, _: Request<Bytes>) -> Result<Response<Body>> {
            std::future::pending().await
        }
    }
    let timeouts = Timeouts::default().first_byte(Duration::from_millis(50));
    let client = Client::builder().timeouts(timeouts).transport(Silent).build().unwrap();
    let error = model(client).retry(RetryPolicy::never()).build().unwrap().invoke("x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[tokio::test(start_paused = true)]
async fn a_finished_stream_that_is_never_closed_is_complete_after_ten_seconds() {
    use futures::StreamExt;

    struct Open(&'static str);
    impl HttpTransport for Open {
        async fn send(&self, _: Request<Bytes>) -> Result<Response<Body>> {
            let chunk = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"Hi\"}}{}}}]}}\n\n", self.0);
            let frames = futures::stream::iter([Ok::<_, std::io::Error>(Frame::data(Bytes::from(chunk)))]);
            let body = Body::new(StreamBody::new(frames.chain(futures::stream::pending())));
            Ok(Response::builder().header("content-type", "text/event-stream").body(body).unwrap())
        }
    }
    for (finish, is_complete) in [(",\"finish_reason\":\"stop\"", true), ("", false)] {
        let client = Client::builder().transport(Open(finish)).build().unwrap();
        let model = chain(model(client).retry(RetryPolicy::never()).build().unwrap());
        let start = tokio::time::Instant::now();
        let result = model.stream("x").output().await;
        let after = start.elapsed();
        if is_complete {
            assert_eq!(result.unwrap().text(), "Hi");
            assert!(after >= Duration::from_secs(10) && after < Duration::from_secs(11), "{after:?}");
        } else {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Timeout);
        }
    }
}

#[tokio::test]
async fn a_client_can_be_wrapped() {
    struct Counted(Client, Arc<AtomicUsize>);
    impl HttpTransport for Counted {
        async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>> {
            self.1.fetch_add(1, Ordering::SeqCst);
            self.0.send(request).await
        }
    }
    let server = Server::start(|_| completion("hi")).await;
    let count = Arc::new(AtomicUsize::new(0));
    let inner = Client::builder().build().unwrap();
    let client = Client::builder().transport(Counted(inner.clone(), count.clone())).build().unwrap();
    let model = server.model().client(client).build().unwrap();
    for _ in 0..3 {
        assert_eq!(model.invoke("x").await.unwrap().text(), "hi");
    }
    assert_eq!((count.load(Ordering::SeqCst), server.connections()), (3, 1));

    let error = inner.send(Request::new(Bytes::new())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[test]
fn settings_of_the_pool_are_rejected_with_a_custom_transport() {
    let error = Client::builder()
        .transport(Recorded { asked: AtomicUsize::new(0) })
        .proxy("http://p:1")
        .build()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

/// The results of a finished batch, in these chunks.
struct Results(Vec<Bytes>);

impl HttpTransport for Results {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>> {
        if !request.uri().path().ends_with("/content") {
            let batch = r#"{"id":"batch_1","status":"completed","output_file_id":"file_1"}"#;
            return Ok(Response::new(Body::from(batch)));
        }
        let frames = self.0.clone().into_iter().map(|chunk| Ok::<_, std::io::Error>(Frame::data(chunk)));
        Ok(Response::new(Body::new(StreamBody::new(futures::stream::iter(frames)))))
    }
}

#[tokio::test]
async fn the_size_limit_applies_to_each_result_of_a_batch_however_the_results_arrive() {
    const LIMIT: usize = 10_000;
    let line = |n: usize, length: usize| {
        let begin = format!(r#"{{"custom_id":"{n}","response":{{"status_code":200,"body":{{"choices":"#);
        let answer = "x".repeat(length - begin.len() - 40);
        format!(r#"{begin}[{{"message":{{"content":"{answer}"}}}}]}}}}}}"#)
    };
    for (longer, is_fine) in [(9_900, true), (10_100, false)] {
        let all: Vec<_> = (1..=50).map(|n| line(n, if n == 31 { longer } else { 400 })).collect();
        let all = Bytes::from(all.join("\n"));
        // The second one cuts the long line and leaves its end in a chunk with the following lines.
        for cuts in [vec![], vec![20_000], (1..all.len()).collect::<Vec<_>>()] {
            let (begins, ends) = ([&[0], &cuts[..]].concat(), [&cuts[..], &[all.len()]].concat());
            let chunks: Vec<_> = begins.iter().zip(&ends).map(|(begin, end)| all.slice(begin..end)).collect();
            let number = chunks.len();
            let client = Client::builder().transport(Results(chunks)).max_body_bytes(LIMIT).build().unwrap();
            let collected = model(client).batch_api().unwrap().collect("batch_1").await;
            let rows = collected.as_ref().map(Vec::len).ok();
            assert_eq!(rows, is_fine.then_some(50), "{number} chunks: {:?}", collected.as_ref().err());
            if let Err(error) = collected {
                assert!(error.message().starts_with("line 31 of the results is longer"), "{error}");
                assert!(!error.is_retryable());
            }
        }
    }
}

//! Network failures, and responses meant to exhaust memory.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanweave_core::{Error, ErrorKind, Model, chain};
use fanweave_models::{Body, Client, HttpTransport, ModelBuilder, RetryPolicy, Timeouts};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::StreamExt;
use futures::future::join_all;
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::server::{Act, Server, answer, completion, refusal, stream, stream_head};

const MIB: usize = 1 << 20;

/// Maximum bytes of a connection buffered by the operating system, in addition to the bytes read.
const IN_SOCKETS: usize = 16 * MIB;

fn hasty() -> RetryPolicy {
    RetryPolicy::default().initial_backoff(Duration::from_millis(1)).outage_timeout(Duration::ZERO)
}

/// The errors of a non-streaming and a streaming call.
async fn both(model: &Model) -> [Error; 2] {
    let plain = model.invoke("x").await.unwrap_err();
    [plain, chain(model.clone()).stream("x").output().await.unwrap_err()]
}

#[tokio::test]
async fn a_reset_before_the_headers_is_retried() {
    for end in [Act::Reset, Act::Close] {
        for begun in ["", "HTTP/1.1 200 OK\r\ncontent-le"] {
            let end = end.clone();
            let server = Server::start(move |seen| match seen.number {
                0 => vec![Act::Send(begun.into()), end.clone()],
                _ => completion("hi"),
            })
            .await;
            let model = server.model().retry(hasty()).build().unwrap();
            assert_eq!(model.invoke("x").await.unwrap().reply.unwrap().attempts, 2);
        }
    }
}

#[tokio::test]
async fn a_connection_that_died_while_idle_is_replaced() {
    let server = Server::start(|_| [completion("hi"), vec![Act::Close]].concat()).await;
    let model = server.model().retry(RetryPolicy::never()).build().unwrap();
    for _ in 0..5 {
        model.invoke("x").await.unwrap();
        while server.closed() < server.connections() {
            tokio::task::yield_now().await;
        }
        // The close is still on its way through this machine.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(server.connections(), 5);
}

#[tokio::test]
async fn a_connection_that_died_while_this_thread_was_busy_is_replaced() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let ((allow, allowed), (closed, is_closed)) = (mpsc::channel(), mpsc::channel());
    // In a separate thread: it closes while the thread of the test is busy.
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let _ = socket.read(&mut [0; 16 << 10]).unwrap();
            for act in completion("hi") {
                let Act::Send(bytes) = act else { unreachable!() };
                socket.write_all(&bytes).unwrap();
            }
            allowed.recv().unwrap();
            drop(socket);
            closed.send(()).unwrap();
        }
    });
    let model = ModelBuilder::new("openai/test").base_url(url).retry(RetryPolicy::never()).build().unwrap();
    for _ in 0..3 {
        model.invoke("x").await.unwrap();
        // The connection is returned, and then left unpolled.
        tokio::time::sleep(Duration::from_millis(5)).await;
        allow.send(()).unwrap();
        is_closed.recv().unwrap();
    }
}

/// Some servers do this after every stream: they close silently, just as the next request is on its way.
#[tokio::test]
async fn a_used_connection_that_closes_without_an_answer_uses_no_attempt() {
    for end in [Act::Close, Act::Reset] {
        let server = Server::start(move |seen| match seen.number {
            1 => vec![end.clone()],
            _ => completion("hi"),
        })
        .await;
        let model = server.model().retry(RetryPolicy::never()).build().unwrap();
        for _ in 0..2 {
            assert_eq!(model.invoke("x").await.unwrap().reply.unwrap().attempts, 1);
        }
        assert_eq!((server.connections(), server.requests().len()), (2, 3));
    }
}

#[tokio::test]
async fn a_fresh_connection_that_closes_and_a_used_one_that_does_so_later_are_failures() {
    let server = Server::start(|_| vec![Act::Close]).await;
    let model = server.model().retry(RetryPolicy::never()).build().unwrap();
    assert_eq!(model.invoke("x").await.unwrap_err().kind(), ErrorKind::Connection);
    assert_eq!(server.requests().len(), 1);
    let server = Server::start(|seen| match seen.number {
        0 => completion("hi"),
        _ => vec![Act::Wait(Duration::from_millis(1200)), Act::Close],
    })
    .await;
    let model = server.model().retry(RetryPolicy::never()).build().unwrap();
    model.invoke("x").await.unwrap();
    assert_eq!(model.invoke("x").await.unwrap_err().kind(), ErrorKind::Connection);
    assert_eq!(server.requests().len(), 2, "the server may have worked on it");
}

/// A server that restarts closes all of its connections. The request is resent on a new one, since the other
/// idle ones are closed too.
#[tokio::test]
async fn a_used_connection_that_closes_without_an_answer_is_replaced_by_a_new_one() {
    for end in [Act::Close, Act::Reset] {
        let server = Server::start(move |seen| match seen.connection {
            0..16 if seen.number >= 16 => vec![end.clone()],
            _ => [vec![Act::Wait(Duration::from_millis(100))], completion("hi")].concat(),
        })
        .await;
        let model = server.model().retry(RetryPolicy::never()).build().unwrap();
        for message in join_all((0..16).map(|_| model.invoke("x"))).await {
            message.unwrap();
        }
        assert_eq!(server.connections(), 16);
        for _ in 0..3 {
            assert_eq!(model.invoke("x").await.unwrap().reply.unwrap().attempts, 1);
        }
        assert_eq!((server.connections(), server.requests().len()), (17, 20));
    }
}

#[tokio::test]
async fn a_host_that_closes_every_used_connection_gets_one_request_per_connection() {
    let used = Mutex::new(HashSet::new());
    let server = Server::start(move |seen| match used.lock().unwrap().insert(seen.connection) {
        true => completion("hi"),
        false => vec![Act::Close],
    })
    .await;
    let model = server.model().retry(RetryPolicy::never()).build().unwrap();
    for _ in 0..50 {
        assert_eq!(model.invoke("x").await.unwrap().reply.unwrap().attempts, 1);
    }
    assert_eq!((server.connections(), server.requests().len()), (50, 58));
}

/// Behind a load balancer, each connection leads to one of several servers.
#[tokio::test]
async fn a_connection_with_a_failed_response_is_not_used_again() {
    for status in [408, 500, 502, 503, 504, 520, 529] {
        let server = Server::start(move |seen| match seen.connection {
            0 => refusal(status, "", "x", "broken"),
            _ => completion("hi"),
        })
        .await;
        let model = server.model().retry(hasty()).build().unwrap();
        for attempts in [2, 1, 1] {
            assert_eq!(model.invoke("x").await.unwrap().reply.unwrap().attempts, attempts, "{status}");
        }
        assert_eq!(server.connections(), 2, "{status}");
    }
}

#[tokio::test]
async fn a_connection_with_a_rejected_request_is_used_again() {
    for status in [400, 401, 404, 409, 422, 429] {
        let server = Server::start(move |seen| match seen.number {
            0 => refusal(status, "", "x", "no"),
            _ => completion("hi"),
        })
        .await;
        let model = server.model().retry(RetryPolicy::never()).build().unwrap();
        model.invoke("x").await.unwrap_err();
        model.invoke("x").await.unwrap();
        assert_eq!(server.connections(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_connection_with_an_unreadable_response_is_not_used_again() {
    let failure = r#"{"error":{"message":"Provider returned error","code":502}}"#;
    for body in ["", "null", r#"{"choices":["#, "upstream connect error", failure] {
        let server = Server::start(move |seen| match seen.connection {
            0 => answer(200, "", body),
            _ if seen.body["stream"] == true => stream(&["hi"]),
            _ => completion("hi"),
        })
        .await;
        let model = server.model().retry(RetryPolicy::never()).build().unwrap();
        model.invoke("x").await.unwrap_err();
        model.invoke("x").await.unwrap();
        assert_eq!(server.connections(), 2, "{body}");
    }
    let server = Server::start(|seen| match seen.connection {
        0 => [vec![stream_head()], vec![Act::Send(b"0\r\n\r\n".to_vec())]].concat(),
        _ => stream(&["hi"]),
    })
    .await;
    let model = server.model().retry(RetryPolicy::never()).build().unwrap();
    chain(model.clone()).stream("x").output().await.unwrap_err();
    chain(model).stream("x").output().await.unwrap();
    assert_eq!(server.connections(), 2);
}

/// Every closed connection occupies a local port for a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_closed_because_of_failures_are_limited_per_second() {
    let server = Server::start(|_| refusal(503, "", "x", "overloaded")).await;
    let client = Client::builder().no_proxy().build().unwrap();
    let began = Instant::now();
    let calls = (0..8).map(|_| async {
        for _ in 0..200 {
            let request = http::Request::post(format!("http://{}/", server.address)).body("{}".into());
            let answer = client.send(request.unwrap()).await.unwrap();
            answer.into_body().collect().await.unwrap();
        }
    });
    join_all(calls).await;
    // The seconds of the pool begin at other times.
    let seconds = began.elapsed().as_secs() as usize + 2;
    let (connections, max) = (server.connections(), 200 * seconds + 50);
    assert!(max > 1600 || (200..=max).contains(&connections), "{connections} in {seconds} s");
}

#[tokio::test]
async fn a_socket_that_is_never_accepted_ends_with_the_first_byte_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let short = Duration::from_millis(200);
    let client = Client::builder().timeouts(Timeouts::default().first_byte(short));
    let model = ModelBuilder::new("vllm/x").base_url(url).client(client.build().unwrap());
    let began = Instant::now();
    let error = model.retry(RetryPolicy::never()).build().unwrap().invoke("x").await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Timeout, "no response started within 200ms"));
    assert!(began.elapsed() < short * 5, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_server_that_never_answers_the_tls_greeting_ends_with_the_connect_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/v1", listener.local_addr().unwrap());
    let short = Duration::from_millis(100);
    let client = Client::builder().timeouts(Timeouts::default().connect(short));
    let model = ModelBuilder::new("vllm/x").base_url(url).client(client.build().unwrap());
    let began = Instant::now();
    let error = model.retry(RetryPolicy::never()).build().unwrap().invoke("x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(began.elapsed() < short * 20, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_host_without_an_address_is_retried_within_the_policy() {
    // Longer than a DNS label may be: rejected before any lookup.
    let url = format!("http://{}.invalid/v1", "x".repeat(64));
    let policy = hasty().max_attempts(3.try_into().unwrap());
    let model = ModelBuilder::new("vllm/x").base_url(url).retry(policy).build().unwrap();
    let error = model.invoke("x").await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable(), error.attempts()), (ErrorKind::Connection, true, 3));
}

#[tokio::test]
async fn headers_that_are_written_by_hand_are_read() {
    let server = Server::start(|_| {
        completion("ok")
            .into_iter()
            .map(|act| match act {
                Act::Send(bytes) => {
                    let sent = String::from_utf8(bytes).unwrap();
                    let odd = "x-policy: a,\r\n  b\r\nx-served-by : edge\r\nx-request-id: folded\r\n\t1\r\n";
                    Act::Send(sent.replacen("x-request-id: req_1\r\n", odd, 1).into_bytes())
                }
                other => other,
            })
            .collect()
    })
    .await;
    let model = server.model().retry(RetryPolicy::never()).build().unwrap();
    assert_eq!(model.invoke("x").await.unwrap().text(), "ok");
}

#[tokio::test]
async fn a_million_headers_are_rejected() {
    let server = Server::start(|_| {
        vec![Act::Send(b"HTTP/1.1 200 OK\r\n".to_vec()), Act::Repeat(b"x-a: b\r\n".to_vec(), 1_000_000)]
    })
    .await;
    for error in both(&server.model().retry(hasty()).build().unwrap()).await {
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Decode, false), "{error}");
        assert!(error.message().contains("more than 512 headers"), "{error}");
    }
    assert_eq!(server.requests().len(), 2, "the same requests would meet the same end");
}

#[tokio::test]
async fn hundreds_of_headers_are_read() {
    let with_headers = |acts: Vec<Act>| -> Vec<Act> {
        let many: String = (0..400).map(|n| format!("llm_provider-x-{n}: {n}\r\n")).collect();
        let head = |act| match act {
            Act::Send(bytes) => Act::Send(
                String::from_utf8(bytes).unwrap().replacen("\r\n", &format!("\r\n{many}"), 1).into(),
            ),
            other => other,
        };
        let mut acts = acts.into_iter();
        acts.next().map(head).into_iter().chain(acts).collect()
    };
    let server = Server::start(move |seen| match seen.number {
        0 => with_headers(completion("ok")),
        1 => with_headers(refusal(400, "", "x", "no")),
        _ => with_headers(stream(&["o", "k"])),
    })
    .await;
    let model = server.model().retry(RetryPolicy::never()).build().unwrap();
    assert_eq!(model.invoke("x").await.unwrap().text(), "ok");
    assert_eq!(model.invoke("x").await.unwrap_err().status(), Some(400));
    assert_eq!(chain(model).stream("x").output().await.unwrap().text(), "ok");
}

/// Sends the same body to every request, and never ends it.
struct StaysOpen(String);

impl HttpTransport for StaysOpen {
    async fn send(&self, _: Request<Bytes>) -> Result<Response<Body>, Error> {
        let start = Ok::<_, Error>(Frame::data(Bytes::from(self.0.clone())));
        let body = StreamBody::new(futures::stream::iter([start]).chain(futures::stream::pending()));
        Ok(Response::new(Body::new(body)))
    }
}

/// A call without a stream whose response is `body`, on a connection that stays open.
async fn on_an_open_connection(vendor: &str, body: &str) -> Result<String, Error> {
    let client = Client::builder().transport(StaysOpen(body.to_owned())).build().unwrap();
    let model = ModelBuilder::new(format!("{vendor}/x")).base_url("http://x").api_key("x").client(client);
    let model = model.retry(RetryPolicy::never()).build().unwrap();
    Ok(model.invoke("x").await?.text())
}

#[tokio::test(start_paused = true)]
async fn a_complete_answer_on_a_connection_that_stays_open_is_returned_after_a_silence() {
    let lines =
        "{\"message\":{\"content\":\"o\"},\"done\":false}\n{\"message\":{\"content\":\"k\"},\"done\":true}\n";
    let answers = [
        ("openai", r#"{"choices":[{"message":{"content":"ok"},"finish_reason":"stop"}]}"#),
        (
            "openai-responses",
            r#"{"status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"ok"}]}]}"#,
        ),
        ("openai-completions", r#"{"choices":[{"text":"ok","finish_reason":"stop"}]}"#),
        (
            "anthropic",
            r#"{"type":"message","content":[{"type":"text","text":"ok"}],"stop_reason":"end_turn"}"#,
        ),
        ("gemini", r#"{"candidates":[{"content":{"parts":[{"text":"ok"}]},"finishReason":"STOP"}]}"#),
        ("ollama", r#"{"message":{"content":"ok"},"done":true,"done_reason":"stop"}"#),
        ("ollama", lines),
    ];
    for (vendor, answer) in answers {
        let began = tokio::time::Instant::now();
        assert_eq!(on_an_open_connection(vendor, answer).await.unwrap(), "ok", "{vendor}");
        assert_eq!(began.elapsed().as_secs(), 10, "{vendor}");
        // More may follow what is not complete.
        let cut = &answer[..answer.len() / 2];
        let error = on_an_open_connection(vendor, cut).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{vendor}: {error}");
    }
    let failure = r#"{"error":{"message":"no such model","type":"invalid_request_error"}}"#;
    let error = on_an_open_connection("openai", failure).await.unwrap_err();
    assert!(error.message().contains("no such model"), "{error}");
}

#[tokio::test]
async fn a_gibibyte_is_rejected_at_the_limit() {
    let length = 1 << 30;
    let announced = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    for head in [announced.as_str(), "HTTP/1.1 200 OK\r\n\r\n"] {
        let head = head.as_bytes().to_vec();
        let server = Server::start(move |_| {
            vec![Act::Send(head.clone()), Act::Repeat(vec![b' '; 4096], length / 4096)]
        })
        .await;
        let client = Client::builder().max_body_bytes(MIB).max_event_bytes(MIB).build().unwrap();
        let model = server.model().client(client).retry(hasty()).build().unwrap();
        for error in both(&model).await {
            assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Decode, false), "{error}");
        }
        assert_eq!(server.requests().len(), 2, "the same requests would meet the same end");
        assert!(server.sent() < 2 * IN_SOCKETS, "{} bytes", server.sent());
    }
}

#[tokio::test]
async fn an_endless_stream_of_small_events_is_rejected_at_the_body_limit() {
    let event = b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"again and again\"}}]}\n\n";
    let server = Server::start(|_| {
        let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n".to_vec();
        vec![Act::Send(head), Act::Repeat(event.to_vec(), 1 << 24)]
    })
    .await;
    let client = Client::builder().max_body_bytes(MIB).build().unwrap();
    let model = server.model().client(client).retry(hasty()).build().unwrap();
    let error = chain(model).stream("x").output().await.unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Decode, "the response is longer than 1048576 bytes")
    );
    assert!(error.partial().is_some_and(|partial| partial.text().starts_with("again and again")));
    assert!(server.sent() < IN_SOCKETS, "{} bytes", server.sent());
}

#[tokio::test]
async fn a_million_empty_lines_of_one_event_are_rejected() {
    let server = Server::start(|_| {
        let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n".to_vec();
        vec![Act::Send(head), Act::Repeat(b"data:\n".to_vec(), 1_000_000)]
    })
    .await;
    let model = server.model().retry(hasty()).build().unwrap();
    let error = chain(model).stream("x").output().await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Decode, false));
    assert!(error.message().contains("65536 lines"), "{error}");
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_body_is_decompressed_by_its_first_bytes_whatever_its_headers_say() {
    const ANSWER: &str = r#"{"choices":[{"message":{"content":"Hello."},"finish_reason":"stop"}]}"#;
    const EVENTS: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"Hello.\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    for (headers, is_compressed) in [
        ("", true),
        ("content-encoding: gzip\r\n", true),
        ("content-encoding: br\r\n", true),
        ("content-encoding: gzip\r\n", false),
        ("content-encoding: br\r\n", false),
    ] {
        let server = Server::start(move |seen| {
            let text = if seen.body["stream"] == true { EVENTS } else { ANSWER };
            let body = if is_compressed { gzip(text.as_bytes()) } else { text.into() };
            let (first, rest) = body.split_at(1);
            let head = format!("HTTP/1.1 200 OK\r\n{headers}content-length: {}\r\n\r\n", body.len());
            vec![Act::Send(head.into()), Act::Send(first.into()), Act::Send(rest.into())]
        })
        .await;
        let model = server.model().retry(RetryPolicy::never()).build().unwrap();
        assert_eq!(model.invoke("x").await.unwrap().text(), "Hello.", "{headers}");
        let streamed = chain(model.clone()).stream("x").output().await.unwrap();
        assert_eq!(streamed.text(), "Hello.", "{headers}");
    }
    // An error of a proxy.
    let server = Server::start(|_| {
        let body = gzip(br#"{"error":{"message":"no such field","code":"x"}}"#);
        let head = format!("HTTP/1.1 400 Bad Request\r\ncontent-length: {}\r\n\r\n", body.len());
        vec![Act::Send(head.into()), Act::Send(body)]
    })
    .await;
    let error = server.model().build().unwrap().invoke("x").await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::BadRequest, Some(400)));
    assert!(error.message().contains("no such field"), "{error}");
}

#[tokio::test]
async fn a_body_in_an_unknown_compression_is_rejected_unread() {
    for coding in ["gzip", "zstd", "br, gzip"] {
        let server = Server::start(move |_| {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\n\r\n");
            vec![Act::Send(head.into()), Act::Repeat(vec![0; 4096], 1 << 18)]
        })
        .await;
        for error in both(&server.model().retry(hasty()).build().unwrap()).await {
            assert_eq!((error.kind(), error.attempts()), (ErrorKind::Decode, 1));
            let says = format!("the server compressed its response ({coding})");
            assert!(error.message().starts_with(&says), "{error}");
        }
        assert!(server.sent() < 2 * IN_SOCKETS, "{} bytes", server.sent());
    }
    let server = Server::start(|_| refusal(400, "content-encoding: gzip\r\n", "x", "\u{1f}\u{8b}")).await;
    let error = server.model().build().unwrap().invoke("x").await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::BadRequest, Some(400)));
}

#[tokio::test]
async fn a_compressed_bomb_ends_at_the_limit_of_the_body() {
    let bomb = gzip(&vec![b' '; MIB]).repeat(256);
    let server = Server::start(move |_| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", bomb.len());
        vec![Act::Send(head.into()), Act::Send(bomb.clone())]
    })
    .await;
    let client = Client::builder().max_body_bytes(MIB).build().unwrap();
    for error in both(&server.model().client(client).retry(hasty()).build().unwrap()).await {
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Decode, false), "{error}");
        assert!(error.message().contains("longer than 1048576 bytes"), "{error}");
    }
}

#[tokio::test]
async fn bytes_that_are_not_utf8_outside_of_texts_are_a_decode_error() {
    let server = Server::start(|seen| {
        if seen.body["stream"] == true {
            return vec![stream_head(), Act::Send(b"e\r\ndata: {\"a\":\xFF\n\n\r\n".to_vec()), Act::Hang];
        }
        let mut acts = answer(200, "", "{\"choices\":[{\"message\":{\"content\":??}}]}");
        let Act::Send(bytes) = &mut acts[0] else { unreachable!() };
        let at = bytes.windows(2).position(|two| two == b"??").unwrap();
        bytes[at] = 0xFF;
        acts
    })
    .await;
    for error in both(&server.model().retry(RetryPolicy::never()).build().unwrap()).await {
        assert_eq!(error.kind(), ErrorKind::Decode, "{error}");
        assert!(error.body().unwrap_or_default().len() < 4096);
    }
}

#[tokio::test]
async fn all_attempts_of_a_call_carry_one_idempotency_key_unique_to_the_call() {
    let server = Server::start(|seen| match seen.number {
        0 => refusal(500, "", "x", "down"),
        1 => vec![Act::Reset],
        _ if seen.body["stream"] == true => stream(&["hi"]),
        _ => completion("hi"),
    })
    .await;
    let model = server.model().retry(hasty()).build().unwrap();
    model.invoke("x").await.unwrap();
    chain(model.clone()).stream("x").output().await.unwrap();
    let mine = server.model().header("idempotency-key", "mine").build().unwrap();
    mine.invoke("x").await.unwrap();
    let requests = server.requests();
    let keys: Vec<_> = requests
        .iter()
        .map(|seen| seen.head.lines().find_map(|line| line.strip_prefix("idempotency-key: ")).unwrap())
        .collect();
    assert!(keys[0].len() > 32 && keys[0] == keys[1] && keys[1] == keys[2], "{keys:?}");
    assert!(keys[3] != keys[0] && keys[4] == "mine", "{keys:?}");
}

#[tokio::test]
async fn informational_responses_without_end_are_an_error_and_a_few_are_not() {
    const HINTS: &[u8] = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let server = Server::start(|_| {
        let mut acts = vec![Act::Repeat(HINTS.to_vec(), 1_000)];
        acts.extend(completion("ok"));
        acts
    })
    .await;
    let model = server.model().retry(RetryPolicy::never()).build().unwrap();
    assert_eq!(model.invoke("a few").await.unwrap().text(), "ok");

    let endless = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", endless.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = endless.accept().await {
            // Bytes before the request are not part of its response.
            let _ = socket.read(&mut [0; 512]).await;
            while socket.write_all(HINTS).await.is_ok() {}
        }
    });
    let model = ModelBuilder::new("openai/test").base_url(url).api_key("sk-any").retry(RetryPolicy::never());
    let error = model.build().unwrap().invoke("endless").await.unwrap_err();
    assert!(error.to_string().contains("the server sent only informational responses (1xx)"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Connection);
}

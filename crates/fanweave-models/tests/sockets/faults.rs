//! Guarantees when the server, or the network in front of it, misbehaves.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::server::{
    Act, Seen, Server, answer, chunk, completion, piece, refusal, stream, stream_end, stream_head,
};
use bytes::Bytes;
use fanweave_core::{Context, Error, ErrorKind, EventKind, Message, Model, Runnable, chain, text};
use fanweave_models::{Body, Chroma, Client, HttpTransport, ModelBuilder, RateLimits, RetryPolicy, Timeouts};
use futures::StreamExt;
use http::{Request, Response};

const CANARY: &str = "sk-canary-5f3a9c+/=";

fn hasty() -> RetryPolicy {
    RetryPolicy::default().initial_backoff(Duration::from_millis(1)).outage_timeout(Duration::ZERO)
}

fn impatient(timeouts: Timeouts) -> Client {
    Client::builder().timeouts(timeouts).build().unwrap()
}

async fn streamed(model: &Model) -> Result<Message, Error> {
    chain(model.clone()).stream("x").output().await
}

fn bytes(acts: &[Act]) -> Vec<u8> {
    let sent =
        acts.iter().filter_map(|act| if let Act::Send(bytes) = act { Some(bytes.clone()) } else { None });
    sent.flatten().collect()
}

#[tokio::test]
async fn a_truncated_body_is_retried() {
    for end in [Act::Reset, Act::Close] {
        let server = Server::start(move |seen| match seen.number {
            0 => {
                let whole = bytes(&completion("Paris"));
                vec![Act::Send(whole[..whole.len() - 10].to_vec()), end.clone()]
            }
            _ => completion("Paris"),
        })
        .await;
        let message = server.model().retry(hasty()).build().unwrap().invoke("x").await.unwrap();
        assert_eq!((message.text().as_str(), message.reply.unwrap().attempts), ("Paris", 2));
    }
}

#[tokio::test]
async fn a_body_that_is_always_truncated_is_a_connection_error() {
    let server = Server::start(|_| {
        let whole = bytes(&completion("Paris"));
        vec![Act::Send(whole[..whole.len() - 10].to_vec()), Act::Close]
    })
    .await;
    let error = server.model().retry(hasty()).build().unwrap().invoke("x").await.unwrap_err();
    assert_eq!((error.kind(), error.attempts(), server.requests().len()), (ErrorKind::Connection, 6, 6));
}

#[tokio::test]
async fn a_stream_cut_at_any_byte_is_never_a_success() {
    let whole = bytes(&stream(&["Once ", "upon"]));
    let done = whole.windows(6).position(|w| w == b"[DONE]").unwrap();
    let cut = whole.clone();
    let server = Server::start(move |seen| {
        let at: usize = seen.body["messages"][0]["content"].as_str().unwrap().parse().unwrap();
        let end = if at.is_multiple_of(2) { Act::Reset } else { Act::Close };
        vec![Act::Send(cut[..at].to_vec()), end]
    })
    .await;
    let model = server.model().retry(RetryPolicy::never()).build().unwrap();
    for at in 0..done + "[DONE]".len() {
        let error = chain(model.clone()).stream(at.to_string()).output().await.unwrap_err();
        let expected = [ErrorKind::StreamIncomplete, ErrorKind::Connection];
        assert!(expected.contains(&error.kind()), "cut at {at}: {error:?}");
    }
    let whole = chain(model).stream(whole.len().to_string()).output().await.unwrap();
    assert_eq!(whole.text(), "Once upon");
}

#[tokio::test]
async fn a_stream_that_stops_carries_the_partial_message() {
    let server = Server::start(|_| vec![stream_head(), piece("Once "), piece("upon"), Act::Close]).await;
    let error = streamed(&server.model().build().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StreamIncomplete);
    assert_eq!(error.partial().unwrap().text(), "Once upon");
    assert_eq!(server.requests().len(), 1, "a stream that was heard is not asked for again");
}

#[tokio::test]
async fn a_stream_that_stops_before_its_first_delta_is_retried() {
    let started = r#"data: {"id":"c","choices":[{"delta":{"role":"assistant","content":""}}]}"#;
    let server = Server::start(move |seen| match seen.number {
        0 => vec![stream_head(), chunk(&format!("{started}\n\n")), Act::Reset],
        _ => stream(&["again"]),
    })
    .await;
    let run = chain(server.model().retry(hasty()).build().unwrap()).stream("x");
    let pieces: Vec<_> = run.map(|piece| piece.unwrap()).collect().await;
    let beginnings = pieces.iter().filter(|p| matches!(p, fanweave_core::Delta::Started { .. })).count();
    assert_eq!((beginnings, server.requests().len()), (1, 2));
}

#[tokio::test]
async fn a_silent_server_times_out_and_is_retried() {
    let server =
        Server::start(|seen| if seen.number == 0 { vec![Act::Hang] } else { completion("hi") }).await;
    let client = impatient(Timeouts::default().first_byte(Duration::from_millis(200)));
    let message = server.model().client(client).retry(hasty()).build().unwrap().invoke("x").await.unwrap();
    assert_eq!(message.reply.unwrap().attempts, 2);
}

#[tokio::test]
async fn each_timeout_has_its_own_message() {
    let short = Duration::from_millis(200);
    for (timeouts, acts, says) in [
        (Timeouts::default().first_byte(short), vec![Act::Hang], "no response started within 200ms"),
        (
            Timeouts::default().idle(short),
            vec![Act::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_vec()), Act::Hang],
            "no response data received for 200ms",
        ),
    ] {
        let server = Server::start(move |_| acts.clone()).await;
        let model = server.model().client(impatient(timeouts)).retry(RetryPolicy::never());
        let began = Instant::now();
        let error = model.build().unwrap().invoke("x").await.unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Timeout, says));
        assert!((short..short * 3).contains(&began.elapsed()), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_slow_drip_ends_with_the_total_timeout() {
    let server = Server::start(|_| {
        let mut acts = vec![Act::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n".to_vec())];
        acts.extend([Act::Send(b" ".to_vec()), Act::Wait(Duration::from_millis(20))].repeat_times(1000));
        acts
    })
    .await;
    let model =
        server.model().timeout(Duration::from_millis(400)).retry(RetryPolicy::never()).build().unwrap();
    let began = Instant::now();
    let error = model.invoke("x").await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Timeout, "the request did not end within 400ms"));
    assert!(began.elapsed() < Duration::from_millis(900));
}

#[tokio::test]
async fn the_deadline_of_the_run_ends_a_request() {
    let server = Server::start(|_| vec![Act::Hang]).await;
    let cx = Context::new().with_timeout(Duration::from_millis(200));
    let model = server.model().build().unwrap();
    let error =
        tokio::time::timeout(Duration::from_secs(5), model.run("x".into(), &cx)).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), server.requests().len()), (ErrorKind::Timeout, 1));
}

#[tokio::test]
async fn an_error_inside_a_success_is_an_error() {
    let body = r#"{"error":{"message":"Provider returned error","code":502}}"#;
    let server = Server::start(move |seen| match (seen.body["stream"] == true, seen.number) {
        (false, 0) => answer(200, "", body),
        (true, 1) => vec![stream_head(), chunk(&format!(": hello\n\ndata: {body}\n\n")), Act::Hang],
        (true, _) => vec![stream_head(), piece("one"), chunk(&format!("data: {body}\n\n")), Act::Hang],
        (false, _) => completion("hi"),
    })
    .await;
    let model = server.model().retry(RetryPolicy::never()).build().unwrap();
    let error = model.invoke("x").await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Server, "Provider returned error"));
    assert!(error.body().unwrap().contains("502"));
    let error = streamed(&model).await.unwrap_err();
    assert_eq!((error.kind(), error.partial()), (ErrorKind::Server, None));
    let error = streamed(&model).await.unwrap_err();
    assert_eq!(error.partial().unwrap().text(), "one");
}

#[tokio::test]
async fn malformed_json_is_a_decode_error_with_an_excerpt() {
    let server = Server::start(|_| answer(200, "", r#"{"choices": [{"message": {"content": "Par"#)).await;
    let error = server.model().retry(RetryPolicy::never()).build().unwrap().invoke("x").await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::Decode, Some(200)));
    assert!(error.body().unwrap().contains("\"Par"), "{:?}", error.body());
}

#[tokio::test]
async fn a_page_of_html_is_an_error_that_asks_for_the_base_url() {
    let page = "<html>Sign in to the hotel network</html>";
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n{page}", page.len());
    let server = Server::start(move |_| vec![Act::Send(head.clone().into_bytes())]).await;
    let model = server.model().retry(hasty()).build().unwrap();
    for error in [model.invoke("x").await.unwrap_err(), streamed(&model).await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Decode);
        assert_eq!(
            error.message(),
            "the server answered with text/html instead of JSON: is the base URL right? It says: Sign in to the \
             hotel network"
        );
        assert_eq!(error.body(), Some(page));
    }
    // A proxy sends such pages too while its server is down.
    assert_eq!(server.requests().len(), 12);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Server::start(|_| completion("stolen")).await;
    let location = format!("location: http://{}/v1?token=secret\r\n", elsewhere.address);
    let server = Server::start(move |_| answer(307, &location, "")).await;
    let error = server.model().api_key(CANARY).build().unwrap().invoke("x").await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::Config, Some(307)));
    assert!(error.message().contains(&format!("http://{}/v1:", elsewhere.address)), "{error}");
    assert!(!error.to_string().contains("secret"));
    assert_eq!((elsewhere.connections(), server.requests().len()), (0, 1));
}

#[tokio::test]
async fn the_key_appears_in_no_error_even_if_the_server_repeats_it() {
    let echo = |text: &str| format!("no such key: {text}, Bearer {text}");
    let said = echo(CANARY);
    let quoted = serde_json::Value::from(said.clone());
    let escaped = format!("{{\"choices\":{quoted},\"key\":{quoted}}}");
    let scripts: Vec<Vec<Act>> = vec![
        refusal(401, &format!("x-request-id: {CANARY}\r\n"), CANARY, &said),
        answer(400, "", &said),
        answer(200, "", &escaped),
        answer(200, "", &said),
        answer(200, "", &format!("{{\"error\":{{\"message\":{quoted},\"code\":{quoted}}}}}")),
        answer(302, &format!("location: http://x/{CANARY}\r\n"), ""),
        vec![stream_head(), chunk(&format!("data: {said}\n\n")), Act::Close],
        vec![stream_head(), chunk(&format!("data: {{\"error\":{quoted}}}\n\n")), Act::Close],
        vec![Act::Send(format!("HTTP/9.9 {CANARY}\r\n\r\n").into_bytes()), Act::Close],
    ];
    for (i, script) in scripts.into_iter().enumerate() {
        let server = Server::start(move |_| script.clone()).await;
        let model = server.model().api_key(CANARY).retry(RetryPolicy::never()).build().unwrap();
        for error in [model.invoke("x").await.unwrap_err(), streamed(&model).await.unwrap_err()] {
            let mut shown =
                format!("{error} {error:?} {:?} {:?} {:?}", error.code(), error.body(), error.request_id());
            shown += &serde_json::to_string(&error).unwrap();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                shown += &format!(" {cause} {cause:?}");
                source = cause.source();
            }
            assert!(!shown.contains("canary"), "script {i}: {shown}");
        }
        assert!(!format!("{model:?}").contains("canary"));
    }
}

/// The key that the request carried.
fn key_of(seen: &Seen) -> String {
    let line = seen.head.lines().find_map(|line| line.strip_prefix("authorization: Bearer ")).unwrap();
    line.to_owned()
}

#[tokio::test]
async fn of_many_keys_that_change_none_appears_however_many_are_in_use() {
    // All requests have arrived before the first is rejected.
    let server = Server::start(|seen| {
        let mut acts = vec![Act::Wait(Duration::from_millis(300))];
        acts.extend(refusal(401, "", "invalid_api_key", &format!("no such key: {}", key_of(seen))));
        acts
    })
    .await;
    let n = AtomicUsize::new(0);
    let key = move || {
        let n = n.fetch_add(1, Ordering::SeqCst);
        async move { Ok(format!("sk-canary-{n:04}")) }
    };
    let url = format!("http://{}/v1", server.address);
    let model = ModelBuilder::new("openai/keys").base_url(url).api_key_fn(key).build().unwrap();
    let rows = chain(model).batch((0..12).map(|n| n.to_string())).collect().await;
    for error in rows.into_iter().map(Result::unwrap_err) {
        assert_eq!(error.kind(), ErrorKind::Authentication);
        assert!(!format!("{error} {error:?} {:?}", error.body()).contains("canary"), "{error}");
    }
}

#[tokio::test]
async fn a_key_in_a_header_of_the_client_or_in_another_scheme_appears_in_no_error() {
    let server = Server::start(|seen| {
        let said: Vec<_> = seen.head.lines().filter_map(|line| line.split_once(": ")).collect();
        let said: Vec<_> = said.iter().filter_map(|(_, value)| value.split(' ').next_back()).collect();
        answer(400, "", &said.join(" "))
    })
    .await;
    let client = Client::builder().header("x-gateway-key", CANARY).header("authorization", CANARY);
    let of_client = server.model().client(client.build().unwrap());
    let of_model = server.model().header("authorization", format!("Basic {CANARY}"));
    let lower = server.model().header("authorization", format!("bearer {CANARY}"));
    for model in [of_client, of_model, lower] {
        let error = model.build().unwrap().invoke("x").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadRequest);
        assert!(!format!("{error} {error:?} {:?}", error.body()).contains("canary"), "{error:?}");
    }
}

#[tokio::test]
async fn a_key_in_an_error_of_a_custom_transport_is_redacted() {
    struct Chatty;
    impl HttpTransport for Chatty {
        async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>, Error> {
            let key = request.headers()["authorization"].to_str().unwrap();
            Err(Error::new(ErrorKind::Connection, format!("refused: {key}")))
        }
    }
    let client = Client::builder().transport(Chatty).build().unwrap();
    let model = ModelBuilder::new("openai/x").base_url("http://x/v1").api_key(CANARY).client(client);
    let error = model.retry(RetryPolicy::never()).build().unwrap().invoke("x").await.unwrap_err();
    assert_eq!(error.message(), "refused: Bearer [redacted]");
}

#[tokio::test]
async fn a_last_event_without_its_blank_line_is_read_if_the_response_ends_normally() {
    for end in ["data: [DONE]\n", "data: [DONE]", "data: [DONE]\r"] {
        let server = Server::start(move |_| {
            let stop = r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
            let last = chunk(&format!("{stop}\n\n{end}"));
            vec![stream_head(), piece("one"), last, Act::Send(b"0\r\n\r\n".to_vec())]
        })
        .await;
        let model = server.model().retry(RetryPolicy::never()).build().unwrap();
        assert_eq!(streamed(&model).await.unwrap().text(), "one", "{end:?}");
    }
    let server = Server::start(|_| {
        let acts = [r#"{"message":{"content":"one"}}"#, "\n", r#"{"message":{"content":""},"done":true}"#];
        let head =
            b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n";
        vec![Act::Send(head.to_vec()), chunk(&acts.concat()), Act::Send(b"0\r\n\r\n".to_vec())]
    })
    .await;
    let model = ModelBuilder::new("ollama/x").base_url(format!("http://{}", server.address));
    assert_eq!(streamed(&model.retry(RetryPolicy::never()).build().unwrap()).await.unwrap().text(), "one");
    // A truncated event is not an event.
    for end in ["data: [DO", "data: {\"choices\":[{\"delta\":{\"content\":\"tw"] {
        let server = Server::start(move |_| {
            vec![stream_head(), piece("one"), chunk(end), Act::Send(b"0\r\n\r\n".to_vec())]
        })
        .await;
        let error = streamed(&server.model().retry(RetryPolicy::never()).build().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StreamIncomplete, "{end:?}");
        assert_eq!(error.partial().unwrap().text(), "one");
    }
}

#[tokio::test]
async fn an_endless_line_is_rejected_with_bounded_memory() {
    let server = Server::start(|_| {
        let mut acts = vec![stream_head(), chunk("data: ")];
        acts.extend([chunk(&"x".repeat(64 << 10))].repeat_times(1000));
        acts
    })
    .await;
    let client = Client::builder().max_event_bytes(1 << 20).build().unwrap();
    let model = server.model().client(client).retry(hasty()).build().unwrap();
    let error = streamed(&model).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert!(error.message().contains("longer than 1048576 bytes"), "{error}");
    assert_eq!(server.requests().len(), 1, "the same request would meet the same end");
}

#[tokio::test]
async fn a_body_larger_than_the_limit_is_rejected() {
    let server = Server::start(|_| completion(&"x".repeat(4096))).await;
    let client = Client::builder().max_body_bytes(1024).build().unwrap();
    let error = server.model().client(client).build().unwrap().invoke("x").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Decode, "the response is longer than 1024 bytes")
    );
}

#[tokio::test]
async fn bytes_after_the_end_marker_are_ignored() {
    let server = Server::start(|_| {
        let [end, last] = <[Act; 2]>::try_from(stream_end()).ok().unwrap();
        vec![stream_head(), piece("one"), end, chunk("data: garbage\n\n"), last]
    })
    .await;
    assert_eq!(streamed(&server.model().build().unwrap()).await.unwrap().text(), "one");
}

#[tokio::test]
async fn a_server_that_keeps_a_finished_stream_open_does_not_hold_the_answer_back() {
    let server = Server::start(|_| {
        let mut acts = stream(&["one"]);
        acts.pop();
        acts.push(Act::Hang);
        acts
    })
    .await;
    let began = Instant::now();
    assert_eq!(streamed(&server.model().build().unwrap()).await.unwrap().text(), "one");
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_refused_connection_is_an_error_that_names_the_reason() {
    let model = ModelBuilder::new("vllm/x").base_url("http://127.0.0.1:9/v1").retry(hasty()).build().unwrap();
    let error = model.invoke("x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection);
    assert!(error.to_string().to_lowercase().contains("connection refused"), "{error}");
}

#[tokio::test]
async fn permits_are_held_until_a_stream_ends() {
    let server = Server::start(|_| vec![stream_head(), piece("one"), Act::Hang]).await;
    let limits = RateLimits::new().concurrency(std::num::NonZeroUsize::MIN);
    let model = chain(server.model().limits(limits).build().unwrap()) | text();
    let mut first = model.stream("x");
    first.next().await.unwrap().unwrap();
    let second = model.stream("y").output();
    assert!(tokio::time::timeout(Duration::from_millis(200), second).await.is_err());
    assert_eq!(server.requests().len(), 1);
    drop(first);
    let mut third = model.stream("z");
    third.next().await.unwrap().unwrap();
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_429_closes_the_gate_for_all_calls_of_the_account() {
    const ERROR: &str = r#"{"error":{"message":"Rate limit reached. Please try again in 0.3s.","code":429}}"#;
    for form in ["a status", "a body", "an event"] {
        let server = Server::start(move |seen| match (seen.number, form) {
            (0, "a status") => refusal(429, "retry-after-ms: 300\r\n", "rate_limit_exceeded", "slow down"),
            (0, "a body") => answer(200, "", ERROR),
            (0, _) => answer(200, "content-type: text/event-stream\r\n", &format!("data: {ERROR}\n\n")),
            _ => completion("hi"),
        })
        .await;
        let model = server.model().build().unwrap();
        let mut first = chain(model).events("x");
        while !matches!(first.next().await.unwrap().kind, EventKind::Retrying { .. }) {}
        let began = Instant::now();
        server.model().build().unwrap().invoke("y").await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(200), "{form}: {:?}", began.elapsed());
        first.output().await.unwrap();
    }
}

trait Repeat {
    fn repeat_times(&self, n: usize) -> Vec<Act>;
}

impl<const N: usize> Repeat for [Act; N] {
    fn repeat_times(&self, n: usize) -> Vec<Act> {
        self.iter().cycle().take(N * n).cloned().collect()
    }
}

#[tokio::test]
async fn a_timeout_of_the_run_is_not_reported_as_that_of_the_request() {
    let server = Server::start(|_| vec![Act::Hang]).await;
    let model = chain(server.model().retry(hasty()).build().unwrap());
    let short = Duration::from_millis(200);
    for _ in 0..5 {
        let error = model.clone().timeout(short).invoke("x").await.unwrap_err();
        assert_eq!(
            (error.kind(), error.message()),
            (ErrorKind::Timeout, "openai/test timed out after 200ms")
        );
        let error = model.invoke_in("x", &Context::new().with_timeout(short)).await.unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Timeout, "the run timed out after 200ms"));
        assert!(!error.is_retryable());
        // Without the guard, the timeout of the request applies.
        let error = model.run("x".into(), &Context::new().with_timeout(short)).await.unwrap_err();
        assert!(error.message().starts_with("the run ended before the request did"), "{error}");
    }
}

#[tokio::test]
async fn a_token_for_chroma_appears_in_no_error() {
    for (status, body) in
        [(401, format!(r#"{{"message":"no such token: {CANARY}"}}"#)), (200, format!("\"{CANARY}\""))]
    {
        let server = Server::start(move |_| answer(status, "", &body)).await;
        let client = Client::builder().header("x-chroma-token", CANARY).build().unwrap();
        let url = format!("http://{}", server.address);
        let error = Chroma::open_with(client, &url, "notes").await.unwrap_err();
        let mut shown = format!("{error} {error:?} {:?}", error.body());
        let source = std::error::Error::source(&error);
        shown += &source.map(ToString::to_string).unwrap_or_default();
        assert!(!shown.contains("canary"), "{shown}");
    }
}

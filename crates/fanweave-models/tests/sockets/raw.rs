//! Requests and answers as bytes.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fanweave_core::context::CancellationToken;
use fanweave_core::{Context, Error, ErrorKind, EventKind};
use fanweave_models::{
    Accounts, Client, RateLimits, RawModel, RawRequest, RawResponse, RetryPolicy, Timeouts,
};
use futures::StreamExt;
use futures::future::join_all;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use tokio::time::{sleep, timeout};

use crate::server::{Act, Server, answer, chunk, refusal, stream_head};

const CANARY: &str = "sk-canary-5f3a9c+/=";
/// No client would write it like this.
const BODY: &str =
    "{ \"model\":\"test\",\n  \"seed\": 12345678901234567890123, \"temperature\":100.0 , \"new\": {}}";

fn hasty() -> RetryPolicy {
    RetryPolicy::new().initial_backoff(Duration::from_millis(1)).outage_timeout(Duration::ZERO)
}

fn post() -> RawRequest {
    RawRequest::post("/chat/completions", BODY)
}

fn raw(server: &Server) -> RawModel {
    server.model().accounts(Accounts::new()).retry(hasty()).api_key(CANARY).build_raw().unwrap()
}

/// A model of an account with a single permit.
fn single(server: &Server) -> (RawModel, Accounts) {
    let accounts = Accounts::new();
    let limits = RateLimits::new().concurrency(NonZeroUsize::MIN);
    let model = server.model().accounts(accounts.clone()).limits(limits).retry(hasty());
    (model.build_raw().unwrap(), accounts)
}

async fn send(model: &RawModel, request: RawRequest) -> Result<RawResponse, Error> {
    timeout(Duration::from_secs(20), model.send(request, &Context::new())).await.expect("the call hangs")
}

async fn text(answer: RawResponse) -> String {
    String::from_utf8(answer.body.whole().await.unwrap().to_vec()).unwrap()
}

/// A stream of these chunks that ends properly.
fn chunks(all: &[&str]) -> Vec<Act> {
    let mut acts = vec![stream_head()];
    acts.extend(all.iter().map(|text| chunk(text)));
    acts.push(Act::Send(b"0\r\n\r\n".to_vec()));
    acts
}

#[tokio::test]
async fn a_raw_body_is_the_providers_bytes_and_a_request_is_the_callers() {
    let reply = "{ \"id\": 1.50,\r\n \"unknown\" : [ ] }  ";
    let server = Server::start(move |_| answer(200, "x-request-id: req_1\r\nx-own: 7\r\n", reply)).await;
    let model = raw(&server);
    let own = |name, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
    let mut request = post();
    for (name, value) in [
        own("x-team", "bears"),
        own("content-type", "application/vnd.acme+json"),
        own("authorization", "Bearer other"),
        own("content-length", "7"),
        own("transfer-encoding", "chunked"),
        own("host", "evil.example"),
    ] {
        request = request.header(name, value);
    }
    let response = send(&model, request).await.unwrap();
    assert_eq!((response.status, response.attempts), (StatusCode::OK, 1));
    assert_eq!(response.headers["x-own"], "7");
    assert!(!response.headers.contains_key("content-length"));
    assert_eq!(text(response).await, reply);

    let seen = &server.requests()[0];
    assert_eq!(seen.bytes, BODY.as_bytes());
    let head = seen.head.to_lowercase();
    assert!(head.starts_with("post /v1/chat/completions http/1.1\r\n"), "{head}");
    assert!(
        head.contains("\r\nx-team: bears\r\n")
            && head.contains("\r\ncontent-type: application/vnd.acme+json\r\n")
    );
    assert!(head.contains(&format!("\r\nauthorization: bearer {}\r\n", CANARY.to_lowercase())), "{head}");
    assert!(head.contains("\r\nidempotency-key: fanweave-"), "{head}");
    assert!(!head.contains("other") && !head.contains("evil") && !head.contains("chunked"), "{head}");
}

#[tokio::test]
async fn a_request_without_a_body_has_no_media_type_and_no_key_of_attempts() {
    let server = Server::start(|_| vec![Act::Send(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())]).await;
    let model = raw(&server);
    let response = send(&model, RawRequest::get("/models?limit=2")).await.unwrap();
    assert_eq!((response.status, text(response).await.as_str()), (StatusCode::NO_CONTENT, ""));
    send(&model, RawRequest::get("/files/1").method(Method::DELETE)).await.unwrap();
    let heads: Vec<_> = server.requests().iter().map(|seen| seen.head.to_lowercase()).collect();
    assert!(heads[0].starts_with("get /v1/models?limit=2 ") && heads[1].starts_with("delete /v1/files/1 "));
    assert!(!heads.iter().any(|head| head.contains("content-type")), "{heads:?}");
    assert!(!heads[0].contains("idempotency-key") && heads[1].contains("idempotency-key"), "{heads:?}");
    let error = send(&model, RawRequest::get("models")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[tokio::test]
async fn raw_requests_are_retried_limited_and_redacted() {
    let server = Server::start(|seen| match seen.number {
        0 => refusal(429, "retry-after: 0\r\n", "rate_limit_exceeded", "slow down"),
        1 => refusal(500, "", "internal", "oops"),
        2 => vec![Act::Reset],
        3 => {
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{";
            vec![Act::Send(head.as_bytes().to_vec()), Act::Close]
        }
        4 => answer(200, "", "{}"),
        _ => refusal(
            400,
            "x-echo: sk-canary-5f3a9c+/=\r\n",
            "bad",
            "Bearer sk-canary-5f3a9c+/= is not allowed",
        ),
    })
    .await;
    let model = raw(&server);
    let response = send(&model, post()).await.unwrap();
    assert_eq!((response.attempts, text(response).await.as_str()), (5, "{}"));
    let keys: Vec<_> = server
        .requests()
        .iter()
        .map(|seen| {
            seen.head
                .lines()
                .find(|line| line.to_lowercase().starts_with("idempotency-key"))
                .unwrap()
                .to_owned()
        })
        .collect();
    assert!(keys.iter().all(|key| *key == keys[0]), "attempts of one call have one key: {keys:?}");

    for streams in [false, true] {
        let error = send(&model, post().streamed(streams)).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.status(), error.code()),
            (ErrorKind::BadRequest, Some(400), Some("bad"))
        );
        assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
        let returned = send(&model, post().streamed(streams).return_errors(true)).await.unwrap();
        assert_eq!((returned.status.as_u16(), returned.attempts), (400, 1));
        let head = format!("{returned:?}");
        let shown = [head, text(returned).await].concat();
        assert!(!shown.contains("canary") && shown.contains("is not allowed"), "{shown}");
    }
    assert!(!format!("{model:?}").contains("canary"));
}

#[tokio::test]
async fn raw_requests_share_the_permits_of_their_account() {
    let server = Server::start(|_| {
        let mut acts = vec![Act::Wait(Duration::from_millis(30))];
        acts.extend(answer(200, "", "{}"));
        acts
    })
    .await;
    let (model, accounts) = single(&server);
    let began = Instant::now();
    let calls = (0..6).map(|n| send(&model, post().streamed(n % 2 == 0)));
    for answer in join_all(calls).await {
        assert_eq!(text(answer.unwrap()).await, "{}");
    }
    assert!(began.elapsed() >= Duration::from_millis(180), "one at a time: {:?}", began.elapsed());
    assert_eq!(server.connections(), 1);
    assert_eq!(accounts.states()[0].over_limit, 0);
}

#[tokio::test]
async fn the_last_refusal_is_returned_if_asked_for() {
    let server = Server::start(|seen| {
        let body = format!("{{\"n\": {}}}", seen.number);
        answer(503, "content-encoding: identity\r\n", &body)
    })
    .await;
    let error = send(&raw(&server), post()).await.unwrap_err();
    let attempts = error.attempts();
    assert!(attempts > 1);
    assert_eq!(error.status(), Some(503));
    for streams in [false, true] {
        let before = server.requests().len();
        // Another account: it has seen no failures.
        let last = send(&raw(&server), post().streamed(streams).return_errors(true)).await.unwrap();
        assert_eq!((last.status.as_u16(), last.attempts), (503, attempts), "it is retried as well");
        assert!(!last.headers.contains_key("content-encoding"));
        let number = before + attempts as usize - 1;
        assert_eq!(text(last).await, format!("{{\"n\": {number}}}"), "the last of the refusals");
    }
    // A redirect is an error: its target would get the key.
    let elsewhere = Server::start(|_| answer(307, "location: http://evil.example/v1\r\n", "")).await;
    let error = send(&raw(&elsewhere), post().return_errors(true)).await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::Config, Some(307)));
}

#[tokio::test]
async fn a_failure_without_an_answer_is_an_error_even_after_a_refusal() {
    let server = Server::start(|seen| match seen.number {
        0 => answer(503, "", "{}"),
        _ => vec![Act::Reset],
    })
    .await;
    let error = send(&raw(&server), post().return_errors(true)).await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::Connection, None));
}

#[tokio::test]
async fn an_outage_is_waited_for() {
    let failing = Arc::new(AtomicUsize::new(1));
    let is_failing = failing.clone();
    let server = Server::start(move |_| match is_failing.load(Ordering::SeqCst) {
        0 => answer(200, "", "{}"),
        _ => answer(502, "", "Bad Gateway"),
    })
    .await;
    let retry = RetryPolicy::new().initial_backoff(Duration::from_millis(1));
    let model = server.model().accounts(Accounts::new()).retry(retry).build_raw().unwrap();
    let calls = (0..20).map(|n| send(&model, post().streamed(n % 2 == 0)));
    let recovery = async {
        sleep(Duration::from_millis(300)).await;
        failing.store(0, Ordering::SeqCst);
    };
    let (answers, ()) = futures::join!(join_all(calls), recovery);
    for answer in answers {
        assert_eq!(text(answer.unwrap()).await, "{}");
    }
    assert!(server.requests().len() < 20 * 5, "calls wait in an outage: {}", server.requests().len());
}

#[tokio::test]
async fn a_server_that_never_answers_ends_with_a_timeout_and_a_retry() {
    let server = Server::start(|seen| match seen.number {
        0 | 2 => vec![Act::Hang],
        1 => answer(200, "", "{}"),
        _ => chunks(&["data: 1\n\n"]),
    })
    .await;
    let timeouts = Timeouts::new().first_byte(Duration::from_secs(1));
    let client = Client::builder().timeouts(timeouts).build().unwrap();
    let model = server.model().accounts(Accounts::new()).client(client).retry(hasty()).build_raw().unwrap();
    assert_eq!(send(&model, post()).await.unwrap().attempts, 2);
    let streamed = send(&model, post().streamed(true)).await.unwrap();
    assert_eq!((streamed.attempts, text(streamed).await.as_str()), (2, "data: 1\n\n"));
}

#[tokio::test]
async fn a_stream_that_breaks_before_its_first_byte_is_retried_and_later_is_not() {
    let server = Server::start(|seen| match seen.number {
        0 => vec![stream_head(), Act::Reset],
        1 => vec![stream_head(), Act::Close],
        _ => vec![stream_head(), chunk("data: 1\n\n"), Act::Wait(Duration::from_millis(50)), Act::Reset],
    })
    .await;
    let mut answer = send(&raw(&server), post().streamed(true)).await.unwrap();
    assert_eq!(answer.attempts, 3);
    assert_eq!(answer.body.next().await.unwrap().unwrap(), "data: 1\n\n");
    let error = answer.body.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StreamIncomplete);
    assert!(error.to_string().starts_with("openai"), "{error}");
    assert!(answer.body.next().await.is_none());
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn a_stream_arrives_chunk_by_chunk_unchanged() {
    let events =
        ["data: {\"x\" : 1.0}\n", "\r\n: ping\n\n", "event: unknown\ndata: {broken\n\n", "data: [DONE]\n\n"];
    let server = Server::start(move |_| {
        let mut acts = vec![stream_head()];
        for event in events {
            acts.extend([chunk(event), Act::Wait(Duration::from_millis(20))]);
        }
        acts.push(Act::Send(b"0\r\n\r\n".to_vec()));
        acts
    })
    .await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = seen.clone();
    let cx = Context::new().with_observer(Arc::new(move |event: &fanweave_core::Event| {
        sink.lock().unwrap().push(match event.kind {
            EventKind::RequestStarted => "started",
            EventKind::FirstByte => "first byte",
            EventKind::FirstChunk => "first chunk",
            _ => "other",
        });
    }));
    let answer = raw(&server).send(post().streamed(true), &cx).await.unwrap();
    assert_eq!(answer.headers["x-request-id"], "req_s");
    let chunks: Vec<_> = answer.body.map(|chunk| chunk.unwrap()).collect().await;
    assert!(chunks.len() >= 2, "{chunks:?}");
    assert_eq!(chunks.concat(), events.concat().as_bytes());
    assert_eq!(*seen.lock().unwrap(), ["started", "first byte", "first chunk"]);
}

#[tokio::test]
async fn a_raw_stream_that_is_not_read_holds_no_permit() {
    let server = Server::start(|_| chunks(&["data: 1\n\n", "data: 2\n\n"])).await;
    let (model, accounts) = single(&server);
    let cx = Context::new().with_concurrency(1);
    let ask = || timeout(Duration::from_secs(10), model.send(post().streamed(true), &cx));
    let mut unread = Vec::new();
    for _ in 0..5 {
        unread.push(ask().await.expect("no call waits for the reader of another").unwrap());
    }
    assert_eq!((accounts.states()[0].over_limit, cx.over_limit()), (0, 0));
    for answer in unread {
        assert_eq!(text(answer).await, "data: 1\n\ndata: 2\n\n");
    }
}

#[tokio::test]
async fn a_raw_stream_larger_than_its_buffer_gives_up_its_permit_if_another_call_waits() {
    const BYTES: usize = 24 << 20;
    let server = Server::start(|seen| match seen.number {
        0 => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {BYTES}\r\n\r\n");
            vec![Act::Send(head.into_bytes()), Act::Repeat(b"0123456789abcdef".to_vec(), BYTES / 16)]
        }
        _ => chunks(&["data: 2\n\n"]),
    })
    .await;
    let (model, accounts) = single(&server);
    let unread = send(&model, post().streamed(true)).await.unwrap();
    sleep(Duration::from_millis(300)).await;
    assert_eq!(accounts.states()[0].over_limit, 0, "no call waits");
    let buffered = server.sent();
    assert!(buffered < BYTES, "the buffer is bounded: {buffered}");
    assert_eq!(text(send(&model, post().streamed(true)).await.unwrap()).await, "data: 2\n\n");
    assert_eq!(accounts.states()[0].over_limit, 1);
    let rest = unread.body.whole().await.unwrap();
    assert_eq!(rest.len(), BYTES);
    assert!(rest.chunks(16).all(|block| block == b"0123456789abcdef"), "in order");
}

#[tokio::test]
async fn dropping_a_raw_stream_closes_its_connection() {
    let server = Server::start(|_| vec![stream_head(), chunk("data: 1\n\n"), Act::Hang]).await;
    let (model, accounts) = single(&server);
    let answer = send(&model, post().streamed(true)).await.unwrap();
    drop(answer);
    for _ in 0..1000 {
        if server.closed() == 1 && accounts.states()[0].in_flight == 0 {
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
    panic!("{} closed, {:?}", server.closed(), accounts.states());
}

#[tokio::test]
async fn a_deadline_and_a_cancellation_end_raw_calls_and_streams() {
    let server = Server::start(|seen| match seen.body["n"].as_u64() {
        Some(_) => vec![stream_head(), chunk("data: 1\n\n"), Act::Hang],
        None => vec![Act::Hang],
    })
    .await;
    let model = raw(&server);
    let begun = || RawRequest::post("/chat/completions", r#"{"n":1}"#).streamed(true);
    let soon = || Context::new().with_timeout(Duration::from_secs(1));
    let cancellable = || {
        let token = CancellationToken::new();
        (Context::new().with_cancellation(token.clone()), token)
    };
    for streams in [false, true] {
        let error = model.send(post().streamed(streams), &soon()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        let (cx, token) = cancellable();
        let cancel = async {
            sleep(Duration::from_millis(20)).await;
            token.cancel();
        };
        let (answer, ()) = futures::join!(model.send(post().streamed(streams), &cx), cancel);
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::Cancelled);
    }
    let ended = async |mut answer: RawResponse| {
        assert_eq!(answer.body.next().await.unwrap().unwrap(), "data: 1\n\n");
        let error = answer.body.next().await.unwrap().unwrap_err();
        assert!(answer.body.next().await.is_none());
        error.kind()
    };
    assert_eq!(ended(model.send(begun(), &soon()).await.unwrap()).await, ErrorKind::Timeout);
    let (cx, token) = cancellable();
    let answer = model.send(begun(), &cx).await.unwrap();
    token.cancel();
    assert_eq!(ended(answer).await, ErrorKind::Cancelled);
}

#[tokio::test]
async fn a_raw_answer_longer_than_the_client_allows_is_an_error() {
    let server = Server::start(|_| answer(200, "", &"x".repeat(2000))).await;
    let client = Client::builder().max_body_bytes(1000).build().unwrap();
    let model = server.model().accounts(Accounts::new()).client(client).retry(hasty()).build_raw().unwrap();
    for streams in [false, true] {
        let read = async { send(&model, post().streamed(streams)).await?.body.whole().await };
        let error = read.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode, "{error}");
    }
}

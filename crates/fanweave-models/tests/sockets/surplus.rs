//! A gateway that sends unsolicited responses. No call may get the response to another one.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use fanweave_core::{ErrorKind, chain, text};
use fanweave_models::{Client, ModelBuilder, RetryPolicy, Timeouts};
use futures::StreamExt;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use crate::server::{Act, Server, completion, refusal, stream};

/// Time at which the gateway sends a surplus response.
#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    /// In the same write as a response.
    WithAnswer,
    /// This long after a response, whatever the client does in the meantime.
    After(Duration),
    /// As soon as the next request begins to arrive.
    WithRequest,
    /// Right after the next request has arrived.
    AfterRequest,
}

struct Gateway {
    url: String,
    surplus: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
}

impl Gateway {
    /// Takes `think` for each response; every tenth one is followed by a surplus one.
    async fn start(when: When, think: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let (surplus, connections) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (counted, opened) = (surplus.clone(), connections.clone());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                opened.fetch_add(1, Ordering::SeqCst);
                let surplus = counted.clone();
                tokio::spawn(async move {
                    let _ = serve(socket, when, think, &surplus).await;
                });
            }
        });
        Self { url, surplus, connections }
    }
}

async fn serve(socket: TcpStream, when: When, think: Duration, surplus: &AtomicUsize) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let (mut reader, writer) = socket.into_split();
    let writer = Arc::new(tokio::sync::Mutex::new(writer));
    let (mut read, mut owed) = (Vec::new(), None::<Vec<u8>>);
    loop {
        if reader.read_buf(&mut read).await? == 0 {
            return Ok(());
        }
        if when == When::WithRequest
            && let Some(too_much) = owed.take()
        {
            writer.lock().await.write_all(&too_much).await?;
        }
        let body = loop {
            if let Some(body) = body_of(&mut read) {
                break body;
            }
            reader.read_buf(&mut read).await?;
        };
        if let Some(too_much) = owed.take() {
            writer.lock().await.write_all(&too_much).await?;
        }
        sleep(think).await;
        let prompt = body["messages"][0]["content"].as_str().unwrap().lines().next().unwrap();
        let mut bytes = echo(prompt);
        if fastrand::usize(..10) == 0 {
            surplus.fetch_add(1, Ordering::SeqCst);
            let too_much = echo(prompt);
            match when {
                When::WithAnswer => bytes.extend(too_much),
                When::After(time) => {
                    let writer = writer.clone();
                    tokio::spawn(async move {
                        sleep(time).await;
                        let _ = writer.lock().await.write_all(&too_much).await;
                    });
                }
                When::WithRequest | When::AfterRequest => owed = Some(too_much),
            }
        }
        writer.lock().await.write_all(&bytes).await?;
    }
}

/// Takes a complete request out of the bytes read.
fn body_of(read: &mut Vec<u8>) -> Option<Value> {
    let end = read.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&read[..end]).to_lowercase();
    let length: usize = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())?;
    let body = read.get(end..end + length)?;
    let body = serde_json::from_slice(body).unwrap();
    read.drain(..end + length);
    Some(body)
}

fn echo(prompt: &str) -> Vec<u8> {
    let Act::Send(bytes) = completion(&format!("echo {prompt}")).remove(0) else { unreachable!() };
    bytes
}

/// Sends 1,000 questions, `at_once` concurrently, with a pause after each. Returns the number of answers to
/// other questions.
async fn foreign(gateway: &Gateway, at_once: usize, pause: Duration, padding: usize) -> usize {
    foreign_of(1000, gateway, at_once, pause, padding).await
}

/// Like [`foreign`], with this many questions.
async fn foreign_of(
    rows: usize,
    gateway: &Gateway,
    at_once: usize,
    pause: Duration,
    padding: usize,
) -> usize {
    let policy =
        RetryPolicy::default().max_attempts(20.try_into().unwrap()).initial_backoff(Duration::from_millis(1));
    let client = Client::builder().no_proxy().build().unwrap();
    let model = ModelBuilder::new("openai/test").base_url(&gateway.url).client(client).retry(policy);
    let model = model.build().unwrap();
    let padding = "x".repeat(padding);
    let calls = futures::stream::iter(0..rows).map(|row| {
        let prompt = format!("row {row}\n{padding}");
        let model = &model;
        async move {
            let message = model.invoke(prompt.as_str()).await.unwrap();
            sleep(pause).await;
            message.text() != format!("echo row {row}")
        }
    });
    let foreign =
        calls.buffer_unordered(at_once).filter(|foreign| std::future::ready(*foreign)).count().await;
    let (surplus, connections) = (&gateway.surplus, &gateway.connections);
    assert!(surplus.load(Ordering::SeqCst) >= rows / 20, "{surplus:?}");
    eprintln!("{foreign} foreign, {surplus:?} too many, {connections:?} connections");
    foreign
}

const MS: Duration = Duration::from_millis(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_surplus_answer_in_the_same_write_reaches_no_call() {
    for think in [0, 2] {
        let gateway = Gateway::start(When::WithAnswer, MS * think).await;
        assert_eq!(foreign(&gateway, 16, Duration::ZERO, 0).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_surplus_answer_on_an_idle_connection_reaches_no_call() {
    for late in [1, 5, 50] {
        let gateway = Gateway::start(When::After(MS * late), MS).await;
        assert_eq!(foreign(&gateway, 32, MS * (late + 5), 0).await, 0, "{late} ms");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_surplus_answer_while_a_request_is_written_reaches_no_call() {
    let gateway = Gateway::start(When::WithRequest, MS * 5).await;
    assert_eq!(foreign(&gateway, 16, Duration::ZERO, 192 << 10).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_surplus_answer_right_after_the_next_request_reaches_hardly_any_call() {
    for think in [0, 2, 50] {
        let gateway = Gateway::start(When::AfterRequest, MS * think).await;
        let foreign = foreign(&gateway, 32, Duration::ZERO, 0).await;
        // On a busy machine, a surplus response may arrive as late as a real one before the host is known.
        assert!(foreign <= 2, "{think} ms: {foreign}");
    }
}

/// Only its time distinguishes it from the real response, and only if it is far too early.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn surplus_answers_on_connections_that_are_always_busy_reach_few_calls_before_the_host_is_known() {
    for late in [1, 5, 50] {
        let gateway = Gateway::start(When::After(MS * late), MS * 20).await;
        let foreign = foreign(&gateway, 16, Duration::ZERO, 0).await;
        assert!(foreign <= 10, "{late} ms: {foreign}");
    }
}

/// With a single call at a time, the connection is never idle when the surplus response arrives, and each
/// response after it would belong to the previous call.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_copy_of_an_answer_reaches_no_call_even_if_only_one_is_in_flight() {
    for at_once in [1, 4] {
        let gateway = Gateway::start(When::After(MS * 10), MS * 40).await;
        let foreign = foreign_of(200, &gateway, at_once, Duration::ZERO, 0).await;
        assert_eq!(foreign, 0, "{at_once} at once");
    }
}

/// The real response takes longer than the copy is held. It must not meet the next call.
#[tokio::test]
async fn a_copy_that_was_held_for_too_short_a_time_reaches_one_call_only() {
    let server = Server::start(|seen| {
        let answer = completion(seen.body["messages"][0]["content"].as_str().unwrap());
        let slow = [vec![Act::Wait(MS * 4000)], answer.clone()].concat();
        match seen.number {
            0 => [slow, vec![Act::Wait(MS * 20)], answer].concat(),
            _ => slow,
        }
    })
    .await;
    let model = server.model().retry(RetryPolicy::never()).build().unwrap();
    for (prompt, text) in [("a", "a"), ("b", "a"), ("c", "c")] {
        assert_eq!(model.invoke(prompt).await.unwrap().text(), text);
    }
    assert_eq!(server.connections(), 2);
}

/// An early or repeated response of an honest server is held, but not until the call times out.
#[tokio::test]
async fn a_held_answer_does_not_time_out() {
    let server = Server::start(|seen| match seen.number {
        0 => [vec![Act::Wait(MS * 1200)], completion("a")].concat(),
        _ => completion("a"),
    })
    .await;
    let timeouts = Timeouts::default().idle(MS * 500);
    let client = Client::builder().timeouts(timeouts).no_proxy().build().unwrap();
    let model = server.model().client(client).retry(RetryPolicy::never()).build().unwrap();
    for _ in 0..3 {
        model.invoke("x").await.unwrap();
    }
    assert_eq!(server.requests().len(), 3);
}

/// A server without ids repeats itself, and each repetition is held only as long as a response takes.
#[tokio::test]
async fn equal_answers_of_an_honest_server_share_a_connection() {
    let server = Server::start(|_| [vec![Act::Wait(MS * 20)], completion("yes")].concat()).await;
    let model = server.model().retry(RetryPolicy::never()).build().unwrap();
    let began = std::time::Instant::now();
    for _ in 0..20 {
        model.invoke("x").await.unwrap();
    }
    assert_eq!((server.connections(), server.requests().len()), (1, 20));
    assert!(began.elapsed() < MS * 2000, "{:?}", began.elapsed());
}

/// Some load balancers do that. It is not a response to any request.
#[tokio::test]
async fn a_report_that_an_idle_connection_was_closed_is_not_a_surplus_response() {
    for is_busy in [false, true] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let connections = Arc::<AtomicUsize>::default();
        let opened = connections.clone();
        let ((allow, allowed), (sent, is_sent), (close, closed)) =
            (mpsc::channel(), mpsc::channel(), tokio::sync::oneshot::channel());
        let mut close = Some(close);
        // In a separate thread: it reports while the thread of the test is busy.
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let mut socket = socket.unwrap();
                let number = opened.fetch_add(1, Ordering::SeqCst);
                let mut read = vec![0; 16 << 10];
                while socket.read(&mut read).unwrap_or(0) > 0 {
                    socket.write_all(&echo("x")).unwrap();
                    if number == 0 {
                        allowed.recv().unwrap();
                        let report = b"HTTP/1.1 408 Request Time-out\r\nconnection: close\r\n\r\n";
                        socket.write_all(report).unwrap();
                        sent.send(()).unwrap();
                        // Until the client closes the connection.
                        while socket.read(&mut read).is_ok_and(|n| n > 0) {}
                        let _ = close.take().unwrap().send(());
                        break;
                    }
                }
            }
        });
        let model = ModelBuilder::new("openai/test").base_url(url).retry(RetryPolicy::never());
        let model = model.client(Client::builder().no_proxy().build().unwrap()).build().unwrap();
        model.invoke("x").await.unwrap();
        // The connection is returned.
        sleep(MS * 5).await;
        allow.send(()).unwrap();
        // Blocks the thread, and with it the runtime.
        is_sent.recv().unwrap();
        if !is_busy {
            closed.await.unwrap();
        }
        for _ in 0..3 {
            model.invoke("x").await.unwrap();
        }
        assert_eq!(connections.load(Ordering::SeqCst), 2, "the host is not suspect, busy: {is_busy}");
    }
}

fn bytes(acts: &[Act]) -> Vec<u8> {
    let each = acts.iter().map(|act| match act {
        Act::Send(bytes) => &bytes[..],
        _ => unreachable!("answers are only sent"),
    });
    each.collect::<Vec<_>>().concat()
}

fn once_more() -> RetryPolicy {
    RetryPolicy::default().initial_backoff(MS)
}

/// The first response of a connection is certain. The second one is not, if another follows.
#[tokio::test]
async fn an_answer_followed_by_another_one_is_rejected_and_retried() {
    for foreign in [completion("foreign"), refusal(400, "", "x", "foreign")] {
        let server = Server::start(move |seen| match seen.number {
            1 => vec![Act::Send([bytes(&foreign), bytes(&completion("right"))].concat())],
            _ => completion("right"),
        })
        .await;
        let model = server.model().retry(once_more()).build().unwrap();
        for _ in 0..2 {
            assert_eq!(model.invoke("x").await.unwrap().text(), "right");
        }
        assert_eq!((server.connections(), server.requests().len()), (2, 3));
    }
}

#[tokio::test]
async fn a_stream_followed_by_another_one_fails() {
    let server = Server::start(|seen| match seen.number {
        0 => completion("hi"),
        _ => vec![Act::Send([bytes(&stream(&["foreign"])), bytes(&stream(&["right"]))].concat())],
    })
    .await;
    let model = server.model().retry(RetryPolicy::never()).build().unwrap();
    model.invoke("x").await.unwrap();
    // Its deltas have been emitted.
    let error = chain(model).stream("x").output().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection, "{error}");
    assert!(error.message().ends_with("the server had sent more than one response to a request"), "{error}");
}

#[tokio::test]
async fn a_host_with_surplus_bytes_gets_one_request_per_connection_afterwards() {
    let long = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let body = r#"{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}"#;
    let length = body.len();
    for (name, surplus) in [
        ("a second answer", [bytes(&completion("hi")), bytes(&completion("foreign"))].concat()),
        ("a body longer than announced", format!("{long}content-length: {length}\r\n\r\n{body}   ").into()),
        (
            "bytes after the last answer",
            format!("{long}connection: close\r\ncontent-length: {length}\r\n\r\n{body}HTTP/1.1 200 OK\r\n")
                .into(),
        ),
        (
            "bytes after the last chunk",
            format!("{long}transfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\nHTTP").into(),
        ),
    ] {
        let server = Server::start(move |seen| match seen.number {
            0 => vec![Act::Send(surplus.clone())],
            _ => completion("hi"),
        })
        .await;
        let client = Client::builder().no_proxy().build().unwrap();
        let model = server.model().client(client).retry(RetryPolicy::never()).build().unwrap();
        for _ in 0..5 {
            assert_eq!(model.invoke("x").await.unwrap().text(), "hi", "{name}");
            sleep(MS * 5).await;
        }
        assert_eq!((server.connections(), server.requests().len()), (5, 5), "{name}");
    }
}

/// Each runtime has its own connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_with_surplus_bytes_is_remembered_without_connections_and_by_other_runtimes() {
    let server = Server::start(|seen| match seen.number {
        0 => vec![Act::Send([bytes(&completion("hi")), bytes(&completion("foreign"))].concat())],
        _ => completion("hi"),
    })
    .await;
    let other = Server::start(|_| completion("hi")).await;
    let client = Client::builder().no_proxy().build().unwrap();
    let [suspect, other] = [&server, &other]
        .map(|server| server.model().client(client.clone()).retry(RetryPolicy::never()).build().unwrap());
    for _ in 0..3 {
        let (suspect, other) = (suspect.clone(), other.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                // Creates a pool for this runtime, which removes those without connections.
                other.invoke("x").await.unwrap();
                for _ in 0..2 {
                    suspect.invoke("x").await.unwrap();
                    sleep(MS * 5).await;
                }
            });
        });
        tokio::task::spawn_blocking(|| thread.join().unwrap()).await.unwrap();
    }
    assert_eq!((server.connections(), server.requests().len()), (6, 6));
    let notice = fanweave_models::connection_notice().unwrap();
    assert!(notice.contains("sent more responses than requests"), "{notice}");
}

#[tokio::test]
async fn an_interim_response_is_not_a_surplus_response() {
    let interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
    let server = Server::start(|_| {
        let parts = [Act::Send(interim.to_vec()), Act::Wait(MS * 5)];
        [parts.to_vec(), completion("hi")].concat()
    })
    .await;
    let model = server.model().retry(RetryPolicy::never()).build().unwrap();
    for _ in 0..5 {
        assert_eq!(model.invoke("x").await.unwrap().text(), "hi");
    }
    assert_eq!(server.connections(), 1);
}

/// Some servers report why they close an idle connection.
#[tokio::test]
async fn bytes_on_an_unused_connection_are_not_an_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        for number in 0.. {
            let (socket, _) = listener.accept().await.unwrap();
            let (mut reader, mut writer) = socket.into_split();
            if number < 2 {
                writer.write_all(&echo("foreign")).await.unwrap();
            }
            let mut read = Vec::new();
            while body_of(&mut read).is_none() && reader.read_buf(&mut read).await.unwrap() > 0 {}
            let _ = writer.write_all(&echo("right")).await;
        }
    });
    let model = ModelBuilder::new("openai/test").base_url(url).retry(once_more()).build().unwrap();
    assert_eq!(model.invoke("x").await.unwrap().text(), "echo right");
}

/// The runtime learns of bytes only by polling the operating system, and a busy thread does not poll.
#[tokio::test]
async fn a_surplus_answer_not_yet_seen_by_the_runtime_reaches_no_call() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let ((allow, allowed), (sent, is_sent)) = (mpsc::channel(), mpsc::channel());
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let mut read = vec![0; 16 << 10];
            let length = socket.read(&mut read).unwrap();
            read.truncate(length);
            let body = body_of(&mut read).unwrap();
            let answer = echo(body["messages"][0]["content"].as_str().unwrap());
            socket.write_all(&answer).unwrap();
            allowed.recv().unwrap();
            let _ = socket.write_all(&answer);
            sent.send(()).unwrap();
            let _ = socket.read(&mut read);
        }
    });
    let model = ModelBuilder::new("openai/test").base_url(url).retry(RetryPolicy::never()).build().unwrap();
    for row in ["a", "b", "c"] {
        assert_eq!(model.invoke(row).await.unwrap().text(), format!("echo {row}"));
        // Blocks the thread, and with it the runtime.
        allow.send(()).unwrap();
        is_sent.recv().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rest_of_a_dropped_answer_is_not_surplus() {
    let settings = fanweave_sim::Settings { chunks: 50, ..fanweave_sim::Settings::default() };
    let server = fanweave_sim::Server::start(settings).unwrap();
    let model = ModelBuilder::new("openai/echo-dropped")
        .base_url(server.base_url())
        .api_key("sk-test")
        .client(Client::builder().no_proxy().build().unwrap())
        .build()
        .unwrap();
    let echo = chain(model) | text();
    let words = "word ".repeat(200);
    for _ in 0..100 {
        let mut left = echo.stream(&*words);
        left.next().await.unwrap().unwrap();
        drop(left);
        echo.stream(&*words).output().await.unwrap();
    }
    let opened = server.stats().connections_opened;
    for _ in 0..20 {
        echo.invoke("x").await.unwrap();
    }
    let opened = server.stats().connections_opened - opened;
    assert!(opened <= 1, "{opened} connections for 20 calls one after the other");
}

//! A server whose responses are scripted byte for byte.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanweave_models::ModelBuilder;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// From 0, counted over all connections.
    pub(crate) number: usize,
    /// Number of its connection, from 0.
    pub(crate) connection: usize,
    /// Request line and headers.
    pub(crate) head: String,
    /// The body, as JSON.
    pub(crate) body: Value,
    /// The body, as it arrived.
    pub(crate) bytes: Vec<u8>,
}

/// Next action of the server.
#[derive(Clone)]
pub(crate) enum Act {
    Send(Vec<u8>),
    /// Sends the same bytes this many times.
    Repeat(Vec<u8>, usize),
    Wait(Duration),
    /// Closes the connection as if the process had died.
    Reset,
    /// Closes the connection gracefully.
    Close,
    /// Sends nothing until the client disconnects.
    Hang,
}

#[derive(Default)]
pub(crate) struct Log {
    pub(crate) requests: Mutex<Vec<Seen>>,
    pub(crate) connections: AtomicUsize,
    pub(crate) closed: AtomicUsize,
    /// Bytes accepted by the operating system.
    pub(crate) sent: AtomicUsize,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) log: Arc<Log>,
}

impl Server {
    /// Responds to every request with the actions of `script`.
    pub(crate) async fn start(script: impl Fn(&Seen) -> Vec<Act> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Log::default());
        let (script, shared) = (Arc::new(script), log.clone());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let connection = shared.connections.fetch_add(1, Ordering::SeqCst);
                let (script, log) = (script.clone(), shared.clone());
                tokio::spawn(async move {
                    let _ = serve(socket, connection, &*script, &log).await;
                    log.closed.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, log }
    }

    /// Returns a model on this server.
    pub(crate) fn model(&self) -> ModelBuilder {
        ModelBuilder::new("openai/test").base_url(format!("http://{}/v1", self.address))
    }

    pub(crate) fn connections(&self) -> usize {
        self.log.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn closed(&self) -> usize {
        self.log.closed.load(Ordering::SeqCst)
    }

    /// Bytes of [`Act::Repeat`] that were sent.
    pub(crate) fn sent(&self) -> usize {
        self.log.sent.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> Vec<Seen> {
        self.log.requests.lock().unwrap().clone()
    }
}

async fn serve(
    mut socket: TcpStream,
    connection: usize,
    script: &(impl Fn(&Seen) -> Vec<Act> + Send + Sync),
    log: &Log,
) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = read.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            if socket.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&read[..end]).into_owned();
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let length: usize = length.unwrap_or_default();
        while read.len() < end + length {
            socket.read_buf(&mut read).await?;
        }
        let bytes = read[end..end + length].to_vec();
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        read.drain(..end + length);
        let seen = {
            let mut requests = log.requests.lock().unwrap();
            let number = requests.len();
            requests.push(Seen { number, connection, head, body, bytes });
            requests.last().unwrap().clone()
        };
        for act in script(&seen) {
            match act {
                Act::Send(bytes) => socket.write_all(&bytes).await?,
                Act::Repeat(bytes, times) => {
                    // In large blocks: a million small writes would take a while.
                    let at_once = (256 << 10) / bytes.len() + 1;
                    let piece = bytes.repeat(at_once);
                    let mut left = bytes.len() * times;
                    while left > 0 {
                        let sent = socket.write(&piece[..left.min(piece.len())]).await?;
                        // A partly written block starts the next one, so that every block is complete.
                        if !sent.is_multiple_of(bytes.len()) {
                            socket.write_all(&bytes[sent % bytes.len()..]).await?;
                        }
                        let whole = sent.next_multiple_of(bytes.len());
                        left -= whole;
                        log.sent.fetch_add(whole, Ordering::SeqCst);
                    }
                }
                Act::Wait(time) => tokio::time::sleep(time).await,
                Act::Reset => return socket.set_zero_linger(),
                Act::Close => return Ok(()),
                Act::Hang => {
                    while socket.read_buf(&mut read).await? > 0 {}
                    return Ok(());
                }
            }
        }
    }
}

/// A response with a body.
pub(crate) fn answer(status: u16, headers: &str, body: &str) -> Vec<Act> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n"
    );
    vec![Act::Send([head.as_bytes(), body.as_bytes()].concat())]
}

/// A non-streaming completion.
pub(crate) fn completion(text: &str) -> Vec<Act> {
    let body = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "model": "test-1",
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5 },
    });
    answer(200, "x-request-id: req_1\r\n", &body.to_string())
}

/// An error in the format of OpenAI.
pub(crate) fn refusal(status: u16, headers: &str, code: &str, message: &str) -> Vec<Act> {
    let body = json!({ "error": { "message": message, "type": "some_error", "param": null, "code": code } });
    answer(status, headers, &body.to_string())
}

/// The head of a stream whose chunks follow.
pub(crate) fn stream_head() -> Act {
    Act::Send(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nx-request-id: req_s\r\n\
          transfer-encoding: chunked\r\n\r\n"
            .to_vec(),
    )
}

/// A part of a stream, as one HTTP chunk.
pub(crate) fn chunk(text: &str) -> Act {
    Act::Send(format!("{:x}\r\n{text}\r\n", text.len()).into_bytes())
}

/// A text delta as an event.
pub(crate) fn piece(text: &str) -> Act {
    let data =
        json!({ "id": "c", "model": "test-1", "choices": [{ "index": 0, "delta": { "content": text } }] });
    chunk(&format!("data: {data}\n\n"))
}

/// The end of a stream: reason, usage, end marker, last HTTP chunk.
pub(crate) fn stream_end() -> Vec<Act> {
    let stop = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] });
    let usage = json!({ "choices": [], "usage": { "prompt_tokens": 3, "completion_tokens": 2 } });
    vec![
        chunk(&format!("data: {stop}\n\ndata: {usage}\n\ndata: [DONE]\n\n")),
        Act::Send(b"0\r\n\r\n".to_vec()),
    ]
}

/// A complete stream of these deltas.
pub(crate) fn stream(pieces: &[&str]) -> Vec<Act> {
    let mut acts = vec![stream_head()];
    acts.extend(pieces.iter().map(|text| piece(text)));
    acts.extend(stream_end());
    acts
}

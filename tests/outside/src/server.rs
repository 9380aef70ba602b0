//! A small server for the tests, on threads of its own: it continues while a test forks.
//!
//! Its threads start before the first request and never end. The standard library keeps a list of threads
//! behind a lock, and a child that was forked while a thread began or ended could start none.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Barrier, Mutex, PoisonError};

use fanweave::models::ModelBuilder;
use serde_json::{Value, json};

/// Makes the response to a request: status, further headers, and body. A body is JSON unless the headers have
/// a `content-type`.
pub type Script = dyn Fn(usize, &Value) -> (u16, String, String) + Send + Sync;

/// Number of connections that are served at once.
const CONNECTIONS: usize = 64;

/// The server. Its threads end with the process.
pub struct Server {
    address: SocketAddr,
    heads: Arc<Heads>,
}

/// The head of each request so far, in lower case.
type Heads = Mutex<Vec<String>>;

impl Server {
    /// Repeats each prompt. Requests with `"stream": true` get one chunk and no end.
    pub fn echo() -> Self {
        Self::start(|_, request| (200, String::new(), completion(&request["messages"][0]["content"])))
    }

    /// Answers each request by its number, from 0, and its body.
    pub fn start(script: impl Fn(usize, &Value) -> (u16, String, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let all = Arc::new(Heads::default());
        let (script, listener): (Arc<Script>, _) = (Arc::new(script), Arc::new(listener));
        let started = Arc::new(Barrier::new(CONNECTIONS + 1));
        for _ in 0..CONNECTIONS {
            let (script, heads, listener) = (script.clone(), all.clone(), listener.clone());
            let started = started.clone();
            std::thread::spawn(move || {
                started.wait();
                for socket in listener.incoming().flatten() {
                    serve(&socket, &*script, &heads);
                }
            });
        }
        started.wait();
        Self { address, heads: all }
    }

    /// A model of this server.
    pub fn model(&self) -> ModelBuilder {
        ModelBuilder::new("openai/test").base_url(self.base_url()).api_key("sk-outside-1234")
    }

    /// URL of its root.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Number of requests so far.
    pub fn requests(&self) -> usize {
        self.heads().len()
    }

    /// The head of each request so far, in lower case.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The body of a completion.
pub fn completion(text: &Value) -> String {
    let message = json!({ "role": "assistant", "content": text });
    let usage = json!({ "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 });
    json!({
        "id": "1",
        "model": "test",
        "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }],
        "usage": usage,
    })
    .to_string()
}

/// Answers the requests of one connection.
fn serve(socket: &TcpStream, script: &Script, heads: &Heads) -> Option<()> {
    let mut reader = BufReader::new(socket);
    loop {
        let mut length = 0;
        let mut head = String::new();
        loop {
            let start = head.len();
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
            let line = head[start..].trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let request: Value = serde_json::from_slice(&body).ok()?;
        let number = {
            let mut heads = heads.lock().unwrap_or_else(PoisonError::into_inner);
            heads.push(head.to_ascii_lowercase());
            heads.len() - 1
        };
        let mut writer = socket;
        if request["stream"] == true {
            let chunk = json!({ "choices": [{ "index": 0, "delta": { "content": "once " } }] });
            let event = format!("data: {chunk}\n\n");
            write!(writer, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n{event}").ok()?;
            // The stream has no end: the connection stays open until the client closes it.
            return std::io::copy(&mut reader, &mut std::io::sink()).ok().map(drop);
        }
        let (status, mut headers, body) = script(number, &request);
        if !headers.contains("content-type:") {
            headers.push_str("content-type: application/json\r\n");
        }
        let length = body.len();
        let head = format!("HTTP/1.1 {status} X\r\n{headers}");
        write!(writer, "{head}content-length: {length}\r\n\r\n{body}").ok()?;
    }
}

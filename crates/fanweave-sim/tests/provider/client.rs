//! A minimal client: one connection, sequential requests, no interpretation.

use std::time::Duration;

use bytes::Bytes;
use fanweave_sim::{Server, Settings, Stats};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// A provider with these settings.
pub(crate) fn start(settings: Settings) -> Server {
    Server::start(settings).unwrap()
}

/// A provider without latency, limits or faults.
pub(crate) fn calm() -> Server {
    start(Settings::default())
}

/// Waits up to ten seconds until the counts of `server` satisfy the condition.
pub(crate) async fn wait_for(server: &Server, is_reached: impl Fn(&Stats) -> bool) {
    let reached = async {
        while !is_reached(&server.stats()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reached)
        .await
        .unwrap_or_else(|_| panic!("still {:?}", server.stats()));
}

/// One keep-alive connection.
pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
    headers: Vec<(&'static str, String)>,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Client {
    pub(crate) async fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(server.addr()).await.unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender, headers: vec![("content-type", "application/json".to_owned())] }
    }

    /// A connection with the headers of Anthropic's clients.
    pub(crate) async fn connect_anthropic(server: &Server) -> Self {
        Self::connect(server).await.with_header("anthropic-version", "2023-06-01")
    }

    pub(crate) fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Sends a request and reads its answer to the end.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> hyper::Result<Answer> {
        let mut request = Request::new(Full::new(body.into()));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().unwrap();
        for (name, value) in &self.headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        request.headers_mut().insert("host", "sim".parse().unwrap());
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        })
    }

    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, body.to_string()).await.unwrap()
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send(Method::GET, path, "").await.unwrap()
    }

    pub(crate) async fn chat(&mut self, body: &Value) -> Answer {
        self.post("/v1/chat/completions", body).await
    }

    pub(crate) async fn message(&mut self, body: &Value) -> Answer {
        self.post("/v1/messages", body).await
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.headers["content-type"], "application/json", "{}", self.body);
        serde_json::from_str(&self.body).unwrap()
    }

    /// The JSON of the events of a stream, without `[DONE]`.
    pub(crate) fn events(&self) -> Vec<Value> {
        assert_eq!(self.headers["content-type"], "text/event-stream; charset=utf-8", "{}", self.body);
        let data = self.body.lines().filter_map(|line| line.strip_prefix("data: "));
        data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.headers)).to_str().unwrap()
    }
}

/// `body` without what differs from run to run, for snapshots.
pub(crate) fn stable(body: &str) -> String {
    let created = body.find("\"created\":").map(|at| at + "\"created\":".len());
    let Some(created) = created else { return body.to_owned() };
    let digits = body[created..].find(|c: char| !c.is_ascii_digit()).unwrap();
    body.replace(&body[created..created + digits], "1700000000")
}

//! `fanweave worker --health`: answers health checks and requests for metrics.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fanweave::models::account_states;
use fanweave::workers::{Activity, Broker};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use crate::exit::Failure;

/// Time between two questions to the broker.
const PERIOD: Duration = Duration::from_secs(5);

/// Time without an answer of the broker after which the worker is not healthy.
const SILENT: Duration = Duration::from_secs(30);

/// Time for a request and its answer.
const MAX_REQUEST: Duration = Duration::from_secs(5);

/// Maximum requests at the same time.
const MAX_REQUESTS: usize = 16;

/// Maximum size of the head of a request in bytes.
const MAX_HEAD: usize = 8 << 10;

/// The health of a worker.
pub(super) struct Health {
    listener: TcpListener,
    broker: Arc<dyn Broker>,
    activity: Activity,
}

/// Reachability of the broker.
#[derive(Clone, Copy)]
struct Reached {
    /// Time since the last answer of the broker.
    silent: Duration,
}

impl Health {
    /// Listens at an address.
    pub(super) async fn bind(
        at: SocketAddr,
        broker: Arc<dyn Broker>,
        activity: Activity,
    ) -> Result<Self, Failure> {
        let listener = TcpListener::bind(at).await;
        let listener =
            listener.map_err(|e| Failure::usage(format!("--health: cannot listen at {at}: {e}")))?;
        Ok(Self { listener, broker, activity })
    }

    /// Answers requests, for ever.
    pub(super) async fn serve(self) {
        let Self { listener, broker, activity } = self;
        let answered = Mutex::new(Instant::now());
        let last = || *answered.lock().unwrap_or_else(PoisonError::into_inner);
        let asking = async {
            loop {
                if broker.clock().await.is_ok() {
                    *answered.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                }
                sleep(PERIOD).await;
            }
        };
        let requests = Arc::new(Semaphore::new(MAX_REQUESTS));
        let answering = async {
            loop {
                let permit = requests.clone().acquire_owned().await.expect("it is never closed");
                let Ok((stream, _)) = listener.accept().await else {
                    // Such as too many open files.
                    sleep(Duration::from_millis(100)).await;
                    continue;
                };
                let (state, activity) = (Reached { silent: last().elapsed() }, activity.clone());
                tokio::spawn(async move {
                    let _ = timeout(MAX_REQUEST, answer(stream, state, &activity)).await;
                    drop(permit);
                });
            }
        };
        tokio::join!(asking, answering);
    }
}

/// Answers one request.
async fn answer(mut stream: TcpStream, state: Reached, activity: &Activity) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < MAX_HEAD {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            n => head.extend_from_slice(&buffer[..n]),
        }
    }
    let head = String::from_utf8_lossy(&head);
    let mut words = head.split([' ', '\r']);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (status, text) = match (method, path) {
        ("GET" | "HEAD", "/healthz") if state.silent < SILENT => ("200 OK", "ok\n".to_owned()),
        ("GET" | "HEAD", "/healthz") => {
            let seconds = state.silent.as_secs();
            ("503 Service Unavailable", format!("the broker has not answered for {seconds} s\n"))
        }
        ("GET" | "HEAD", "/metrics") => ("200 OK", metrics(state, activity)),
        ("GET" | "HEAD", _) => ("404 Not Found", "use /healthz or /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", "use GET\n".to_owned()),
    };
    let body = if method == "HEAD" { "" } else { &text };
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        text.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// The metrics in the text format of Prometheus.
fn metrics(state: Reached, activity: &Activity) -> String {
    let counts = activity.counts();
    let mut text = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, values: &[(String, u64)]| {
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for (labels, value) in values {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let one = |value: u64| [(String::new(), value)];
    let of = |result: &str| format!("{{result=\"{result}\"}}");
    metric(
        "fanweave_worker_rows_total",
        "counter",
        "Rows that this worker has recorded.",
        &[(of("ok"), counts.ok), (of("failed"), counts.failed)],
    );
    metric("fanweave_worker_rows_in_flight", "gauge", "Rows in flight.", &one(counts.in_flight));
    metric(
        "fanweave_worker_broker_up",
        "gauge",
        "1 if the broker has answered in the last 30 seconds.",
        &one(u64::from(state.silent < SILENT)),
    );
    let accounts = account_states();
    let each = |value: fn(&fanweave::models::AccountState) -> u64| -> Vec<(String, u64)> {
        let mut all = std::collections::BTreeMap::new();
        for account in &accounts {
            let model = account.model.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            // Several keys of a model are one series.
            *all.entry(format!("{{model=\"{model}\"}}")).or_default() += value(account);
        }
        all.into_iter().collect()
    };
    metric(
        "fanweave_worker_requests_total",
        "counter",
        "Requests sent to providers.",
        &each(|account| account.requests),
    );
    metric(
        "fanweave_worker_requests_refused_total",
        "counter",
        "Requests rejected with 429 or because a provider was overloaded.",
        &each(|account| account.refused),
    );
    metric(
        "fanweave_worker_requests_waiting",
        "gauge",
        "Requests that wait for a limit.",
        &each(|account| account.waiting as u64),
    );
    text
}

#[cfg(test)]
mod tests {
    use fanweave::workers::Memory;

    use super::*;

    async fn get(at: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_worker_answers_health_checks_and_requests_for_metrics() {
        let at = "127.0.0.1:0".parse().unwrap();
        let health = Health::bind(at, Arc::new(Memory::default()), Activity::default()).await.unwrap();
        let at = health.listener.local_addr().unwrap();
        let serving = tokio::spawn(health.serve());
        assert!(get(at, "/healthz").await.starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(get(at, "/").await.starts_with("HTTP/1.1 404"));
        let metrics = get(at, "/metrics").await;
        for line in ["fanweave_worker_rows_total{result=\"ok\"} 0", "fanweave_worker_broker_up 1"] {
            assert!(metrics.lines().any(|found| found == line), "{metrics}");
        }
        serving.abort();
    }

    #[tokio::test]
    async fn a_worker_whose_broker_is_silent_is_not_healthy() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let asking = tokio::spawn(async move { get(at, "/healthz").await });
        let (stream, _) = listener.accept().await.unwrap();
        let silent = Duration::from_secs(31);
        answer(stream, Reached { silent }, &Activity::default()).await.unwrap();
        let answer = asking.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("for 31 s"), "{answer}");
    }
}

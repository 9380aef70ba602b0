//! Runs that stop by themselves or at a signal, with rows remaining.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Folder, Ran, batch_args, prompts, wait_for};

/// A server that sends the same response to every request, and counts them. Its thread ends with the process.
struct Wall {
    url: String,
    requests: Arc<AtomicUsize>,
    /// Number of responses that the client has read.
    read: Arc<AtomicUsize>,
}

impl Wall {
    fn answering(status: &str, headers: &str, message: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
        let body = serde_json::json!({ "error": { "message": message } }).to_string();
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\n{headers}content-type: application/json\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n{body}"
        );
        let (requests, read) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (counted, all_read) = (requests.clone(), read.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, counted, read) = (answer.clone(), counted.clone(), all_read.clone());
                std::thread::spawn(move || stream.map(|stream| reply(stream, &answer, &counted, &read)));
            }
        });
        Self { url, requests, read }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Reads one complete request and answers it.
fn reply(mut stream: TcpStream, answer: &str, counted: &AtomicUsize, read: &AtomicUsize) {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    let is_whole = |request: &[u8]| {
        let text = String::from_utf8_lossy(request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
        let head = head.to_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
        body.len() >= length.unwrap_or(0)
    };
    while !is_whole(&request) {
        match stream.read(&mut buffer) {
            Ok(n @ 1..) => request.extend_from_slice(&buffer[..n]),
            _ => return,
        }
    }
    counted.fetch_add(1, Ordering::SeqCst);
    let _ = stream.write_all(answer.as_bytes());
    // The client closes the connection when it has read the response.
    while stream.read(&mut buffer).is_ok_and(|n| n > 0) {}
    read.fetch_add(1, Ordering::SeqCst);
}

#[test]
fn the_same_rejection_of_the_first_rows_stops_the_run_unless_keep_going() {
    let wall = Wall::answering("400 Bad Request", "", "this gateway is closed on weekends");
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(200));
    let ran = folder.batch(&wall.url, &["-c", "16"]).expect_code(1);
    assert_eq!(wall.requests(), 16);
    insta::assert_snapshot!(ran.stderr.replace(&wall.url, "URL"), @r"
    error: step openai/echo: openai answered 400: this gateway is closed on weekends
      the first 16 rows were all rejected for this reason; use --keep-going to continue anyway
      200 rows remaining; fix the problem, then resume with: fanweave batch in.jsonl -o out.jsonl -m openai/echo --base-url URL -c 16
    ");
    let told: serde_json::Value =
        serde_json::from_str(&folder.batch(&wall.url, &["-c", "16", "--json"]).expect_code(1).stdout)
            .expect("a JSON object");
    assert_eq!((&told["stopped"], &told["left"]), (&"refused".into(), &200.into()));
    assert!(told["reason"].as_str().is_some_and(|reason| reason.contains("closed on weekends")), "{told}");

    let before = wall.requests();
    let ran = folder.batch(&wall.url, &["-c", "16", "--keep-going"]).expect_code(3);
    assert_eq!(wall.requests() - before, 200);
    assert!(ran.stderr.contains("200 x bad_request"), "{}", ran.stderr);
}

#[test]
fn fewer_than_eight_rejected_rows_are_failed_rows() {
    let wall = Wall::answering("400 Bad Request", "", "this gateway is closed on weekends");
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(5));
    folder.batch(&wall.url, &[]).expect_code(3);
    assert_eq!(folder.rows("out.jsonl").len(), 5);
}

#[test]
fn sigterm_stops_rows_that_wait_for_a_limit_immediately() {
    let wall = Wall::answering("429 Too Many Requests", "retry-after: 60\r\n", "slow down");
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(100));
    let mut command = folder.command(&batch_args(&wall.url, &["-c", "16"]));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    // The first rejection closes the account: on a slow machine, no other row sends its request before.
    wait_for(|| wall.read.load(Ordering::SeqCst) > 0);
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    let began = Instant::now();
    kill(pid, Signal::SIGTERM).expect("the program runs");
    let ran = Ran::of(child.wait_with_output().expect("the program ends")).expect_code(5);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(ran.stderr.contains("stopped with 100 rows remaining"), "{}", ran.stderr);
}

#[test]
fn an_outage_that_does_not_end_stops_the_run_with_rows_remaining() {
    let wall = Wall::answering("502 Bad Gateway", "", "upstream is down");
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(100));
    let ran = folder.batch(&wall.url, &["-c", "16", "--outage-timeout", "2s"]).expect_code(5);
    assert!(ran.stderr.contains("stopped with 100 rows remaining"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("502") && ran.stderr.contains("resume with: fanweave batch"),
        "{}",
        ran.stderr
    );
    let told =
        folder.batch(&wall.url, &["-c", "16", "--outage-timeout", "2s", "--json"]).expect_code(5).stdout;
    let told: serde_json::Value = serde_json::from_str(&told).expect("a JSON object");
    assert_eq!((&told["stopped"], &told["failed"]), (&"unavailable".into(), &0.into()));
}

#[test]
fn a_run_with_too_many_errors_stops_and_is_resumed() {
    let folder = Folder::new();
    let rows: String = (0..40)
        .map(|n| if n % 4 == 3 { "oops\n".to_owned() } else { format!("{{\"prompt\":\"{n}\"}}\n") })
        .collect();
    folder.write("in.jsonl", rows);
    let run = |more: &[&str]| {
        folder.run(
            &[&["batch", "in.jsonl", "-o", "out.jsonl", "-m", "sim/echo", "-c", "1", "--no-hedging"], more]
                .concat(),
        )
    };
    let ran = run(&["--max-errors", "2"]).expect_code(5);
    assert!(
        ran.stderr.contains("more rows failed than --max-errors allows; resume with: fanweave batch"),
        "{}",
        ran.stderr
    );
    let rows = folder.rows("out.jsonl");
    assert!((12..=15).contains(&rows.len()), "{}", rows.len());
    let ran = run(&["--max-errors", "30%", "--json"]).expect_code(3);
    let summary: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(
        (&summary["rows"], &summary["failed"], &summary["stopped"]),
        (&40.into(), &10.into(), &serde_json::Value::Null)
    );
    let ran = run(&["--max-errors", "20%", "--fresh", "--json"]).expect_code(5);
    assert!(ran.stdout.contains("\"stopped\":\"errors\""), "{}", ran.stdout);
}

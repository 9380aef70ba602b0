//! Servers that echo keys: in errors in every form, in answers and in streams; and keys given as arguments.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

use crate::support::{Folder, Ran, prompts};

const CANARY: &str = "sk-canary-7f3a9b1c5d2e8f40/with+odd=signs";

/// The key in 14 forms that encoders, logs and terminals give it.
fn forms() -> [String; 14] {
    let percent = CANARY.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D");
    let all: String = CANARY.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let base64 = "c2stY2FuYXJ5LTdmM2E5YjFjNWQyZThmNDAvd2l0aCtvZGQ9c2lnbnM";
    [
        CANARY.to_owned(),
        CANARY.to_uppercase(),
        percent.clone(),
        percent.replace('%', "%25"),
        all.replace('%', "%2525"),
        format!("{base64}="),
        base64.to_owned(),
        format!("{}\n{}", &base64[..30], &base64[30..]),
        CANARY.bytes().map(|byte| format!("{byte:02X}")).collect(),
        CANARY.replace('/', "\\/").replace('+', "\\u002b"),
        CANARY.replace('/', "&#x2F;").replace('+', "&#43;").replace('=', "&#61;"),
        format!("{}\n{}", &CANARY[..13], &CANARY[13..]),
        CANARY[..CANARY.len() / 2].to_owned(),
        CANARY[CANARY.len() / 2..].to_owned(),
    ]
}

/// Asserts that `text` has no part of the key that is longer than a word.
#[track_caller]
fn assert_clean(location: &str, text: &str) {
    let joined: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let joined = joined.replace("\\n", "").replace("%25", "%").replace("%25", "%").to_lowercase();
    let hex: String = CANARY.bytes().map(|byte| format!("{byte:02x}")).collect();
    let escaped: String = CANARY.bytes().map(|byte| format!("%{byte:02x}")).collect();
    for part in [
        "canary",
        "7f3a9b1c",
        "5d2e8f40",
        "odd",
        "c2stY2FuYXJ5",
        "LTdmM2E5YjFj",
        "NWQyZThmNDAv",
        &hex[..16],
        &escaped[..24],
    ] {
        assert!(!joined.contains(&part.to_lowercase()), "{location} shows `{part}`: {text}");
    }
}

/// Answers each request with the key that came with it: `answer` is called with the key and whether a stream
/// is wanted, and returns status, media type and body.
fn server(answer: fn(&str, bool) -> (u16, &'static str, String)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                let (mut key, mut gateway, mut length) = (String::new(), None, 0);
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                        break;
                    }
                    let lower = line.to_ascii_lowercase();
                    if let Some(n) = lower.strip_prefix("content-length:") {
                        length = n.trim().parse().unwrap_or(0);
                    } else if lower.starts_with("authorization:") {
                        key = line.trim().rsplit(' ').next().unwrap_or_default().to_owned();
                    } else if lower.starts_with("x-gateway:") {
                        gateway = line.trim().split(' ').nth(1).map(str::to_owned);
                    }
                }
                let key = gateway.unwrap_or(key);
                let mut body = vec![0; length];
                let _ = reader.read_exact(&mut body);
                let streams = String::from_utf8_lossy(&body).contains("\"stream\":true");
                let (status, media_type, body) = answer(&key, streams);
                let _ = write!(
                    reader.get_mut(),
                    "HTTP/1.1 {status} X\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\n\
                     connection: close\r\nx-request-id: {key}\r\n\r\n{body}",
                    body.len(),
                );
            });
        }
    });
    url
}

/// A key in the text, the reasoning, a tool call, the ids and the name of the model. Streams send one
/// character in each event.
fn in_answers(key: &str, streams: bool) -> (u16, &'static str, String) {
    let call = |arguments: &str| {
        serde_json::json!([{"index": 0, "id": key, "type": "function",
            "function": {"name": "look", "arguments": arguments}}])
    };
    let text = format!("your key is {key}, sk- and {key}{key}");
    if !streams {
        let body = serde_json::json!({
            "id": key, "model": format!("gpt {key}"),
            "choices": [{"index": 0, "finish_reason": "stop", "message": {
                "role": "assistant", "content": text, "reasoning_content": format!("hm {key}"),
                "tool_calls": call(&format!("{{\"k\":\"{key}\"}}")),
            }}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1},
        });
        // The server may escape what it likes.
        return (200, "application/json", body.to_string().replace("sk-", "sk\\u002d"));
    }
    let event = |delta: serde_json::Value| {
        let chunk = serde_json::json!({"id": key, "model": key, "choices": [{"index": 0, "delta": delta}]});
        format!("data: {chunk}\n\n")
    };
    let mut body = String::new();
    for c in format!("hm {key}").chars() {
        body += &event(serde_json::json!({"reasoning_content": c}));
    }
    for c in text.chars() {
        body += &event(serde_json::json!({"content": c}));
    }
    let end = serde_json::json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    (200, "text/event-stream", format!("{body}data: {end}\n\ndata: [DONE]\n\n"))
}

/// The key in all forms, as an error.
fn in_errors(_: &str, _: bool) -> (u16, &'static str, String) {
    let message = forms().join(" , ");
    let body = serde_json::json!({"error": {"message": message, "code": forms()[3], "type": forms()[8]}});
    (400, "application/json", body.to_string())
}

fn run(folder: &Folder, words: &[&str]) -> Ran {
    let mut command = folder.command(words);
    command.env("OPENAI_API_KEY", CANARY).env("HOME", folder.path().join("home"));
    command.env("RUST_LOG", "trace").env("RUST_BACKTRACE", "1");
    let ran = Ran::of(command.output().unwrap());
    assert_clean(&format!("stdout of {words:?}"), &ran.stdout);
    assert_clean(&format!("stderr of {words:?}"), &ran.stderr);
    ran
}

fn assert_clean_files(folder: &std::path::Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_clean_files(&path);
        } else {
            let bytes = std::fs::read(&path).unwrap();
            assert_clean(&path.display().to_string(), &String::from_utf8_lossy(&bytes));
        }
    }
}

#[test]
fn a_header_of_a_file_is_a_secret_whatever_its_name() {
    for (answer, code) in [(in_answers as fn(&str, bool) -> _, 0), (in_errors, 1)] {
        let url = server(answer);
        let folder = Folder::new();
        folder.write("headers.txt", format!("X-Gateway: {CANARY}\n"));
        for json in [&[][..], &["--json"]] {
            let words = ["ask", "hello", "-m", "openai/m", "--base-url", &url, "--header", "@headers.txt"];
            let mut command = folder.command(&[&words[..], &["--retries", "0", "--no-log"], json].concat());
            command.env("OPENAI_API_KEY", "sk-0123456789abcdef").env("HOME", folder.path().join("home"));
            let ran = Ran::of(command.output().unwrap()).expect_code(code);
            assert_clean("stdout", &ran.stdout);
            assert_clean("stderr", &ran.stderr);
        }
    }
}

#[test]
fn no_output_shows_a_key_that_a_server_echoes_in_an_answer_or_in_an_error() {
    for (answer, code, row_code) in [(in_answers as fn(&str, bool) -> _, 0, 0), (in_errors, 1, 3)] {
        let url = server(answer);
        let folder = Folder::new();
        folder.write("in.jsonl", prompts(2));
        folder.write("chain.yaml", "version: 1\nmodel: openai/m\nsteps:\n  a: { prompt: 'Hi' }\n");
        let model = ["-m", "openai/m", "--base-url", &url, "--retries", "0", "--outage-timeout", "0s"];
        let with = |words: &[&str]| run(&folder, &[words, &model].concat());
        // Standard output, streamed and whole, as text and as JSON; the history and the cache.
        let shown = with(&["ask", "hello", "--cache", "cache.db"]).expect_code(code).stdout;
        assert_eq!(
            shown.contains("your key is [redacted], sk- and [redacted][redacted]"),
            code == 0,
            "{shown}"
        );
        with(&["ask", "hello", "--json"]).expect_code(code);
        with(&["run", "chain.yaml"]).expect_code(code);
        with(&["run", "chain.yaml", "--json"]).expect_code(code);
        run(&folder, &["logs"]).expect_code(0);
        run(&folder, &["logs", "--json"]).expect_code(0);
        run(&folder, &["logs", "show"]).expect_code(0);
        // Files in every format, with their journals.
        for output in ["out.jsonl", "out.csv", "-"] {
            with(&["batch", "in.jsonl", "-o", output, "--keep-going"]).expect_code(row_code);
        }
        let words = ["batch", "in.jsonl", "-o", "raw.jsonl", "--output-format", "openai", "--keep-going"];
        with(&words).expect_code(row_code);
        with(&["batch", "in.jsonl", "-o", "json.jsonl", "--json", "--keep-going"]).expect_code(row_code);
        // Reports.
        run(&folder, &["report", "out.jsonl"]).expect_code(0);
        run(&folder, &["report", "out.jsonl", "--json"]).expect_code(0);
        run(&folder, &["report", "out.jsonl", "--html", "page.html"]).expect_code(0);
        run(&folder, &["report", "out.jsonl", "--chrome-trace", "trace.json"]).expect_code(0);
        assert_clean_files(folder.path());
        if code == 0 {
            assert!(folder.read("out.csv").contains("[redacted]"), "{}", folder.read("out.csv"));
            assert!(folder.read("raw.jsonl").contains("[redacted]"), "{}", folder.read("raw.jsonl"));
        }
    }
}

#[test]
fn a_key_given_as_an_argument_is_not_repeated() {
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(1));
    let slip = "sk-canary-7f3a9b1c5d2e8f40";
    for words in [
        &["ask", "hi", "-m", slip][..],
        &["ask", "hi", "-m", "sim/echo", "--base-url", slip],
        &["ask", "hi", "-m", "openai/x", "--base-url", &format!("http://{slip}@/x")],
        &["batch", "in.jsonl", "-o", "-", "-m", "openai/x", "--key-env", slip],
        &["batch", "in.jsonl", "-o", "-", "-m", "openai/x", "--key-env", "7f3a9b1c5d2e8f407f3a9b1c5d2e8f40"],
        &["ask", "hi", "-m", "sim/echo", "--temperature", slip],
        &["ask", "hi", "-m", "sim/echo", &format!("--max-tokens={slip}")],
        &["ask", "hi", "-m", "sim/echo", &format!("--{slip}")],
        &["keys", "set", slip],
        &["keys", slip],
        &["keys", "set", "openai", slip],
        &[slip],
        &["index", "in.jsonl", "--store", "s.db", "--embeddings", slip],
        &["index", "in.jsonl", "--store", "s.db", "--embeddings", "sim/words", "--embeddings-url", slip],
    ] {
        let ran = run(&folder, words);
        if ran.code == 0 {
            continue;
        }
        assert_eq!(ran.code, 2, "{words:?}: {}", ran.stderr);
        assert!(
            ran.stderr.contains("looks like an API key") || !ran.stderr.contains("[redacted]"),
            "{}",
            ran.stderr
        );
    }
    let mut command = folder.command(&["ask", "hi"]);
    let ran = Ran::of(command.env("FANWEAVE_MODEL", slip).output().unwrap()).expect_code(2);
    assert_clean("stderr", &ran.stderr);
}

//! Requests as a provider receives them: parameters and headers of the command line.

use std::io::Write;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::{Folder, Ran, request_of};

/// A provider that keeps its requests, and answers each with the same status and body.
struct Recorded {
    url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

#[derive(Clone)]
struct Request {
    /// Request line and headers, in lower case.
    head: String,
    body: Value,
}

impl Recorded {
    /// Answers with `status` and what `body` makes of the head of the request.
    fn start(status: u16, body: impl Fn(&str) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let seen = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // One request per connection.
                let Some((head, sent)) = request_of(&stream) else { continue };
                let answer = body(&head);
                let body = serde_json::from_slice(&sent).unwrap_or_default();
                seen.lock()
                    .expect("no test panics with it")
                    .push(Request { head: head.to_lowercase(), body });
                let head = format!(
                    "HTTP/1.1 {status} Status\r\ncontent-type: application/json\r\nconnection: close\r\n\
                     content-length: {}\r\n\r\n",
                    answer.len()
                );
                let _ = (&stream).write_all((head + &answer).as_bytes());
            }
        });
        Self { url, requests }
    }

    /// Answers `ok` to each chat completion.
    fn answering() -> Self {
        let answer = json!({
            "id": "1", "object": "chat.completion",
            "choices": [{
                "index": 0, "message": { "role": "assistant", "content": "ok" }, "finish_reason": "stop",
            }],
            "usage": { "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 },
        });
        Self::start(200, move |_| answer.to_string())
    }

    fn last(&self) -> Request {
        self.requests.lock().expect("no test panics with it").last().expect("a request").clone()
    }

    fn count(&self) -> usize {
        self.requests.lock().expect("no test panics with it").len()
    }
}

fn ask(url: &str, model: &str, more: &[&str]) -> Ran {
    let words = ["ask", "hello", "-m", model, "--base-url", url, "--no-log", "--json", "--retries", "0"];
    let folder = Folder::new();
    let mut command = folder.command(&[&words[..], more].concat());
    for variable in ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"] {
        command.env(variable, "any");
    }
    Ran::of(command.output().expect("the program starts"))
}

#[test]
fn parameters_reach_every_dialect_under_its_own_name() {
    // Each dialect has another form of answers: a refusal is enough to see the request.
    let provider = Recorded::start(400, |_| json!({ "error": { "message": "no" } }).to_string());
    let params =
        ["--param", "top_p=0.5", "--param", "seed=7", "--param", "extra.depth=2", "--param=user=ada"];
    for (model, top_p, seed) in [
        ("openai/x", "/top_p", Some("/seed")),
        ("vllm/x", "/top_p", Some("/seed")),
        ("anthropic/x", "/top_p", None),
        ("gemini/x", "/generationConfig/topP", Some("/generationConfig/seed")),
        ("ollama/x", "/options/top_p", Some("/options/seed")),
    ] {
        let without_seed: Vec<_> = params.iter().filter(|word| **word != "seed=7").copied().collect();
        let params = match seed {
            Some(_) => params.to_vec(),
            None => [&without_seed[..2], &without_seed[3..]].concat(),
        };
        ask(&provider.url, model, &params).expect_code(1);
        let body = provider.last().body;
        assert_eq!(body.pointer(top_p), Some(&json!(0.5)), "{model}: {body}");
        if let Some(seed) = seed {
            assert_eq!(body.pointer(seed), Some(&json!(7)), "{model}: {body}");
        }
        assert_eq!(body["extra"], json!({ "depth": 2 }), "{model}: {body}");
        assert_eq!(body["user"], "ada", "{model}: {body}");
    }
}

#[test]
fn a_parameter_replaces_the_flag_of_its_name_and_an_invalid_one_is_refused() {
    let provider = Recorded::answering();
    let flags = ["--temperature", "1", "--max-tokens", "9", "--param", "temperature=0.25"];
    ask(&provider.url, "openai/x", &flags).expect_code(0);
    assert_eq!(provider.last().body["temperature"], 0.25);
    let seen = provider.count();
    for (param, why) in [("temperature=warm", "from 0 to 2"), ("model=x", "use --model"), ("x", "NAME=VALUE")]
    {
        let ran = ask(&provider.url, "openai/x", &["--param", param]).expect_code(2);
        assert!(ran.stderr.contains(why), "{}", ran.stderr);
    }
    assert_eq!(provider.count(), seen);
}

#[test]
fn a_changed_parameter_does_not_resume_the_run() {
    let provider = Recorded::answering();
    let folder = Folder::new();
    folder.write("in.jsonl", "{\"prompt\":\"a\"}\n");
    let words = ["batch", "in.jsonl", "-o", "out.jsonl", "-m", "openai/x", "--base-url", &provider.url, "-q"];
    let run = |more: &[&str]| {
        let mut command = folder.command(&[&words[..], more].concat());
        Ran::of(command.env("OPENAI_API_KEY", "any").output().expect("the program starts"))
    };
    run(&["--param", "reasoning.effort=low"]).expect_code(0);
    let ran = run(&["--param", "reasoning.effort=high"]).expect_code(2);
    assert!(ran.stderr.contains("param reasoning"), "{}", ran.stderr);
    // Headers may change, as keys may.
    run(&["--param", "reasoning.effort=low", "--header", "X-Team: search"]).expect_code(0);
    assert_eq!(provider.count(), 1);
}

#[test]
fn a_header_is_sent_and_in_no_output() {
    let canary = "canary-7f3a";
    // The error of the provider has the whole head of the request.
    let provider = Recorded::start(401, |head| json!({ "error": { "message": head } }).to_string());
    let folder = Folder::new();
    folder.write("in.jsonl", "{\"prompt\":\"a\"}\n");
    folder.write("headers.txt", format!("# for the gateway\nX-Gateway-Key: {canary}\n\n"));
    let secret = format!("--header=X-Gateway-Token: {canary}");
    for command in
        [vec!["batch", "in.jsonl", "-o", "out.jsonl", "--header", "X-Team: search"], vec!["ask", "hello"]]
    {
        let own = ["-m", "openai/x", "--base-url", &provider.url, &secret, "--header", "@headers.txt"];
        let mut command = folder.command(&[&command[..], &own].concat());
        command.env("OPENAI_API_KEY", "any").env("HOME", folder.path().join("home"));
        let ran = Ran::of(command.output().expect("the program starts")).expect_code(1);
        let head = provider.last().head;
        for header in [format!("x-gateway-token: {canary}"), format!("x-gateway-key: {canary}")] {
            assert!(head.contains(&header), "{head}");
        }
        let said = ran.stdout + &ran.stderr;
        assert!(said.contains("x-gateway") && !said.contains(canary), "{said}");
    }
    folder.write("headers.txt", "");
    let (mut left, mut files) = (vec![folder.path().to_owned()], 0);
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(canary.len()).any(|part| part == canary.as_bytes()), "{}", path.display());
            files += 1;
        }
    }
    assert!(files >= 3, "a journal, a history, the input");
}

#[test]
fn a_header_that_cannot_be_sent_is_refused_without_its_value() {
    let provider = Recorded::answering();
    for (header, why) in [
        ("canary", "missing `:`"),
        ("Authorization: canary", "carries the API key"),
        ("Host: canary", "set by the program"),
        ("@missing.txt", "cannot read missing.txt"),
    ] {
        let ran = ask(&provider.url, "openai/x", &["--header", header]).expect_code(2);
        assert!(ran.stderr.contains(why) && !ran.stderr.contains("canary"), "{}", ran.stderr);
    }
    assert_eq!(provider.count(), 0);
}

#[test]
fn a_row_is_answered_by_the_model_that_it_names_at_its_own_price() {
    let provider = Recorded::answering();
    let line = |id: &str, model: &str| {
        let messages = json!([{ "role": "user", "content": id }]);
        let mut body = json!({ "messages": messages });
        if !model.is_empty() {
            body["model"] = model.into();
        }
        json!({ "custom_id": id, "url": "/v1/chat/completions", "body": body }).to_string() + "\n"
    };
    let run = |lines: String, more: &[&str]| {
        let folder = Folder::new();
        folder.write("in.jsonl", lines);
        let flags = ["batch", "in.jsonl", "-o", "out.jsonl", "--base-url", &provider.url, "--json"];
        let mut command = folder.command(&[&flags[..], more].concat());
        let ran = Ran::of(command.env("OPENAI_API_KEY", "any").output().expect("the program starts"));
        let mut requests = provider.requests.lock().expect("no test panics with it");
        let sent: std::collections::BTreeMap<_, _> = requests
            .drain(..)
            .map(|Request { body, .. }| {
                let text = |value: &Value| value.as_str().expect("a text").to_owned();
                (text(&body["messages"][0]["content"]), text(&body["model"]))
            })
            .collect();
        (ran, sent.into_iter().map(|(id, model)| format!("{id} {model}")).collect::<Vec<_>>())
    };
    let two = || line("a", "gpt-4o") + &line("b", "openai/o3-mini");
    let (ran, sent) = run(two(), &[]);
    let ran = ran.expect_code(0);
    // A server of the user has names of its own.
    assert_eq!(sent, ["a gpt-4o", "b openai/o3-mini"]);
    let cost = |ran: &Ran| serde_json::from_str::<Value>(&ran.stdout).unwrap()["cost_usd"].as_f64().unwrap();
    let own = cost(&ran);
    let (ran, sent) = run(two() + &line("c", ""), &["-m", "openai/gpt-5-mini"]);
    assert_eq!(sent, ["a gpt-4o", "b openai/o3-mini", "c gpt-5-mini"]);
    assert!(cost(&ran.expect_code(0)) > own, "the third row costs more");
    let (ran, sent) = run(two(), &["-m", "openai/gpt-5-mini", "--override-model"]);
    assert_eq!(sent, ["a gpt-5-mini", "b gpt-5-mini"]);
    assert!(cost(&ran.expect_code(0)) < own / 2.0, "at the price of the other model");
    let (ran, sent) = run(two() + &line("c", ""), &[]);
    assert!(ran.expect_code(2).stderr.contains("line 3: the row names no model, and others do"));
    assert!(sent.is_empty());
    let row =
        "{\"id\": 1, \"model\": \"gpt-4o\", \"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}\n";
    assert_eq!(run(row.to_owned(), &["-m", "openai/gpt-5-mini"]).1, ["a gpt-4o"]);
    // A field of a row with a prompt is data.
    let row = "{\"model\": \"T\", \"prompt\": \"a car\"}\n";
    assert_eq!(run(row.to_owned(), &["-m", "openai/gpt-5-mini"]).1, ["a car gpt-5-mini"]);
}

#[test]
fn a_dry_run_estimates_the_models_that_rows_name() {
    let folder = Folder::new();
    let row =
        |model: &str| json!({ "model": model, "messages": [{ "role": "user", "content": "a" }] }).to_string();
    folder.write("in.jsonl", [row("gpt-4o"), row("gpt-5-mini"), row("nobody")].join("\n"));
    let ran = folder.run(&["batch", "in.jsonl", "-o", "out.jsonl", "-m", "openai/gpt-5-mini", "--dry-run"]);
    let text = ran.expect_code(0).stdout;
    for line in [
        "with openai/gpt-5-mini for rows without a model",
        "with openai/gpt-4o for the rows that name it",
        "cost: unknown with openai/nobody",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

fn told(url: &str, more: &[&str]) -> Ran {
    let words = ["ask", "hello", "-m", "openai/x", "--base-url", url, "--no-log", "--retries", "0"];
    let folder = Folder::new();
    let mut command = folder.command(&[&words[..], more].concat());
    Ran::of(command.env("OPENAI_API_KEY", "any").output().expect("the program starts"))
}

fn completion(message: &Value, reason: &str) -> String {
    json!({
        "id": "1", "object": "chat.completion",
        "choices": [{ "index": 0, "message": message, "finish_reason": reason }],
        "usage": { "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 },
    })
    .to_string()
}

#[test]
fn ask_tells_why_an_answer_has_no_text_or_was_cut() {
    let call = json!([{ "id": "a", "type": "function", "function": { "name": "look", "arguments": "{}" } }]);
    for (message, reason, note) in [
        (json!({ "role": "assistant", "content": "" }), "stop", "note: the answer is empty"),
        (
            json!({ "role": "assistant", "content": null, "tool_calls": call }),
            "tool_calls",
            "note: the answer has no text, but calls of tools (look): --json prints them",
        ),
        (json!({ "role": "assistant", "content": "half" }), "length", "note: "),
    ] {
        let provider = Recorded::start(200, move |_| completion(&message, reason));
        let ran = told(&provider.url, &[]).expect_code(0);
        assert!(ran.stderr.contains(note), "{reason}: {}", ran.stderr);
    }
}

#[test]
fn ask_notes_the_change_for_the_server_and_how_often_it_refused() {
    let refusal = "Unsupported parameter: 'stream_options' is not supported with this model.";
    let refusal = json!({ "error": { "message": refusal, "type": "invalid_request_error" } }).to_string();
    let count = std::sync::atomic::AtomicUsize::new(0);
    let provider =
        Recorded::start(200, move |_| match count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => refusal.clone(),
            _ => completion(&json!({ "role": "assistant", "content": "ok" }), "stop"),
        });
    let ran = told(&provider.url, &[]).expect_code(0);
    assert_eq!(ran.stdout, "ok\n");
    let note = "(1 request refused, 1 changed): sent without `stream_options`";
    assert!(ran.stderr.contains("note: the server refused requests as written: x at http"), "{}", ran.stderr);
    assert!(ran.stderr.contains(note), "{}", ran.stderr);
    assert_eq!(provider.count(), 2);
}

#[test]
fn the_summary_of_a_batch_has_the_changes_for_the_server_once() {
    let refusal = "Unsupported parameter: 'max_completion_tokens' is not supported with this model.";
    let refusal = json!({ "error": { "message": refusal, "type": "invalid_request_error" } }).to_string();
    let count = std::sync::atomic::AtomicUsize::new(0);
    let provider =
        Recorded::start(200, move |_| match count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 | 4 => refusal.clone(),
            _ => completion(&json!({ "role": "assistant", "content": "ok" }), "stop"),
        });
    let folder = Folder::new();
    folder.write("in.txt", "a\nb\nc\n");
    let run = |more: &[&str]| {
        let words = ["batch", "in.txt", "-o", "out.jsonl", "-m", "openai/x", "--base-url", &provider.url];
        let flags = ["--max-tokens", "5", "-c", "1", "--fresh", "--no-hedging"];
        let mut command = folder.command(&[&words[..], &flags, more].concat());
        Ran::of(command.env("OPENAI_API_KEY", "any").output().expect("the program starts")).expect_code(0)
    };
    let ran = run(&[]);
    let server = &provider.url;
    let note = format!(
        "note: the server refused requests as written: x at {server} (1 request refused, 3 changed): \
         `max_completion_tokens` sent as `max_tokens`\n"
    );
    assert!(ran.stderr.contains(&note), "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("refused requests").count(), 1, "{}", ran.stderr);

    let ran = run(&["--json"]);
    let summary: Value = serde_json::from_str(&ran.stdout).expect("a summary");
    let changes = ["`max_completion_tokens` sent as `max_tokens`"];
    let expected =
        json!([{ "model": "x", "server": server, "changes": changes, "refused": 1, "changed": 3 }]);
    assert_eq!(summary["adaptations"], expected);
    assert!(!ran.stderr.contains("refused requests"), "{}", ran.stderr);
}

/// Two choices of a chat completion, with the probabilities of tokens.
fn two_choices() -> Value {
    let choice = |at: u8, text: &str| {
        json!({
            "index": at, "message": { "role": "assistant", "content": text }, "finish_reason": "stop",
            "logprobs": { "content": [{ "token": text, "logprob": -0.5 }] },
        })
    };
    json!({
        "id": "1", "object": "chat.completion", "choices": [choice(0, "one"), choice(1, "two")],
        "usage": { "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3 },
    })
}

#[test]
fn all_choices_of_a_row_and_their_logprobs_are_in_its_result() {
    let provider = Recorded::start(200, |_| two_choices().to_string());
    let folder = Folder::new();
    folder.write("in.jsonl", r#"{"messages":[{"role":"user","content":"hi"}],"n":2,"logprobs":true}"#);
    folder.write("plain.jsonl", r#"{"prompt":"hi"}"#);
    let run = |input: &str, output: &str, more: &[&str]| {
        let words =
            ["batch", input, "-o", output, "-m", "openai/x", "--base-url", &provider.url, "--retries", "0"];
        let mut command = folder.command(&[&words[..], more].concat());
        Ran::of(command.env("OPENAI_API_KEY", "any").output().expect("the program starts"))
    };
    let choices = two_choices()["choices"].clone();
    run("in.jsonl", "out.jsonl", &[]).expect_code(0);
    assert_eq!((&folder.rows("out.jsonl")[0]["choices"], provider.count()), (&choices, 1));
    run("plain.jsonl", "flag.jsonl", &["--param", "n=2"]).expect_code(0);
    assert_eq!(folder.rows("flag.jsonl")[0]["choices"], choices);
    run("in.jsonl", "body.jsonl", &["--output-format", "openai"]).expect_code(0);
    assert_eq!(folder.rows("body.jsonl")[0]["response"]["body"]["choices"], choices);
    // A table cannot hold them: nothing is paid.
    let paid = provider.count();
    run("in.jsonl", "out.csv", &[]).expect_code(3);
    assert!(
        folder.read("out.csv").contains("samples (`Settings::samples`) instead of `n`"),
        "{}",
        folder.read("out.csv")
    );
    let ran = run("plain.jsonl", "flag.csv", &["--param", "n=2"]).expect_code(2);
    assert!(ran.stderr.contains("--samples"), "{}", ran.stderr);
    let ran = ask(&provider.url, "openai/x", &["--param", "logprobs=true"]).expect_code(2);
    assert!(ran.stderr.contains("fanweave batch"), "{}", ran.stderr);
    assert_eq!(provider.count(), paid);
}

#[test]
fn a_chat_that_openai_responses_answered_is_written_as_a_chat_completion() {
    let response = json!({
        "id": "r", "object": "response", "status": "completed", "model": "x",
        "output": [{ "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": "ok" }] }],
        "usage": { "input_tokens": 1, "output_tokens": 2 },
    });
    let provider = Recorded::start(200, move |_| response.to_string());
    let folder = Folder::new();
    let line =
        |url: &str, body: Value| json!({"custom_id": url, "url": url, "body": body}).to_string() + "\n";
    let chat = line("/v1/chat/completions", json!({"messages": [{"role": "user", "content": "hi"}]}));
    folder.write("in.jsonl", chat + &line("/v1/responses", json!({"input": "hi"})));
    let words =
        ["batch", "in.jsonl", "-o", "out.jsonl", "-m", "openai-responses/x", "--base-url", &provider.url];
    let mut command = folder.command(&words);
    Ran::of(command.env("OPENAI_API_KEY", "any").output().expect("the program starts")).expect_code(0);
    let bodies: Vec<_> = folder.rows("out.jsonl").iter().map(|row| row["response"]["body"].clone()).collect();
    assert_eq!((&bodies[0]["object"], &bodies[1]["object"]), (&json!("chat.completion"), &json!("response")));
    assert_eq!(bodies[0]["choices"][0]["message"]["content"], "ok");
}

#[test]
fn the_limit_of_a_row_is_kept_under_its_own_name() {
    let provider = Recorded::answering();
    let folder = Folder::new();
    folder.write("in.jsonl", r#"{"messages":[{"role":"user","content":"hi"}],"max_tokens":7}"#);
    let words = ["batch", "in.jsonl", "-o", "out.jsonl", "-m", "openai/x", "--base-url", &provider.url];
    let mut command = folder.command(&[&words[..], &["--param", "max_completion_tokens=4"]].concat());
    Ran::of(command.env("OPENAI_API_KEY", "any").output().expect("the program starts")).expect_code(0);
    let body = provider.last().body;
    assert_eq!((&body["max_tokens"], body.get("max_completion_tokens")), (&json!(7), None), "{body}");
}

/// Models, their answers with reasoning, and what their providers want back.
fn reasoned() -> Vec<(&'static str, Value, &'static str)> {
    let chat = |fields: Value| {
        let mut said = json!({ "role": "assistant", "content": "Hello." });
        said.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        json!({ "choices": [{ "index": 0, "message": said, "finish_reason": "stop" }] })
    };
    let detail = json!({ "type": "reasoning.encrypted", "data": "SIGNED", "index": 0, "id": "r1" });
    vec![
        ("moonshot/m", chat(json!({ "reasoning_content": "THOUGHT" })), r#""reasoning_content":"THOUGHT""#),
        ("deepseek/m", chat(json!({ "reasoning_content": "THOUGHT" })), r#""reasoning_content":"THOUGHT""#),
        ("openrouter/x/m", chat(json!({ "reasoning_details": [detail] })), r#""data":"SIGNED""#),
        (
            "anthropic/m",
            json!({
                "content": [
                    { "type": "thinking", "thinking": "THOUGHT", "signature": "SIGNED" },
                    { "type": "redacted_thinking", "data": "REDACTED" },
                    { "type": "text", "text": "Hello." },
                ],
                "stop_reason": "end_turn",
            }),
            r#"{"type":"thinking","thinking":"THOUGHT","signature":"SIGNED"},{"type":"redacted_thinking","data":"REDACTED"}"#,
        ),
        (
            "gemini/m",
            json!({ "candidates": [{
                "content": { "parts": [{ "text": "Hello.", "thoughtSignature": "U0lHTkVE" }] },
                "finishReason": "STOP",
            }] }),
            r#""thoughtSignature":"U0lHTkVE""#,
        ),
        (
            "openai-responses/m",
            json!({ "status": "completed", "output": [
                { "id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "SIGNED" },
                { "type": "message", "content": [{ "type": "output_text", "text": "Hello." }] },
            ] }),
            r#""encrypted_content":"SIGNED""#,
        ),
    ]
}

#[test]
fn a_conversation_that_is_continued_sends_reasoning_back() {
    for (model, answer, wanted) in reasoned() {
        let recorded = Recorded::start(200, move |_| answer.to_string());
        let folder = Folder::new();
        // Twice: the reasoning of the first answer is in the messages of the second call.
        for more in [&["-m", model][..], &["-c"], &["-c"]] {
            let url = if model.starts_with("gemini") || model.starts_with("anthropic") {
                recorded.url.trim_end_matches("/v1")
            } else {
                &recorded.url
            };
            let words = ["ask", "hello", "--base-url", url, "--retries", "0"];
            let mut command = folder.command(&[&words[..], more].concat());
            let keys = ["MOONSHOT", "DEEPSEEK", "OPENROUTER", "ANTHROPIC", "GEMINI", "OPENAI"];
            command.envs(keys.map(|vendor| (format!("{vendor}_API_KEY"), "sk-test")));
            command.env("HOME", folder.path());
            let ran = Ran::of(command.output().expect("the program starts")).expect_code(0);
            assert_eq!(ran.stdout, "Hello.\n", "{model}");
        }
        let sent =
            recorded.requests.lock().unwrap().iter().map(|sent| sent.body.to_string()).collect::<Vec<_>>();
        let times = sent.iter().map(|body| body.matches(wanted).count()).collect::<Vec<_>>();
        assert_eq!(times, [0, 1, 2], "{model}: {sent:?}");
    }
}

#[test]
fn a_document_is_sent_with_its_name() {
    let provider = Recorded::start(400, |_| json!({ "error": { "message": "no" } }).to_string());
    let folder = Folder::new();
    folder.write("a b.pdf", "%PDF-1.4");
    let attached = folder.file("a b.pdf").display().to_string();
    let sent = |model: &str| {
        ask(&provider.url, model, &["-a", &attached]).expect_code(1);
        provider.last().body
    };
    let data = "data:application/pdf;base64,JVBERi0xLjQ=";
    let chat = sent("openai/x");
    let file = json!({ "filename": "a b.pdf", "file_data": data });
    assert_eq!(chat["messages"][0]["content"][1]["file"], file, "{chat}");
    let response = sent("openai-responses/x");
    assert_eq!(response["input"][0]["content"][1]["filename"], "a b.pdf", "{response}");
    let anthropic = sent("anthropic/x");
    assert_eq!(anthropic["messages"][0]["content"][1]["source"]["data"], "JVBERi0xLjQ=", "{anthropic}");
}

#[test]
fn a_server_of_the_user_gets_the_models_of_rows_as_written() {
    let provider = Recorded::answering();
    let row = |url: &str| {
        let body = json!({ "model": "openai/gpt-oss-20b", "messages": [{ "role": "user", "content": "a" }], "input": "a" });
        json!({ "custom_id": url, "method": "POST", "url": url, "body": body }).to_string()
    };
    for more in [&["-m", "openai/x"][..], &[]] {
        let folder = Folder::new();
        folder.write("in.jsonl", [row("/v1/chat/completions"), row("/v1/responses")].join("\n"));
        let words = ["batch", "in.jsonl", "-o", "out.jsonl", "--base-url", &provider.url];
        folder.run(&[&words[..], more].concat()).expect_code(0);
    }
    let requests = provider.requests.lock().unwrap();
    let models: Vec<_> = requests.iter().map(|request| request.body["model"].as_str()).collect();
    assert_eq!(models, [Some("openai/gpt-oss-20b"); 4]);
}

#[test]
fn rows_of_other_vendors_stop_a_run_before_its_first_call() {
    let provider = crate::support::Provider::start(fanweave_sim::Settings::default());
    let url = provider.url();
    let folder = Folder::new();
    let row = json!({ "model": "gpt-4o", "messages": [{ "role": "user", "content": "a" }] }).to_string();
    folder.write("in.jsonl", format!("{row}\n{row}\n"));
    let run = |more: &[&str]| {
        let words = ["batch", "in.jsonl", "-o", "out.jsonl", "-m", "anthropic/echo"];
        let mut command = folder.command(&[&words[..], more].concat());
        command.env("ANTHROPIC_BASE_URL", url.trim_end_matches("/v1")).env("ANTHROPIC_API_KEY", "any");
        Ran::of(command.output().expect("the program starts"))
    };
    for more in [&[][..], &["--dry-run"]] {
        let ran = run(more).expect_code(2);
        let why =
            "in.jsonl: no row can be used: the row names the model gpt-4o, which is not one of anthropic";
        assert!(ran.stderr.contains(why), "{}", ran.stderr);
    }
    run(&["--keep-going"]).expect_code(3);
    assert_eq!(provider.stats().requests, 0);
    // Nothing was answered, so that the advised flag is not another run.
    let ran = run(&["--override-model"]).expect_code(0);
    assert!(ran.stderr.contains("had no answers of other settings, and was started over"), "{}", ran.stderr);
    let ran = run(&["--override-model", "--max-tokens", "9"]).expect_code(2);
    assert!(ran.stderr.contains("belongs to another run: max tokens was unset, now `9`"), "{}", ran.stderr);
}

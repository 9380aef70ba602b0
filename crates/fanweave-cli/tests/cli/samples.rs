//! Several answers per row, empty answers, and runs that wait for a quota.

use std::io::Write;
use std::net::{TcpListener, TcpStream};

use serde_json::{Value, json};

use crate::support::{Folder, Ran, request_of};

#[test]
fn every_row_has_as_many_answers_as_samples() {
    let folder = Folder::new();
    folder.write("in.csv", "id,city\na,Oslo\nb,Rome\n");
    let run = |more: &[&str]| {
        let args =
            ["batch", "in.csv", "-o", "out.jsonl", "-m", "sim/echo", "-p", "Where is {{ city }}?", "--json"];
        let ran = folder.run(&[&args, more].concat()).expect_code(0);
        serde_json::from_str::<Value>(&ran.stdout).unwrap()
    };
    run(&[]);
    let summary = run(&["--samples", "3", "--columns", "city"]);
    assert_eq!((&summary["rows"], &summary["resumed"], &summary["left"]), (&json!(6), &json!(2), &json!(0)));
    let rows = folder.rows("out.jsonl");
    let positions: Vec<_> = rows
        .iter()
        .map(|row| json!([row["index"], row["sample"], row["custom_id"], row["input"]["city"]]))
        .collect();
    let expected = json!([
        [0, 0, "a", "Oslo"],
        [0, 1, "a", "Oslo"],
        [0, 2, "a", "Oslo"],
        [1, 0, "b", "Rome"],
        [1, 1, "b", "Rome"],
        [1, 2, "b", "Rome"],
    ]);
    assert_eq!(Value::from(positions), expected);
    assert!(
        rows.iter()
            .all(|row| row["answer"].as_str().unwrap().contains(row["input"]["city"].as_str().unwrap()))
    );
    assert_eq!(run(&["--samples", "3"])["resumed"], 6, "the same command has nothing to do");

    let args = [
        "batch",
        "in.csv",
        "-m",
        "sim/echo",
        "-p",
        "Where is {{ city }}?",
        "--samples",
        "2",
        "--sample",
        "1",
    ];
    folder.run(&[&args[..], &["-o", "out.csv"]].concat()).expect_code(0);
    let csv = folder.read("out.csv");
    assert!(csv.starts_with("id,city,index,sample,custom_id,answer,"), "{csv}");
    assert_eq!(csv.lines().count(), 3, "{csv}");
    let dry = folder.run(&[&args[..], &["-o", "dry.csv", "--dry-run"]].concat()).expect_code(0);
    assert!(dry.stdout.contains(", 2 samples each"), "{}", dry.stdout);
    let ran =
        folder.run(&[&args[..], &["-o", "x.jsonl", "--output-format", "openai"]].concat()).expect_code(2);
    assert!(ran.stderr.contains("OpenAI batch results have one result per row"), "{}", ran.stderr);
}

/// Answers one request after the other with these heads and bodies.
fn serve(answers: Vec<(&'static str, Value)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/v1", listener.local_addr().expect("its address"));
    std::thread::spawn(move || {
        let mut answers = answers.into_iter();
        let mut answer = |mut stream: TcpStream| {
            while let Some((_, _)) = request_of(&stream) {
                let Some((head, body)) = answers.next() else { return };
                let body = body.to_string();
                let length = body.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 {head}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
                );
            }
        };
        for stream in listener.incoming() {
            answer(stream.expect("a connection"));
        }
    });
    url
}

fn completion(text: &str) -> Value {
    json!({
        "id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    })
}

/// Runs the rows of in.txt against a server, one after another, each with a single request.
fn run_one_by_one(folder: &Folder, url: &str) -> Ran {
    let args = [
        "batch",
        "in.txt",
        "-o",
        "out.jsonl",
        "-m",
        "openai/m",
        "--base-url",
        url,
        "-c",
        "1",
        "--no-hedging",
    ];
    folder.run(&args).expect_code(0)
}

#[test]
fn empty_answers_are_counted() {
    let folder = Folder::new();
    folder.write("in.txt", "one\ntwo\n");
    let url = serve(vec![("200 OK", completion("")), ("200 OK", completion("fine"))]);
    let ran = run_one_by_one(&folder, &url);
    assert!(ran.stderr.contains("1 empty"), "{}", ran.stderr);
}

#[test]
fn answers_that_were_cut_are_counted() {
    let folder = Folder::new();
    folder.write("in.txt", "one\ntwo\n");
    let mut cut = completion("half an");
    cut["choices"][0]["finish_reason"] = json!("model_length");
    let url = serve(vec![("200 OK", cut), ("200 OK", completion("fine"))]);
    let ran = run_one_by_one(&folder, &url);
    assert!(ran.stderr.contains("1 cut"), "{}", ran.stderr);
}

#[test]
fn a_run_waits_for_a_quota_whose_end_is_known() {
    let folder = Folder::new();
    folder.write("in.txt", "one\ntwo\n");
    let used_up = json!({"error": {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": "insufficient_quota"}});
    let answers = || {
        vec![
            ("200 OK", completion("a")),
            ("429 Too Many Requests\r\nretry-after: 1", used_up.clone()),
            ("200 OK", completion("b")),
        ]
    };
    let run = |output: &'static str, more: &[&str]| {
        let url = serve(answers());
        let args = [
            "batch",
            "in.txt",
            "-o",
            output,
            "-m",
            "openai/m",
            "--base-url",
            &url,
            "-c",
            "1",
            "--no-hedging",
        ];
        folder.run(&[&args, more].concat())
    };
    let ran = run("stops.jsonl", &[]).expect_code(5);
    assert!(ran.stderr.contains("1 row remaining"), "{}", ran.stderr);
    let ran = run("waits.jsonl", &["--wait-for-quota"]).expect_code(0);
    assert!(ran.stderr.contains("the quota is used up: waiting 1.0s until it is renewed"), "{}", ran.stderr);
    let answers: Vec<_> = folder.rows("waits.jsonl").iter().map(|row| row["answer"].clone()).collect();
    assert_eq!(answers, [json!("a"), json!("b")]);
    let ran = run("-", &["--wait-for-quota"]).expect_code(2);
    assert!(ran.stderr.contains("needs an input and an output that are files"), "{}", ran.stderr);
}

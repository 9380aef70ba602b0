//! The input's own columns and the fields of structured answers, beside each other.

use std::collections::HashSet;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Folder, Ran, echo_of, request_of};

fn batch(folder: &Folder, more: &[&str]) -> Ran {
    folder.run(&[&["batch"], more].concat())
}

/// The records of a CSV file, without quotes or line breaks in fields.
fn records(folder: &Folder, name: &str) -> Vec<Vec<String>> {
    folder.read(name).lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

const CITIES: &str = "city,answer,=note\nOslo,x,1\nRome,y,2\n";
const ASKS: [&str; 4] = ["-p", "Where is {{ city }}?", "-m", "sim/echo"];

#[test]
fn the_columns_of_a_table_come_out_before_those_of_its_answers() {
    let folder = Folder::new();
    folder.write("in.csv", CITIES);
    let ran = batch(&folder, &[&["in.csv", "-o", "out.csv"], &ASKS[..]].concat()).expect_code(0);
    assert!(
        ran.stderr.contains("the column `answer` of the input is `input_answer` in the output"),
        "{}",
        ran.stderr
    );
    let rows = records(&folder, "out.csv");
    assert_eq!(rows[0][..6], ["city", "input_answer", "'=note", "index", "custom_id", "answer"]);
    assert_eq!(rows[1][..6], ["Oslo", "x", "1", "0", "", &echo_of("Where is Oslo?")]);
    assert_eq!(rows[2][..6], ["Rome", "y", "2", "1", "", &echo_of("Where is Rome?")]);

    // Chosen columns, from standard input, to TSV, out of order.
    let args = [
        &[
            "-",
            "-o",
            "-",
            "--input-format",
            "csv",
            "--output-format",
            "tsv",
            "--columns",
            "answer,city",
            "-q",
            "--unordered",
        ],
        &ASKS[..],
    ]
    .concat();
    let ran = folder.run_with_stdin(&[&["batch"], &args[..]].concat(), CITIES).expect_code(0);
    let lines: HashSet<_> =
        ran.stdout.lines().map(|line| line.split('\t').take(2).collect::<Vec<_>>().join("+")).collect();
    assert_eq!(lines, ["input_answer+city", "x+Oslo", "y+Rome"].map(str::to_owned).into());

    // Fields of JSON rows keep their types.
    folder.write("in.jsonl", "{\"city\": \"Oslo\", \"pop\": 7, \"tags\": [\"a\"]}\n{\"city\": \"Rome\"}\n");
    batch(&folder, &[&["in.jsonl", "-o", "out.jsonl", "--columns", "all"], &ASKS[..]].concat())
        .expect_code(0);
    let rows = folder.rows("out.jsonl");
    assert_eq!(rows[0]["input"], json!({ "city": "Oslo", "pop": 7, "tags": ["a"] }));
    assert_eq!(rows[1]["input"], json!({ "city": "Rome" }));
    batch(&folder, &[&["in.jsonl", "-o", "two.csv", "--columns", "all"], &ASKS[..]].concat()).expect_code(0);
    assert_eq!(records(&folder, "two.csv")[0][..4], ["city", "pop", "tags", "index"]);
    assert_eq!(records(&folder, "two.csv")[2][..4], ["Rome", "", "", "1"]);
}

#[test]
fn columns_that_the_input_does_not_have_stop_the_run() {
    let folder = Folder::new();
    folder.write("in.csv", CITIES);
    let ran = batch(&folder, &[&["in.csv", "-o", "out.csv", "--columns", "cty"], &ASKS[..]].concat())
        .expect_code(2);
    assert!(ran.stderr.contains("in.csv has no column `cty`; did you mean `city`?"), "{}", ran.stderr);
}

#[test]
fn a_finished_run_keeps_the_shape_of_its_output() {
    let folder = Folder::new();
    folder.write("in.csv", CITIES);
    let run = |more: &[&str]| {
        batch(&folder, &[&["in.csv", "-o", "out.csv"], &ASKS[..], more].concat()).expect_code(0)
    };
    run(&["--columns", "none"]);
    let plain = folder.read("out.csv");
    assert!(plain.starts_with("index,"), "{plain}");
    assert!(run(&[]).stderr.contains("nothing to do"));
    assert_eq!(folder.read("out.csv"), plain, "no flag keeps the choice");
    run(&["--columns", "city"]);
    let chosen = folder.read("out.csv");
    assert!(chosen.starts_with("city,index,"), "{chosen}");
    run(&[]);
    assert_eq!(folder.read("out.csv"), chosen, "the new choice is kept, too");
}

/// A provider of structured answers: it answers `review N` with the fields of N, at first without one of them
/// for every seventh, and refuses every eleventh until it is repaired.
struct Reviews {
    url: String,
    is_repaired: Arc<AtomicBool>,
    answered: Arc<Mutex<Vec<u64>>>,
}

impl Reviews {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
        let (is_repaired, answered) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<u64>>>::default());
        let (repaired, seen) = (is_repaired.clone(), answered.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (repaired, seen) = (repaired.clone(), seen.clone());
                std::thread::spawn(move || while serve(&stream, &repaired, &seen).is_some() {});
            }
        });
        Self { url, is_repaired, answered }
    }
}

/// Answers one request of a connection.
fn serve(stream: &TcpStream, repaired: &AtomicBool, seen: &Mutex<Vec<u64>>) -> Option<()> {
    let (_, body) = request_of(stream)?;
    let request: Value = serde_json::from_slice(&body).ok()?;
    assert_eq!(request["response_format"]["type"], "json_schema");
    let messages = request["messages"].as_array()?;
    let n: u64 = messages[0]["content"].as_str()?.strip_prefix("Rate review ")?.parse().ok()?;
    std::thread::sleep(Duration::from_millis(5));
    let (status, answer) = if n % 11 == 5 && !repaired.load(Ordering::Relaxed) {
        (
            400,
            json!({ "error": { "message": "refused", "type": "invalid_request_error", "code": "refused" } }),
        )
    } else {
        let mut fields = json!({ "score": n * 2, "mood": if n.is_multiple_of(2) { "good" } else { "bad" } });
        if n % 7 == 3 && messages.len() == 1 {
            fields["mood"] = "odd".into();
        } else {
            seen.lock().expect("no test panics with it").push(n);
        }
        let message = json!({ "role": "assistant", "content": fields.to_string() });
        let choice = json!({ "index": 0, "message": message, "finish_reason": "stop" });
        let usage = json!({ "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 });
        (
            200,
            json!({ "id": "1", "object": "chat.completion", "model": "m-1", "choices": [choice], "usage": usage }),
        )
    };
    let answer = answer.to_string();
    let head = format!(
        "HTTP/1.1 {status} Status\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        answer.len()
    );
    (&*stream).write_all((head + &answer).as_bytes()).ok()
}

#[test]
fn reviews_are_rated_with_their_own_columns_through_kills_and_failures() {
    let rows: u64 = std::env::var("FANWEAVE_TEST_REVIEWS").map_or(400, |n| n.parse().expect("a number"));
    let provider = Reviews::start();
    let folder = Folder::new();
    let reviews: String = (0..rows).map(|n| format!("{n},{},u{}\n", n, n % 50)).collect();
    folder.write("reviews.csv", format!(",review,user\n{reviews}"));
    let command = [
        "batch",
        "reviews.csv",
        "-o",
        "rated.csv",
        "-p",
        "Rate review {{ review }}",
        "--schema",
        "score int, mood good|bad",
        "-m",
        "openai/m",
        "--base-url",
        &provider.url,
        "-c",
        "8",
        // Hedged requests are answers, too.
        "--no-hedging",
    ];
    let run = |more: &[&str]| {
        let mut command = folder.command(&[&command[..], more].concat());
        command.env("OPENAI_API_KEY", "none");
        command
    };
    for kill in 1..=2_u64 {
        let mut child = run(&["-q"]).stderr(Stdio::null()).spawn().expect("the program starts");
        let answered = || provider.answered.lock().expect("no test panics with it").len() as u64;
        while answered() < rows * kill / 4 {
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().expect("the program runs");
        child.wait().expect("the program ends");
        assert!(!folder.file("rated.csv").exists());
    }
    let ended = Ran::of(run(&[]).output().expect("the program starts")).expect_code(3);
    let refused = (0..rows).filter(|n| n % 11 == 5).count();
    assert!(ended.stderr.contains(&format!("{refused} failed")), "{}", ended.stderr);
    let failed = records(&folder, "rated.csv");
    assert_eq!(failed[0][..6], ["review", "user", "index", "custom_id", "score", "mood"]);
    assert_eq!(failed[6][..6], ["5", "u5", "5", "", "", ""], "a failed row keeps its columns");

    provider.is_repaired.store(true, Ordering::Relaxed);
    Ran::of(run(&["--retry-failed"]).output().expect("the program starts")).expect_code(0);
    let rated = records(&folder, "rated.csv");
    assert_eq!(rated.len() as u64, rows + 1);
    for (n, row) in rated[1..].iter().enumerate() {
        let mood = if n.is_multiple_of(2) { "good" } else { "bad" };
        let expected = [
            n.to_string(),
            format!("u{}", n % 50),
            n.to_string(),
            String::new(),
            (n * 2).to_string(),
            mood.to_owned(),
        ];
        assert_eq!(row[..6], expected);
        assert_eq!((row[6].as_str(), row[13].as_str()), ("stop", "m-1"), "{row:?}");
    }
    // A row holds one of 8 permits until it is in the journal, so that each kill repeats at most 8.
    let answered = provider.answered.lock().expect("no test panics with it").len() as u64;
    assert!(
        answered <= rows + 2 * 8,
        "{answered} answers for {rows} rows: at most those in flight are repeated"
    );
    let repeated = Ran::of(run(&[]).output().expect("the program starts")).expect_code(0);
    assert!(repeated.stderr.contains("nothing to do"), "{}", repeated.stderr);
    assert_eq!(records(&folder, "rated.csv"), rated);
}

#[test]
fn a_schema_does_not_go_with_complete_requests_or_batch_apis() {
    let folder = Folder::new();
    let body = json!({ "messages": [{ "role": "user", "content": "hi" }] });
    folder.write("in.jsonl", json!({ "custom_id": "a", "body": body }).to_string());
    let flags = ["-o", "out.jsonl", "-m", "sim/writer", "--schema", "name"];
    let ran = batch(&folder, &[&["in.jsonl"], &flags[..]].concat()).expect_code(2);
    assert!(ran.stderr.contains("its rows are complete requests"), "{}", ran.stderr);
    folder.write("in.txt", "hi\n");
    let ran = batch(&folder, &[&["in.txt", "--via", "batch-api"], &flags[..]].concat()).expect_code(2);
    assert!(ran.stderr.contains("--schema cannot be used with --via batch-api"), "{}", ran.stderr);
    let ran = batch(&folder, &[&["in.txt"], &flags[..5], &["name years"]].concat()).expect_code(2);
    assert!(ran.stderr.contains("`years` is not a type"), "{}", ran.stderr);
}

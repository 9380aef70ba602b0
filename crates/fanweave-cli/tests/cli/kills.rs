//! SIGKILL at random moments: every row still has exactly one result, and only rows in flight at a kill are
//! called twice.
//!
//! A few kills run with all other tests; `tests/kill/run.sh` runs 200 of them over 5,000 rows.

use std::io::Read;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use fanweave_sim::{Latency, Settings};

use crate::support::{Folder, Provider, assert_all_answered, batch_args, echo_of, prompts, via_args};

/// Maximum rows in flight.
const CONCURRENCY: u64 = 16;

fn setting(variable: &str, default: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{variable}={text}: {e}")))
}

/// An output without latencies, the only part of a row that varies between runs.
fn timeless(output: &str) -> String {
    const FIELD: &str = "\"latency_ms\":";
    let mut text = String::with_capacity(output.len());
    let mut rest = output;
    while let Some(at) = rest.find(FIELD) {
        let (before, after) = rest.split_at(at + FIELD.len());
        text.push_str(before);
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    text + rest
}

/// Lets `child` run for `time`. Returns `true` if it exited before.
fn runs_out(child: &mut Child, time: Duration) -> bool {
    let until = Instant::now() + time;
    while Instant::now() < until {
        if child.try_wait().expect("the program can be waited for").is_some() {
            return true;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    false
}

#[test]
fn rows_have_one_result_each_however_often_the_run_is_killed() {
    let kills = setting("FANWEAVE_TEST_KILLS", 20);
    let rows = setting("FANWEAVE_TEST_ROWS", 1_000);
    let seed = setting("FANWEAVE_TEST_SEED", 1);
    let latency = Latency::LogNormal { median: Duration::from_millis(10), sigma: 0.5 };
    let settings = Settings { latency, ..Settings::default() };

    let count = usize::try_from(rows).expect("as many rows as fit into memory");
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(count));
    let concurrency = CONCURRENCY.to_string();
    let undisturbed = Provider::start(settings.clone());
    let more = ["-c", &concurrency, "-q"];
    folder.run(&batch_args(&undisturbed.url(), &more)).expect_code(0);
    let whole = folder.read("out.jsonl");
    assert_all_answered(&folder.rows("out.jsonl"), count);
    std::fs::remove_file(folder.file("out.jsonl")).expect("the output can be removed");
    std::fs::remove_file(folder.file("out.jsonl.journal")).expect("the journal can be removed");

    let provider = Provider::start(settings);
    let url = provider.url();
    let mut random = fastrand::Rng::with_seed(seed);
    // Maximum delay until a kill. Adapts to the progress, so that the rows last for all kills on any machine.
    let mut max_delay = Duration::from_millis(60);
    let (mut killed, mut ended_before) = (0, 0);
    while killed < kills {
        let mut command = folder.command(&batch_args(&url, &more));
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the program starts");
        if runs_out(&mut child, max_delay.mul_f64(random.f64())) {
            let code = child.wait().expect("the program ends").code();
            let mut said = String::new();
            child.stderr.take().map(|mut stderr| stderr.read_to_string(&mut said));
            assert!(matches!(code, Some(0 | 4)), "exit {code:?} after {killed} kills: {said}");
            assert_eq!(timeless(&folder.read("out.jsonl")), timeless(&whole), "after {killed} kills");
            // The next run makes no calls, and is killed while it writes the output.
            std::fs::remove_file(folder.file("out.jsonl")).expect("the output can be removed");
            ended_before += 1;
            continue;
        }
        child.kill().expect("the program runs");
        child.wait().expect("the program ends");
        killed += 1;
        assert!(!folder.file("out.jsonl").exists(), "the output appears whole or not at all");
        let ahead = provider.stats().ok * kills > killed * rows;
        max_delay = max_delay.mul_f64(if ahead { 0.9 } else { 1.1 });
    }
    let last = folder.run(&batch_args(&url, &more));
    assert!(matches!(last.code, 0 | 4), "{last:?}");

    assert_eq!(timeless(&folder.read("out.jsonl")), timeless(&whole));
    let calls = provider.stats().requests;
    let max_calls = rows + killed * CONCURRENCY;
    println!(
        "{killed} kills over {rows} rows (seed {seed}, {ended_before} runs ended before theirs): \
         {calls} calls, of which {} repeated; at most {max_calls}",
        calls - rows
    );
    assert!(calls <= max_calls, "{calls} calls: at most those in flight at a kill are repeated");
}

/// A chain of three calls, each with the answer before.
const THREE_CALLS: &str = r#"
model: openai/echo
inputs: { prompt: a question }
steps:
  outline: { prompt: "Outline of {{ prompt }}" }
  draft: { prompt: "Draft of {{ steps.outline.output }}" }
  polished: { prompt: "Polish {{ steps.draft.output }}" }
"#;

#[test]
fn a_chain_of_three_calls_pays_for_no_journalled_answer_twice_however_often_it_is_killed() {
    let kills = setting("FANWEAVE_TEST_CHAIN_KILLS", 10);
    let rows = setting("FANWEAVE_TEST_CHAIN_ROWS", 100);
    let latency = Latency::LogNormal { median: Duration::from_millis(10), sigma: 0.5 };
    let outages = std::env::var("FANWEAVE_TEST_CHAIN_OUTAGES").is_ok();
    let outage = || "600ms..1s=502".parse().expect("a valid outage");
    let settings = Settings {
        latency,
        outages: if outages { vec![outage()] } else { Vec::new() },
        ..Settings::default()
    };
    let count = usize::try_from(rows).expect("as many rows as fit into memory");
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(count));
    folder.write("three.yaml", THREE_CALLS);
    let concurrency = CONCURRENCY.to_string();
    let provider = Provider::start(settings);
    let url = provider.url();
    let args = ["run", "three.yaml", "--rows", "in.jsonl", "-o", "out.jsonl"];
    let args = [&args[..], &["--base-url", &url, "-c", &concurrency, "-q"]].concat();
    let mut random = fastrand::Rng::with_seed(setting("FANWEAVE_TEST_SEED", 1));
    let mut max_delay = Duration::from_millis(60);
    let mut killed = 0;
    while killed < kills {
        let mut child = folder.command(&args).spawn().expect("the program starts");
        if runs_out(&mut child, max_delay.mul_f64(random.f64())) {
            break;
        }
        child.kill().expect("the program runs");
        child.wait().expect("the program ends");
        killed += 1;
        let ahead = provider.stats().ok * kills > killed * 3 * rows;
        max_delay = max_delay.mul_f64(if ahead { 0.9 } else { 1.1 });
    }
    folder.run(&args).expect_code(0);
    for (i, row) in folder.rows("out.jsonl").iter().enumerate() {
        let draft = echo_of(&format!("Draft of {}", echo_of(&format!("Outline of question {i}"))));
        assert_eq!(row["answer"], echo_of(&format!("Polish {draft}")), "{row}");
    }
    // A call that is answered from the journal is not journalled a second time.
    let mut journalled: Vec<_> = folder.rows("out.jsonl.journal");
    journalled.retain(|line| line["call"].is_object());
    let mut calls: Vec<_> = journalled.iter().map(|line| &line["call"]).collect();
    let key = |call: &serde_json::Value| (call["row"].to_string(), call["call"].to_string());
    calls.sort_by_key(|call| key(call));
    calls.dedup_by_key(|call| key(call));
    assert_eq!(calls.len(), journalled.len(), "no journalled call is made a second time");
    assert!(journalled.len() > 2 * count, "answers are journalled");
    let answers = provider.stats().ok;
    let max_answers = 3 * rows + killed * CONCURRENCY;
    println!(
        "{killed} kills over {rows} rows of 3 calls: {answers} answers, {} repeated; at most {max_answers}",
        answers - 3 * rows
    );
    assert!(answers <= max_answers, "{answers} answers: at most those in flight at a kill are repeated");
}

#[test]
fn a_batch_at_the_provider_is_submitted_once_however_often_the_run_is_killed() {
    for vendor in ["openai", "anthropic"] {
        let latency = Latency::Fixed(Duration::from_millis(15));
        let batch_time = Duration::from_millis(400);
        let provider = Provider::start(Settings { latency, batch_time, ..Settings::default() });
        let folder = Folder::new();
        folder.write("in.jsonl", prompts(40));
        let words = via_args(vendor, &provider, &["-q"]);
        let mut random = fastrand::Rng::with_seed(setting("FANWEAVE_TEST_SEED", 1));
        for _ in 0..setting("FANWEAVE_TEST_KILLS", 20) {
            let mut child = folder.command(&words).spawn().expect("the program starts");
            if runs_out(&mut child, Duration::from_millis(random.u64(5..120))) {
                break;
            }
            child.kill().expect("the program runs");
            child.wait().expect("the program ends");
        }
        let last = folder.run(&words);
        assert!(matches!(last.code, 0 | 4), "{vendor}: {last:?}");
        assert_all_answered(&folder.rows("out.jsonl"), 40);
        assert_eq!(provider.stats().batches, 1, "{vendor}");
    }
}

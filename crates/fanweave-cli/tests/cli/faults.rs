//! Errors, resets, hangs and truncated answers: every row still ends exactly once, in input order.

use std::collections::BTreeMap;
use std::time::Duration;

use fanweave_sim::{Latency, Settings};

use crate::support::{Folder, Provider, Ran, assert_all_answered, batch_args, echo_of, prompts, wait_for};

fn faulty(rate: f64) -> Settings {
    Settings {
        latency: Latency::Fixed(Duration::from_millis(5)),
        error_rate: rate,
        reset_rate: rate,
        hang_rate: rate,
        truncate_rate: rate,
        ..Settings::default()
    }
}

#[test]
fn with_faults_of_every_kind_all_rows_are_answered_after_retries() {
    let provider = Provider::start(faulty(0.05));
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(400));
    folder.batch(&provider.url(), &["--timeout", "500ms", "--retries", "10"]).expect_code(0);
    assert_all_answered(&folder.rows("out.jsonl"), 400);
    let stats = provider.stats();
    assert!(stats.errors > 0 && stats.resets > 0 && stats.hangs > 0 && stats.truncated > 0, "{stats:?}");
}

#[test]
fn without_retries_every_row_is_an_answer_or_a_clear_error() {
    let provider = Provider::start(faulty(0.05));
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(400));
    // Few at once: many requests that hang from the start would time out together, which is an outage.
    let flags = ["--timeout", "500ms", "--retries", "0", "--outage-timeout", "0s", "-c", "4"];
    folder.batch(&provider.url(), &flags).expect_code(3);
    let rows = folder.rows("out.jsonl");
    assert_eq!(rows.len(), 400);
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for (i, row) in rows.iter().enumerate() {
        assert_eq!(row["index"], i);
        match row["error"]["kind"].as_str() {
            None => assert_eq!(row["answer"], echo_of(&format!("question {i}"))),
            Some(kind) => {
                assert!(row["answer"].is_null());
                assert!(row["error"]["message"].as_str().is_some_and(|text| text.len() > 5), "{row}");
                *kinds.entry(kind.to_owned()).or_default() += 1;
            }
        }
    }
    assert!(kinds.contains_key("timeout") && kinds.contains_key("connection"), "{kinds:?}");
    assert!(kinds.keys().any(|kind| kind == "server" || kind == "overloaded"), "{kinds:?}");
    assert_eq!(provider.stats().requests, 400, "no retries means one request a row");
}

#[test]
fn slow_rows_are_hedged_and_counted() {
    let hangs = Settings { error_rate: 0.0, reset_rate: 0.0, truncate_rate: 0.0, ..faulty(0.02) };
    let provider = Provider::start(hangs);
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(600));
    let ran = folder.batch(&provider.url(), &["--json", "--timeout", "5s"]).expect_code(0);
    let summary: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let stats = provider.stats();
    let [hedged, retries] = ["hedged", "retries"].map(|name| summary[name].as_u64().unwrap());
    // A row only waits for the timeout if its hedged request hangs as well.
    assert!(hedged > 0 && retries < stats.hangs / 2, "{stats:?} {summary}");
    assert_eq!(hedged + retries, stats.requests - 600);
    let rows = folder.rows("out.jsonl");
    assert_all_answered(&rows, 600);
    // Hedging does not show in the rows: they are the same as without it.
    let attempts: u64 = rows.iter().map(|row| row["attempts"].as_u64().unwrap()).sum();
    assert_eq!(attempts, 600 + retries);
}

#[test]
fn a_rate_limited_provider_answers_every_row() {
    let provider = Provider::start(Settings { rpm: Some(3000), ..Settings::default() });
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(150));
    folder.batch(&provider.url(), &[]).expect_code(0);
    assert_all_answered(&folder.rows("out.jsonl"), 150);
}

#[test]
fn a_changed_input_is_rejected_and_resumes_with_resume_changed() {
    let provider = Provider::start(Settings::default());
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(3));
    folder.batch(&provider.url(), &[]).expect_code(0);
    // One more row at the end: the rows before it keep their answers.
    folder.write("in.jsonl", prompts(4));
    let refused = folder.batch(&provider.url(), &[]).expect_code(2);
    assert!(refused.stderr.contains("the input file has changed"), "{}", refused.stderr);
    assert!(refused.stderr.contains("--resume-changed"), "{}", refused.stderr);
    folder.batch(&provider.url(), &["--resume-changed"]).expect_code(0);
    assert_all_answered(&folder.rows("out.jsonl"), 4);
    assert_eq!(provider.stats().requests, 4);
}

#[test]
fn a_second_process_on_one_journal_is_an_error() {
    let hanging = Provider::start(Settings { hang_rate: 1.0, ..Settings::default() });
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(3));
    let url = hanging.url();
    let mut first = folder.command(&batch_args(&url, &[])).spawn().expect("the program starts");
    wait_for(|| hanging.stats().in_flight == 3);
    let second = folder.batch(&url, &[]).expect_code(1);
    assert!(second.stderr.contains("another process is using this journal"), "{}", second.stderr);
    assert_eq!(hanging.stats().requests, 3);
    first.kill().expect("the program runs");
    first.wait().expect("the program ends");
    let working = Provider::start(Settings::default());
    folder.batch(&working.url(), &[]).expect_code(0);
    assert_all_answered(&folder.rows("out.jsonl"), 3);
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_cannot_be_written_is_a_clear_error_before_any_call() {
    let provider = Provider::start(Settings::default());
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(3));
    let url = provider.url();
    // Not even root can create a file there.
    let read_only = ["batch", "in.jsonl", "-o", "/sys/out.jsonl", "-m", "openai/echo", "--base-url", &url];
    let ran = folder.run(&read_only).expect_code(1);
    assert!(ran.stderr.contains("/sys/out.jsonl.journal: cannot open the journal: "), "{}", ran.stderr);
    assert_eq!(provider.stats().requests, 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_behind_stdout_is_a_clear_error() {
    let provider = Provider::start(Settings::default());
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(3));
    let url = provider.url();
    let mut command =
        folder.command(&["batch", "in.jsonl", "-o", "-", "-m", "openai/echo", "--base-url", &url]);
    let full = std::fs::File::options().write(true).open("/dev/full").expect("a device that is always full");
    let ran = Ran::of(command.stdout(full).output().expect("the program starts")).expect_code(1);
    assert!(ran.stderr.contains("standard output: cannot write results: the disk is full"), "{}", ran.stderr);
}

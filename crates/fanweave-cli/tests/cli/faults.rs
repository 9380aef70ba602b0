//! Errors, resets, hangs and truncated answers: every row still ends, once and in its place.

use std::collections::BTreeMap;
use std::time::Duration;

use fanweave_sim::{Latency, Settings};

use crate::support::{Folder, Provider, assert_all_answered, echo_of, prompts};

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
    folder.batch(&provider.url(), &["--timeout", "500ms", "--retries", "0"]).expect_code(3);
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
fn a_rate_limited_provider_answers_every_row() {
    let provider = Provider::start(Settings { rpm: Some(3000), ..Settings::default() });
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(150));
    folder.batch(&provider.url(), &[]).expect_code(0);
    assert_all_answered(&folder.rows("out.jsonl"), 150);
}

//! `fanweave report`.

use fanweave_sim::Settings;

use crate::support::{Folder, Provider, prompts};

#[test]
fn a_run_is_summarised_from_its_output_or_its_journal_also_if_it_was_resumed() {
    let provider = Provider::start(Settings { error_rate: 0.3, ..Settings::default() });
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(60));
    folder.batch(&provider.url(), &["--retries", "0"]).expect_code(3);
    folder.batch(&provider.url(), &["--retries", "9", "--retry-failed"]).expect_code(0);
    let figures = |run: &str| folder.run(&["report", run, "--json"]).expect_code(0).stdout;
    let json: serde_json::Value = serde_json::from_str(&figures("out.jsonl")).unwrap();
    assert_eq!((&json["rows"], &json["ok"], &json["calls"]), (&60.into(), &60.into(), &60.into()));
    assert!(json["wall_ms"].as_u64().is_some() && json["output_tokens"].as_u64() > Some(60), "{json}");
    assert_eq!(figures("out.jsonl"), figures("out.jsonl.journal"));
    let text = folder.run(&["report", "out.jsonl"]).expect_code(0).stdout;
    assert!(text.starts_with("rows       60: 60 ok, 0 failed\n"), "{text}");
}

#[test]
fn the_calls_of_a_chain_are_reported_by_step() {
    let folder = Folder::new();
    folder.write(
        "chain.yaml",
        "version: 1\nmodel: sim/echo\ninputs: { topic: tides }\nsteps:\n  \
        a: { prompt: 'First: {{ topic }}' }\n  b: { prompt: 'Then: {{ steps.a.output }}' }\n",
    );
    folder.write("in.jsonl", "{\"topic\":\"rain\"}\n{\"topic\":\"snow\"}\n");
    folder.run(&["run", "chain.yaml", "--rows", "in.jsonl", "-o", "out.jsonl"]).expect_code(0);
    let json: serde_json::Value =
        serde_json::from_str(&folder.run(&["report", "out.jsonl", "--json"]).expect_code(0).stdout).unwrap();
    assert_eq!((&json["rows"], &json["calls"]), (&2.into(), &4.into()));
    folder.run(&["report", "out.jsonl", "--chrome-trace", "trace.json"]).expect_code(0);
    let trace: serde_json::Value = serde_json::from_str(&folder.read("trace.json")).unwrap();
    assert_eq!(trace["traceEvents"].as_array().unwrap().len(), 2 + 4);
}

#[test]
fn a_page_shows_the_prompts_of_an_unchanged_input() {
    let folder = Folder::new();
    folder.write("in.jsonl", "{\"prompt\":\"When do tides turn?\"}\n");
    folder.run(&["batch", "in.jsonl", "-o", "out.jsonl", "-m", "sim/writer", "-q"]).expect_code(0);
    let has_prompt = || {
        folder.run(&["report", "out.jsonl", "--html", "page.html"]).expect_code(0);
        folder.read("page.html").contains("When do tides turn?")
    };
    assert!(has_prompt());
    folder.write("in.jsonl", "{\"prompt\":\"When do tides turn? Or not\"}\n");
    assert!(!has_prompt());
    std::fs::remove_file(folder.file("in.jsonl")).unwrap();
    assert!(!has_prompt());
}

#[test]
fn a_report_does_not_overwrite_its_run() {
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(2));
    folder.run(&["batch", "in.jsonl", "-o", "out.jsonl", "-m", "sim/echo", "-q"]).expect_code(0);
    let before = ["in.jsonl", "out.jsonl", "out.jsonl.journal"].map(|name| folder.read(name));
    for words in [
        ["out.jsonl", "--html", "./out.jsonl"],
        ["out.jsonl", "--html", "out.jsonl.journal"],
        ["out.jsonl.journal", "--chrome-trace", "out.jsonl"],
        ["out.jsonl", "--chrome-trace", "in.jsonl"],
    ] {
        let ran = folder.run(&[&["report"], &words[..]].concat()).expect_code(2);
        assert!(ran.stderr.contains("choose another file"), "{}", ran.stderr);
    }
    assert_eq!(["in.jsonl", "out.jsonl", "out.jsonl.journal"].map(|name| folder.read(name)), before);
}

#[test]
fn a_file_that_is_not_a_run_is_rejected() {
    let folder = Folder::new();
    folder.write("notes.txt", "not a journal\n");
    for (run, why) in [("missing.jsonl", "no such file"), ("notes.txt", "not a fanweave run")] {
        let ran = folder.run(&["report", run]).expect_code(2);
        assert!(ran.stderr.contains(why), "{}", ran.stderr);
    }
}

#[test]
fn a_report_and_a_trace_go_to_separate_files() {
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(2));
    folder.run(&["batch", "in.jsonl", "-o", "out.jsonl", "-m", "sim/echo"]).expect_code(0);
    let twice = ["report", "out.jsonl", "--html", "a.html", "--chrome-trace", "./a.html"];
    let ran = folder.run(&twice).expect_code(2);
    assert!(ran.stderr.contains("--chrome-trace ./a.html: already used by --html"), "{}", ran.stderr);
    assert!(!folder.file("a.html").exists());
    let ran = folder.run(&["report", "out.jsonl", "--html", "-"]).expect_code(0);
    assert!(ran.stdout.starts_with("<!doctype html>"), "{}", ran.stdout);
    assert!(!folder.file("-").exists());
}

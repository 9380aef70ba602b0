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

/// A run of `rows` with the provider's `echo`, to `output`.
fn run(folder: &Folder, provider: &Provider, output: &str, more: &[&str]) -> crate::support::Ran {
    let url = provider.url();
    let args =
        ["batch", "in.csv", "-o", output, "-m", "openai/gpt-4o-mini", "--base-url", &url, "--retries", "0"];
    folder.run(&[&args, more].concat())
}

#[test]
fn failed_rows_are_exported_as_an_input_that_can_be_run() {
    let failing = Provider::start(Settings { poison: Some("Rome".into()), ..Settings::default() });
    let folder = Folder::new();
    folder.write("in.csv", "id;city;note\n1;Oslo;a\n2;Rome;\"=b; c\"\n3;Bonn;d\n4;Rome;e\n");
    let args = ["-p", "Where is {{ city }}?"];
    run(&folder, &failing, "out.jsonl", &args).expect_code(3);
    let ran = folder.run(&["report", "out.jsonl", "--failed", "failed.csv"]).expect_code(0);
    assert!(ran.stderr.contains("wrote 2 failed rows to failed.csv"), "{}", ran.stderr);
    assert_eq!(folder.read("failed.csv"), "id,city,note\n2,Rome,=b; c\n4,Rome,e\n");
    folder.run(&["report", "out.jsonl", "--failed", "failed.jsonl"]).expect_code(0);
    assert_eq!(folder.rows("failed.jsonl")[1], serde_json::json!({"id": "4", "city": "Rome", "note": "e"}));
    let second =
        ["batch", "failed.csv", "-o", "second.jsonl", "-m", "sim/echo", "-p", "Where is {{ city }}?"];
    folder.run(&second).expect_code(0);
    assert_eq!(folder.rows("second.jsonl").len(), 2);

    folder.write("in.csv", "id;city;note\n1;Oslo;a\n");
    let ran = folder.run(&["report", "out.jsonl", "--failed", "other.csv"]).expect_code(2);
    assert!(ran.stderr.contains("the input of the run is missing, or has changed"), "{}", ran.stderr);
    let ran =
        folder.run(&["report", "out.jsonl", "--failed", "other.csv", "--input", "in.csv"]).expect_code(0);
    assert!(ran.stderr.contains("2 failed rows are not in this input"), "{}", ran.stderr);
    let ran = folder.run(&["report", "out.jsonl", "--failed", "in.csv", "--input", "in.csv"]).expect_code(2);
    assert!(ran.stderr.contains("this file belongs to the run"), "{}", ran.stderr);
}

#[test]
fn failed_rows_of_an_openai_batch_keep_their_requests() {
    let failing = Provider::start(Settings { poison: Some("Rome".into()), ..Settings::default() });
    let folder = Folder::new();
    let line = |id: &str, city: &str| {
        let body = format!(
            r#"{{"model":"gpt-4o-mini","messages":[{{"role":"user","content":"{city}"}}],"seed":7}}"#
        );
        format!(
            "{{\"custom_id\":\"{id}\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\"body\":{body}}}\n"
        )
    };
    folder.write("in.csv", line("a", "Oslo") + &line("b", "Rome"));
    run(&folder, &failing, "out.jsonl", &["--input-format", "openai"]).expect_code(3);
    folder.run(&["report", "out.jsonl", "--failed", "failed.jsonl"]).expect_code(0);
    assert_eq!(folder.read("failed.jsonl"), line("b", "Rome"));
}

#[test]
fn two_runs_are_compared_row_by_row() {
    let failing = Provider::start(Settings { poison: Some("Rome".into()), ..Settings::default() });
    let whole = Provider::start(Settings::default());
    let folder = Folder::new();
    folder.write("in.csv", "city\nOslo\nRome\nBonn\n");
    run(&folder, &failing, "a.jsonl", &["-p", "Where is {{ city }}?"]).expect_code(3);
    run(&folder, &whole, "b.jsonl", &["-p", "Where is {{ city }}?", "--limit", "2"]).expect_code(0);
    let ran = folder.run(&["report", "a.jsonl", "b.jsonl", "--json"]).expect_code(0);
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let expected = serde_json::json!({
        "in_both": 2, "only_in_first": 1, "only_in_second": 0, "equal_answer": 1, "different_answer": 0, "fixed": 1,
        "broken": 0, "failed_in_both": 0,
    });
    assert_eq!(json["rows"], expected, "{json}");
    assert_eq!(
        (&json["first"]["figures"]["failed"], &json["second"]["figures"]["failed"]),
        (&1.into(), &0.into())
    );
    let text = folder.run(&["report", "a.jsonl", "b.jsonl", "--csv", "both.csv"]).expect_code(0).stdout;
    assert!(text.contains("2 rows in both: 1 with the same answer, 0 with another, 1 fixed"), "{text}");
    assert!(text.contains("model gpt-4o-mini: calls"), "{text}");
    let ran = folder.run(&["report", "a.jsonl", "b.jsonl", "--html", "both.html"]).expect_code(0);
    assert!(ran.stdout.contains("rows in both"), "{}", ran.stdout);
    let page = folder.read("both.html");
    assert!(page.contains("1 fixed, 0 broken") && page.contains(">fixed</td>"), "{page}");
    let ran = folder.run(&["report", "a.jsonl", "b.jsonl", "--html", "a.jsonl"]).expect_code(2);
    assert!(ran.stderr.contains("this file belongs to the run"), "{}", ran.stderr);
    // The call that failed counts for the model that answered the others.
    let json = folder.run(&["report", "a.jsonl", "--json"]).expect_code(0).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let models = json["per_model"].as_array().unwrap();
    assert_eq!(models.len(), 1, "{json}");
    assert_eq!((&models[0]["calls"], &models[0]["failed"]), (&3.into(), &1.into()), "{json}");
    let csv = folder.read("both.csv");
    assert!(csv.starts_with("index,line,custom_id,answer_1,answer_2,equal,error_1,"), "{csv}");
    assert!(
        csv.lines().nth(2).is_some_and(|line| line.starts_with("1,3,,,") && line.contains("server: ")),
        "{csv}"
    );
    run(&folder, &whole, "c.jsonl", &["-p", "Tell me of {{ city }}."]).expect_code(0);
    let json = folder.run(&["report", "b.jsonl", "c.jsonl", "--json"]).expect_code(0).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["rows"]["different_answer"], &json["rows"]["only_in_second"]),
        (&2.into(), &1.into()),
        "{json}"
    );
}

#[test]
fn figures_are_given_per_model_and_per_step() {
    let folder = Folder::new();
    folder.write(
        "chain.yaml",
        "version: 1\nmodel: sim/echo\ninputs: { topic: tides }\nsteps:\n  \
        a: { prompt: 'First: {{ topic }}' }\n  \
        b: { prompt: 'Then: {{ steps.a.output }}', model: sim/writer, output: json }\n",
    );
    folder.write("in.jsonl", "{\"topic\":\"rain\"}\n{\"topic\":\"snow\"}\n");
    folder
        .run(&["run", "chain.yaml", "--rows", "in.jsonl", "-o", "out.jsonl", "--keep-going"])
        .expect_code(3);
    let json = folder.run(&["report", "out.jsonl", "--json"]).expect_code(0).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let names = |parts: &str| -> Vec<String> {
        let parts = json[parts].as_array().unwrap().iter();
        parts
            .map(|part| format!("{} {} {}", part["name"].as_str().unwrap(), part["calls"], part["failed"]))
            .collect()
    };
    assert_eq!(names("per_model"), ["sim/echo 2 0", "sim/writer 2 0"], "{json}");
    assert_eq!(names("per_step"), ["a 2 0", "b 2 2"], "{json}");
    for parts in ["per_step", "per_model"] {
        assert!(json[parts][0]["latency_p50_ms"].is_u64(), "{json}");
    }
    let text = folder.run(&["report", "out.jsonl"]).expect_code(0).stdout;
    assert!(text.contains("step       b: 2 calls, tokens ") && text.contains("2 failed"), "{text}");
    folder.run(&["report", "out.jsonl", "--csv", "rows.csv"]).expect_code(0);
    let csv = folder.read("rows.csv");
    assert!(csv.lines().next().is_some_and(|line| line.ends_with(",error_kind,error,error_step")), "{csv}");
    assert_eq!(csv.lines().filter(|line| line.ends_with(",b")).count(), 2, "{csv}");
}

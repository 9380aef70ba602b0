//! `fanweave batch` without errors.

use std::time::Duration;

use fanweave_sim::{Latency, Settings};

use crate::support::{Folder, Provider, assert_all_answered, echo_of, prompts, via_args};

fn provider() -> Provider {
    Provider::start(Settings::default())
}

#[test]
fn every_row_is_answered_in_input_order() {
    let latency = Latency::LogNormal { median: Duration::from_millis(5), sigma: 1.0 };
    let provider = Provider::start(Settings { latency, ..Settings::default() });
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(500));
    let ran = folder.batch(&provider.url(), &[]).expect_code(0);
    assert_all_answered(&folder.rows("out.jsonl"), 500);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("500 rows"), "{}", ran.stderr);
    assert_eq!(provider.stats().ok, 500);
    assert!(provider.stats().peak_in_flight <= 64, "the default concurrency holds");
}

#[test]
fn the_in_process_model_needs_no_provider() {
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(20));
    folder.run(&["batch", "in.jsonl", "-o", "out.jsonl", "-m", "sim/echo"]).expect_code(0);
    assert_all_answered(&folder.rows("out.jsonl"), 20);
}

#[test]
fn csv_rows_fill_the_template() {
    let provider = provider();
    let folder = Folder::new();
    folder.write("in.csv", "name,town\nAda,London\n\"Bo, the second\",Oslo\n");
    folder
        .run(&[
            "batch",
            "in.csv",
            "-o",
            "out.jsonl",
            "-m",
            "openai/echo",
            "--base-url",
            &provider.url(),
            "-p",
            "{{ name }} of {{ town }}",
        ])
        .expect_code(0);
    let answers: Vec<_> = folder.rows("out.jsonl").iter().map(|row| row["answer"].clone()).collect();
    assert_eq!(answers, [echo_of("Ada of London"), echo_of("Bo, the second of Oslo")]);
}

#[test]
fn text_lines_come_from_stdin_and_answers_go_to_stdout() {
    let provider = provider();
    let folder = Folder::new();
    let ran = folder
        .run_with_stdin(
            &["batch", "-", "-o", "-", "-m", "openai/echo", "--base-url", &provider.url()],
            "first\n\nsecond\n",
        )
        .expect_code(0);
    let answers: Vec<serde_json::Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0]["answer"], echo_of("first"));
    assert_eq!(answers[1]["answer"], echo_of("second"));
}

#[test]
fn a_template_and_a_system_message_come_from_files() {
    let provider = provider();
    let folder = Folder::new();
    folder.write("in.txt", "tides\n");
    folder.write("prompt.txt", "About {{ input }}:\n");
    folder
        .run(&[
            "batch",
            "in.txt",
            "-o",
            "out.jsonl",
            "-m",
            "openai/echo",
            "--base-url",
            &provider.url(),
            "-p",
            "@prompt.txt",
            "-s",
            "Be brief.",
        ])
        .expect_code(0);
    assert_eq!(folder.rows("out.jsonl")[0]["answer"], echo_of("About tides:"));
}

#[test]
fn openai_batch_files_give_the_official_result_lines() {
    let provider = provider();
    let folder = Folder::new();
    let line = |id: &str, ask: &str| {
        serde_json::json!({
            "custom_id": id, "method": "POST", "url": "/v1/chat/completions",
            "body": {"model": "echo", "messages": [{"role": "user", "content": ask}]},
        })
    };
    folder.write("in.jsonl", format!("{}\n{}\n", line("a", "one"), line("b", "two")));
    folder.batch(&provider.url(), &[]).expect_code(0);
    let rows = folder.rows("out.jsonl");
    for (row, (id, ask)) in rows.iter().zip([("a", "one"), ("b", "two")]) {
        assert_eq!(row["custom_id"], id);
        assert_eq!(row["error"], serde_json::Value::Null);
        assert_eq!(row["response"]["status_code"], 200);
        let body = &row["response"]["body"];
        assert_eq!(body["object"], "chat.completion");
        assert_eq!(body["choices"][0]["message"]["content"], echo_of(ask));
        assert!(body["usage"]["total_tokens"].as_u64().is_some_and(|n| n > 0));
    }
    assert_eq!(rows.len(), 2);
}

#[test]
fn requests_per_minute_apply_to_a_simulated_model_too() {
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(8));
    let started = std::time::Instant::now();
    folder.run(&["batch", "in.jsonl", "-o", "out.jsonl", "-m", "sim/echo", "--rpm", "120"]).expect_code(0);
    assert_all_answered(&folder.rows("out.jsonl"), 8);
    // Two per second, and a burst of two: the eighth starts 3 s after the first.
    assert!(started.elapsed() >= Duration::from_millis(2_900), "{:?}", started.elapsed());
}

#[test]
fn a_second_run_has_nothing_to_do_and_makes_no_calls() {
    let provider = provider();
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(5));
    let url = provider.url();
    folder.batch(&url, &[]).expect_code(0);
    let first = folder.read("out.jsonl");
    let rerun = folder.batch(&url, &[]).expect_code(0);
    assert!(rerun.stderr.contains("nothing to do"), "{}", rerun.stderr);
    assert_eq!(folder.batch(&url, &["--quiet"]).expect_code(0).stderr, "");
    let rerun = folder.batch(&url, &["--fail-if-done"]).expect_code(4);
    assert!(rerun.stderr.contains("nothing to do"), "{}", rerun.stderr);
    assert_eq!(folder.read("out.jsonl"), first);
    assert_eq!(provider.stats().requests, 5);

    folder.batch(&url, &["--fresh"]).expect_code(0);
    assert_eq!(provider.stats().requests, 10);
}

#[test]
fn failed_rows_are_retried_with_retry_failed() {
    let failing = Provider::start(Settings { error_rate: 1.0, ..Settings::default() });
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(3));
    let run = |url: &str, more: &[&str]| {
        folder.batch(url, &[&["--retries", "0", "--outage-timeout", "0s"], more].concat())
    };
    run(&failing.url(), &[]).expect_code(3);
    assert!(folder.rows("out.jsonl").iter().all(|row| row["answer"].is_null() && !row["error"].is_null()));

    // The same file, model and prompt at a working URL.
    let working = provider();
    run(&working.url(), &["--retry-failed"]).expect_code(0);
    assert_all_answered(&folder.rows("out.jsonl"), 3);
}

#[test]
fn a_named_pipe_is_streamed_and_read_once() {
    let provider = provider();
    let folder = Folder::new();
    let pipe = folder.file("in.jsonl");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a named pipe");
    let writer = std::thread::spawn(move || std::fs::write(pipe, prompts(50)));
    folder.batch(&provider.url(), &[]).expect_code(0);
    writer.join().expect("the writer ends").expect("the pipe was read");
    assert_all_answered(&folder.rows("out.jsonl"), 50);
}

#[test]
fn a_dry_run_shows_prompts_and_estimates_without_calls() {
    let provider = provider();
    let folder = Folder::new();
    folder.write("in.csv", "thing\nsocks\nhats\nshoes\nties\n");
    let url = provider.url();
    let args = |model: &'static str| {
        vec![
            "batch",
            "in.csv",
            "-o",
            "out.jsonl",
            "-m",
            model,
            "--base-url",
            &url,
            "--dry-run",
            "--rpm",
            "2",
            "--max-tokens",
            "100",
            "-p",
            "Name a shop that sells {{ thing }}.",
            "-s",
            "Be brief.",
        ]
    };
    let known = folder.run(&args("openai/gpt-5-mini")).expect_code(0);
    insta::assert_snapshot!("dry_run", known.stdout);
    let unknown = folder.run(&args("openai/echo")).expect_code(0);
    assert!(unknown.stdout.contains("cost: unknown with openai/echo"), "{}", unknown.stdout);
    // A dry run needs no key: users may want an estimate before they get one.
    let keyless = [
        "batch",
        "in.csv",
        "-o",
        "out.jsonl",
        "-m",
        "anthropic/claude-sonnet-4-5",
        "-p",
        "{{ thing }}",
        "--dry-run",
    ];
    assert!(folder.run(&keyless).expect_code(0).stdout.contains("rows: 4"));
    let misspelt = folder.run(&keyless.map(|arg| if arg.starts_with("anth") { "antropic/x" } else { arg }));
    assert!(misspelt.expect_code(2).stderr.contains("did you mean `anthropic`?"));
    assert_eq!(provider.stats().requests, 0);
    assert!(!folder.file("out.jsonl.journal").exists());
}

#[test]
fn the_summary_is_available_as_json() {
    let provider = provider();
    let folder = Folder::new();
    folder.write("in.jsonl", format!("{}not JSON\n", prompts(3)));
    let url = provider.url();
    let summary =
        |ran: crate::support::Ran| serde_json::from_str::<serde_json::Value>(&ran.stdout).expect("JSON");
    let ran = folder.batch(&url, &["--json"]).expect_code(3);
    assert!(!ran.stderr.contains("rows in"), "once is enough: {}", ran.stderr);
    let told = summary(ran);
    assert_eq!((&told["rows"], &told["ok"], &told["failed"]), (&4.into(), &3.into(), &1.into()));
    assert_eq!((&told["failures"][0]["kind"], &told["failures"][0]["count"]), (&"input".into(), &1.into()));
    assert_eq!((&told["output"], &told["stopped"]), (&"out.jsonl".into(), &serde_json::Value::Null));
    assert!(told["usage"]["output_tokens"].as_u64() > Some(0) && told["wall_ms"].is_u64(), "{told}");
    let rerun = summary(folder.batch(&url, &["--json"]).expect_code(0));
    assert_eq!(rerun["resumed"], 4);
    let both = folder.run(&["batch", "in.jsonl", "-o", "-", "-m", "sim/echo", "--json"]).expect_code(2);
    assert!(both.stderr.contains("--json cannot be used with output to stdout"), "{}", both.stderr);
    folder.write("chain.yaml", "steps: { a: { prompt: '{{ inputs.topic }}' } }\ninputs: { topic: x }\n");
    let rows = ["run", "chain.yaml", "-m", "sim/echo", "--rows", "topics.txt", "-o", "chain.jsonl", "--json"];
    folder.write("topics.txt", "tides\n");
    assert_eq!(summary(folder.run(&rows).expect_code(0))["ok"], 1);
}

#[test]
fn a_budget_stops_before_it_is_exceeded_and_a_higher_one_resumes() {
    let provider = provider();
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(40));
    // A token costs a cent, in or out; `echo` uses a few per row.
    folder.write("prices.toml", "date = '2026-01-01'\n[models.'openai/echo']\ninput = 1e4\noutput = 1e4\n");
    let url = provider.url();
    let unknown = folder.batch(&url, &["--budget-usd", "1"]).expect_code(2);
    assert!(unknown.stderr.contains("the price of openai/echo is unknown"), "{}", unknown.stderr);

    let run =
        |usd| folder.batch(&url, &["--prices", "prices.toml", "--max-tokens", "8", "--budget-usd", usd]);
    let stopped = run("7").expect_code(5);
    let advised = stopped.stderr.rsplit_once(" --budget-usd ").expect("an amount").1.trim().to_owned();
    assert!(stopped.stderr.contains("The next row needs a budget of $7."), "{}", stopped.stderr);
    assert!(stopped.stderr.contains(", and all rows one of about $"), "{}", stopped.stderr);
    let rows = folder.rows("out.jsonl");
    let spent: f64 = rows.iter().map(|row| row["cost_usd"].as_f64().unwrap()).sum();
    assert!(spent <= 7.0 && !rows.is_empty() && rows.len() < 40, "{spent} for {} rows", rows.len());
    run(&advised).expect_code(0);
    assert_eq!(folder.rows("out.jsonl").len(), 40);
    assert_eq!(provider.stats().requests, 40);
    // No row can start: there is nothing to write.
    let small = ["--prices", "prices.toml", "--budget-usd", "0.01", "--output-format", "csv", "-o"];
    let stopped = folder.run(
        &["batch", "in.jsonl", "-m", "openai/echo", "--base-url", &url]
            .iter()
            .chain(&small)
            .chain(&["none.csv"])
            .copied()
            .collect::<Vec<_>>(),
    );
    let stopped = stopped.expect_code(5);
    assert!(
        stopped.stderr.contains("40 rows remaining") && !stopped.stderr.contains("answers:"),
        "{}",
        stopped.stderr
    );
    assert!(!folder.file("none.csv").exists());
}

#[test]
fn rows_are_spread_over_models_by_weight_and_over_keys() {
    let provider = provider();
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(40));
    let url = provider.url();
    let mut command = folder.command(&[
        "batch",
        "in.jsonl",
        "-o",
        "out.jsonl",
        "-m",
        "openai/echo=3,openai/other",
        "--base-url",
        &url,
        "--key-env",
        "KEY_A",
        "--key-env",
        "KEY_B",
    ]);
    command.env("KEY_A", "sk-aaaaaaaaaaaa").env("KEY_B", "sk-bbbbbbbbbbbb");
    crate::support::Ran::of(command.output().unwrap()).expect_code(0);
    let rows = folder.rows("out.jsonl");
    assert_eq!(rows.iter().filter(|row| row["model"] == "echo").count(), 30);
    assert_eq!(rows.iter().filter(|row| row["model"] == "other").count(), 10);

    let missing = folder.batch(&url, &["--key-env", "KEY_C"]).expect_code(2);
    assert!(missing.stderr.contains("the environment variable KEY_C is not set"), "{}", missing.stderr);
}

#[test]
fn rows_of_a_rejected_key_or_model_use_the_others() {
    let settings = Settings {
        api_key: Some("sk-good-0000000".to_owned()),
        models: vec!["echo".to_owned()],
        ..Settings::default()
    };
    let provider = Provider::start(settings);
    let url = provider.url();
    let run = |models: &str, keys: [&str; 2], more: &[&str]| {
        let folder = Folder::new();
        folder.write("in.jsonl", prompts(40));
        let words = ["batch", "in.jsonl", "-o", "out.jsonl", "-m", models, "--base-url", &url];
        let keyed = ["--key-env", "KEY_A", "--key-env", "KEY_B"];
        let mut command = folder.command(&[&words[..], &keyed, more].concat());
        let ran =
            crate::support::Ran::of(command.env("KEY_A", keys[0]).env("KEY_B", keys[1]).output().unwrap());
        let told = format!("{}{}", ran.stderr, ran.stdout);
        assert!(keys.iter().all(|key| !told.contains(key)), "{told}");
        (folder, ran)
    };
    let good = "sk-good-0000000";

    let (folder, ran) = run("openai/echo", ["sk-canary-111111", good], &[]);
    let ran = ran.expect_code(0);
    assert_all_answered(&folder.rows("out.jsonl"), 40);
    let disabled_note = "note: openai/echo with the key in KEY_A is disabled for this run";
    assert_eq!(ran.stderr.matches("note: ").count(), 1, "{}", ran.stderr);
    assert!(ran.stderr.contains(disabled_note) && ran.stderr.contains("401"), "{}", ran.stderr);

    let (folder, ran) = run("openai/echo,openai/gone=3", [good, good], &["--quiet"]);
    let ran = ran.expect_code(0);
    assert_all_answered(&folder.rows("out.jsonl"), 40);
    assert_eq!(ran.stderr, "", "no note is an error");

    // Without a remaining model, the run stops with the error.
    let (_, ran) = run("openai/echo", ["sk-canary-111111", "sk-canary-222222"], &[]);
    let ran = ran.expect_code(1);
    assert!(ran.stderr.contains("401") && ran.stderr.contains("40 rows remaining"), "{}", ran.stderr);
}

#[test]
fn a_row_that_fails_falls_back_to_the_next_model() {
    let provider = Provider::start(Settings { models: vec!["echo".to_owned()], ..Settings::default() });
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(3));
    let url = provider.url();
    let words = [
        "batch",
        "in.jsonl",
        "-o",
        "out.jsonl",
        "-m",
        "openai/gone",
        "--base-url",
        &url,
        "--fallback-model",
        "openai/echo",
    ];
    folder.run(&words).expect_code(0);
    assert_all_answered(&folder.rows("out.jsonl"), 3);
}

#[test]
fn an_output_called_csv_is_csv_and_an_unknown_format_is_rejected() {
    let provider = provider();
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(2));
    let url = provider.url();
    folder
        .run(&["batch", "in.jsonl", "-o", "out.csv", "-m", "openai/echo", "--base-url", &url])
        .expect_code(0);
    let text = folder.read("out.csv");
    assert!(text.starts_with("index,custom_id,answer,") && text.lines().count() == 3, "{text}");
    let refused = folder.batch(&url, &["--output-format", "csvv"]).expect_code(2);
    assert!(refused.stderr.contains("did you mean `csv`?"), "{}", refused.stderr);
}

#[test]
fn rows_go_through_the_batch_api_and_come_back_in_order() {
    for vendor in ["openai", "anthropic"] {
        let provider =
            Provider::start(Settings { batch_time: Duration::from_millis(300), ..Settings::default() });
        let folder = Folder::new();
        folder.write("in.jsonl", prompts(50));
        let words = via_args(vendor, &provider, &[]);
        let ran = folder.run(&words).expect_code(0);
        assert_all_answered(&folder.rows("out.jsonl"), 50);
        assert!(ran.stderr.contains("50 rows"), "{vendor}: {}", ran.stderr);
        let stats = provider.stats();
        assert_eq!(stats.batches, 1);
        assert!(
            stats.requests < 10,
            "{} requests: an upload, a batch, a few looks and a file",
            stats.requests
        );
        folder.run(&words).expect_code(0);
        assert_eq!(provider.stats().batches, 1);
    }
}

#[test]
fn every_flag_has_an_effect_on_the_batch_api_or_is_rejected() {
    let provider = Provider::start(Settings::default());
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(3));
    folder.write("prices.toml", "date = '2026-01-01'\n[models.'openai/echo']\ninput = 1.0\noutput = 1.0\n");
    let refused: &[&[&str]] = &[
        &["--concurrency", "3"],
        &["--max-in-flight", "3"],
        &["--tpm", "1000"],
        &["--cache", "answers.db"],
        &["--dedupe"],
        &["--no-hedging"],
        &["--keep-going"],
        &["--no-fallback-on-outage"],
        &["--budget-usd", "1"],
        &["--fallback-model", "openai/writer"],
        &["--adapt"],
        &["--strict-request"],
        &["--max-errors", "3"],
        &["--override-model"],
        &["--schema", "name"],
        &["--wait-for-quota"],
    ];
    let held: &[&[&str]] = &[
        &["--rpm", "600"],
        &["--timeout", "30s"],
        &["--retries", "1"],
        &["--outage-timeout", "5m"],
        &["--fail-if-done"],
        &["--temperature", "1"],
        &["--max-tokens", "100"],
        &["--system", "Be brief."],
        &["--input-format", "jsonl"],
        &["--output-format", "jsonl"],
        &["--csv-formulas", "keep"],
        &["--columns", "all"],
        &["--encoding", "utf-8"],
        &["--id-column", "prompt"],
        &["--skip-empty"],
        &["--drop-last-assistant"],
        &["--template-memory", "64"],
        &["--unordered"],
        &["--sample", "3"],
        &["--samples", "1"],
        &["--strict"],
        &["--retry-failed"],
        &["--resume-changed"],
        &["--fresh"],
        &["--key-env", "KEY_A"],
        &["--header", "X-Team: a"],
        &["--param", "top_p=0.5"],
        &["--reasoning-effort", "low"],
        &["--reasoning-summary"],
        &["--limit", "5"],
        &["--dry-run"],
        &["--prices", "prices.toml"],
        &["--show-progress", "none"],
        &["--quiet"],
        &["--json"],
    ];
    // Flags that every run here or every command has. A template, a delimiter and a sheet are part of the
    // rows. This provider takes no number for reasoning, which is an error of each row.
    let mut others =
        "--output --model --base-url --via --prompt --delimiter --sheet --reasoning-budget --color --help \
                      --version"
            .to_owned();
    if cfg!(feature = "workers") {
        // Rows of several processes do not go by a batch API, which `cluster::refuse` says.
        others += " --on --workers --detach --creds --nkey --ca --cert --cert-key --plaintext";
    }
    let help = folder.run(&["batch", "--help"]).expect_code(0).stdout;
    // Only flags at the start of a line, not those in descriptions.
    let listed = help.lines().filter(|line| line.starts_with("  -") || line.starts_with("      --"));

    let flags: std::collections::BTreeSet<_> =
        listed.filter_map(|line| line.split([' ', ',']).find(|word| word.starts_with("--"))).collect();
    let known = refused.iter().chain(held).map(|words| words[0]).chain(others.split(' ')).collect();
    assert_eq!(flags, known, "a flag is new: what does it do to rows that go by the file?");

    let run = |more: &[&str]| {
        let mut command = folder.command(&via_args("openai", &provider, more));
        crate::support::Ran::of(command.env("KEY_A", "sk-canary-1").output().expect("the program starts"))
    };
    for words in refused {
        let ran = run(words).expect_code(2);
        assert!(ran.stderr.contains(words[0]) && ran.stderr.contains("batch-api"), "{}", ran.stderr);
    }
    let all: Vec<_> = refused[..6].concat();
    assert!(run(&all).stderr.contains("--tpm, --cache, --dedupe, --no-hedging have no effect"));
    assert_eq!(provider.stats().requests, 0);
    for words in held {
        let _ = std::fs::remove_file(folder.file("out.jsonl"));
        let _ = std::fs::remove_file(folder.file("out.jsonl.journal"));
        run(words).expect_code(0);
        if words[0] != "--dry-run" {
            let mut rows = folder.rows("out.jsonl");
            rows.sort_by_key(|row| row["index"].as_u64());
            assert_all_answered(&rows, 3);
        }
    }

    // Settings from configuration files may be meant for other runs, and are not rejected.
    folder.write("fanweave.toml", "cache = 'answers.db'\ntpm = 1000\n");
    run(&["--fresh"]).expect_code(0);
    assert!(!folder.file("answers.db").exists());

    // Limits of requests also apply to those for the file.
    let silent = Provider::start(Settings { hang_rate: 1.0, ..Settings::default() });
    let words = via_args(
        "openai",
        &silent,
        &["--fresh", "--timeout", "200ms", "--retries", "0", "--outage-timeout", "0s"],
    );
    let ran = folder.run(&words).expect_code(1);
    assert!(ran.stderr.contains("200ms"), "{}", ran.stderr);
}

#[test]
fn rows_that_the_batch_api_rejects_or_expires_are_failed_rows() {
    for vendor in ["openai", "anthropic"] {
        let settings = Settings {
            error_rate: 0.2,
            batch_expiry_rate: 0.2,
            models: vec!["echo".to_owned()],
            ..Settings::default()
        };
        let provider = Provider::start(settings);
        let folder = Folder::new();
        folder.write("in.jsonl", prompts(60));
        // Faults also affect the requests for files and batches. If the response to a submission is lost, the
        // next run asks the provider for the batch.
        let words = via_args(vendor, &provider, &["--retries", "20"]);
        let mut runs = 0;
        while folder.run(&words).code != 3 {
            runs += 1;
            assert!(runs < 10, "{vendor}: it never came to an end");
        }
        assert_eq!(provider.stats().batches, 1, "{vendor}: submitted once in {} runs", runs + 1);
        let rows = folder.rows("out.jsonl");
        assert_eq!(rows.len(), 60);
        let kinds: std::collections::BTreeSet<_> =
            rows.iter().filter_map(|row| row["error"]["kind"].as_str()).collect();
        assert!(
            kinds.contains("timeout") && kinds.iter().any(|kind| matches!(*kind, "server" | "overloaded")),
            "{vendor}: {kinds:?}"
        );
        for (i, row) in rows.iter().enumerate().filter(|(_, row)| row["error"].is_null()) {
            assert_eq!(row["answer"], echo_of(&format!("question {i}")));
        }
    }
}

#[test]
fn duplicate_rows_share_one_call_with_dedupe() {
    let provider = provider();
    let folder = Folder::new();
    folder.write("in.txt", "tides\nrain\ntides\ntides\n");
    let url = provider.url();
    folder
        .run(&["batch", "in.txt", "-o", "out.jsonl", "-m", "openai/echo", "--base-url", &url, "--dedupe"])
        .expect_code(0);
    let answers: Vec<_> = folder.rows("out.jsonl").iter().map(|row| row["answer"].clone()).collect();
    assert_eq!(answers, ["tides", "rain", "tides", "tides"].map(echo_of));
    assert_eq!(provider.stats().requests, 2);
}

#[test]
fn a_dry_run_shares_the_time_between_accounts_and_names_each_model_once() {
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(6));
    let dry = |more: &[&str]| {
        let words = ["batch", "in.jsonl", "-o", "out.jsonl", "--dry-run", "--rpm", "1", "-m"];
        folder.run(&[&words[..], more].concat()).expect_code(0).stdout
    };
    // The first request of an account does not wait.
    assert!(dry(&["openai/gpt-5"]).contains("\ntime: at least 5m at 1 request per minute\n"));
    let keys = dry(&["openai/gpt-5", "--key-env", "A", "--key-env", "B"]);
    assert!(keys.contains("\ntime: at least 2m at"), "{keys}");
    assert_eq!(keys.matches("\ncost: ").count(), 1, "{keys}");
    let weighed = dry(&["openai/gpt-5=2,openai/gpt-5-mini", "--fallback-model", "openai/gpt-5-mini"]);
    assert!(weighed.contains("\ntime: at least 3m at"), "{weighed}");
    assert_eq!(weighed.matches("\ncost: ").count(), 2, "{weighed}");

    // Steps with different models do not wait for each other's accounts.
    folder.write(
        "chain.yaml",
        "inputs: { l: [a, b, c] }\nsteps:\n  a: { for_each: l, prompt: '{{ item }}', model: openai/gpt-5 }\n  \
         b: { prompt: b, model: openai/gpt-5-mini }\n",
    );
    let chain = folder.run(&["run", "chain.yaml", "--dry-run", "--rpm", "1"]).expect_code(0).stdout;
    assert!(chain.contains("\ntime: at least 2m at 1 request per minute\n"), "{chain}");
}

#[test]
fn a_limited_run_takes_the_first_rows_and_a_later_one_continues() {
    let provider = Provider::start(Settings::default());
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(20));
    let dry = folder.batch(&provider.url(), &["--limit", "5", "--dry-run"]).expect_code(0);
    assert!(dry.stdout.contains("rows: 5 of 20\n"), "{}", dry.stdout);
    let ran = folder.batch(&provider.url(), &["--limit", "5"]).expect_code(0);
    assert!(ran.stderr.contains("5 rows") && !ran.stderr.contains("remaining"), "{}", ran.stderr);
    assert_all_answered(&folder.rows("out.jsonl"), 5);
    assert_eq!(provider.stats().ok, 5);
    folder.batch(&provider.url(), &["--limit", "5", "--fail-if-done"]).expect_code(4);
    folder.batch(&provider.url(), &[]).expect_code(0);
    assert_all_answered(&folder.rows("out.jsonl"), 20);
    assert_eq!(provider.stats().ok, 20, "no row was called twice");
    let wrong = folder.batch(&provider.url(), &["--limit", "0"]).expect_code(2);
    assert!(wrong.stderr.contains("at least 1"), "{}", wrong.stderr);
}

#[test]
fn a_sample_is_called_alone_and_a_larger_one_calls_the_additional_rows() {
    let provider = Provider::start(Settings::default());
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(50));
    let run = |more: &[&str], rows: usize| {
        let ran = folder.batch(&provider.url(), more).expect_code(0);
        assert!(!ran.stderr.contains("remaining"), "{}", ran.stderr);
        let answered = folder.rows("out.jsonl");
        let indices: Vec<_> = answered.iter().map(|row| row["index"].as_u64().unwrap()).collect();
        assert!(indices.len() == rows && indices.is_sorted_by(|a, b| a < b), "{indices:?}");
        for (row, index) in answered.iter().zip(&indices) {
            assert_eq!(row["answer"], echo_of(&format!("question {index}")));
        }
        assert_eq!(provider.stats().ok, rows as u64, "each row is called once");
        indices
    };
    let dry = folder.batch(&provider.url(), &["--sample", "5", "--dry-run"]).expect_code(0);
    assert!(dry.stdout.contains("rows: 5 of 50\n"), "{}", dry.stdout);
    let small = run(&["--sample", "5"], 5);
    assert_ne!(small, [0, 1, 2, 3, 4]);
    let large = run(&["--sample", "12:0"], 12);
    assert!(small.iter().all(|index| large.contains(index)));
    folder.batch(&provider.url(), &["--sample", "12", "--fail-if-done"]).expect_code(4);
    run(&["--sample", "1000"], 50);
    for (flags, why) in [
        (&["--sample", "0"][..], "at least 1"),
        (&["--sample", "5:x"], "seed"),
        (&["--sample", "5", "--limit", "5"], "cannot be used with"),
    ] {
        let ran = folder.batch(&provider.url(), flags).expect_code(2);
        assert!(ran.stderr.contains(why), "{}", ran.stderr);
    }
    let words = ["batch", "-", "-o", "other.jsonl", "-m", "sim/echo", "--sample", "1"];
    let ran = folder.run_with_stdin(&words, "hello\n").expect_code(2);
    assert!(ran.stderr.contains("only be taken of a file"), "{}", ran.stderr);
}

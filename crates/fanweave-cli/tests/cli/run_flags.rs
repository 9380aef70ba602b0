//! Flags that `fanweave run` has in common with `fanweave batch`, and `--only`.

use fanweave_sim::Settings;
use serde_json::json;

use crate::support::{Folder, Provider, Ran, echo_of};

fn chain(folder: &Folder, text: &str) {
    folder.write("chain.yaml", text);
}

#[test]
fn equal_rows_of_a_chain_share_one_run() {
    let provider = Provider::start(Settings::default());
    let folder = Folder::new();
    chain(
        &folder,
        "inputs: { city: null }\nsteps:\n  a: { prompt: 'Where is {{ city }}?' }\n  b: { prompt: 'And {{ steps.a.output }}?' }\n",
    );
    // The other columns do not set inputs.
    folder.write("in.csv", "n,city\n1,Oslo\n2,Rome\n3,Oslo\n");
    let url = provider.url();
    let words = [
        "run",
        "chain.yaml",
        "--rows",
        "in.csv",
        "-o",
        "out.jsonl",
        "-m",
        "openai/echo",
        "--base-url",
        &url,
        "--dedupe",
    ];
    folder.run(&words).expect_code(0);
    let rows = folder.rows("out.jsonl");
    assert_eq!((rows.len(), provider.stats().requests), (3, 4));
    assert_eq!(rows[0]["answer"], rows[2]["answer"]);
    assert_ne!(rows[0]["answer"], rows[1]["answer"]);
}

#[test]
fn samples_run_the_chain_several_times_for_each_row() {
    let folder = Folder::new();
    chain(&folder, "inputs: { city: null }\nsteps: { a: { prompt: 'Where is {{ city }}?' } }\n");
    folder.write("in.csv", "city\nOslo\nRome\n");
    let run = |more: &[&str]| {
        folder.run(&[&["run", "chain.yaml", "--rows", "in.csv", "-m", "sim/echo"], more].concat())
    };
    run(&["-o", "out.jsonl", "--samples", "2"]).expect_code(0);
    let rows = folder.rows("out.jsonl");
    let samples: Vec<_> = rows.iter().map(|row| (row["index"].clone(), row["sample"].clone())).collect();
    assert_eq!(
        samples,
        [(json!(0), json!(0)), (json!(0), json!(1)), (json!(1), json!(0)), (json!(1), json!(1))]
    );
    let dry = run(&["-o", "other.jsonl", "--samples", "2", "--dry-run"]).expect_code(0).stdout;
    assert!(dry.contains("rows: 2, 2 samples each\n") && dry.contains("calls: about 4"), "{dry}");
    run(&["-o", "other.jsonl", "--samples", "2", "--dedupe"]).expect_code(2);
    folder.run(&["run", "chain.yaml", "--samples", "2", "-m", "sim/echo"]).expect_code(2);
}

#[test]
fn rows_without_an_input_of_the_chain_are_skipped() {
    let folder = Folder::new();
    chain(&folder, "inputs: { city: null, tone: kind }\nsteps: { a: { prompt: '{{ city }} {{ tone }}' } }\n");
    folder.write(
        "in.jsonl",
        "{\"city\": \"Oslo\"}\n{\"city\": \" \"}\n{\"tone\": \"x\"}\n{\"city\": \"Rome\", \"note\": \"\"}\n",
    );
    let words =
        ["run", "chain.yaml", "--rows", "in.jsonl", "-o", "out.jsonl", "-m", "sim/echo", "--skip-empty"];
    let ran = folder.run(&words).expect_code(0);
    assert!(
        ran.stderr.contains("2 of 4 rows are skipped") && ran.stderr.contains("`city` in line 2"),
        "{}",
        ran.stderr
    );
    let answers: Vec<_> = folder.rows("out.jsonl").iter().map(|row| row["answer"].clone()).collect();
    assert_eq!(answers, [echo_of("Oslo kind"), echo_of("Rome kind")]);
}

#[test]
fn a_step_runs_alone_with_those_that_it_needs() {
    let provider = Provider::start(Settings::default());
    let folder = Folder::new();
    chain(
        &folder,
        "inputs: { topic: null, tone: null }\nsteps:\n  outline: { prompt: 'Outline {{ topic }}', output: lines }\n  \
         part: { for_each: steps.outline.output, prompt: 'Write {{ item }}' }\n  \
         other: { prompt: 'Be {{ inputs.tone }}' }\n  \
         all: { prompt: \"{{ steps.part.output | join }} {{ steps.other.output }}\" }\n",
    );
    let url = provider.url();
    let run = |more: &[&str]| {
        let words = ["run", "chain.yaml", "-m", "openai/echo", "--base-url", &url, "--set", "topic=tides"];
        folder.run(&[&words[..], more].concat())
    };
    let ran = run(&["--only", "part", "--json"]).expect_code(0);
    let outline = echo_of("Outline tides");
    assert_eq!(ran.stdout.trim(), json!([echo_of(&format!("Write {outline}"))]).to_string());
    assert_eq!(provider.stats().requests, 2);
    // The others need their input.
    assert!(run(&["--only", "other"]).expect_code(2).stderr.contains("missing inputs: tone"));
    let graph = run(&["--only", "other", "--graph"]).expect_code(0).stdout;
    assert!(graph.contains("other") && !graph.contains("outline"), "{graph}");
    let wrong = run(&["--only", "prat"]).expect_code(2);
    assert!(wrong.stderr.contains("unknown step `prat`: did you mean `part`?"), "{}", wrong.stderr);
}

#[test]
fn one_key_is_for_the_steps_of_one_provider() {
    let provider = Provider::start(Settings { api_key: Some("sk-right".to_owned()), ..Settings::default() });
    let folder = Folder::new();
    let run = |steps: &str, more: &[&str]| {
        chain(&folder, &format!("steps:\n  a: {{ prompt: a, model: openai/echo }}\n  {steps}\n"));
        let mut command =
            folder.command(&[&["run", "chain.yaml", "--key-env", "MINE", "--retries", "0"], more].concat());
        command
            .env("MINE", "sk-right")
            .env("OPENAI_API_KEY", "sk-wrong")
            .env("OPENAI_BASE_URL", provider.url());
        Ran::of(command.output().expect("the program starts"))
    };
    run("b: { prompt: b, model: openai/echo }", &[]).expect_code(0);
    let ran = run("b: { prompt: b, model: anthropic/x }", &[]).expect_code(2);
    assert!(ran.stderr.contains("models of several providers (anthropic, openai)"), "{}", ran.stderr);
    let ran = run("b: { prompt: b, fallback: anthropic/x }", &["-m", "openai/echo"]).expect_code(2);
    assert!(ran.stderr.contains("several providers"), "{}", ran.stderr);
    // A server that all of them share.
    run("b: { prompt: b, model: openai/writer }", &["--base-url", &provider.url()]).expect_code(0);
}

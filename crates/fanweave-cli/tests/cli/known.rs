//! Knowledge of models before they are called: checks of requests, aliases, and the table of models.

use fanweave_sim::Settings;

use crate::support::{Folder, Provider, Ran};

/// Runs the program with a key of every provider.
fn run(folder: &Folder, args: &[&str]) -> Ran {
    let mut command = folder.command(args);
    command.env("HOME", folder.path());
    for key in ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"] {
        command.env(key, "sk-any-1234567890");
    }
    Ran::of(command.output().expect("the program starts"))
}

#[test]
fn what_a_provider_is_known_to_refuse_is_an_error_before_any_call() {
    let folder = Folder::new();
    folder.write("in.jsonl", "{\"prompt\":\"a\"}\n");
    for (model, flags, says) in [
        (
            "anthropic/claude-sonnet-5",
            ["--temperature", "0.2"],
            "anthropic/claude-sonnet-5 takes no temperature: remove --temperature",
        ),
        (
            "openai/gpt-5-mini",
            ["--reasoning-effort", "huge"],
            "openai/gpt-5-mini has no reasoning effort `huge`: use minimal, low, medium, high",
        ),
        ("openai/gpt-4o-mini", ["--reasoning-effort", "low"], "openai/gpt-4o-mini does not reason"),
        (
            "anthropic/claude-haiku-4-5",
            ["--max-tokens", "999999"],
            "writes at most 64000 tokens: lower --max-tokens",
        ),
    ] {
        for verb in [&["ask", "hello"][..], &["batch", "in.jsonl", "-o", "out.jsonl"]] {
            let ran = run(&folder, &[verb, &["-m", model], &flags].concat()).expect_code(2);
            assert!(ran.stderr.contains(says), "{verb:?}: {}", ran.stderr);
            assert!(ran.stderr.contains("--adapt"), "{}", ran.stderr);
        }
    }
}

#[test]
fn what_a_provider_may_take_is_a_warning() {
    let folder = Folder::new();
    folder.write("in.jsonl", "{\"prompt\":\"a\"}\n");
    let dry = |more: &[&str]| {
        let words = ["batch", "in.jsonl", "-o", "out.jsonl", "--dry-run"];
        run(&folder, &[&words[..], more].concat()).expect_code(0)
    };
    let misspelt = dry(&["-m", "anthropic/claude-sonet-5"]);
    assert!(misspelt.stderr.contains("did you mean anthropic/claude-sonnet-5?"), "{}", misspelt.stderr);
    let adapted = dry(&["-m", "anthropic/claude-sonnet-5", "--temperature", "0", "--adapt"]);
    assert!(
        adapted.stderr.contains("warning: anthropic/claude-sonnet-5 takes no temperature"),
        "{}",
        adapted.stderr
    );
    for quiet in [
        &["-m", "anthropic/claude-sonnet-5"][..],
        &["-m", "openai/gpt-7"],
        &["-m", "anthropic/claude-sonet-5", "--quiet"],
    ] {
        assert_eq!(dry(quiet).stderr, "", "{quiet:?}");
    }
}

#[test]
fn another_server_is_asked_whatever_is_known_of_the_model() {
    let provider = Provider::start(Settings::default());
    let folder = Folder::new();
    let words =
        ["ask", "-m", "openai/gpt-5-mini", "--base-url", &provider.url(), "--temperature", "0.5", "hi"];
    let ran = run(&folder, &words).expect_code(0);
    assert!(ran.stderr.contains("warning: openai/gpt-5-mini takes no temperature"), "{}", ran.stderr);
    assert_eq!(provider.stats().requests, 1);
}

#[test]
fn reasoning_is_sent_and_counted() {
    let provider = Provider::start(Settings::default());
    let folder = Folder::new();
    let ask = |more: &[&str]| {
        let url = provider.url();
        let words = ["ask", "-m", "openai/writer", "--base-url", &url, "--json", "hi"];
        let ran = run(&folder, &[&words[..], more].concat()).expect_code(0);
        let answer: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        answer["usage"]["reasoning_tokens"].as_u64().unwrap_or_default()
    };
    assert_eq!(ask(&[]), 0);
    assert_eq!(ask(&["--reasoning-effort", "low"]), 64);
    assert_eq!(ask(&["--param", "reasoning_effort=high"]), 256);
    assert_eq!(ask(&["--reasoning-budget", "0"]), 0);
    folder
        .write("chain.yaml", "steps: { s: { model: openai/writer, prompt: hi, reasoning_effort: hard } }\n");
    let words = ["run", "chain.yaml", "--base-url", &provider.url()];
    let ran = run(&folder, &words).expect_code(1);
    assert!(ran.stderr.contains("does not support 'hard'"), "{}", ran.stderr);
    let both = ["ask", "-m", "sim/writer", "--reasoning-effort", "low", "--reasoning-budget", "9", "hi"];
    assert!(run(&folder, &both).expect_code(2).stderr.contains("cannot be used with"));
}

#[test]
fn an_alias_of_a_vendor_is_the_model_that_it_stands_for() {
    let folder = Folder::new();
    folder.write("in.jsonl", "{\"prompt\":\"a\"}\n");
    let ran = run(&folder, &["batch", "in.jsonl", "-o", "out.jsonl", "--dry-run", "-m", "anthropic/small"]);
    let ran = ran.expect_code(0);
    assert!(ran.stdout.contains("anthropic/claude-haiku-4-5"), "{}", ran.stdout);
}

#[test]
fn the_table_of_models_is_updated_by_one_command() {
    let folder = Folder::new();
    let builtin = include_str!("../../../fanweave-models/data/models.tsv");
    let later = builtin.replace("# date: 2026-07-02", "# date: 2026-12-24");
    folder.write("later.tsv", later.replace("openai\tgpt-5-mini\t0.25\t", "openai\tgpt-5-mini\t0.5\t"));
    let page = || run(&folder, &["models", "openai/gpt-5-mini"]).expect_code(0).stdout;
    assert!(page().contains("$0.25") && page().contains("as of 2026-07-02"), "{}", page());
    let updated = run(&folder, &["models", "--update", "later.tsv"]).expect_code(0);
    assert!(updated.stderr.contains("models as of 2026-12-24, stored as "), "{}", updated.stderr);
    assert!(page().contains("$0.50") && page().contains("as of 2026-12-24"), "{}", page());
    // An invalid table replaces nothing.
    folder.write("wrong.tsv", later.replace("\t0.25\t", "\tx\t"));
    let refused = run(&folder, &["models", "--update", "wrong.tsv"]).expect_code(2);
    assert!(refused.stderr.contains("wrong.tsv: invalid table of models: line "), "{}", refused.stderr);
    assert!(page().contains("as of 2026-12-24"));
}

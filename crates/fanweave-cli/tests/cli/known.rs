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
        // The flag that was used is named.
        (
            "openai/gpt-5-mini",
            ["--param", "temperature=0.3"],
            "openai/gpt-5-mini takes no temperature: remove --param temperature",
        ),
        (
            "anthropic/claude-haiku-4-5",
            ["--param", "max_completion_tokens=999999"],
            "lower --param max_completion_tokens (999999)",
        ),
        (
            "openai/gpt-5-mini",
            ["--reasoning-summary", ""],
            "sends no summary of its reasoning by chat completions: remove --reasoning-summary",
        ),
    ] {
        let flags: Vec<_> = flags.into_iter().filter(|flag| !flag.is_empty()).collect();
        for verb in [&["ask", "hello"][..], &["chat"], &["batch", "in.jsonl", "-o", "out.jsonl"]] {
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
    folder.write("empty.toml", "date = \"2027-01-01\"\n[models]\n");
    let empty = run(&folder, &["models", "--update", "empty.toml"]).expect_code(2);
    assert!(empty.stderr.contains("empty.toml: no models"), "{}", empty.stderr);
    let refused = run(&folder, &["models", "--update", "wrong.tsv"]).expect_code(2);
    assert!(refused.stderr.contains("wrong.tsv: invalid table of models: line "), "{}", refused.stderr);
    assert!(page().contains("as of 2026-12-24"));
    // One that is older than the built-in table still replaces it, and says so.
    folder.write("older.tsv", builtin.replace("# date: 2026-07-02", "# date: 2025-01-31"));
    let says = "note: the table of models of 2025-01-31 replaces the built-in one of 2026-07-02: to use that, remove ";
    for words in [&["models", "--update", "older.tsv"][..], &["models", "openai/gpt-5-mini"]] {
        let ran = run(&folder, words).expect_code(0);
        assert!(ran.stderr.contains(says), "{}", ran.stderr);
    }
}

#[test]
fn the_parameters_of_each_step_are_checked_with_each_of_its_models() {
    let folder = Folder::new();
    let chain = |step: &str| {
        folder.write(
            "chain.yaml",
            format!("steps: {{ first: {{ template: x }}, s: {{ prompt: hi, {step} }} }}\n"),
        );
    };
    for (step, says) in [
        (
            "model: anthropic/claude-sonnet-5, temperature: 0.2",
            "step `s`: anthropic/claude-sonnet-5 takes no temperature: remove `temperature`",
        ),
        (
            "model: openai/gpt-5-mini, reasoning_effort: huge",
            "step `s`: openai/gpt-5-mini has no reasoning effort `huge`: use minimal, low, medium, high",
        ),
        (
            "model: anthropic/claude-haiku-4-5, max_tokens: 999999",
            "step `s`: anthropic/claude-haiku-4-5 writes at most 64000 tokens",
        ),
        (
            "model: openai/gpt-4o, fallback: [openai/gpt-5-mini], temperature: 0.2",
            "step `s`: openai/gpt-5-mini takes no temperature",
        ),
        (
            "model: anthropic/good, temperature: 0.2",
            "step `s`: anthropic/claude-sonnet-5 takes no temperature",
        ),
    ] {
        chain(step);
        for way in [&["--check"][..], &["--dry-run"], &[]] {
            let ran = run(&folder, &[&["run", "chain.yaml", "--no-log"], way].concat()).expect_code(2);
            assert!(
                ran.stderr.contains(says) && ran.stderr.contains("--adapt"),
                "{step} {way:?}: {}",
                ran.stderr
            );
        }
    }
    chain("temperature: 0.2");
    let ran =
        run(&folder, &["run", "chain.yaml", "--dry-run", "-m", "anthropic/claude-sonnet-5"]).expect_code(2);
    assert!(
        ran.stderr.contains("step `s`: anthropic/claude-sonnet-5 takes no temperature"),
        "{}",
        ran.stderr
    );
    let adapted = ["run", "chain.yaml", "--dry-run", "--adapt", "-m", "anthropic/claude-sonnet-5"];
    assert!(run(&folder, &adapted).expect_code(0).stderr.contains("warning: step `s`: "));
    run(&folder, &["run", "chain.yaml", "--dry-run", "-m", "anthropic/claude-haiku-4-5"]).expect_code(0);
    chain("model: anthropic/claude-sonet-5");
    for way in ["--check", "--dry-run"] {
        let ran = run(&folder, &["run", "chain.yaml", way]).expect_code(0);
        assert!(ran.stderr.contains("did you mean anthropic/claude-sonnet-5?"), "{way}: {}", ran.stderr);
    }
}

#[test]
fn a_parameter_of_a_flag_is_checked_with_those_of_the_steps() {
    let folder = Folder::new();
    folder.write(
        "chain.yaml",
        "steps:\n  a: { prompt: hi, max_tokens: 2000 }\n  b: { prompt: hi, temperature: 1 }\n",
    );
    let said = |flags: &[&str], code: i32| {
        let words = [&["run", "chain.yaml", "--dry-run", "-m"], flags].concat();
        run(&folder, &words).expect_code(code).stderr
    };
    let both = said(&["anthropic/claude-sonnet-4-5", "--reasoning-budget", "4000"], 2);
    assert!(
        both.contains("step `a`: anthropic/claude-sonnet-4-5 counts")
            && both.contains("raise `max_tokens` (2000) above --reasoning-budget (4000)"),
        "{both}"
    );
    // Only of the flags, for both steps.
    let once = said(&["anthropic/claude-sonnet-5", "--param", "temperature=0.3", "--adapt"], 0);
    assert_eq!(once, "warning: anthropic/claude-sonnet-5 takes no temperature: remove --param temperature\n");
}

#[test]
fn the_prompts_of_steps_are_checked_before_the_first_call() {
    let provider = Provider::start(Settings::default());
    let folder = Folder::new();
    let warning = |step: &str, tokens: u32| {
        format!(
            "warning: step `{step}`: openai/gpt-3.5-turbo reads at most 16385 tokens, and the prompt has about {tokens}\n"
        )
    };
    let chain = |first: &str, second: &str| {
        let text = format!(
            "model: openai/gpt-3.5-turbo\ninputs: {{ t: none }}\nsteps:\n  first: {{ prompt: {first} }}\n  second: {{ prompt: {second} }}\n"
        );
        folder.write("chain.yaml", text);
    };
    let url = provider.url();
    let said = |flags: &[&str]| {
        let words = [&["run", "chain.yaml", "--no-log", "--base-url", &url], flags].concat();
        run(&folder, &words).expect_code(0).stderr
    };
    // The text of the file alone is too long.
    chain("\"{{ 'x' * 80000 }} {{ t }}\"", "'{{ steps.first.output }}'");
    let checked = said(&["--check"]);
    assert!(checked.starts_with(&warning("first", 20_001)), "{checked}");
    assert_eq!(said(&["--dry-run"]).matches(&warning("first", 20_001)).count(), 1);
    assert_eq!(said(&["--dry-run", "--quiet"]), "");
    assert!(said(&[]).starts_with(&warning("first", 20_001)));
    // An input is too long for the second step, which is known before the first call.
    chain("'{{ t | length }}'", "\"{{ steps.first.output }} {{ t }}\"");
    folder.write("long.txt", "y".repeat(100_000));
    let before = provider.stats().requests;
    let words = [
        "run",
        "chain.yaml",
        "--no-log",
        "--base-url",
        "http://127.0.0.1:9/v1",
        "--set",
        "t=@long.txt",
        "--outage-timeout",
        "0",
        "--retries",
        "0",
    ];
    let failed = run(&folder, &words).expect_code(1).stderr;
    assert!(failed.starts_with("warning: step `second`: openai/gpt-3.5-turbo reads at most"), "{failed}");
    assert_eq!(said(&["--check"]).matches("warning").count(), 0);
    let rows = |n: usize| serde_json::json!({ "t": "z".repeat(n) }).to_string() + "\n";
    folder.write("in.jsonl", rows(10) + &rows(90_000) + &rows(95_000));
    let out = ["--rows", "in.jsonl", "-o", "out.jsonl"];
    let dry = said(&[&out[..], &["--dry-run"]].concat());
    assert_eq!(dry.matches("warning: step `second`").count(), 1, "{dry}");
    assert_eq!(provider.stats().requests, before);
    let ran = said(&out);
    assert_eq!(ran.matches("warning: step `second`").count(), 1, "{ran}");
    assert_eq!(said(&[&out[..], &["--fresh", "--quiet"]].concat()).matches("warning").count(), 0);
}

#[test]
fn a_refused_parameter_is_answered_with_the_flag_that_drops_it() {
    let provider = Provider::start(Settings::default());
    let folder = Folder::new();
    let url = provider.url();
    let words = ["-m", "openai/writer", "--base-url", &url, "--reasoning-effort", "hard"];
    let advice = "remove `reasoning_effort`, or add --adapt, which drops what the server refuses";
    let ran = run(&folder, &[&["ask", "hi", "--no-log"], &words[..]].concat()).expect_code(1);
    assert!(ran.stderr.contains(advice), "{}", ran.stderr);
    folder.write("in.jsonl", "{\"prompt\":\"a\"}\n{\"prompt\":\"b\"}\n");
    let ran = run(&folder, &[&["batch", "in.jsonl", "-o", "out.jsonl"], &words[..]].concat()).expect_code(3);
    // The summary shows the beginnings of messages, the report all of them.
    assert!(ran.stderr.contains("2 x bad_request: ") && !ran.stderr.contains("(`adapt`)"), "{}", ran.stderr);
    let report = run(&folder, &["report", "out.jsonl"]).stdout;
    assert!(report.contains(advice), "{report}");
}

#[test]
fn a_long_conversation_is_a_warning_before_its_call() {
    let provider = Provider::start(Settings::default());
    let folder = Folder::new();
    let url = provider.url();
    let words = ["chat", "--no-log", "-m", "openai/gpt-3.5-turbo", "--base-url", &url];
    let ran = folder.run_with_stdin(&words, &format!("short\n{}\nmore\n", "x".repeat(80_000)));
    assert_eq!(
        ran.stderr.matches("warning: openai/gpt-3.5-turbo reads at most 16385 tokens").count(),
        1,
        "{}",
        ran.stderr
    );
}

#[test]
fn an_image_for_a_model_that_takes_none_fails_its_row_and_a_long_prompt_is_a_warning() {
    let folder = Folder::new();
    let image = r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x.test/a.png"}}]}]}"#;
    let long = serde_json::json!({ "prompt": "x".repeat(100_000) }).to_string();
    folder.write("in.jsonl", format!("{{\"prompt\":\"a\"}}\n{image}\n{long}\n{long}\n"));
    let words = ["batch", "in.jsonl", "-o", "out.jsonl", "--dry-run", "-m", "openai/gpt-3.5-turbo"];
    let ran = run(&folder, &words).expect_code(2);
    let says = "invalid rows: 1, the first: line 2: openai/gpt-3.5-turbo takes no image input, only text";
    assert!(ran.stdout.contains(says), "{}", ran.stdout);
    let warning = "warning: openai/gpt-3.5-turbo reads at most 16385 tokens, and the prompt has about 25000";
    assert_eq!(ran.stderr.matches(warning).count(), 1, "{}", ran.stderr);
    let adapted = run(&folder, &[&words[..], &["--adapt"]].concat()).expect_code(0);
    assert!(!adapted.stdout.contains("invalid rows"), "{}", adapted.stdout);
    let other = ["batch", "in.jsonl", "-o", "out.jsonl", "--dry-run", "-m", "openai/gpt-5-mini"];
    let ran = run(&folder, &other).expect_code(0);
    assert!(!ran.stdout.contains("invalid rows") && ran.stderr.is_empty(), "{}{}", ran.stdout, ran.stderr);
    // Nothing but an image: the run does not begin.
    folder.write("images.jsonl", format!("{image}\n"));
    let ran = run(&folder, &["batch", "images.jsonl", "-o", "out.jsonl", "-m", "openai/gpt-3.5-turbo"]);
    let ran = ran.expect_code(2);
    assert!(
        ran.stderr.contains("takes no image input") && ran.stderr.contains("--keep-going"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_dry_run_prices_each_call_by_the_length_of_its_own_prompt() {
    let folder = Folder::new();
    // 100 rows of 4,000 tokens: all together are beyond the limit of 200,000 tokens for one prompt.
    let row = serde_json::json!({ "prompt": "x".repeat(16_000) }).to_string() + "\n";
    folder.write("in.jsonl", row.repeat(100));
    let words = ["batch", "in.jsonl", "-o", "out.jsonl", "--dry-run", "--max-tokens", "1000", "-m"];
    let cost = |model: &str| run(&folder, &[&words[..], &[model]].concat()).expect_code(0).stdout;
    // 0.4 M tokens at $1.25, and 0.1 M at $10.
    let short = cost("gemini/gemini-2.5-pro");
    assert!(short.contains("cost: about $1.50 with gemini/gemini-2.5-pro"), "{short}");
    folder.write("in.jsonl", &(serde_json::json!({ "prompt": "x".repeat(1_200_000) }).to_string() + "\n"));
    // 0.3 M tokens at $2.50, and 1,000 at $15.
    let long = cost("gemini/gemini-2.5-pro");
    assert!(long.contains("cost: about $0.77 with gemini/gemini-2.5-pro"), "{long}");

    let chain = |n: usize| {
        let one = |model: &str| {
            format!(
                "{{ model: {model}, max_tokens: 1000, for_each: inputs.n, prompt: \"{{{{ 'x' * {n} }}}}\" }}"
            )
        };
        let (a, b, c) =
            (one("gemini/gemini-2.5-pro"), one("openai/gpt-5.4"), one("anthropic/claude-haiku-4-5"));
        let text = format!("inputs: {{ n: [1, 2, 3, 4] }}\nsteps:\n  a: {a}\n  b: {b}\n  c: {c}\n");
        folder.write("chain.yaml", &text);
        run(&folder, &["run", "chain.yaml", "--dry-run"]).expect_code(0).stdout
    };
    // Four calls of each: 100,000 tokens, and 1,000 of the answer.
    let short = chain(400_000);
    for says in [
        "$0.54 with gemini/gemini-2.5-pro",
        "$1.06 with openai/gpt-5.4",
        "$0.42 with anthropic/claude-haiku-4-5",
    ] {
        assert!(short.contains(says), "{says}: {short}");
    }
    // 300,000 tokens: beyond the limits of the first two.
    let long = chain(1_200_000);
    for says in [
        "$3.06 with gemini/gemini-2.5-pro",
        "$6.09 with openai/gpt-5.4",
        "$1.22 with anthropic/claude-haiku-4-5",
    ] {
        assert!(long.contains(says), "{says}: {long}");
    }
}

//! `--dry-run`: what a run would cost, before it.

use fanweave_sim::Settings;
use serde_json::{Value, json};

use crate::support::{Folder, Provider, Ran, prompts};

/// Prices of `openai/echo`: a dollar for 1,000 tokens in, and ten for as many out.
const PRICES: &str = "date = '2026-01-01'\n[models.'openai/echo']\ninput = 1000\noutput = 10000\n";

fn json_of(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).expect("stdout is JSON")
}

#[test]
fn rows_that_are_done_are_not_estimated_again() {
    let provider = Provider::start(Settings::default());
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(20));
    folder.write("prices.toml", PRICES);
    let url = provider.url();
    let run = |more: &[&str]| {
        folder.batch(&url, &[&["--prices", "prices.toml", "--max-tokens", "100"], more].concat())
    };
    let before = run(&["--dry-run"]).expect_code(0).stdout;
    assert!(before.contains("rows: 20\n") && before.contains("at most 2.0k out"), "{before}");
    assert!(!before.contains("time:"), "no limit and no earlier row says how long it takes: {before}");
    run(&["--limit", "15"]).expect_code(0);
    let after = run(&["--dry-run"]).expect_code(0).stdout;
    assert!(after.starts_with("line 16:\n"), "{after}");
    assert!(after.contains("rows: 20, 15 of 20 done\n") && after.contains("at most 500 out"), "{after}");
    assert!(after.contains("time: about ") && after.contains("with 64 rows in flight"), "{after}");
    let fresh = run(&["--dry-run", "--fresh"]).expect_code(0).stdout;
    assert!(fresh.contains("rows: 20\n"), "{fresh}");
    // Settings that the run would refuse are refused here.
    let other = run(&["--dry-run", "--temperature", "1"]).expect_code(2);
    assert!(other.stderr.contains("belongs to another run: temperature"), "{}", other.stderr);
    run(&[]).expect_code(0);
    let all = run(&["--dry-run"]).expect_code(0).stdout;
    assert!(all.contains("rows: 20, and all are done\n") && all.contains("about $0 with"), "{all}");
}

#[test]
fn a_budget_is_compared_with_the_cost_of_all_models() {
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(20));
    folder.write("prices.toml", PRICES.to_owned() + "[models.'openai/two']\ninput = 0\noutput = 20000\n");
    let run = |more: &[&str]| {
        let words = [
            "batch",
            "in.jsonl",
            "-o",
            "out.jsonl",
            "--dry-run",
            "--prices",
            "prices.toml",
            "--max-tokens",
            "100",
        ];
        folder.run(&[&words[..], more].concat()).expect_code(0)
    };
    // A dollar for each answer, and half a cent or so for the question.
    let one = run(&["-m", "openai/echo", "--budget-usd", "100"]).stdout;
    assert!(one.contains("budget: $100.00 is enough\n") && !one.contains("total:"), "{one}");
    let one = run(&["-m", "openai/echo", "--budget-usd", "10.5"]).stdout;
    assert!(
        one.contains("budget: $10.50 is enough for about 10 of 20 rows: the run would stop there"),
        "{one}"
    );
    // Three of four rows cost a dollar, and the fourth two.
    let two = run(&["-m", "openai/echo=3,openai/two", "--budget-usd", "30"]).stdout;
    assert!(
        two.contains("$20.14 with openai/echo alone") && two.contains("$40.00 with openai/two alone"),
        "{two}"
    );
    assert!(two.contains("total: about $25.1") && two.contains("budget: $30.00 is enough\n"), "{two}");
    let fallback = run(&["-m", "openai/echo", "--fallback-model", "openai/two"]).stdout;
    assert!(fallback.contains("total: about $20.14\n"), "{fallback}");

    folder.write(
        "chain.yaml",
        "inputs: { prompt: a }\nlimits: { budget_usd: 5 }\nsteps:\n  a: { prompt: '{{ prompt }}' }\n",
    );
    let chain = [
        "run",
        "chain.yaml",
        "-m",
        "openai/echo",
        "--rows",
        "in.jsonl",
        "--dry-run",
        "--prices",
        "prices.toml",
        "--max-tokens",
        "100",
    ];
    let chain = folder.run(&chain).expect_code(0).stdout;
    assert!(chain.contains("budget: $5.00 is enough for about 4 of 20 rows"), "{chain}");
}

#[test]
fn a_part_of_the_rows_is_extrapolated_to_the_whole_input() {
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(50));
    folder.write("prices.toml", PRICES);
    folder.write("chain.yaml", "inputs: { prompt: a }\nsteps:\n  a: { prompt: '{{ prompt }}' }\n");
    let batch = ["batch", "in.jsonl", "-o", "out.jsonl"];
    let chain = ["run", "chain.yaml", "--rows", "in.jsonl"];
    let dry = ["-m", "openai/echo", "--dry-run", "--prices", "prices.toml", "--max-tokens", "100"];
    for words in [&batch[..], &chain[..]] {
        for part in [["--limit", "5"], ["--sample", "5"]] {
            let text = folder.run(&[words, &dry, &part].concat()).expect_code(0).stdout;
            assert!(text.contains("rows: 5 of 50\n"), "{text}");
            assert!(text.contains("\nall 50 rows of the input: tokens about "), "{text}");
            assert!(text.contains("5.0k out, cost about $50."), "{text}");
        }
        let all = folder.run(&[words, &dry, &["--limit", "50"]].concat()).expect_code(0).stdout;
        assert!(all.contains("rows: 50\n") && !all.contains("of the input"), "{all}");
    }
}

#[test]
fn equal_requests_count_once_if_they_share_an_answer() {
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(4).repeat(3));
    folder.write("prices.toml", PRICES);
    folder.write("chain.yaml", "inputs: { prompt: a }\nsteps:\n  a: { prompt: '{{ prompt }}' }\n");
    let dry = ["--dry-run", "--json", "--prices", "prices.toml"];
    for words in [
        &["batch", "in.jsonl", "-o", "out.jsonl", "-m", "openai/echo"][..],
        &["run", "chain.yaml", "--rows", "in.jsonl", "-m", "openai/echo"],
        &["embed", "in.jsonl", "-o", "out.jsonl", "-e", "openai/text-embedding-3-small"],
    ] {
        let rows = |more: &[&str]| json_of(&folder.run(&[words, &dry, more].concat()).expect_code(0));
        let (all, once) = (rows(&[]), rows(&["--dedupe"]));
        assert_eq!((&all["rows"]["to_run"], &all["rows"]["equal"]), (&json!(12), &json!(0)));
        assert_eq!((&once["rows"]["to_run"], &once["rows"]["equal"]), (&json!(4), &json!(8)));
        let input = |estimate: &Value| estimate["usage"]["input_tokens"].as_u64().unwrap();
        assert_eq!(input(&all), 3 * input(&once), "{words:?}");
    }
}

#[test]
fn the_estimate_is_available_as_json() {
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(10) + "not JSON\n");
    folder.write("prices.toml", PRICES);
    let dry = ["-m", "openai/echo", "--dry-run", "--json", "--prices", "prices.toml", "--max-tokens", "100"];
    let more = ["--budget-usd", "5", "--rpm", "2", "--limit", "9"];
    let estimate = json_of(
        &folder.run(&[&["batch", "in.jsonl", "-o", "out.jsonl"], &dry[..], &more].concat()).expect_code(0),
    );
    assert_eq!(estimate["rows"]["to_run"], 9);
    assert_eq!(estimate["rows"]["of_input"], 11);
    assert_eq!((&estimate["budget"]["is_enough"], &estimate["budget"]["rows"]), (&json!(false), &json!(4)));
    assert_eq!(estimate["seconds"], 240.0);
    assert_eq!(estimate["prompts"][2], json!({ "of": "line 3", "messages": ["user: question 2"] }));
    let usd = estimate["cost_usd"].as_f64().unwrap();
    assert!(
        (9.0..9.1).contains(&usd) && estimate["whole_input"]["cost_usd"].as_f64().unwrap() > 11.0,
        "{estimate}"
    );

    // Rows that cannot be used change the exit code, unless the run is to keep going.
    let batch = ["batch", "in.jsonl", "-o", "out.jsonl"];
    let estimate = json_of(&folder.run(&[&batch[..], &dry].concat()).expect_code(2));
    assert_eq!((&estimate["rows"]["invalid"], &estimate["rows"]["to_run"]), (&json!(1), &json!(10)));
    assert!(estimate["rows"]["first_invalid"].as_str().unwrap().contains("line 11"), "{estimate}");
    folder.run(&[&batch[..], &dry, &["--keep-going"]].concat()).expect_code(0);

    folder.write("chain.yaml", "steps:\n  a: { prompt: hello }\n");
    let one = json_of(&folder.run(&[&["run", "chain.yaml"], &dry[..]].concat()).expect_code(0));
    assert_eq!((&one["rows"], &one["calls"]), (&Value::Null, &json!(1)));
}

#[test]
fn rows_whose_model_is_refused_are_counted_with_the_reason() {
    let folder = Folder::new();
    let row =
        |model: &str| json!({ "model": model, "messages": [{ "role": "user", "content": "a" }] }).to_string();
    folder.write("in.jsonl", [row("claude-haiku-4-5"), row("gpt-4o"), row("gpt-4o")].join("\n"));
    let words = ["batch", "in.jsonl", "-o", "out.jsonl", "-m", "anthropic/claude-haiku-4-5", "--dry-run"];
    let text = folder.run(&words).expect_code(2).stdout;
    assert!(text.contains("invalid rows: 2, the first: line 2: the row names the model gpt-4o"), "{text}");
    assert!(text.contains("at 500 per answer") && text.contains("about 500 out"), "{text}");
}

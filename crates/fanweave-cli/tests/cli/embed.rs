//! `fanweave embed`.

use fanweave_sim::Settings;

use crate::support::{Folder, Provider};

#[test]
fn rows_have_vectors_and_a_second_run_has_nothing_to_do() {
    let folder = Folder::new();
    folder.write("in.csv", "id,text\na,tides turn\nb,\nc,the moon\n");
    let ran = folder.run(&["embed", "in.csv", "-o", "out.jsonl"]).expect_code(3);
    assert!(ran.stderr.contains("the text is empty"), "{}", ran.stderr);
    let rows = folder.rows("out.jsonl");
    let length = |at: usize| rows[at]["answer"].as_array().map_or(0, Vec::len);
    assert!(length(0) > 0 && length(0) == length(2) && length(1) == 0, "{rows:?}");
    assert!(rows[0]["answer"] != rows[2]["answer"]);
    assert_eq!(rows[0]["custom_id"], "a");
    let ran = folder.run(&["embed", "in.csv", "-o", "out.jsonl"]).expect_code(0);
    assert!(ran.stderr.contains("nothing to do"), "{}", ran.stderr);

    folder.run(&["embed", "in.csv", "-o", "out.npy"]).expect_code(3);
    let bytes = std::fs::read(folder.file("out.npy")).unwrap();
    assert!(bytes.starts_with(b"\x93NUMPY"));
    assert_eq!(bytes.len(), 128 + 3 * 4 * length(0));
    folder.write("taken.npy", "x");
    let ran = folder.run(&["embed", "in.csv", "-o", "taken.npy"]).expect_code(2);
    assert!(ran.stderr.contains("already exists and was not written by this run"), "{}", ran.stderr);
}

#[test]
fn texts_of_many_rows_share_a_request() {
    let provider = Provider::start(Settings::default());
    let folder = Folder::new();
    folder.write(
        "in.jsonl",
        (0..500).map(|n| format!("{{\"a\": {n}, \"b\": \"words\"}}\n")).collect::<String>(),
    );
    let url = provider.url();
    let args = [
        "embed",
        "in.jsonl",
        "-o",
        "out.jsonl",
        "-e",
        "openai/text-embedding-3-small",
        "--embeddings-url",
        &url,
    ];
    folder.run(&[&args[..], &["-p", "{{ a }} {{ b }}", "--per-request", "50"]].concat()).expect_code(0);
    let requests = provider.stats().requests;
    assert!((10..=40).contains(&requests), "{requests} requests for 500 rows");
    let rows = folder.rows("out.jsonl");
    assert_eq!(rows.len(), 500);
    assert!(rows.iter().enumerate().all(|(at, row)| row["index"] == at && row["answer"].is_array()));
    let tokens: u64 = rows.iter().filter_map(|row| row["usage"]["input_tokens"].as_u64()).sum();
    assert!(tokens >= 500, "{tokens}");
    let ran = folder.run(&["embed", "in.jsonl", "-o", "x.jsonl"]).expect_code(3);
    assert!(ran.stderr.contains("name its fields with --prompt"), "{}", ran.stderr);
}

#[test]
fn the_cost_of_vectors_is_estimated_and_kept_within_a_budget() {
    let provider = Provider::start(Settings::default());
    let folder = Folder::new();
    folder.write("in.csv", "text\n".to_owned() + &"some words to embed\n".repeat(40) + "\"\"\n");
    folder.write("prices.toml", "date = '2026-01-01'\n[models.'openai/e']\ninput = 1e4\noutput = 0\n");
    let url = provider.url();
    let embed = |more: &[&str]| {
        let words = [
            "embed",
            "in.csv",
            "-o",
            "out.jsonl",
            "-e",
            "openai/e",
            "--embeddings-url",
            &url,
            "--prices",
            "prices.toml",
        ];
        folder.run(&[&words[..], more].concat())
    };
    let dry = embed(&["--dry-run"]).expect_code(2).stdout;
    assert!(
        dry.starts_with("line 2:\n  some words to embed\n")
            && dry.contains("\ninvalid rows: 1, the first: line 42: the text is empty\n"),
        "{dry}"
    );
    let dry = embed(&["--dry-run", "--skip-empty", "--budget-usd", "1"]).expect_code(0);
    assert!(dry.stderr.contains("1 of 41 rows is skipped"), "{}", dry.stderr);
    assert!(
        dry.stdout.contains("rows: 40\n") && dry.stdout.contains("budget: $1.00 is enough for about "),
        "{}",
        dry.stdout
    );
    assert_eq!(provider.stats().requests, 0);

    // Equal texts are embedded once.
    let ran = embed(&["--skip-empty", "--dedupe"]).expect_code(0);
    assert!(ran.stderr.contains("40 ok") && ran.stderr.contains("cost $"), "{}", ran.stderr);
    let rows = folder.rows("out.jsonl");
    let paid: Vec<_> =
        rows.iter().filter_map(|row| row["cost_usd"].as_f64()).filter(|usd| *usd > 0.0).collect();
    assert_eq!((rows.len(), paid.len()), (40, 1), "{paid:?}");
    let called = |row: &&serde_json::Value| row["attempts"] == 1 && row["cost_usd"].as_f64() > Some(0.0);
    assert_eq!(rows.iter().filter(called).count(), 1);
    let stopped = embed(&["--skip-empty", "--fresh", "--budget-usd", "6", "-c", "1"]).expect_code(5);
    assert!(stopped.stderr.contains("The next row needs a budget of $"), "{}", stopped.stderr);
}

#[test]
fn parameters_and_headers_of_vectors_are_checked() {
    let folder = Folder::new();
    folder.write("in.txt", "tides\n");
    let words = ["embed", "in.txt", "-o", "out.jsonl", "-e", "openai/text-embedding-3-small"];
    for (more, why) in [
        (&["--param", "temperature=1"][..], "requests for vectors have no parameter temperature"),
        (&["--param", "dimensions=x"], "dimensions must be a whole number"),
        (&["--header", "Authorization: x"], "carries the API key"),
        (&["-e", "sim/words", "--param", "dimensions=8"], "sim/words is simulated"),
    ] {
        let words = if more[0] == "-e" { &words[..4] } else { &words[..] };
        let ran = folder.run(&[words, more].concat()).expect_code(2);
        assert!(ran.stderr.contains(why), "{}", ran.stderr);
    }
}

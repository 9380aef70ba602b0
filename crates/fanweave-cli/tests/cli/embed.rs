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

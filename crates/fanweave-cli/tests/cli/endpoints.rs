//! Rows of OpenAI batch files for all endpoints.

use fanweave_sim::Settings;
use serde_json::{Value, json};

use crate::support::{Folder, Provider, echo_of};

fn line(id: &str, url: &str, body: &Value) -> String {
    json!({"custom_id": id, "method": "POST", "url": url, "body": body}).to_string() + "\n"
}

fn rows() -> String {
    line(
        "chat",
        "/v1/chat/completions",
        &json!({"model": "echo", "messages": [{"role": "user", "content": "hi"}]}),
    ) + &line("text", "/v1/completions", &json!({"model": "echo", "prompt": "ho"}))
        + &line("response", "/v1/responses", &json!({"model": "openai/echo", "input": "hu"}))
        + &line("vector", "/v1/embeddings", &json!({"input": ["one", "two"]}))
        + &line("image", "/v1/images/generations", &json!({"prompt": "a bear"}))
}

#[test]
fn rows_go_to_the_endpoint_that_they_name_and_come_back_in_its_form() {
    let provider = Provider::start(Settings::default());
    let folder = Folder::new();
    folder.write("in.jsonl", rows());
    folder.batch(&provider.url(), &[]).expect_code(3);
    let rows = folder.rows("out.jsonl");
    let body = |at: usize| rows[at]["response"]["body"].clone();
    assert_eq!(body(0)["choices"][0]["message"]["content"], echo_of("hi"));
    assert_eq!(
        (&body(1)["object"], &body(1)["choices"][0]["text"]),
        (&json!("text_completion"), &json!(echo_of("ho")))
    );
    assert_eq!((&body(2)["object"], &body(2)["model"]), (&json!("response"), &json!("echo")));
    assert_eq!((&body(3)["object"], body(3)["data"].as_array().map(Vec::len)), (&json!("list"), Some(2)));
    assert!(
        rows[4]["error"]["message"].as_str().unwrap().contains("only /v1/chat/completions, /v1/responses"),
        "{}",
        rows[4]
    );
    let ran = folder.batch(&provider.url(), &["--json"]).expect_code(0);
    let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&summary["resumed"], &summary["ok"]), (&json!(5), &json!(4)));
    folder.batch(&provider.url(), &["--fresh", "--output-format", "jsonl"]).expect_code(3);
    let plain = folder.rows("out.jsonl");
    assert!(plain[2]["answer"].as_str().is_some_and(|answer| answer.contains("hu")), "{}", plain[2]);
    assert!(plain[3]["answer"].as_str().is_some_and(|answer| answer.starts_with("[")), "{}", plain[3]);
    assert!(plain[1]["usage"]["input_tokens"].as_u64() > Some(0), "{}", plain[1]);
}

#[test]
fn a_simulated_model_without_a_server_has_no_other_endpoints() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows());
    folder.run(&["batch", "in.jsonl", "-o", "out.jsonl", "-m", "sim/echo"]).expect_code(3);
    let rows = folder.rows("out.jsonl");
    assert!(rows[0]["error"].is_null());
    assert!(
        rows[3]["error"]["message"].as_str().unwrap().contains("requests for /embeddings need"),
        "{}",
        rows[3]
    );
}

//! Rows of OpenAI batch files for all endpoints.

use fanweave_sim::Settings;
use serde_json::{Value, json};

use crate::support::{Folder, Provider, Ran, echo_of};

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
    assert_eq!((&body(2)["object"], &body(2)["model"]), (&json!("response"), &json!("openai/echo")));
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
    let ran = folder
        .run(&["batch", "in.jsonl", "-o", "out.jsonl", "-m", "sim/echo", "--system", "Be brief."])
        .expect_code(3);
    let note =
        "rows for /completions, the first in line 2, are sent as they are: --system does not apply to them";
    assert!(ran.stderr.contains(note), "{}", ran.stderr);
    let rows = folder.rows("out.jsonl");
    assert!(rows[0]["error"].is_null());
    assert!(
        rows[3]["error"]["message"].as_str().unwrap().contains("requests for /embeddings need"),
        "{}",
        rows[3]
    );
}

/// Runs a batch file with the `echo` of a provider in each dialect. Returns the dialect and its results.
fn in_every_dialect(folder: &Folder, code: i32) -> Vec<(&'static str, Vec<Value>)> {
    let provider = Provider::start(Settings::default());
    let origin = provider.url().trim_end_matches("/v1").to_owned();
    let run = |vendor: &'static str| {
        let url = if vendor.starts_with("openai") { format!("{origin}/v1") } else { origin.clone() };
        let (model, output) = (format!("{vendor}/echo"), format!("{vendor}.jsonl"));
        let args = [
            "batch",
            "in.jsonl",
            "-o",
            &output,
            "-m",
            &model,
            "--base-url",
            &url,
            "--override-model",
            "-q",
            "--keep-going",
        ];
        let mut command = folder.command(&args);
        for key in ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"] {
            command.env(key, "none");
        }
        // Its own dialect takes every part as it is.
        let code = if vendor == "openai" { 0 } else { code };
        Ran::of(command.output().expect("the program starts")).expect_code(code);
        (vendor, folder.rows(&output))
    };
    ["openai", "anthropic", "gemini", "ollama", "openai-responses"].into_iter().map(run).collect()
}

fn chat_of(part: &Value) -> String {
    let content = json!([{"type": "text", "text": "What is this?"}, part]);
    let id = part["type"].as_str().expect("a type");
    line(id, "/v1/chat/completions", &json!({"messages": [{"role": "user", "content": content}]}))
}

#[test]
fn images_with_detail_are_accepted_in_every_dialect_and_results_have_the_form_of_chats() {
    let folder = Folder::new();
    let image = json!({"url": "data:image/png;base64,iVBORw0KGgoAAAAA", "detail": "low"});
    folder.write("in.jsonl", chat_of(&json!({"type": "image_url", "image_url": image})));
    for (vendor, rows) in in_every_dialect(&folder, 0) {
        let body = &rows[0]["response"]["body"];
        assert_eq!(body["object"], "chat.completion", "{vendor}: {body}");
        assert_eq!(body["choices"][0]["message"]["content"], echo_of("What is this?"), "{vendor}");
        assert!(body["usage"]["total_tokens"].as_u64() > Some(0), "{vendor}: {body}");
    }
}

#[test]
fn an_error_of_a_row_has_neither_base64_nor_debug_text() {
    let folder = Folder::new();
    let data = "QUFB".repeat(50_000);
    let parts = [
        json!({"type": "video_url", "video_url": {"url": format!("data:video/mp4;base64,{data}")}}),
        json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{data}"), "detail": "low", "size": 1}}),
        json!({"type": "input_audio", "input_audio": {"data": data, "format": "wav", "rate": 8000}}),
    ];
    folder.write("in.jsonl", parts.iter().map(chat_of).collect::<String>());
    for (vendor, rows) in in_every_dialect(&folder, 3).into_iter().skip(1) {
        for (row, part) in rows.iter().zip(&parts) {
            let message = row["error"]["message"].as_str().unwrap_or_else(|| panic!("{vendor}: {row}"));
            assert!(message.contains("messages[0].content[1]"), "{vendor}, {}: {message}", part["type"]);
            assert!(message.len() < 300 && !message.contains("QUFB"), "{vendor}: {message}");
            for debug in ["Some(", "Part::", "Object {", "String(\""] {
                assert!(!message.contains(debug), "{vendor}: {message}");
            }
        }
    }
}

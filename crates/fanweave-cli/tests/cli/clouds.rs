//! Bedrock and Vertex AI, as the simulated provider offers them: signed requests, and tokens that it issues.

use std::process::Command;

use fanweave_sim::Settings;
use serde_json::{Value, json};

use crate::support::{Folder, Provider, Ran};

const SECRET: &str = "canarySecretKeyOfTheTests/1234567890";

/// A cloud: its model, the base URL, and the credentials.
struct Cloud {
    model: &'static str,
    url: String,
    env: Vec<(&'static str, String)>,
}

fn clouds(provider: &Provider, secret: &str) -> [Cloud; 2] {
    let url = provider.url();
    let origin = url.trim_end_matches("/v1");
    let bedrock = vec![
        ("AWS_ACCESS_KEY_ID", "AKIDTEST".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", secret.to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
    ];
    let vertex = vec![("GCE_METADATA_HOST", origin.trim_start_matches("http://").to_owned())];
    [
        Cloud { model: "bedrock-converse/echo", url: origin.to_owned(), env: bedrock },
        Cloud {
            model: "vertex/echo",
            url: format!("{url}/projects/p/locations/global/publishers/google"),
            env: vertex,
        },
    ]
}

impl Cloud {
    fn run(&self, folder: &Folder, words: &[&str]) -> Ran {
        let model = ["-m", self.model, "--base-url", &self.url];
        let mut command: Command = folder.command(&[words, &model].concat());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        let ran = Ran::of(command.output().expect("the program starts"));
        let shown = format!("{}{}", ran.stdout, ran.stderr);
        assert!(!shown.contains(SECRET) && !shown.contains("ya29."), "{shown}");
        ran
    }
}

fn settings() -> Settings {
    Settings { api_key: Some(SECRET.to_owned()), ..Settings::default() }
}

#[test]
fn batches_and_streams_run_on_the_clouds() {
    let provider = Provider::start(settings());
    for cloud in clouds(&provider, SECRET) {
        let folder = Folder::new();
        let prompts: Vec<_> = (0..20).map(|n| json!({ "prompt": format!("row number {n}") })).collect();
        folder.write("in.jsonl", prompts.iter().map(|row| format!("{row}\n")).collect::<String>());
        cloud.run(&folder, &["batch", "in.jsonl", "-o", "out.jsonl", "--no-hedging"]).expect_code(0);
        let rows = folder.rows("out.jsonl");
        assert_eq!(rows.len(), 20);
        for (n, row) in rows.iter().enumerate() {
            let answer = row["answer"].as_str().expect("an answer");
            assert!(answer.ends_with(&format!("row number {n}")), "{row}");
            assert!(row["usage"]["input_tokens"].as_u64().is_some_and(|tokens| tokens > 0), "{row}");
        }
        let streamed = cloud.run(&folder, &["ask", "one two three", "--no-log"]).expect_code(0);
        assert!(streamed.stdout.trim_end().ends_with("one two three"), "{}", streamed.stdout);
        let whole = cloud.run(&folder, &["ask", "one two three", "--no-log", "--json"]).expect_code(0);
        let whole: Value = serde_json::from_str(&whole.stdout).expect("JSON");
        assert_eq!(whole["answer"], streamed.stdout.trim_end());
    }
}

#[test]
fn limits_and_errors_of_the_clouds_are_those_of_any_provider() {
    let settings = Settings { first_429: Some("3:100ms".parse().expect("a limit")), ..settings() };
    let provider = Provider::start(Settings { models: vec!["echo".to_owned()], ..settings });
    for mut cloud in clouds(&provider, SECRET) {
        let folder = Folder::new();
        folder.write("in.txt", "a\nb\nc\nd\n");
        let words = ["batch", "in.txt", "-o", "out.jsonl", "-c", "4", "--no-hedging"];
        cloud.run(&folder, &words).expect_code(0);
        assert!(folder.rows("out.jsonl").iter().all(|row| row["error"].is_null()));
        cloud.model = if cloud.model.starts_with("vertex") { "vertex/none" } else { "bedrock-converse/none" };
        let unknown = cloud.run(&folder, &["batch", "in.txt", "-o", "none.jsonl"]).expect_code(1);
        assert!(unknown.stderr.contains("none"), "{}", unknown.stderr);
        assert!(unknown.stderr.contains("4 rows remaining"), "{}", unknown.stderr);
    }
    assert!(provider.stats().rejected_429 > 0);
    let [bedrock, _] = clouds(&provider, "another/secret/key/1234567890");
    let folder = Folder::new();
    folder.write("in.txt", "a\nb\n");
    let refused = bedrock.run(&folder, &["batch", "in.txt", "-o", "out.jsonl"]).expect_code(1);
    assert!(
        refused.stderr.contains("The request signature we calculated does not match"),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("2 rows remaining"), "{}", refused.stderr);
}

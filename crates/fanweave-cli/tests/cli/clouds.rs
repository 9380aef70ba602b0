//! Batches over clouds that sign requests or take tokens. The simulated provider verifies both.

use fanweave_sim::Settings;
use serde_json::Value;

use crate::support::{Folder, Provider, Ran, assert_all_answered, prompts};

const SECRET: &str = "testCanarySecretKey/1234567890abcdef";

fn provider() -> Provider {
    Provider::start(Settings { api_key: Some(SECRET.to_owned()), ..Settings::default() })
}

/// A batch over a cloud. `secret` is that of the account.
fn batch(folder: &Folder, provider: &Provider, cloud: &str, secret: &str, more: &[&str]) -> Ran {
    let origin = provider.url().trim_end_matches("/v1").to_owned();
    let host = origin.trim_start_matches("http://").to_owned();
    let model = format!("{cloud}/echo");
    let url = match cloud {
        "vertex" => format!("{origin}/v1/projects/p/locations/global/publishers/google"),
        _ => origin,
    };
    let words = ["batch", "in.jsonl", "-o", "out.jsonl", "-m", &model, "--base-url", &url, "--json"];
    let args: Vec<_> = words.iter().chain(more).collect();
    let mut command = folder.command(&args);
    command.env("HOME", folder.path()).env("AWS_REGION", "eu-west-1");
    command.env("AWS_ACCESS_KEY_ID", "AKIDTESTCANARY").env("AWS_SECRET_ACCESS_KEY", secret);
    if cloud == "vertex" {
        command.env("GCE_METADATA_HOST", host);
    }
    Ran::of(command.output().expect("the program starts"))
}

#[test]
fn a_batch_over_a_cloud_is_answered_resumed_and_counted() {
    for cloud in ["bedrock-converse", "vertex"] {
        let (provider, folder) = (provider(), Folder::new());
        folder.write("in.jsonl", prompts(30));
        let ran = batch(&folder, &provider, cloud, SECRET, &["-c", "8"]).expect_code(0);
        assert_all_answered(&folder.rows("out.jsonl"), 30);
        let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(summary["ok"], 30, "{cloud}: {summary}");
        assert!(folder.rows("out.jsonl")[0]["usage"]["input_tokens"].as_u64() > Some(0), "{cloud}");
        let requests = provider.stats().requests;
        let ran = batch(&folder, &provider, cloud, SECRET, &[]).expect_code(0);
        let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!((&summary["resumed"], provider.stats().requests), (&30.into(), requests), "{cloud}");
    }
}

#[test]
fn a_batch_with_a_wrong_secret_stops_and_does_not_show_it() {
    let (provider, folder) = (provider(), Folder::new());
    folder.write("in.jsonl", prompts(200));
    let secret = "anotherCanarySecretKey/1234567890";
    let ran = batch(&folder, &provider, "bedrock-converse", secret, &["-c", "4"]);
    assert_ne!(ran.code, 0);
    assert!(ran.stderr.contains("signature"), "{}", ran.stderr);
    assert!(provider.stats().requests < 100, "{:?}", provider.stats());
    let written: String = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|file| file.is_file())
        .map(|file| String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned())
        .collect();
    for text in [&ran.stdout, &ran.stderr, &written] {
        assert!(!text.contains(secret), "{text}");
    }
}

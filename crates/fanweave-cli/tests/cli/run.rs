//! `fanweave run`: chain files.

use fanweave_sim::Settings;

use crate::support::{Folder, Provider, echo_of};

const CHAIN: &str = "
inputs: { topic: tides, tone: null }
limits: { concurrency: 8 }
steps:
  outline: { prompt: \"{{ tone }}\\n{{ topic }}\", output: lines }
  section: { for_each: steps.outline.output, prompt: 'about {{ item }}' }
  all: { template: \"{{ steps.section.output | join('\\\\n') }}\" }
";

/// What the chain makes of a topic and a tone where every answer is an echo.
fn made(topic: &str, tone: &str) -> String {
    let outline = echo_of(&format!("{tone}\n{topic}"));
    let sections = outline.lines().map(|title| echo_of(&format!("about {title}")));
    sections.collect::<Vec<_>>().join("\n")
}

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("chain.yaml", CHAIN);
    folder
}

#[test]
fn a_chain_is_run_and_its_text_printed() {
    let (folder, provider) = (folder(), Provider::start(Settings::default()));
    let url = provider.url();
    let run = ["run", "chain.yaml", "--model", "openai/echo", "--base-url", &url, "--set", "tone=dry"];
    let ran = folder.run(&run).expect_code(0);
    assert_eq!(ran.stdout, made("tides", "dry") + "\n");
    let ran = folder.run(&[&run[..], &["--set", "topic=wind", "--json"]].concat()).expect_code(0);
    assert_eq!(serde_json::from_str::<String>(&ran.stdout).unwrap(), made("wind", "dry"));
    assert_eq!(provider.stats().requests, 2 * 3);
}

#[test]
fn every_row_is_a_run_and_what_is_done_is_not_done_again() {
    let (folder, provider) = (folder(), Provider::start(Settings::default()));
    folder.write("rows.csv", "topic,note\nwind,a\nrain,b\nsnow,c\n");
    let url = provider.url();
    let run = [
        "run",
        "chain.yaml",
        "--model",
        "openai/echo",
        "--base-url",
        &url,
        "--set",
        "tone=dry",
        "--rows",
        "rows.csv",
        "-o",
        "out.jsonl",
    ];
    folder.run(&run).expect_code(0);
    let rows = folder.rows("out.jsonl");
    let answers: Vec<_> = rows.iter().map(|row| row["answer"].as_str().unwrap().to_owned()).collect();
    assert_eq!(answers, ["wind", "rain", "snow"].map(|topic| made(topic, "dry")));
    let calls = provider.stats().requests;
    folder.run(&run).expect_code(4);
    assert_eq!(provider.stats().requests, calls);
    folder.write("chain.yaml", CHAIN.replace("about", "on"));
    let ran = folder.run(&run).expect_code(2);
    assert!(ran.stderr.contains("chain"), "{}", ran.stderr);
}

#[test]
fn a_file_is_checked_and_drawn_without_a_model() {
    let folder = folder();
    insta::assert_snapshot!("run_check", folder.run(&["run", "chain.yaml", "--check"]).expect_code(0).stderr);
    insta::assert_snapshot!("run_graph", folder.run(&["run", "chain.yaml", "--graph"]).expect_code(0).stdout);
    let mermaid = folder.run(&["run", "chain.yaml", "--graph", "mermaid"]).expect_code(0).stdout;
    insta::assert_snapshot!("run_graph_mermaid", mermaid);
}

#[test]
fn what_is_wrong_is_said_before_any_call() {
    let (folder, provider) = (folder(), Provider::start(Settings::default()));
    folder.write("wrong.yaml", CHAIN.replace("{{ topic }}", "{{ topc }}").replace("for_each", "for_eech"));
    folder.write("no-model.yaml", "steps: { a: { prompt: x, model: opnai/x } }");
    let url = provider.url();
    let model = ["--model", "openai/echo", "--base-url", &url];
    let says = |args: &[&str], code| {
        let ran = folder.run(&[&["run"], args].concat()).expect_code(code);
        format!("$ fanweave run {}\n{}", args.join(" ").replace(&url, "URL"), ran.stderr)
    };
    let said = [
        says(&["wrong.yaml"], 2),
        says(&["nowhere.yaml"], 2),
        says(&["no-model.yaml"], 2),
        says(&["chain.yaml", "--set", "tone=dry"], 2),
        says(&[&["chain.yaml"], &model[..]].concat(), 2),
        says(&[&["chain.yaml", "--set", "tone"], &model[..]].concat(), 2),
        says(&[&["chain.yaml", "--set", "ton=dry"], &model[..]].concat(), 2),
        says(&["chain.yaml", "--set", "tone=dry", "--model", "opnai/x"], 2),
        says(&["chain.yaml", "--rows", "rows.csv"], 2),
    ];
    assert_eq!(provider.stats().requests, 0);
    insta::assert_snapshot!("run_wrong", said.join("\n"));
}

#[test]
fn answers_are_remembered_where_a_cache_is_named() {
    let (folder, provider) = (folder(), Provider::start(Settings::default()));
    let url = provider.url();
    let ask = ["ask", "hello", "--model", "openai/echo", "--base-url", &url, "--cache", "answers.db"];
    let first = folder.run(&ask).expect_code(0).stdout;
    assert_eq!(folder.run(&ask).expect_code(0).stdout, first);
    assert_eq!(provider.stats().requests, 1);
    folder.write("letter.db", "this is a letter");
    let wrong = [&ask[..7], &["letter.db"]].concat();
    let ran = folder.run(&wrong).expect_code(2);
    assert!(ran.stderr.contains("letter.db is no store"), "{}", ran.stderr);
}

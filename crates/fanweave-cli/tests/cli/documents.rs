//! `fanweave index`, and `fanweave ask --docs`.

use fanweave_sim::Settings;
use serde_json::Value;

use crate::support::{Folder, Provider, Ran};

fn library() -> Folder {
    let folder = Folder::new();
    std::fs::create_dir(folder.file("docs")).expect("a folder");
    folder.write("docs/rance.md", "# Rance\n\nThe Rance station opened in 1966. It has 24 turbines.");
    folder.write("docs/bears.csv", "name,weight\npolar bear,450 kilograms\n");
    folder.write("docs/tides.jsonl", "{\"text\":\"Tides turn every six hours.\",\"page\":3}\n");
    folder.run(&["index", "docs", "--store", "notes.db"]).expect_code(0);
    folder
}

#[test]
fn a_question_is_answered_from_the_documents_with_its_sources() {
    let folder = library();
    let args =
        ["ask", "--docs", "notes.db", "-m", "sim/writer", "--top", "1", "When did the Rance station open?"];
    let ran = folder.run(&args).expect_code(0);
    assert_eq!(ran.stdout, "The Rance station opened in 1966.\n");
    assert_eq!(ran.stderr.trim(), "sources: docs/rance.md");
}

#[test]
fn json_has_the_sources_with_their_metadata() {
    let folder = library();
    let args = ["ask", "--docs", "notes.db", "-m", "sim/writer", "--json", "When do tides turn?"];
    let ran = folder.run(&args).expect_code(0);
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(answer["answer"], "Tides turn every six hours.");
    assert_eq!(answer["sources"][0]["metadata"]["page"], 3);
}

#[test]
fn a_document_that_changes_is_replaced() {
    let folder = library();
    folder.write("docs/rance.md", "The Rance station opened long ago.");
    let told = folder.run(&["index", "docs/rance.md", "--store", "notes.db", "--json"]).expect_code(0).stdout;
    assert!(told.contains("\"files\":1") && told.contains("\"store\":\"notes.db\""), "{told}");
    let ran = folder.run(&["index", "docs/rance.md", "--store", "notes.db"]).expect_code(0);
    assert_eq!(ran.stderr.trim(), "indexed 1 chunk of 1 file in notes.db");
    let args = ["ask", "--docs", "notes.db", "-m", "sim/writer", "When did the Rance station open?"];
    assert_eq!(folder.run(&args).expect_code(0).stdout, "The Rance station opened long ago.\n");
}

#[test]
fn errors_about_stores_and_documents_have_hints() {
    let folder = library();
    folder.write("empty.txt", "");
    folder.write("bad.jsonl", "{}\nno");
    let shown = [
        &["index", "nowhere", "--store", "x.db"][..],
        &["index", "empty.txt", "--store", "x.db"],
        &["index", "bad.jsonl", "--store", "x.db"],
        &["index", "docs", "--store", "empty.txt", "--embeddings", "nonsense"],
        &["index", "docs", "--store", "docs/rance.md"],
        &["ask", "--docs", "x.db", "-m", "sim/writer", "why?"],
        &["ask", "--docs", "docs/rance.md", "-m", "sim/writer", "why?"],
    ]
    .map(|args| folder.run(args).expect_code(2).stderr)
    .join("");
    insta::assert_snapshot!(shown);
}

#[test]
fn documents_stay_in_the_store_if_their_replacements_cannot_be_embedded() {
    let key = Some("sk-right".to_owned());
    let provider = Provider::start(Settings { api_key: key, ..Settings::default() });
    let (folder, url) = (Folder::new(), provider.url());
    folder.write("tides.md", "Tides turn every six hours.");
    let with = |key: &str, words: &[&str]| {
        let mut command = folder.command(words);
        command.env("OPENAI_API_KEY", key);
        Ran::of(command.output().expect("the program starts"))
    };
    let index = ["index", "tides.md", "--store", "notes.db", "--embeddings", "openai/echo"];
    let index = [&index[..], &["--embeddings-url", &url]].concat();
    // A failed run before the first document does not fix the store's embedding model.
    with("sk-wrong", &index).expect_code(1);
    with("", &["index", "tides.md", "--store", "notes.db"]).expect_code(0);
    std::fs::remove_file(folder.file("notes.db")).expect("the store is there");
    with("sk-right", &index).expect_code(0);
    with("sk-wrong", &index).expect_code(1);
    let ask =
        ["ask", "--docs", "notes.db", "-m", "sim/writer", "--embeddings-url", &url, "When do tides turn?"];
    assert_eq!(with("sk-right", &ask).expect_code(0).stdout, "Tides turn every six hours.\n");
}

//! Journals that an earlier version wrote: their finished rows are resumed, and none is rerun.
//!
//! `journals/` holds one folder for each kind of run: input, output and journal as the version before rows
//! were separated from files wrote them. The journals must stay as they are.

use std::path::Path;

use serde_json::Value;

use crate::support::Folder;

/// Folder, output and arguments of each run.
const RUNS: [(&str, &str, &[&str]); 4] = [
    ("prompts", "out.jsonl", &["batch", "in.jsonl", "-o", "out.jsonl", "-m", "sim/echo"]),
    (
        "table",
        "out.csv",
        &[
            "batch",
            "in.csv",
            "-o",
            "out.csv",
            "-m",
            "sim/echo",
            "-p",
            "{{ name }} of {{ town }} {{ n }}",
            "--system",
            "Be short.",
            "--temperature",
            "0.5",
        ],
    ),
    ("openai", "out.jsonl", &["batch", "in.jsonl", "-o", "out.jsonl", "-m", "sim/echo"]),
    ("chain", "out.jsonl", &["run", "chain.yaml", "-m", "sim/echo", "--rows", "rows.csv", "-o", "out.jsonl"]),
];

/// A copy of an earlier run's folder.
fn copy_of(name: &str) -> Folder {
    let folder = Folder::new();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/journals").join(name);
    for entry in std::fs::read_dir(from).expect("the folder of an earlier run") {
        let entry = entry.expect("an entry of a folder");
        folder.write(
            &entry.file_name().to_string_lossy(),
            std::fs::read(entry.path()).expect("a file of an earlier run"),
        );
    }
    folder
}

/// Reruns a command with `--json`. Returns the summary.
fn rerun(folder: &Folder, args: &[&str], code: i32) -> Value {
    let ran = folder.run(&[args, &["--json"]].concat()).expect_code(code);
    serde_json::from_str(&ran.stdout).expect("the summary is JSON")
}

#[test]
fn finished_runs_are_found_complete_and_their_outputs_are_the_same_bytes() {
    for (name, output, args) in RUNS {
        let folder = copy_of(name);
        let before = folder.read(output);
        std::fs::remove_file(folder.file(output)).expect("the output is there");
        let summary = rerun(&folder, args, 0);
        assert_eq!(summary["resumed"], summary["rows"], "{name}");
        assert_eq!(summary["usage"]["output_tokens"], 0, "{name}: no row is rerun");
        assert_eq!(folder.read(output), before, "{name}");
    }
}

#[test]
fn runs_that_were_killed_are_finished_with_the_answers_they_had() {
    for (name, output, args) in RUNS {
        let folder = copy_of(name);
        let before = folder.read(output);
        std::fs::remove_file(folder.file(output)).expect("the output is there");
        let journal = folder.read(&format!("{output}.journal"));
        let lines: Vec<_> = journal.split_inclusive('\n').collect();
        // The manifest, two rows, and half of the third.
        let torn = format!("{}{}", lines[..3].concat(), &lines[3][..lines[3].len() / 2]);
        folder.write(&format!("{output}.journal"), torn);
        let summary = rerun(&folder, args, if name == "prompts" { 3 } else { 0 });
        assert_eq!(summary["resumed"], 2, "{name}");
        let (before, after) = (answers(output, &before), answers(output, &folder.read(output)));
        assert_eq!(after, before, "{name}");
    }
}

#[test]
fn a_journal_of_the_text_of_a_chain_file_becomes_one_of_its_meaning() {
    let (name, output, args) = RUNS[3];
    let folder = copy_of(name);
    rerun(&folder, args, 0);
    let chain = folder.read("chain.yaml");
    let edited = chain
        .replace("# the outline comes first", "# it begins with the outline")
        .replace("limits: { concurrency: 8 }", "limits: { concurrency: 2 }");
    assert_ne!(edited, chain);
    folder.write("chain.yaml", &edited);
    let summary = rerun(&folder, args, 0);
    assert_eq!(summary["resumed"], summary["rows"], "a comment and a limit change no answer");
    assert_eq!(folder.read(&format!("{output}.journal")).matches("\"manifest\":").count(), 2);

    folder.write("chain.yaml", edited.replace("about {{ item }}", "all about {{ item }}"));
    let refused = folder.run(args).expect_code(2);
    let message = "belongs to another run: step section: messages";
    assert!(refused.stderr.contains(message), "{}", refused.stderr);
}

#[test]
fn a_chain_file_that_differs_from_that_of_an_earlier_version_is_refused() {
    let (name, _, args) = RUNS[3];
    let folder = copy_of(name);
    folder.write("chain.yaml", folder.read("chain.yaml").replace("about {{ item }}", "all about {{ item }}"));
    let refused = folder.run(args).expect_code(2);
    assert!(refused.stderr.contains("belongs to another run: chain was `"), "{}", refused.stderr);
}

/// Answers and errors of an output, in order.
fn answers(output: &str, text: &str) -> Vec<(String, String)> {
    if Path::new(output).extension().is_some_and(|extension| extension == "csv") {
        let mut rows = csv_rows(text);
        let header = rows.remove(0);
        let column = |name: &str| header.iter().position(|cell| cell == name).expect("a column");
        let (answer, error) = (column("answer"), column("error"));
        return rows.iter().map(|row| (row[answer].clone(), row[error].clone())).collect();
    }
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"))
        .map(|row| (row["answer"].to_string(), row["error"].to_string()))
        .collect()
}

/// Rows of a CSV file whose quoted cells hold no quotes.
fn csv_rows(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut cells, mut cell, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    for character in text.chars() {
        match character {
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(std::mem::take(&mut cell)),
            '\n' if !quoted => {
                cells.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut cells));
            }
            '\r' if !quoted => {}
            other => cell.push(other),
        }
    }
    rows
}

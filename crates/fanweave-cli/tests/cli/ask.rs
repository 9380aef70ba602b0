//! `fanweave ask`.

use fanweave_sim::Settings;

use crate::support::{Folder, Provider, echo_of};

#[test]
fn an_answer_is_printed_with_a_newline_at_its_end() {
    let provider = Provider::start(Settings::default());
    let folder = Folder::new();
    let ran = folder
        .run(&["ask", "-m", "openai/echo", "--base-url", &provider.url(), "how", "are", "you?"])
        .expect_code(0);
    assert_eq!(ran.stdout, format!("{}\n", echo_of("how are you?")));
    assert_eq!(ran.stderr, "");
    assert_eq!(provider.stats().streams, 1, "the answer was streamed");
}

#[test]
fn arguments_and_stdin_make_one_prompt() {
    let folder = Folder::new();
    let ran = folder.run_with_stdin(&["ask", "-m", "sim/echo", "Summarise:"], "a long text\n").expect_code(0);
    assert_eq!(ran.stdout, format!("{}\n", echo_of("Summarise:\n\na long text")));
}

#[test]
fn json_gives_one_object() {
    let folder = Folder::new();
    let ran = folder.run(&["ask", "-m", "sim/echo", "--json", "hello"]).expect_code(0);
    let answer: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(answer["answer"], echo_of("hello"));
    assert_eq!(answer["finish_reason"], "stop");
    assert!(answer["usage"]["input_tokens"].as_u64().is_some_and(|n| n > 0));
}

#[test]
fn a_truncated_stream_is_an_error_after_the_partial_answer() {
    let provider = Provider::start(Settings { truncate_rate: 1.0, ..Settings::default() });
    let folder = Folder::new();
    let ran = folder
        .run(&[
            "ask",
            "-m",
            "openai/writer",
            "--base-url",
            &provider.url(),
            "--retries",
            "0",
            "Write a paragraph.",
        ])
        .expect_code(1);
    assert!(ran.stdout.ends_with('\n'), "{:?}", ran.stdout);
    assert!(ran.stderr.contains("ended"), "{}", ran.stderr);
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let folder = Folder::new();
    let mut command = folder.command(&["ask", "-m", "sim/writer", "Write two paragraphs."]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn a_truncated_answer_is_reported() {
    let folder = Folder::new();
    let ask = ["ask", "-m", "sim/echo", "--max-tokens", "2", "one two three four five six seven eight"];
    let note = "note: the answer was truncated at the token limit: raise --max-tokens\n";
    let ran = folder.run(&ask).expect_code(0);
    assert_eq!(ran.stderr, note);
    assert_eq!(folder.run(&[&ask[..], &["--json"]].concat()).expect_code(0).stderr, note);

    folder.write(
        "chain.yaml",
        "inputs: { l: [a, b] }\nsteps:\n  part: { for_each: l, prompt: 'say {{ item }} again', max_tokens: 1 }\n  \
         all: { template: \"{{ steps.part.output | join('\\n') }}\" }\n",
    );
    let ran = folder.run(&["run", "chain.yaml", "-m", "sim/echo"]).expect_code(0);
    let note = "note: 2 answers of part were truncated at the token limit: raise `max_tokens` of the step, ";
    assert!(ran.stderr.starts_with(note), "{}", ran.stderr);
    let quiet = folder.run(&["run", "chain.yaml", "-m", "sim/echo", "--quiet"]).expect_code(0);
    assert_eq!(quiet.stderr, "");
    folder.write("chain.yaml", "steps: { part: { prompt: say it } }\n");
    assert_eq!(folder.run(&["run", "chain.yaml", "-m", "sim/echo"]).expect_code(0).stderr, "");
}

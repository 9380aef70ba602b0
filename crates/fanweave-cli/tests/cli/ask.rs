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
fn a_template_makes_the_prompt_of_the_arguments() {
    let folder = Folder::new();
    folder.write("to.md", "Translate to {{ to }}:\n{{ input }}\n");
    let ask = |more: &[&str]| folder.run(&[&["ask", "-m", "sim/echo"], more].concat());
    let ran = ask(&["-t", "to.md", "--set", "to=French", "hi"]).expect_code(0);
    assert_eq!(ran.stdout, format!("{}\n", echo_of("Translate to French:\nhi")));
    folder.write("plain.txt", "Be brief.");
    let ran = ask(&["-t", "plain.txt", "hi"]).expect_code(0);
    assert_eq!(ran.stdout, format!("{}\n", echo_of("Be brief.\n\nhi")));
    for (args, why) in [
        (&["-t", "to.md", "hi"][..], "--template to.md: the template needs `to`"),
        (&["-t", "to.md", "--set", "to=x"][..], "no prompt given for `{{ input }}`"),
        (&["-t", "to.md", "--set", "too=x", "hi"][..], "--set too: the template has "),
        (&["-t", "other", "hi"][..], "no template of this name in "),
        (&["--set", "a=b", "hi"][..], "--template"),
    ] {
        let ran = ask(args).expect_code(2);
        assert!(ran.stderr.contains(why), "{args:?}: {}", ran.stderr);
    }
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

/// The program with a home of its own, for the history.
fn at_home(folder: &Folder, args: &[&str], input: Option<&str>) -> crate::support::Ran {
    use std::io::Write;
    use std::process::Stdio;

    let mut command = folder.command(args);
    command.env("HOME", folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if input.is_some() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.spawn().expect("the program starts");
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        stdin.write_all(input.as_bytes()).expect("the program reads its stdin");
    }
    crate::support::Ran::of(child.wait_with_output().expect("the program ends"))
}

#[test]
fn a_conversation_is_continued_with_its_messages_and_its_model() {
    let folder = Folder::new();
    let none = at_home(&folder, &["ask", "-c", "And?"], None).expect_code(2);
    assert!(none.stderr.contains("no conversation to continue"), "{}", none.stderr);
    at_home(&folder, &["ask", "-m", "sim/echo", "Name a bear."], None).expect_code(0);
    let ran = at_home(&folder, &["ask", "-c", "Another one."], None).expect_code(0);
    assert_eq!(ran.stdout, format!("{}\n", echo_of("Another one.")));
    let shown = at_home(&folder, &["logs", "show", "--json"], None).expect_code(0).stdout;
    let call: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let texts: Vec<_> =
        call["messages"].as_array().unwrap().iter().map(|message| message["text"].clone()).collect();
    assert_eq!(texts, ["Name a bear.", &echo_of("Name a bear."), "Another one."]);
}

#[test]
fn a_chat_sends_the_conversation_so_far_with_each_line() {
    let folder = Folder::new();
    let args = ["chat", "-m", "sim/echo", "-s", "Be brief."];
    let ran = at_home(&folder, &args, Some("one\n\ntwo\n/reset\nthree\n/exit\nfour\n")).expect_code(0);
    let answers = ["one", "two", "three"].map(echo_of).join("\n") + "\n";
    assert_eq!(ran.stdout, answers);
    let shown = at_home(&folder, &["logs", "--json"], None).expect_code(0).stdout;
    let sizes: Vec<_> = shown
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["messages"].as_array().unwrap().len()
        })
        .collect();
    assert_eq!(sizes, [2, 4, 2], "the newest first: a new conversation keeps the system message");
    let ran = at_home(&folder, &["chat", "--continue"], Some("five\n")).expect_code(0);
    assert_eq!(ran.stdout, echo_of("five") + "\n");
}

#[test]
fn commands_of_a_chat_are_not_sent_to_the_model() {
    let folder = Folder::new();
    let args = ["chat", "-m", "sim/echo", "--no-log"];
    let ran = at_home(&folder, &args, Some("/help\n /tmp\n/etc/hosts\n/quit\nnever\n")).expect_code(0);
    assert_eq!(ran.stdout, ["/tmp", "/etc/hosts"].map(echo_of).join("\n") + "\n");
    assert!(ran.stderr.contains("/reset begins a new conversation, /exit"), "{}", ran.stderr);
    let ran = at_home(&folder, &args, Some("/rest\nnever\n")).expect_code(2);
    assert!(ran.stderr.contains("unknown command /rest") && ran.stdout.is_empty(), "{}", ran.stderr);
}

#[test]
fn a_dash_stands_for_stdin() {
    let folder = Folder::new();
    let ran = folder.run_with_stdin(&["ask", "-m", "sim/echo", "-"], "a long text\n").expect_code(0);
    assert_eq!(ran.stdout, format!("{}\n", echo_of("a long text")));
}

#[test]
fn files_are_attached_to_a_prompt() {
    let folder = Folder::new();
    folder.write("notes.md", "Tides turn twice a day.\n");
    folder.write("chart.png", b"\x89PNG\r\n\x1a\n....");
    folder.write("data.bin", b"\xff\x00");
    let ask = |file: &str| folder.run(&["ask", "-m", "sim/echo", "-a", file, "Sum up:"]);
    let ran = ask("notes.md").expect_code(0);
    assert!(ran.stdout.contains("File notes.md:") && ran.stdout.contains("twice a day"), "{}", ran.stdout);
    ask("chart.png").expect_code(0);
    let ran = ask("data.bin").expect_code(2);
    assert!(ran.stderr.contains("neither text in UTF-8 nor an image"), "{}", ran.stderr);
    folder.write("nul.bin", b"a\0b");
    let ran = ask("nul.bin").expect_code(2);
    assert!(ran.stderr.contains("neither text in UTF-8 nor an image"), "{}", ran.stderr);
    let ran = ask("missing.png").expect_code(2);
    assert!(ran.stderr.contains("--attach: cannot read missing.png"), "{}", ran.stderr);
}

#[test]
fn a_new_project_runs() {
    let folder = Folder::new();
    folder.run(&["init", "demo", "--model", "sim/echo"]).expect_code(0);
    let ran = folder.run(&["init", "demo"]).expect_code(2);
    assert!(ran.stderr.contains("demo already has a file fanweave.toml"), "{}", ran.stderr);
    let ran = folder.run(&["init", "other", "-m", "opnai/x"]).expect_code(2);
    assert!(
        ran.stderr.contains("unknown provider `opnai`") && ran.stderr.contains("openai"),
        "{}",
        ran.stderr
    );
    assert!(!folder.file("other").exists());
    folder.run(&["init", "azure", "-m", "azure/my-deployment"]).expect_code(0);
    let inside = |args: &[&str]| {
        let mut command = folder.command(args);
        command.current_dir(folder.file("demo"));
        crate::support::Ran::of(command.output().expect("the program starts"))
    };
    inside(&["batch", "reviews.csv", "-o", "moods.csv", "-p", "Positive or negative? {{ review }}"])
        .expect_code(0);
    assert!(folder.read("demo/moods.csv").contains("Positive or negative? Bright, small"));
    inside(&["run", "summary.yaml", "--check"]).expect_code(0);
    inside(&["run", "summary.yaml", "--rows", "reviews.csv", "-o", "summaries.csv"]).expect_code(0);
    assert_eq!(folder.read("demo/summaries.csv").matches("Sum up in one sentence").count(), 3);
}

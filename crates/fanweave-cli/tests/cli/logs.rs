//! The history of calls.

use fanweave_sim::Settings;

use crate::support::{Folder, Provider, Ran};

/// Runs with a separate home directory.
fn run(folder: &Folder, words: &[&str]) -> Ran {
    with(folder, &[], words)
}

fn with(folder: &Folder, env: &[(&str, &str)], words: &[&str]) -> Ran {
    let mut command = folder.command(words);
    command.env("HOME", folder.path().join("home")).envs(env.iter().copied());
    Ran::of(command.output().expect("the program starts"))
}

/// Replaces times and numbers that vary between runs.
fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME");
    settings.add_filter(r"\d+(\.\d+)?m?s, ", "0ms, ");
    settings.add_filter(r"http://127.0.0.1:\d+", "URL");
    settings
}

#[test]
fn calls_of_ask_and_run_are_recorded_listed_searched_and_deleted() {
    let (folder, provider) = (Folder::new(), Provider::start(Settings::default()));
    let none = run(&folder, &["logs"]).expect_code(0);
    assert!(none.stderr.contains("no matching calls") && !folder.file("home").exists(), "{}", none.stderr);

    let model = ["--model", "openai/echo", "--base-url", &provider.url()];
    let ask = |words: &[&str]| run(&folder, &[&["ask"], words, &model[..]].concat());
    ask(&["When do tides turn?", "--system", "Be short."]).expect_code(0);
    ask(&["And the wind?", "--json"]).expect_code(0);
    folder.write(
        "chain.yaml",
        "name: two\nsteps:\n  a: { prompt: first }\n  b: { prompt: 'second {{ steps.a.output }}' }\n",
    );
    run(&folder, &[&["run", "chain.yaml"], &model[..]].concat()).expect_code(0);
    let dead = [
        "ask",
        "lost",
        "--model",
        "openai/echo",
        "--base-url",
        "http://127.0.0.1:1/v1",
        "--outage-timeout",
        "0s",
    ];
    run(&folder, &dead).expect_code(1);

    let list = run(&folder, &["logs"]).expect_code(0).stdout;
    let show = run(&folder, &["logs", "show", "1"]).expect_code(0).stdout;
    settings().bind(|| {
        insta::assert_snapshot!("logs", list);
        insta::assert_snapshot!("logs_show", show);
    });
    let found = |words: &[&str]| {
        let json = run(&folder, &[&["logs", "--json"], words].concat()).expect_code(0).stdout;
        let calls = json.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        calls.map(|call| call["id"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(found(&[]), [5, 4, 3, 2, 1]);
    assert_eq!(found(&["--search", "TIDES"]), [1]);
    assert_eq!(found(&["--failed"]), [5]);
    assert_eq!(found(&["-n", "2", "--model", "echo"]), [5, 4]);
    let last = run(&folder, &["logs", "show", "--json"]).expect_code(0).stdout;
    assert!(last.contains("\"id\":5") && last.contains("\"error\":\""), "{last}");
    let missing = run(&folder, &["logs", "show", "77"]).expect_code(2);
    assert!(missing.stderr.contains("call 77 is not in the history"), "{}", missing.stderr);

    run(&folder, &["logs", "forget"]).expect_code(2);
    run(&folder, &["logs", "forget", "--older-than", "1h"]).expect_code(0);
    assert_eq!(found(&[]).len(), 5);
    let forgotten = run(&folder, &["logs", "forget", "--all"]).expect_code(0);
    assert!(forgotten.stderr.contains("deleted 5 calls"), "{}", forgotten.stderr);
    assert!(found(&[]).is_empty());
}

#[test]
fn nothing_is_recorded_if_disabled_or_without_a_home_directory() {
    let folder = Folder::new();
    let ask = ["ask", "hello", "--model", "sim/echo"];
    let history = folder.file("home/.local/state/fanweave/logs.db");
    run(&folder, &[&ask[..], &["--no-log"]].concat()).expect_code(0);
    with(&folder, &[("FANWEAVE_NO_LOG", "1")], &ask).expect_code(0);
    folder.write("fanweave.toml", "log = false\n");
    run(&folder, &ask).expect_code(0);
    let shown = run(&folder, &["config", "show"]).expect_code(0).stdout;
    assert!(shown.contains("log = false"), "{shown}");
    std::fs::remove_file(folder.file("fanweave.toml")).unwrap();
    folder.run(&ask).expect_code(0);
    assert!(!history.exists());
    with(&folder, &[("FANWEAVE_NO_LOG", "0")], &ask).expect_code(0);
    assert!(history.exists());
    let path = run(&folder, &["logs", "path"]).expect_code(0).stdout;
    assert_eq!(path.trim_end(), history.display().to_string());
    let homeless = folder.run(&["logs"]).expect_code(2);
    assert!(homeless.stderr.contains("no folder for the history"), "{}", homeless.stderr);
}

#[test]
fn a_history_that_cannot_be_written_does_not_affect_the_answer() {
    let folder = Folder::new();
    folder.write("home", "this is no folder");
    let ran = run(&folder, &["ask", "hello", "--model", "sim/echo"]).expect_code(0);
    assert!(ran.stdout.contains("hello"), "{}", ran.stdout);
    assert!(ran.stderr.contains("note: the call was not recorded in the history"), "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
}

#[test]
fn control_characters_of_calls_are_not_printed() {
    let folder = Folder::new();
    run(&folder, &["ask", "--model", "sim/echo", "tides\x1b]0;title\x07\x1b[31m\nturn"]).expect_code(0);
    for words in [&["logs"][..], &["logs", "show"]] {
        let shown = run(&folder, words).expect_code(0).stdout;
        assert!(shown.contains("tides]0;title[31m") && !shown.contains(['\x1b', '\x07']), "{shown:?}");
    }
    let wrong = run(&folder, &["run", "\x1b[31m.yaml"]).expect_code(2);
    assert!(!wrong.stderr.contains('\x1b'), "{:?}", wrong.stderr);
}

#[cfg(unix)]
#[test]
fn a_history_locked_by_another_process_can_be_interrupted() {
    use std::io::{BufRead, BufReader};
    use std::time::{Duration, Instant};

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    let folder = Folder::new();
    let ask = ["ask", "hello", "--model", "sim/echo"];
    run(&folder, &ask).expect_code(0);
    let other = rusqlite::Connection::open(folder.file("home/.local/state/fanweave/logs.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut command = folder.command(&ask);
    command.env("HOME", folder.path().join("home")).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut answer = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut answer).unwrap();
    assert!(answer.contains("hello"), "{answer}");
    // The process now waits for the lock: the only step after the line that it wrote. Nothing shows that it
    // has begun to wait, and before that it would end in the same way.
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none());
    let began = Instant::now();
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    let status = child.wait().expect("it ends");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(status.code(), Some(0), "the answer was there");
}

#[test]
fn a_key_is_in_no_history() {
    let key = "sk-canary-5e1f0a77c3";
    // The provider's error contains the key.
    let provider = Provider::start(Settings { api_key: Some("another".to_owned()), ..Settings::default() });
    let folder = Folder::new();
    let words = ["ask", "hello", "--model", "openai/echo", "--base-url", &provider.url()];
    with(&folder, &[("OPENAI_API_KEY", key)], &words).expect_code(1);
    let state = folder.file("home/.local/state/fanweave");
    let mut seen = 0;
    for entry in std::fs::read_dir(state).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(key.len()).any(|window| window == key.as_bytes()));
        seen += bytes.len();
    }
    assert!(seen > 4_000, "the history has the failure");
}

#[cfg(target_os = "linux")]
#[test]
fn an_error_creating_the_history_folder_names_it_with_the_reason() {
    let folder = Folder::new();
    let mut command = folder.command(&["ask", "-m", "sim/echo", "hi"]);
    // Folders cannot be created there.
    command.env("XDG_STATE_HOME", "/proc/self");
    let ran = Ran::of(command.output().expect("the program starts")).expect_code(0);
    assert!(ran.stderr.contains("cannot create the folder /proc/self/fanweave: "), "{}", ran.stderr);
}

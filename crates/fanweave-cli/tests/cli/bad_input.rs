//! Mistakes of users: each gives a clear error and the right exit code, and loses nothing.

use fanweave_sim::Settings;

use crate::support::{Folder, Provider, Ran, prompts};

/// Runs `fanweave batch` in a folder with three valid rows. Returns exit code and messages.
fn batch(args: &[&str]) -> String {
    batch_in(&good_rows(), args)
}

fn good_rows() -> Folder {
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(3));
    folder
}

fn batch_in(folder: &Folder, args: &[&str]) -> String {
    let ran = folder.run(&[&["batch"], args].concat());
    assert_eq!(ran.stdout, "", "nothing but answers goes to stdout");
    format!("exit {}\n{}", ran.code, ran.stderr)
}

const OUT: [&str; 4] = ["-o", "out.jsonl", "-m", "sim/echo"];

#[test]
fn a_missing_input_file() {
    insta::assert_snapshot!(batch(&[&["quetsions.jsonl"], &OUT[..]].concat()));
}

#[test]
fn a_folder_as_input() {
    let folder = Folder::new();
    std::fs::create_dir(folder.file("empty")).unwrap();
    insta::assert_snapshot!(batch_in(&folder, &[&["empty"], &OUT[..]].concat()));
}

#[test]
fn an_empty_file() {
    let folder = Folder::new();
    folder.write("in.jsonl", "\n\n");
    insta::assert_snapshot!(batch_in(&folder, &[&["in.jsonl"], &OUT[..]].concat()));
}

#[test]
fn a_bad_line_fails_its_row_alone() {
    let folder = Folder::new();
    folder.write("in.jsonl", "{\"prompt\":\"one\"}\n{\"prompt\": oops}\n{\"prompt\":\"three\"}\n");
    let said = batch_in(&folder, &[&["in.jsonl"], &OUT[..]].concat());
    assert!(said.starts_with("exit 3"), "{said}");
    assert!(said.contains("line 2"), "{said}");
    let rows = folder.rows("out.jsonl");
    assert_eq!(rows.len(), 3);
    assert!(rows[0]["error"].is_null() && rows[2]["error"].is_null());
    insta::assert_snapshot!(rows[1]["error"].to_string());
}

#[test]
fn a_bad_line_stops_a_strict_run() {
    let folder = Folder::new();
    folder.write("in.jsonl", "{\"prompt\":\"one\"}\n{\"prompt\": oops}\n");
    insta::assert_snapshot!(batch_in(&folder, &[&["in.jsonl", "--strict"], &OUT[..]].concat()));
}

#[test]
fn a_duplicate_custom_id_fails_the_second_row() {
    let folder = Folder::new();
    let line = r#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"messages":[{"role":"user","content":"x"}]}}"#;
    folder.write("in.jsonl", format!("{line}\n{line}\n"));
    let said = batch_in(&folder, &[&["in.jsonl"], &OUT[..]].concat());
    assert!(said.starts_with("exit 3"), "{said}");
    insta::assert_snapshot!(folder.rows("out.jsonl")[1]["error"].to_string());
}

#[test]
fn rows_without_a_prompt_and_no_template() {
    let folder = Folder::new();
    folder.write("in.jsonl", "{\"topic\":\"tides\"}\n");
    insta::assert_snapshot!(batch_in(&folder, &[&["in.jsonl"], &OUT[..]].concat()));
}

#[test]
fn a_template_with_a_variable_that_no_row_has() {
    let folder = Folder::new();
    folder.write("in.jsonl", "{\"topic\":\"tides\"}\n");
    insta::assert_snapshot!(batch_in(
        &folder,
        &[&["in.jsonl", "-p", "About {{ tpoic }}"], &OUT[..]].concat()
    ));
}

#[test]
fn an_invalid_template() {
    insta::assert_snapshot!(batch(&[&["in.jsonl", "-p", "{{ oops"], &OUT[..]].concat()));
}

#[test]
fn a_missing_template_file() {
    insta::assert_snapshot!(batch(&[&["in.jsonl", "-p", "@prompt.txt"], &OUT[..]].concat()));
}

#[test]
fn an_unknown_flag() {
    insta::assert_snapshot!(batch(&[&["in.jsonl", "--concurency", "3"], &OUT[..]].concat()));
}

#[test]
fn an_unknown_simulated_model() {
    insta::assert_snapshot!(batch(&["in.jsonl", "-o", "out.jsonl", "-m", "sim/writr"]));
}

#[test]
fn an_unknown_provider() {
    // Two providers need features of a build.
    let said = batch(&["in.jsonl", "-o", "out.jsonl", "-m", "opnai/gpt-5-mini"]);
    insta::assert_snapshot!(said.replace(" vertex,", "").replace(" bedrock-converse,", ""));
}

/// Runs a batch against a provider that rejects it. Returns the messages, without parts that vary.
fn refused(settings: Settings, model: &str, key: &str) -> String {
    let provider = Provider::start(settings);
    let folder = good_rows();
    let args = ["batch", "in.jsonl", "-o", "out.jsonl", "-m", model, "--base-url", &provider.url()];
    let ran = Ran::of(folder.command(&args).env("OPENAI_API_KEY", key).output().expect("the program starts"));
    let request = ran.stderr.split("(request ").nth(1).and_then(|rest| rest.split(')').next());
    let said = ran.stderr.replace(request.expect("a request id"), "req_..").replace(&provider.url(), "URL");
    format!("exit {}\n{said}", ran.code)
}

#[test]
fn a_model_that_the_provider_does_not_know() {
    let settings = Settings { models: vec!["echo".to_owned()], ..Settings::default() };
    insta::assert_snapshot!(refused(settings, "openai/ecco", "sk-any"));
}

#[test]
fn a_wrong_key() {
    let settings = Settings { api_key: Some("sk-right-0123456789".to_owned()), ..Settings::default() };
    insta::assert_snapshot!(refused(settings, "openai/echo", "sk-wrong-0123456789"));
}

#[test]
fn no_model() {
    insta::assert_snapshot!(batch(&["in.jsonl", "-o", "out.jsonl"]));
}

#[test]
fn no_key() {
    insta::assert_snapshot!(batch(&["in.jsonl", "-o", "out.jsonl", "-m", "openai/gpt-5-mini"]));
}

#[test]
fn an_unreachable_server() {
    let folder = good_rows();
    // No server listens on port 1 of the loopback address.
    let args = [
        "in.jsonl",
        "-o",
        "out.jsonl",
        "-m",
        "openai/x",
        "--base-url",
        "http://127.0.0.1:1/v1",
        "--outage-timeout",
    ];
    // The server may come back: rows only fail for it with an outage timeout of 0.
    let said = batch_in(&folder, &[&args[..], &["1s"]].concat());
    assert!(said.starts_with("exit 5") && said.contains("stopped with 3 rows remaining"), "{said}");
    assert!(said.contains("cannot connect to 127.0.0.1:1") && said.contains("resume with"), "{said}");
    let said = batch_in(&folder, &[&args[..], &["0s", "--retries", "0"]].concat());
    assert!(said.starts_with("exit 3"), "{said}");
    insta::assert_snapshot!(folder.rows("out.jsonl")[0]["error"].to_string());
}

#[test]
fn an_invalid_base_url() {
    insta::assert_snapshot!(batch(&[
        "in.jsonl",
        "-o",
        "out.jsonl",
        "-m",
        "openai/x",
        "--base-url",
        "localhost:8080"
    ]));
}

#[test]
fn concurrency_0() {
    insta::assert_snapshot!(batch(&[&["in.jsonl", "--concurrency", "0"], &OUT[..]].concat()));
}

#[test]
fn an_invalid_timeout() {
    insta::assert_snapshot!(batch(&[&["in.jsonl", "--timeout", "soon"], &OUT[..]].concat()));
}

#[test]
fn an_output_in_a_missing_folder() {
    insta::assert_snapshot!(batch(&["in.jsonl", "-o", "results/out.jsonl", "-m", "sim/echo"]));
}

#[test]
fn the_input_as_output() {
    let folder = good_rows();
    insta::assert_snapshot!(batch_in(&folder, &["in.jsonl", "-o", "in.jsonl", "-m", "sim/echo"]));
    assert_eq!(folder.read("in.jsonl"), prompts(3), "the input is untouched");
}

#[test]
fn an_output_that_another_program_wrote() {
    let folder = good_rows();
    folder.write("out.jsonl", "precious\n");
    insta::assert_snapshot!(batch_in(&folder, &[&["in.jsonl"], &OUT[..]].concat()));
    assert_eq!(folder.read("out.jsonl"), "precious\n");
}

#[test]
fn a_journal_of_another_model() {
    let folder = good_rows();
    batch_in(&folder, &[&["in.jsonl"], &OUT[..]].concat());
    let said = batch_in(&folder, &["in.jsonl", "-o", "out.jsonl", "-m", "sim/writer"]);
    insta::assert_snapshot!(said);
}

#[test]
fn a_full_disk() {
    // A file system of 64 KiB in a separate namespace. The test is skipped if that is not allowed.
    let folder = good_rows();
    folder.write("in.jsonl", prompts(2_000));
    std::fs::create_dir(folder.file("small")).expect("a folder");
    let script = format!(
        "mount -t tmpfs -o size=64k none small && '{}' batch in.jsonl -o small/out.jsonl -m sim/echo -c 2000; \
         code=$?; head -c 20 small/out.jsonl.journal >/dev/null && wc -l < small/out.jsonl.journal; exit $code",
        env!("CARGO_BIN_EXE_fanweave")
    );
    let output = std::process::Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", &script])
        .current_dir(folder.path())
        .output();
    let Ok(output) = output else { return skip("there is no `unshare`") };
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("unshare") || said.contains("mount:") {
        return skip(&said);
    }
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the disk is full"), "{said}");
    let kept: usize = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number of lines");
    assert!(kept > 10, "finished rows are kept: {kept}");
}

fn skip(why: &str) {
    eprintln!("SKIPPED a_full_disk: {}", why.trim());
}

#[cfg(target_os = "linux")]
#[test]
fn an_unwritable_standard_error_does_not_affect_results() {
    let folder = good_rows();
    let with_full = |words: &[&str]| {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("Linux has it");
        let mut command = folder.command(words);
        command.stderr(full);
        Ran::of(command.output().expect("the program starts"))
    };
    with_full(&["batch", "in.jsonl", "-o", "out.jsonl", "-m", "sim/echo"]).expect_code(0);
    assert_eq!(folder.rows("out.jsonl").len(), 3);
    with_full(&["batch", "in.jsonl", "-o", "out.jsonl", "-m", "sim/echo"]).expect_code(0);
    with_full(&["run", "nowhere.yaml"]).expect_code(2);
    let full = std::fs::File::options().write(true).open("/dev/full").expect("Linux has it");
    let mut dry = folder.command(&["batch", "in.jsonl", "-o", "x.jsonl", "-m", "sim/echo", "--dry-run"]);
    let ran = Ran::of(dry.stdout(full).output().expect("the program starts")).expect_code(1);
    assert!(ran.stderr.contains("cannot write to standard output"), "{}", ran.stderr);
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_name_that_is_not_utf8_is_quoted_for_the_shell() {
    use std::os::unix::ffi::OsStrExt;
    let folder = Folder::new();
    let name = std::ffi::OsStr::from_bytes(b"q\xff's.jsonl");
    std::fs::write(folder.path().join(name), prompts(2)).expect("a file in the temporary folder");
    let provider = Provider::start(Settings { api_key: Some("sk-right".to_owned()), ..Settings::default() });
    let mut words: Vec<&std::ffi::OsStr> = vec!["batch".as_ref(), name];
    let url = provider.url();
    words.extend(["-o", "out.jsonl", "-m", "openai/echo", "--base-url", &url].map(std::ffi::OsStr::new));
    let ran = Ran::of(folder.command(&words).output().expect("the program starts")).expect_code(1);
    assert!(ran.stderr.contains(r"fanweave batch $'q\xff\x27s.jsonl' -o out.jsonl"), "{}", ran.stderr);
}

#[test]
fn the_resume_command_does_not_have_fresh() {
    let provider = Provider::start(Settings { api_key: Some("sk-right".to_owned()), ..Settings::default() });
    let ran = good_rows().batch(&provider.url(), &["--fresh"]).expect_code(1);
    assert!(ran.stderr.contains("resume with: fanweave batch in.jsonl"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("--fresh"), "{}", ran.stderr);
}

#[test]
fn an_invalid_temperature() {
    for wrong in ["nan", "-1", "2.1", "inf", "warm"] {
        let said = batch(&[&["in.jsonl", "--temperature", wrong], &OUT[..]].concat());
        assert!(said.starts_with("exit 2") && said.contains("must be a number from 0 to 2"), "{said}");
    }
    assert!(batch(&[&["in.jsonl", "--temperature", "2"], &OUT[..]].concat()).starts_with("exit 0"));
}

#[test]
fn an_empty_prompt_is_not_paid_for() {
    let folder = good_rows();
    folder.write("empty.txt", "\n");
    for prompt in ["", " \n", "@empty.txt"] {
        let said = batch_in(&folder, &[&["in.jsonl", "-p", prompt], &OUT[..]].concat());
        assert!(said.starts_with("exit 2") && said.contains("--prompt: the template is empty"), "{said}");
    }
    let ran = folder.run(&["ask", "-m", "sim/echo", ""]).expect_code(2);
    assert!(ran.stderr.contains("no prompt given"), "{}", ran.stderr);
}

#[test]
fn a_dry_run_rejects_what_the_run_would_reject() {
    let folder = good_rows();
    folder.write(
        "chain.yaml",
        "limits: { budget_usd: 1 }\nsteps: { a: { prompt: x, model: openai/unheard-of } }\n",
    );
    let ran = folder.run(&["run", "chain.yaml", "--dry-run"]).expect_code(2);
    assert!(ran.stderr.contains("the price of openai/unheard-of, which is unknown"), "{}", ran.stderr);
    let via = ["in.jsonl", "--dry-run", "--via", "batch-api", "-o", "out.jsonl", "-m", "openai/a,openai/b"];
    let said = batch_in(&folder, &via);
    assert!(said.contains("--via batch-api supports only one model and one key"), "{said}");
}

#[test]
fn fresh_and_retry_failed_exclude_each_other() {
    let folder = Folder::new();
    let batch = ["batch", "in.jsonl", "-o", "out.jsonl", "-m", "sim/echo"];
    let run = ["run", "chain.yaml", "--rows", "in.jsonl", "-o", "out.jsonl", "-m", "sim/echo"];
    for command in [&batch[..], &run[..]] {
        for other in ["--retry-failed", "--resume-changed", "--fail-if-done"] {
            let ran = folder.run(&[command, &["--fresh", other]].concat()).expect_code(2);
            assert!(
                ran.stderr.contains("cannot be used with") && ran.stderr.contains(other),
                "{}",
                ran.stderr
            );
        }
    }
}

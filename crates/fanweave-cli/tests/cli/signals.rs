//! Ctrl-C, SIGTERM and kill -9.

use std::process::{Child, Stdio};
use std::time::Duration;

use fanweave_sim::{Latency, Settings};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Folder, Provider, Ran, Shown, assert_all_answered, batch_args, prompts, wait_for};

const ROWS: usize = 200;

fn provider() -> Provider {
    Provider::start(Settings { latency: Latency::Fixed(Duration::from_millis(50)), ..Settings::default() })
}

fn args(url: &str) -> Vec<&str> {
    batch_args(url, &["-c", "8"])
}

fn start(folder: &Folder, url: &str) -> Child {
    let mut command = folder.command(&args(url));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program starts")
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    kill(pid, signal).expect("the program runs");
}

fn drains_and_resumes(stop: Signal) {
    let provider = provider();
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(ROWS));
    let child = start(&folder, &provider.url());
    wait_for(|| provider.stats().ok >= 20);
    signal(&child, stop);
    let ran = Ran::of(child.wait_with_output().expect("the program ends")).expect_code(5);

    let kept = folder.rows("out.jsonl");
    let stats = provider.stats();
    assert_eq!(stats.client_disconnects, 0, "calls in flight were drained");
    assert_eq!(kept.len() as u64, stats.ok, "every answer that was paid for is kept");
    assert!(kept.len() < ROWS && kept.iter().all(|row| row["error"].is_null()));
    assert!(ran.stderr.contains("fanweave batch in.jsonl"), "it says how to go on: {}", ran.stderr);

    folder.run(&args(&provider.url())).expect_code(0);
    assert_all_answered(&folder.rows("out.jsonl"), ROWS);
    assert_eq!(provider.stats().ok, ROWS as u64, "no row was called twice");
}

#[test]
fn ctrl_c_drains_keeps_finished_rows_and_the_same_command_resumes() {
    drains_and_resumes(Signal::SIGINT);
}

#[test]
fn sigterm_acts_like_ctrl_c() {
    drains_and_resumes(Signal::SIGTERM);
}

#[test]
fn a_second_ctrl_c_exits_immediately_and_keeps_finished_rows() {
    let hanging = Provider::start(Settings { hang_rate: 1.0, ..Settings::default() });
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(ROWS));
    let mut child = start(&folder, &hanging.url());
    wait_for(|| hanging.stats().in_flight >= 8);
    signal(&child, Signal::SIGINT);
    let mut shown = Shown::of(&mut child);
    shown.until("press Ctrl-C again");
    signal(&child, Signal::SIGINT);
    Ran::of(child.wait_with_output().expect("the program ends")).expect_code(130);

    let working = provider();
    folder.run(&args(&working.url())).expect_code(0);
    assert_all_answered(&folder.rows("out.jsonl"), ROWS);
}

#[test]
fn sigusr1_lists_what_is_in_flight() {
    let hanging = Provider::start(Settings { hang_rate: 1.0, ..Settings::default() });
    let folder = Folder::new();
    folder.write("in.jsonl", "{\"id\":\"a\",\"prompt\":\"one\"}\n{\"prompt\":\"two\"}\n");
    let mut child = start(&folder, &hanging.url());
    wait_for(|| hanging.stats().in_flight == 2);
    let mut shown = Shown::of(&mut child);
    signal(&child, Signal::SIGUSR1);
    // The two may have begun in either order.
    let said = shown.until("in flight: 2") + &shown.until(" for ") + &shown.until(" for ");
    child.kill().expect("the program runs");
    child.wait().expect("the program ends");
    assert!(said.starts_with("in flight: 2\n"), "{said}");
    assert!(said.contains("\n  line 1 (a) for ") && said.contains("\n  line 2 for "), "{said}");
}

#[test]
fn a_killed_run_resumes_without_repeating_finished_rows() {
    let provider = provider();
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(ROWS));
    let mut kills = 0;
    for at_least in [10, 60, 130] {
        let mut child = start(&folder, &provider.url());
        wait_for(|| provider.stats().ok >= at_least);
        child.kill().expect("the program runs");
        child.wait().expect("the program ends");
        kills += 1;
    }
    folder.run(&args(&provider.url())).expect_code(0);
    assert_all_answered(&folder.rows("out.jsonl"), ROWS);
    let calls = provider.stats().requests;
    assert!(calls <= (ROWS + kills * 8) as u64, "{calls} calls: at most those in flight are repeated");
}

#[cfg(target_os = "linux")]
#[test]
fn a_terminal_echoes_input_after_ctrl_c_at_the_key_prompt() {
    use nix::sys::termios::{LocalFlags, tcgetattr};
    let terminal = nix::pty::openpty(None, None).expect("a terminal");
    let echoes =
        || tcgetattr(&terminal.slave).is_ok_and(|modes| modes.local_flags.contains(LocalFlags::ECHO));
    let folder = Folder::new();
    let slave = || Stdio::from(terminal.slave.try_clone().expect("a file descriptor"));
    let mut command = folder.command(&["keys", "set", "openai"]);
    command.env("HOME", folder.path()).stdin(slave()).stderr(slave());
    let mut child = command.spawn().expect("the program starts");
    wait_for(|| !echoes());
    signal(&child, Signal::SIGINT);
    assert_eq!(child.wait().expect("the program ends").code(), Some(130));
    assert!(echoes());
}

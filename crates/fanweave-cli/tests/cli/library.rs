//! The program as a library: several runs in a process that belongs to another program.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fanweave_cli::{Exit, Stop, run, run_until};
use fanweave_sim::Settings;

use crate::support::{Folder, Provider, assert_all_answered, echo_of, prompts, wait_for};

/// `fanweave batch` of `in.jsonl` in a folder, with absolute paths.
fn batch(folder: &Folder, more: &[&str]) -> Vec<String> {
    let path = |name: &str| folder.file(name).display().to_string();
    let words = ["batch".to_owned(), path("in.jsonl"), "-o".to_owned(), path("out.jsonl"), "-q".to_owned()];
    words.into_iter().chain(more.iter().map(|word| (*word).to_owned())).collect()
}

#[test]
fn the_program_runs_twice_in_one_process() {
    // The same arguments mean another model in each folder, and another colour is asked for.
    for (model, color) in [("sim/echo", "always"), ("sim/writer", "never")] {
        let folder = Folder::new();
        folder.write("fanweave.toml", format!("[aliases]\nfast = \"{model}\"\n"));
        folder.write("in.jsonl", prompts(3));
        std::env::set_current_dir(folder.path()).expect("the folder is there");
        let args = batch(&folder, &["-m", "fast", "--color", color]);
        assert_eq!(run(&args), Exit::Ok);
        assert_eq!(run(args.iter().map(String::as_str).chain(["--fail-if-done"])), Exit::NothingToDo);
        let rows = folder.rows("out.jsonl");
        assert_eq!(rows.len(), 3);
        let is_echo = rows[0]["answer"] == echo_of("question 0");
        assert_eq!(is_echo, model == "sim/echo", "{:?}", rows[0]);
        assert_eq!(run(["ask", "--nope", "--color", color]), Exit::Usage);
        assert_eq!(anstream::ColorChoice::global(), anstream::ColorChoice::Auto);
    }
}

#[test]
fn the_program_runs_in_several_threads_at_once() {
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let folder = Folder::new();
                folder.write("in.jsonl", prompts(50));
                assert_eq!(run(batch(&folder, &["-m", "sim/echo"])), Exit::Ok);
                assert_all_answered(&folder.rows("out.jsonl"), 50);
            });
        }
    });
}

#[tokio::test]
async fn the_program_runs_inside_of_a_runtime() {
    assert_eq!(run(["config", "path"]), Exit::Ok);
}

#[test]
fn a_second_request_ends_a_run_at_once_and_its_journal_is_free() {
    let hanging = Provider::start(Settings { hang_rate: 1.0, ..Settings::default() });
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(20));
    let stop = Stop::new();
    let (url, working) = (hanging.url(), Provider::start(Settings::default()));
    thread::scope(|scope| {
        let args = batch(&folder, &["-m", "openai/echo", "--base-url", &url]);
        let ran = scope.spawn(|| run_until(args, &stop));
        wait_for(|| hanging.stats().in_flight == 20);
        stop.request();
        // Enough for a run that does not wait to end: that it waits shows only in that it does not.
        thread::sleep(Duration::from_millis(100));
        assert!(!ran.is_finished(), "it waits for the rows in flight");
        let asked = Instant::now();
        stop.request();
        assert_eq!(ran.join().expect("it does not panic"), Exit::Interrupted);
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    });
    let url = working.url();
    assert_eq!(run(batch(&folder, &["-m", "openai/echo", "--base-url", &url])), Exit::Ok);
    assert_all_answered(&folder.rows("out.jsonl"), 20);
}

#[test]
fn a_first_request_drains_the_rows_in_flight() {
    let latency = fanweave_sim::Latency::Fixed(Duration::from_millis(50));
    let provider = Provider::start(Settings { latency, ..Settings::default() });
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(200));
    let stop = Stop::new();
    let url = provider.url();
    let args = batch(&folder, &["-m", "openai/echo", "--base-url", &url, "-c", "8"]);
    let exit = thread::scope(|scope| {
        let ran = scope.spawn(|| run_until(args, &stop));
        wait_for(|| provider.stats().ok >= 20);
        stop.request();
        ran.join().expect("it does not panic")
    });
    assert_eq!(exit, Exit::Stopped);
    assert_eq!(folder.rows("out.jsonl").len() as u64, provider.stats().ok, "each answer is kept");
}

#[cfg(target_os = "linux")]
#[test]
fn a_run_installs_no_signal_handler_and_no_panic_hook() {
    static SEEN: AtomicBool = AtomicBool::new(false);
    let caught = || {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
        let line = status.lines().find(|line| line.starts_with("SigCgt:")).expect("the mask of handlers");
        line.to_owned()
    };
    let before = caught();
    std::panic::set_hook(Box::new(|_| SEEN.store(true, Ordering::Relaxed)));
    let provider = Provider::start(Settings::default());
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(3));
    let url = provider.url();
    // The panel would read keys in a process of its own.
    let args = batch(&folder, &["-m", "openai/echo", "--base-url", &url, "--show-progress", "bar"]);
    assert_eq!(run(args), Exit::Ok);
    assert_eq!(run(["ask", "hello", "-m", "sim/echo", "--no-log"]), Exit::Ok);
    assert_eq!(caught(), before);
    thread::spawn(|| panic!("on purpose")).join().expect_err("it panicked");
    assert!(SEEN.load(Ordering::Relaxed), "the hook of this process is still there");
    let _ = std::panic::take_hook();
}

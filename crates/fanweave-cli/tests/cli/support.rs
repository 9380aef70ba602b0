//! Runs the program in a separate folder, with its own simulated provider.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

use fanweave_sim::{Server, Settings};
use serde_json::Value;

/// A simulated provider in this process. Stops when dropped.
pub(crate) struct Provider {
    server: Server,
    _runtime: tokio::runtime::Runtime,
}

impl Provider {
    pub(crate) fn start(settings: Settings) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime starts");
        let server = {
            let _in_runtime = runtime.enter();
            Server::start(settings).expect("the provider starts")
        };
        Self { server, _runtime: runtime }
    }

    pub(crate) fn url(&self) -> String {
        self.server.base_url()
    }

    pub(crate) fn stats(&self) -> fanweave_sim::Stats {
        self.server.stats()
    }
}

/// A folder to run the program in. Deleted when dropped.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.file(name), text).expect("a file in the temporary folder");
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap_or_else(|e| panic!("{name} cannot be read: {e}"))
    }

    /// The answers of a JSONL file.
    pub(crate) fn rows(&self, name: &str) -> Vec<Value> {
        self.read(name).lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    /// The program, in this folder and with an empty environment. `FANWEAVE_TEST_PROGRAM` is another build of
    /// it, such as a release build.
    pub(crate) fn command(&self, args: &[impl AsRef<OsStr>]) -> Command {
        let other = std::env::var_os("FANWEAVE_TEST_PROGRAM");
        let mut command = Command::new(other.as_deref().unwrap_or(env!("CARGO_BIN_EXE_fanweave").as_ref()));
        command.current_dir(self.path()).env_clear().args(args).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[impl AsRef<OsStr>]) -> Ran {
        Ran::of(self.command(args).output().expect("the program starts"))
    }

    /// `fanweave batch in.jsonl -o out.jsonl` with the provider's `echo`.
    pub(crate) fn batch(&self, url: &str, more: &[&str]) -> Ran {
        self.run(&batch_args(url, more))
    }

    pub(crate) fn run_with_stdin(&self, args: &[&str], input: &str) -> Ran {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut stdin = child.stdin.take().expect("stdin is piped");
        stdin.write_all(input.as_bytes()).expect("the program reads its stdin");
        drop(stdin);
        Ran::of(child.wait_with_output().expect("the program ends"))
    }
}

/// Waits until `holds`, and fails if it does not within 30 s.
#[track_caller]
pub(crate) fn wait_for(mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "what was waited for did not come within 30 s");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The stderr of a program that runs.
pub(crate) struct Shown(BufReader<ChildStderr>);

impl Shown {
    /// Takes the stderr, which must be piped.
    pub(crate) fn of(child: &mut Child) -> Self {
        Self(BufReader::new(child.stderr.take().expect("stderr is piped")))
    }

    /// Waits for a line with `text`. Returns what was shown up to this line.
    #[track_caller]
    pub(crate) fn until(&mut self, text: &str) -> String {
        let mut shown = String::new();
        loop {
            let line = shown.len();
            let read = self.0.read_line(&mut shown).expect("stderr is UTF-8");
            assert!(read > 0, "the program ended without `{text}`: {shown}");
            if shown[line..].contains(text) {
                return shown;
            }
        }
    }
}

/// Result of a run of the program.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
        }
    }

    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stderr: {}\nstdout: {}", self.stderr, self.stdout);
        self
    }
}

/// The arguments of [`Folder::batch`].
pub(crate) fn batch_args<'a>(url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let words = ["batch", "in.jsonl", "-o", "out.jsonl", "-m", "openai/echo", "--base-url", url];
    words.iter().chain(more).copied().collect()
}

/// The arguments for a batch through the batch API of `vendor`.
pub(crate) fn via_args(vendor: &str, provider: &Provider, more: &[&str]) -> Vec<String> {
    let url = provider.url();
    let url = if vendor == "anthropic" { url.trim_end_matches("/v1") } else { &url };
    let model = format!("{vendor}/echo");
    let words =
        ["batch", "in.jsonl", "-o", "out.jsonl", "-m", &model, "--base-url", url, "--via", "batch-api"];
    words.iter().chain(more).map(|word| (*word).to_owned()).collect()
}

/// Answer of `sim/echo` to `prompt`. Depends on the prompt, so that tests detect mixed-up answers.
pub(crate) fn echo_of(prompt: &str) -> String {
    format!("{:08x} {prompt}", crc32fast::hash(prompt.as_bytes()))
}

/// `n` JSON lines with a prompt each.
pub(crate) fn prompts(n: usize) -> String {
    (0..n).map(|i| format!("{{\"prompt\":\"question {i}\"}}\n")).collect()
}

/// Asserts that row `i` of `rows` answers question `i`, for all of `n` rows.
#[track_caller]
pub(crate) fn assert_all_answered(rows: &[Value], n: usize) {
    assert_eq!(rows.len(), n, "one line for each row");
    for (i, row) in rows.iter().enumerate() {
        assert_eq!(row["index"], i, "{row}");
        assert_eq!(row["answer"], echo_of(&format!("question {i}")), "{row}");
        assert!(row["error"].is_null(), "{row}");
    }
}

/// Head and body of the next request of a connection. `None` if it ends before.
pub(crate) fn request_of(stream: &TcpStream) -> Option<(String, Vec<u8>)> {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((head, body))
}

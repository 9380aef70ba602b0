//! Overhead of `fanweave batch`, compared to a bare HTTP client that makes the same calls.
//!
//!     cargo bench -p fanweave-cli --bench overhead
//!
//! Both run alternately as separate processes against one `fanweave sim`. The figures are medians over the
//! rounds; ratios are computed within a round, so that load on the machine affects both. The bare client
//! neither records nor writes anything: it is a lower bound, not a peer.

mod bare;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

const FANWEAVE: &str = env!("CARGO_BIN_EXE_fanweave");

struct Scenario {
    title: &'static str,
    latency: &'static str,
    rows: usize,
    concurrency: usize,
    rounds: usize,
}

const SCENARIOS: [Scenario; 3] = [
    Scenario {
        title: "2,000 rows of 500 ms, 2,000 in flight",
        latency: "500ms",
        rows: 2_000,
        concurrency: 2_000,
        rounds: 7,
    },
    Scenario {
        title: "20,000 rows at no latency, 64 in flight",
        latency: "0",
        rows: 20_000,
        concurrency: 64,
        rounds: 5,
    },
    Scenario {
        title: "50,000 rows at no latency, 64 in flight",
        latency: "0",
        rows: 50_000,
        concurrency: 64,
        rounds: 3,
    },
];

fn main() {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some("bare") {
        return bare::run(&args.collect::<Vec<_>>());
    }
    let dir = tempfile::tempdir().expect("a folder for the rows and answers");
    for scenario in &SCENARIOS {
        measure(scenario, dir.path());
    }
}

fn measure(scenario: &Scenario, dir: &Path) {
    let Scenario { title, latency, rows, concurrency, rounds } = scenario;
    let input = dir.join("rows.jsonl");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&input).expect("the rows can be written"));
    for i in 0..*rows {
        writeln!(file, "{{\"prompt\":{:?}}}", bare::prompt(i)).expect("the rows can be written");
    }
    file.flush().expect("the rows can be written");

    let mut ratios = Vec::new();
    let (mut ours, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..*rounds {
        // A fresh server each round: neither side finds the connections of the other.
        let server = Server::start(latency);
        let floor = timed(Command::new(std::env::current_exe().expect("this program has a path")).args([
            "bare",
            &server.url,
            &rows.to_string(),
            &concurrency.to_string(),
        ]));
        drop(server);
        let server = Server::start(latency);
        let output = dir.join("answers.jsonl");
        let our = timed(
            Command::new(FANWEAVE)
                .arg("batch")
                .arg(&input)
                .arg("-o")
                .arg(&output)
                .args(["--model", "openai/echo", "--base-url", &server.url, "--fresh", "--quiet"])
                .args(["--concurrency", &concurrency.to_string()]),
        );
        let answers = std::fs::read_to_string(&output).expect("answers were written");
        assert_eq!(answers.lines().count(), *rows, "every row has its line");
        ratios.push(our.cpu.as_secs_f64() / floor.cpu.as_secs_f64());
        ours.push(our);
        floors.push(floor);
    }
    println!("\n{title} ({rounds} rounds)");
    for (name, runs) in [("bare hyper", &floors), ("fanweave batch", &ours)] {
        let wall = median(runs.iter().map(|run| run.wall.as_secs_f64()).collect());
        let cpu = median(runs.iter().map(|run| run.cpu.as_secs_f64()).collect());
        let peak = median(runs.iter().map(|run| run.peak_mib).collect());
        let cpu = cpu * 1e6 / *rows as f64;
        println!("  {name:<15} wall {wall:>6.3} s   CPU {cpu:>6.1} us a call   peak {peak:>6.1} MiB");
    }
    println!("  CPU ratio {:.2}", median(ratios));
}

/// One process, from its start to its end.
struct Timed {
    wall: Duration,
    cpu: Duration,
    peak_mib: f64,
}

fn timed(command: &mut Command) -> Timed {
    let before = cpu_of_children();
    let started = Instant::now();
    let mut child =
        command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().expect("the program starts");
    let mut peak_mib: f64 = 0.0;
    let status = loop {
        if let Some(status) = child.try_wait().expect("the program can be waited for") {
            break status;
        }
        peak_mib = peak_mib.max(peak_of(&child));
        std::thread::sleep(Duration::from_millis(2));
    };
    assert!(status.success(), "{command:?} ended with {status}");
    Timed { wall: started.elapsed(), cpu: cpu_of_children() - before, peak_mib }
}

fn cpu_of_children() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("this system counts CPU time");
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(|t| Duration::from_micros((t.tv_sec() * 1_000_000 + t.tv_usec()).unsigned_abs()))
        .sum()
}

/// Peak memory of a running process, in MiB. 0 if the system does not report it.
fn peak_of(child: &Child) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A `fanweave sim` of this bench's own. Ends when dropped.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(latency: &str) -> Self {
        let mut child = Command::new(FANWEAVE)
            .args(["sim", "--port", "0", "--latency", latency])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the simulated provider starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the simulated provider says where it listens");
        let url = line.trim().rsplit(' ').next().expect("the line ends with the URL").to_owned();
        Self { child, url }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! Worker processes on this machine.

use std::ffi::OsString;
use std::fs::File;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use fanweave::context::CancellationToken;
use fanweave::workers::{Error, ErrorKind};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::args::BatchArgs;
use crate::exit::{Exit, Failure};

/// Maximum number of times that workers are started again, so that rows that end their process are found.
const MAX_RESTARTS: usize = 12;

/// Pause before a worker is started again.
const RESTART_PAUSE: Duration = Duration::from_millis(500);

/// Program, flags and number of the workers.
pub(crate) struct Workers {
    program: PathBuf,
    flags: Vec<OsString>,
    url: String,
    folder: PathBuf,
    count: usize,
}

impl Workers {
    /// Workers of the broker at `url`, with the flags of a batch. Their logs are in `folder`.
    pub(crate) fn new(args: &BatchArgs, url: &str, folder: &Path) -> Result<Self, Failure> {
        let program = std::env::current_exe()
            .map_err(|e| Failure::new(format!("cannot find the program for the workers: {e}")))?;
        let count = args.cluster.workers.map_or(2, NonZeroUsize::get);
        Ok(Self {
            program,
            flags: flags(args, count)?,
            url: url.to_owned(),
            folder: folder.to_owned(),
            count,
        })
    }

    /// Runs the workers until `stop` is cancelled. A worker that ends by itself is started again. Returns the
    /// error if they cannot run.
    pub(crate) async fn run(self, stop: CancellationToken) -> Option<Error> {
        let mut running = JoinSet::new();
        for number in 1..=self.count {
            match self.start(number) {
                Ok(child) => _ = running.spawn(until(child, number, stop.clone())),
                Err(error) => return Some(error),
            }
        }
        let mut restarts = 0;
        while let Some(ended) = running.join_next().await {
            let Ok((number, status)) = ended else { continue };
            if stop.is_cancelled() {
                continue;
            }
            restarts += 1;
            let is_usage = status.as_ref().is_some_and(|s| s.code() == Some(i32::from(Exit::Usage.code())));
            if is_usage || restarts > MAX_RESTARTS {
                return Some(self.failed(number, status));
            }
            sleep(RESTART_PAUSE).await;
            match self.start(number) {
                Ok(child) => _ = running.spawn(until(child, number, stop.clone())),
                Err(error) => return Some(error),
            }
        }
        None
    }

    fn log(&self, number: usize) -> PathBuf {
        self.folder.join(format!("worker-{number}.log"))
    }

    fn start(&self, number: usize) -> Result<Child, Error> {
        let failed =
            |e: std::io::Error| Error::new(ErrorKind::Rows, format!("cannot start worker {number}: {e}"));
        let log = File::options().create(true).append(true).open(self.log(number)).map_err(failed)?;
        let mut command = Command::new(&self.program);
        command
            .arg("worker")
            .args(&self.flags)
            .env("FANWEAVE_ON", &self.url)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        // This process stops them, once it stops.
        #[cfg(unix)]
        command.process_group(0);
        command.spawn().map_err(failed)
    }

    fn failed(&self, number: usize, status: Option<ExitStatus>) -> Error {
        let log = self.log(number);
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let last = text.lines().rev().find(|line| line.starts_with("error: "));
        let why = last.map_or_else(
            || status.map_or_else(|| "it cannot be waited for".to_owned(), |status| status.to_string()),
            |line| line.trim_start_matches("error: ").to_owned(),
        );
        Error::new(ErrorKind::Rows, format!("worker {number} ended: {why} (log: {})", log.display()))
    }
}

/// Waits for a worker to end, and lets it finish its rows once `stop` is cancelled.
async fn until(mut child: Child, number: usize, stop: CancellationToken) -> (usize, Option<ExitStatus>) {
    // The worker stops when its input is closed, also if this process is killed.
    let input = child.stdin.take();
    tokio::select! {
        status = child.wait() => return (number, status.ok()),
        () = stop.cancelled() => drop(input),
    }
    let status = child.wait().await;
    (number, status.ok())
}

/// The flags of a worker, of which there are `count`.
fn flags(args: &BatchArgs, count: usize) -> Result<Vec<OsString>, Failure> {
    let mut flags: Vec<OsString> = vec!["--until-stdin-closes".into()];
    let mut add = |name: &str, value: Option<OsString>| {
        if let Some(value) = value {
            flags.push(format!("--{name}").into());
            flags.push(value);
        }
    };
    let text = |value: &dyn ToString| Some(OsString::from(value.to_string()));
    let concurrency = args.concurrency.map_or(64, NonZeroUsize::get);
    add("concurrency", text(&concurrency.div_ceil(count)));
    let share = |flag: &str, limit: Option<usize>| match limit {
        Some(limit) if limit < count => Err(Failure::usage(format!(
            "--{flag} {limit} cannot be divided among {count} workers; use --workers {limit} or fewer"
        ))),
        limit => Ok(limit.map(|limit| OsString::from((limit / count).to_string()))),
    };
    let model = &args.model;
    add("max-in-flight", share("max-in-flight", model.max_in_flight.map(NonZeroUsize::get))?);
    let time = |time: &Duration| OsString::from(humantime::format_duration(*time).to_string());
    add("timeout", model.timeout.as_ref().map(time));
    add("outage-timeout", model.outage_timeout.as_ref().map(time));
    add("retries", model.retries.as_ref().and_then(|n| text(n)));
    add("base-url", model.base_url.clone().map(Into::into));
    add("template-memory", args.template_memory.as_ref().and_then(|n| text(n)));
    add("prices", args.prices.clone().map(Into::into));
    for name in &args.key_env {
        add("key-env", Some(name.into()));
    }
    for (name, is_set) in [
        ("--adapt", model.adapt),
        ("--strict-request", model.strict_request),
        ("--no-fallback-on-outage", args.no_fallback_on_outage),
    ] {
        if is_set {
            flags.push(name.into());
        }
    }
    Ok(flags)
}

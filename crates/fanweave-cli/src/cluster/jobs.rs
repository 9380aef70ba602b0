//! `fanweave jobs`: runs of a broker.

use std::ffi::OsStr;
use std::fmt::Write;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fanweave::batch::{BatchJob, Columns, Fingerprint, Output, OutputFormat, Render, Settings, Source};
use fanweave::context::Concurrency;
use fanweave::workers::{
    Attached, Broker, ErrorKind, Manifest, Nats, RunState, RunStatus, ShardRows, WorkerStatus, cancel,
    remove, retry, runs, status_of,
};
use fanweave::{Error, Message, Prompt, step};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::access::broker;
use crate::args::{CollectArgs, JobsArgs, JobsCommand, ShowProgress};
use crate::chain_rows::outputs_schema;
use crate::exit::{Exit, Failure};
use crate::out::{escape_controls, print, tell};
use crate::program::Program;
use crate::rows::{Watch, failure};
use crate::work::ChainWork;

/// Time between two lines of `watch`.
const WATCH_PERIOD: Duration = Duration::from_secs(1);

/// Time without a report after which a worker is taken for lost.
const SILENT: u64 = 20;

pub(crate) async fn run(args: JobsArgs, program: &Program) -> Result<Exit, Failure> {
    match args.command {
        JobsCommand::List { json, broker: at } => list(&broker(&at).await?, json).await,
        JobsCommand::Show { run, json, broker: at } => show(&broker(&at).await?, &run, json).await,
        JobsCommand::Watch { run, broker: at } => watch(&broker(&at).await?, &run, program).await,
        JobsCommand::Collect(args) => collect(*args, program).await,
        JobsCommand::Cancel { run, broker: at } => {
            match cancel(&broker(&at).await?, &run).await? {
                true => tell!("{run}: cancelled; calls in flight end and are recorded"),
                false => tell!("{run}: was cancelled before"),
            }
            Ok(Exit::Ok)
        }
        JobsCommand::Retry { run, broker: at } => {
            let shards = retry(&broker(&at).await?, &run).await?;
            match shards {
                0 => tell!("{run}: no row failed, and none is left"),
                _ => tell!("{run}: the rows of {shards} shards that failed or are left are retried"),
            }
            Ok(Exit::Ok)
        }
        JobsCommand::Rm { run, broker: at } => {
            remove(&broker(&at).await?, &run).await?;
            tell!("{run}: removed");
            Ok(Exit::Ok)
        }
    }
}

async fn list(broker: &Nats, as_json: bool) -> Result<Exit, Failure> {
    let mut all = Vec::new();
    for run in runs(broker).await? {
        match status_of(broker, &run).await {
            Ok(status) => all.push(status),
            // It was removed meanwhile.
            Err(error) if error.kind() == ErrorKind::Usage => {}
            Err(error) => return Err(error.into()),
        }
    }
    if as_json {
        let all: Vec<_> = all.iter().map(data).collect();
        print(format!("{}\n", json!({ "v": 1, "runs": all })).as_bytes())?;
        return Ok(Exit::Ok);
    }
    if all.is_empty() {
        tell!("no runs");
        return Ok(Exit::Ok);
    }
    let width = all.iter().map(|status| status.manifest.run.len()).max().unwrap_or_default().max(3);
    let mut text = format!(
        "{:width$}  {:10}  {:>17}  {:>7}  {:>7}  age\n",
        "run", "state", "done/rows", "failed", "workers"
    );
    for status in &all {
        let rows = format!("{}/{}", status.done, total(status));
        let workers = status.workers.iter().filter(|worker| is_alive(worker)).count();
        let (run, state, age) = (&status.manifest.run, status.state(), age(status.manifest.created));
        let failed = status.failed;
        let _ = writeln!(text, "{run:width$}  {state:10}  {rows:>17}  {failed:>7}  {workers:>7}  {age}");
    }
    print(escape_controls(&text).as_bytes())?;
    Ok(Exit::Ok)
}

/// Number of rows, as far as it is known.
fn total(status: &RunStatus) -> String {
    match status.manifest.sealed {
        true => status.manifest.rows.to_string(),
        false => "?".to_owned(),
    }
}

/// Status of a run for programs.
fn data(status: &RunStatus) -> Value {
    let manifest = &status.manifest;
    json!({
        "v": 1, "run": manifest.run, "state": status.state(), "created": manifest.created,
        "input": manifest.input.name, "generation": manifest.generation, "sealed": manifest.sealed,
        "rows": manifest.sealed.then_some(manifest.rows), "shards": manifest.sealed.then_some(manifest.shards),
        "done": status.done, "failed": status.failed, "complete_shards": status.complete_shards,
        "owned_shards": status.owned_shards, "workers": status.workers,
    })
}

async fn show(broker: &Nats, run: &str, as_json: bool) -> Result<Exit, Failure> {
    let status = status_of(broker, run).await?;
    if as_json {
        print(format!("{}\n", data(&status)).as_bytes())?;
        return Ok(exit_of(&status));
    }
    let manifest = &status.manifest;
    let mut text = format!("run: {run} ({})\n", status.state());
    let (shards, submitted) = match manifest.sealed {
        true => (manifest.shards.to_string(), "submitted"),
        false => ("?".to_owned(), "submission began"),
    };
    let (input, age) = (&manifest.input.name, age(manifest.created));
    let _ = writeln!(text, "input: {input}, {} rows, {submitted} {age} ago", total(&status));
    let left = match manifest.sealed {
        true => format!(", {} left", manifest.rows.saturating_sub(status.done)),
        false => String::new(),
    };
    let _ = writeln!(text, "rows: {} done, {} of them failed{left}", status.done, status.failed);
    let (complete, owned) = (status.complete_shards, status.owned_shards);
    let _ = writeln!(text, "shards: {complete} of {shards} complete, {owned} at workers");
    if manifest.generation > 0 {
        let _ = writeln!(text, "failed rows were retried {} times", manifest.generation);
    }
    for worker in &status.workers {
        let _ = writeln!(text, "{}", line(worker));
    }
    print(escape_controls(&text).as_bytes())?;
    Ok(exit_of(&status))
}

/// The report of a worker, as one line.
fn line(worker: &WorkerStatus) -> String {
    let WorkerStatus { worker: name, ok, failed, in_flight, .. } = worker;
    let name: String = name.chars().take(8).collect();
    let counts = format!("worker {name}: {ok} ok, {failed} failed");
    match &worker.refusal {
        _ if worker.has_ended => format!("{counts}, not at this run now"),
        _ if !is_alive(worker) => format!("{counts}, silent for {}", age(worker.at)),
        Some(refusal) => format!("{counts}, waits: {}", refusal.error),
        None => format!("{counts}, {in_flight} in flight"),
    }
}

fn is_alive(worker: &WorkerStatus) -> bool {
    // A worker without rows in flight says nothing.
    !worker.has_ended && (worker.in_flight == 0 || now().saturating_sub(worker.at) <= SILENT)
}

fn exit_of(status: &RunStatus) -> Exit {
    match status.manifest.state {
        RunState::Cancelled => Exit::Stopped,
        RunState::Open if status.is_complete() && status.failed > 0 => Exit::RowsFailed,
        RunState::Open => Exit::Ok,
    }
}

async fn watch(broker: &Nats, run: &str, program: &Program) -> Result<Exit, Failure> {
    let mut before: Option<(Instant, u64)> = None;
    let mut said = String::new();
    loop {
        let status = tokio::select! {
            status = status_of(broker, run) => status,
            () = program.stop.requested() => return Ok(Exit::Stopped),
        };
        let status = match status {
            Err(error) if error.kind() == ErrorKind::Broker => {
                tell!("note: {error}");
                sleep(WATCH_PERIOD).await;
                continue;
            }
            status => status?,
        };
        let now = Instant::now();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = before.map_or(0.0, |(at, done)| {
            status.done.saturating_sub(done) as f64 / now.duration_since(at).as_secs_f64()
        });
        before = Some((now, status.done));
        let workers = status.workers.iter().filter(|worker| is_alive(worker)).count();
        let rows = format!("{}/{} rows", status.done, total(&status));
        let text = format!(
            "{run}: {}, {rows}, {} failed, {rate:.0} rows/s, {workers} workers\n",
            status.state(),
            status.failed
        );
        if text != said {
            print(escape_controls(&text).as_bytes())?;
            said = text;
        }
        if status.is_complete() || status.manifest.state == RunState::Cancelled {
            return Ok(exit_of(&status));
        }
        tokio::select! {
            () = sleep(WATCH_PERIOD) => {}
            () = program.stop.requested() => return Ok(Exit::Stopped),
        }
    }
}

async fn collect(args: CollectArgs, program: &Program) -> Result<Exit, Failure> {
    let at: Arc<dyn Broker> = Arc::new(broker(&args.broker).await?);
    let status = status_of(&*at, &args.run).await?;
    let manifest = status.manifest;
    let source = Source::new(ShardRows::new(at.clone(), manifest.clone())?);
    let mut settings = Settings::new().fresh(args.fresh);
    if let Some(format) = &args.output_format {
        let format = format.parse().map_err(|error| failure(&error))?;
        settings = settings.output_format(format);
    } else if manifest.settings.keep_raw {
        settings = settings.output_format(OutputFormat::OpenAi);
    }
    settings.answer_schema = schema_of(&manifest);
    settings.columns = columns_of(&args, &manifest, settings.output_format);
    // The workers have the models.
    let nothing =
        step(|_: Prompt, _| async { Err::<Message, _>(Error::new(fanweave::ErrorKind::Config, "no model")) });
    let fingerprint = Fingerprint::from(manifest.fingerprint.clone());
    let output = Output::File(args.output.clone());
    let job =
        BatchJob::new(source, Render::default(), nothing, output).settings(settings).fingerprint(fingerprint);
    let watch = Watch {
        program,
        output: &args.output,
        show: ShowProgress::default(),
        quiet: args.quiet,
        concurrency: Concurrency::new(1),
        json: false,
        reads_keys: false,
        fail_if_done: false,
        stopping: super::STOPPING,
        waits_for_quota: false,
        quota_reset: OnceLock::new(),
    };
    let (_, mut notes) = mpsc::unbounded_channel();
    // No more rows of a run that was cancelled are run.
    let is_partial = args.partial || manifest.state == RunState::Cancelled;
    let attached = Attached::new(at, manifest).submitted().patient(true).partial(is_partial);
    let attached = attached.on_note(|note| tell!("note: {note}"));
    let collecting = watch.over(&mut notes, |progress, stop| attached.stop(stop).run(job.progress(progress)));
    Box::pin(collecting).await
}

/// The columns of the answers of a run, if its manifest names them.
fn schema_of(manifest: &Manifest) -> Option<Value> {
    match manifest.work.get("chain") {
        Some(work) => outputs_schema(&ChainWork::deserialized(work).ok()?.file),
        None => manifest.work["prompts"].get("schema").cloned(),
    }
}

/// The columns of the input in the output, as in a run on one machine. The rows at the broker do not have
/// their order.
fn columns_of(args: &CollectArgs, manifest: &Manifest, format: Option<OutputFormat>) -> Option<Columns> {
    let input = &manifest.input;
    let extension = args.output.extension().and_then(OsStr::to_str).unwrap_or_default();
    let format = format.or_else(|| match extension {
        "tab" => Some(OutputFormat::Tsv),
        name => name.parse().ok(),
    });
    let is_table = matches!(input.format.as_deref(), Some("csv" | "tsv" | "xlsx"));
    let is_default =
        is_table && matches!(format, Some(OutputFormat::Csv | OutputFormat::Tsv | OutputFormat::Xlsx));
    match (&args.columns, input.columns.clone()) {
        (Some(Columns::All), Some(names)) => Some(Columns::Only(names)),
        (None, Some(names)) if is_default => Some(Columns::Only(names)),
        (given, _) => given.clone(),
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Time since a second of Unix time, in its largest unit.
pub(super) fn age(since: u64) -> String {
    match now().saturating_sub(since) {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_one_unit() {
        let ago = |seconds| age(now() - seconds);
        assert_eq!((ago(5), ago(300)), ("5 s".to_owned(), "5 min".to_owned()));
        assert_eq!((ago(8_000), ago(400_000)), ("2 h".to_owned(), "4 days".to_owned()));
    }
}

//! A batch whose rows run at workers: submits them, and collects the results.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fanweave::batch::{BatchJob, Fingerprint, InputFormat, Progress, RowKey, Source, Summary};
use fanweave::context::CancellationToken;
use fanweave::workers::{
    Attached, Broker, ErrorKind, InputInfo, Manifest, Nats, RowSettings, Submitted, cancel, remove, run_name,
    submit_rows,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use super::access::{connect, given};
use super::jobs::age;
use super::local::Workers;
use super::server::Server;
use crate::args::{BatchArgs, On};
use crate::exit::{Exit, Failure};
use crate::out::{print, tell};

/// A run at workers.
pub(crate) struct ClusterRun {
    manifest: Manifest,
    /// Lines of the input.
    lines: u64,
    retries_failed: bool,
    location: Location,
}

#[expect(clippy::large_enum_variant, reason = "a command has one")]
enum Location {
    /// This machine: a server and workers that were started for the run.
    Local { server: Server, workers: Workers },
    /// The workers of a broker.
    Remote { broker: Nats, is_quiet: bool },
}

/// Rows to submit: the manifest of their run.
pub(crate) struct Submission {
    manifest: Manifest,
    /// Lines of the input.
    lines: u64,
}

/// The run of a batch. `None` if its rows run in this process.
pub(crate) fn submission(
    args: &BatchArgs,
    fingerprint: &Fingerprint,
    work: Value,
    source: &Source,
    row_usd: f64,
) -> Result<Option<Submission>, Failure> {
    if args.cluster.on.is_none() {
        return Ok(None);
    }
    let Contents { hash, lines } = contents_of(source.paths())?;
    let mut manifest = manifest(args, fingerprint, work, source, &hash);
    (manifest.budget_usd, manifest.row_usd) = (args.budget_usd, row_usd);
    Ok(Some(Submission { manifest, lines }))
}

/// Connects to the broker of a run, or starts one and its workers.
pub(crate) async fn run(
    args: &BatchArgs,
    submission: Option<Submission>,
) -> Result<Option<ClusterRun>, Failure> {
    let Some(Submission { manifest, lines }) = submission else { return Ok(None) };
    let retries_failed = args.rows.retry_failed;
    let on = match &args.cluster.on {
        Some(On::Broker(on)) => Some(given(on)?),
        _ => None,
    };
    if let Some(url) = on {
        let broker = connect(&url, &args.cluster.access).await?;
        if args.rows.fresh {
            start_over(&broker, &manifest.run).await?;
        }
        if !args.quiet {
            let (version, address) = broker.server();
            tell!("broker: nats-server {version} at {address}    run: {}", manifest.run);
        }
        let location = Location::Remote { broker, is_quiet: args.quiet };
        return Ok(Some(ClusterRun { manifest, lines, retries_failed, location }));
    }
    let folder = folder_of(&args.output);
    if args.rows.fresh {
        // Results of an earlier run are discarded, as is its journal.
        match std::fs::remove_dir_all(&folder) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Failure::new(format!("{}: cannot remove it: {e}", folder.display())));
            }
            _ => {}
        }
    }
    let server = Server::start(&folder).await?;
    server.broker.on_trouble(|text| tell!("note: {text}"));
    let workers = Workers::new(args, &server.url, &folder)?;
    if !args.quiet {
        let (version, address) = server.broker.server();
        let run = &manifest.run;
        tell!("broker: nats-server {version} at {address}, data in {}/    run: {run}", folder.display());
    }
    Ok(Some(ClusterRun { manifest, lines, retries_failed, location: Location::Local { server, workers } }))
}

/// Removes the run of this name from the broker, if there is one.
async fn start_over(broker: &Nats, run: &str) -> Result<(), Failure> {
    match cancel(broker, run).await {
        Ok(_) => Ok(remove(broker, run).await?),
        // It does not exist.
        Err(error) if error.kind() == ErrorKind::Usage => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Submits the rows of a batch to a broker, and prints the name of the run.
pub(crate) async fn detached(
    args: &BatchArgs,
    submission: Option<Submission>,
    source: Source,
) -> Result<Exit, Failure> {
    let Some(ClusterRun { manifest, lines, location: Location::Remote { broker, is_quiet }, .. }) =
        run(args, submission).await?
    else {
        return Err(Failure::usage("--detach needs the URL of a broker in --on"));
    };
    // Small runs have small shards. Rows with line breaks are taken for several.
    let limit = args.rows.limit.map(Into::into);
    let rows = lines.min(limit.unwrap_or(u64::MAX));
    let submitted = submit_rows(Arc::new(broker), manifest, source, limit, rows).await?;
    if !is_quiet {
        tell_submitted(&submitted);
    }
    print(format!("{}\n", submitted.manifest.run).as_bytes())?;
    Ok(Exit::Ok)
}

fn tell_submitted(submitted: &Submitted) {
    let Manifest { rows, shards, .. } = &submitted.manifest;
    match submitted.since {
        Some(since) => tell!("already submitted {} ago: {rows} rows in {shards} shards", age(since)),
        None => tell!("submitted {rows} rows in {shards} shards"),
    }
}

impl ClusterRun {
    /// Runs the rows of `job`, and ends the workers and the broker that were started for them.
    pub(crate) async fn run<I: Send + 'static, O: fanweave::batch::IntoAnswer>(
        self,
        job: BatchJob<I, O>,
        progress: Arc<Progress>,
        stop: CancellationToken,
    ) -> fanweave::batch::Result<Summary> {
        let Self { manifest, retries_failed, location, .. } = self;
        let (server, workers) = match location {
            Location::Local { server, workers } => (server, workers),
            Location::Remote { broker, is_quiet } => {
                let attached = Attached::new(Arc::new(broker), manifest).stop(stop).patient(true);
                let attached = attached.retry_failed(retries_failed).on_note(|note| tell!("note: {note}"));
                let attached = attached.on_submitted(move |submitted| {
                    if !is_quiet {
                        tell_submitted(submitted);
                    }
                });
                return attached.run(job.progress(progress)).await;
            }
        };
        let broker: Arc<dyn Broker> = Arc::new(server.broker.clone());
        let (ended, end) = oneshot::channel();
        let workers_stop = CancellationToken::new();
        let attached = Attached::new(broker, manifest).stop(stop).unless(async move {
            match end.await {
                Ok(error) => error,
                Err(_) => std::future::pending().await,
            }
        });
        let running = async {
            if let Some(error) = workers.run(workers_stop.clone()).await {
                // The batch may have ended by itself.
                let _ = ended.send(error);
            }
        };
        let collecting = async {
            let done = attached.run(job.progress(progress)).await;
            workers_stop.cancel();
            done
        };
        let ((), done) = tokio::join!(running, collecting);
        let is_complete = done.as_ref().is_ok_and(|summary| !summary.interrupted);
        server.end(is_complete).await;
        done
    }
}

/// The folder of the broker's data.
fn folder_of(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".cluster");
    name.into()
}

/// The run of a batch, whose name is the same for the same rows and the same work.
fn manifest(
    args: &BatchArgs,
    fingerprint: &Fingerprint,
    work: Value,
    source: &Source,
    hash: &str,
) -> Manifest {
    let rows = &args.rows;
    let mut identity = json!({
        "work": fingerprint.values(), "input": hash, "format": rows.input_format,
        "limit": rows.limit, "sample": rows.sample.map(|sample| (sample.rows, sample.seed)),
    });
    // Flags that change what the rows are.
    let given = [
        ("delimiter", rows.delimiter.map(|delimiter| json!(delimiter))),
        ("encoding", rows.encoding.map(|encoding| json!(encoding.to_string()))),
        ("id column", rows.id_column.as_ref().map(|name| json!(name))),
        ("sheet", rows.sheet.as_ref().map(|name| json!(name))),
        ("skip empty", args.rows.skip_empty.then_some(json!(true))),
        ("samples", args.samples.map(|samples| json!(samples))),
    ];
    for (name, value) in given {
        if let Some(value) = value {
            identity[name] = value;
        }
    }
    let identity = RowKey::of(&identity).expect("it has string keys");
    let run = run_name(&args.input.to_string_lossy(), identity);
    // Rows of chains have no form of a provider.
    let keeps_raw = work.get("prompts").is_some();
    let mut manifest = Manifest::new(run, work);
    manifest.fingerprint = fingerprint.values().clone();
    manifest.input = InputInfo::default();
    let name = args.input.file_name().unwrap_or_default();
    manifest.input.name = name.to_string_lossy().into_owned();
    manifest.input.format = rows.input_format.clone().or(source.format().map(|format| format.to_string()));
    // The rows at the broker do not have the names of their files.
    manifest.input.columns = source.columns().filter(|_| source.paths().len() == 1);
    manifest.input.is_sampled = rows.sample.is_some() || args.samples.is_some_and(|n| n.get() > 1);
    let mut settings = RowSettings::new();
    settings.keep_raw = keeps_raw && source.format() == Some(InputFormat::OpenAi);
    settings.hedge = !rows.no_hedging;
    settings.keep_going = rows.keep_going;
    settings.samples = args.samples.unwrap_or(settings.samples);
    manifest.settings = settings;
    let per_minute = |limit: Option<std::num::NonZeroU32>| limit.map(|limit| f64::from(limit.get()));
    manifest.limits.requests_per_minute = per_minute(args.model.rpm);
    manifest.limits.tokens_per_minute = per_minute(args.model.tpm);
    manifest
}

/// Contents of files.
struct Contents {
    hash: String,
    lines: u64,
}

/// Reads the files at `paths`.
fn contents_of(paths: &[PathBuf]) -> Result<Contents, Failure> {
    let (mut hashes, mut lines) = (Vec::new(), 0);
    for path in paths {
        let failed = |e| Failure::new(format!("{}: cannot read the file: {e}", path.display()));
        let mut hash = Sha256::new();
        let mut file = std::fs::File::open(path).map_err(failed)?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            match std::io::Read::read(&mut file, &mut buffer).map_err(failed)? {
                0 => break,
                n => {
                    hash.update(&buffer[..n]);
                    lines += buffer[..n].iter().filter(|byte| **byte == b'\n').count() as u64;
                }
            }
        }
        // The last line may have no end.
        lines += 1;
        hashes.push(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    }
    Ok(Contents { hash: hashes.join(" "), lines })
}

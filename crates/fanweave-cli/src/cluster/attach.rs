//! A batch whose rows run at workers: submits them, and collects the results.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fanweave::batch::{BatchJob, Progress, RowKey, Summary};
use fanweave::context::CancellationToken;
use fanweave::workers::{Attached, Broker, InputInfo, Manifest, RowSettings, run_name};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use super::local::Workers;
use super::server::Server;
use crate::args::BatchArgs;
use crate::exit::Failure;
use crate::out::tell;
use crate::work::PromptWork;

/// A run at workers that were started for it.
pub(crate) struct ClusterRun {
    server: Server,
    manifest: Manifest,
    workers: Workers,
}

/// Prepares the run of a batch with the rows of `job`.
pub(crate) async fn run(args: &BatchArgs, work: &PromptWork, keep_raw: bool) -> Result<ClusterRun, Failure> {
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
    let manifest = manifest(args, work, keep_raw)?;
    let server = Server::start(&folder).await?;
    let workers = Workers::new(args, &server.url, &folder)?;
    if !args.quiet {
        let (version, address) = server.broker.server();
        let run = &manifest.run;
        tell!("broker: nats-server {version} at {address}, data in {}/    run: {run}", folder.display());
    }
    Ok(ClusterRun { server, manifest, workers })
}

impl ClusterRun {
    /// Runs the rows of `job`, and ends the workers and the broker.
    pub(crate) async fn run<I: Send + 'static, O: fanweave::batch::IntoAnswer>(
        self,
        job: BatchJob<I, O>,
        progress: Arc<Progress>,
        stop: CancellationToken,
    ) -> fanweave::batch::Result<Summary> {
        let Self { server, manifest, workers } = self;
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

fn manifest(args: &BatchArgs, work: &PromptWork, keep_raw: bool) -> Result<Manifest, Failure> {
    let shown = args.input.display();
    let hash =
        hash_of(&args.input).map_err(|e| Failure::new(format!("{shown}: cannot read the file: {e}")))?;
    let fingerprint = work.fingerprint();
    let sample = args.rows.sample.map(|sample| (sample.rows, sample.seed));
    let identity = json!({
        "work": fingerprint.values(), "input": hash, "format": args.rows.input_format,
        "limit": args.rows.limit, "sample": sample,
    });
    let identity = RowKey::of(&identity).expect("it has string keys");
    let mut manifest =
        Manifest::new(run_name(&args.input.to_string_lossy(), identity), json!({ "prompts": work }));
    manifest.fingerprint = fingerprint.values().clone();
    manifest.input = InputInfo::default();
    let name = args.input.file_name().unwrap_or_default();
    manifest.input.name = name.to_string_lossy().into_owned();
    manifest.input.format.clone_from(&args.rows.input_format);
    let mut settings = RowSettings::new();
    settings.keep_raw = keep_raw;
    settings.hedge = !args.rows.no_hedging;
    settings.keep_going = args.rows.keep_going;
    manifest.settings = settings;
    Ok(manifest)
}

/// Hash of the contents of a file.
fn hash_of(path: &Path) -> std::io::Result<String> {
    let mut hash = Sha256::new();
    let mut file = std::fs::File::open(path)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match std::io::Read::read(&mut file, &mut buffer)? {
            0 => break,
            n => hash.update(&buffer[..n]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

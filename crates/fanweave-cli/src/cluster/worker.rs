//! `fanweave worker`: runs rows of batches.

use std::sync::Arc;

use clap::Parser;
use fanweave::batch::{BatchJob, Output, Settings, Source};
use fanweave::workers::{Access, Error, ErrorKind, Manifest, Nats, RunRows, Worker, Workload};
use tokio::io::AsyncReadExt;

use crate::args::{BatchArgs, Cli, Command, ModelArgs, Via, WorkerArgs};
use crate::config::Config;
use crate::cost;
use crate::exit::{Exit, Failure};
use crate::out::tell;
use crate::program::Program;
use crate::route::{Routed, route_with};
use crate::work::PromptWork;

pub(crate) async fn run(args: WorkerArgs, program: &Program) -> Result<Exit, Failure> {
    let url = std::env::var("FANWEAVE_ON").ok().filter(|url| !url.is_empty());
    let url = url.ok_or_else(|| Failure::usage("FANWEAVE_ON must be the URL of a broker"))?;
    let prices = cost::prices(args.prices.as_deref())?;
    let broker = Nats::connect(&url, super::server::SPACE, &Access::default()).await?;
    let listening = program.stop.listen();
    let stop = listening.token().clone();
    if args.until_stdin_closes {
        let stop = program.stop.clone();
        tokio::spawn(async move {
            // The process that started this one writes nothing.
            let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
            stop.request();
        });
    }
    let concurrency = args.concurrency.get();
    let workload = Prompts { args, config: program.config.clone(), prices };
    let worker = Worker::new(Arc::new(broker), Arc::new(workload))
        .concurrency(concurrency)
        .on_note(|note| tell!("note: {note}"));
    tell!("worker {}", worker.name());
    worker.run(stop).await?;
    Ok(Exit::Ok)
}

/// Prompts for rows, with the models of this process.
struct Prompts {
    args: WorkerArgs,
    config: Config,
    prices: fanweave::models::Prices,
}

impl Workload for Prompts {
    fn rows(&self, run: &Manifest) -> Result<Box<dyn RunRows>, Error> {
        let failed = |failure: Failure| {
            let hint = failure.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
            Error::new(ErrorKind::Usage, format!("{}{hint}", failure.message()))
        };
        let newer = || {
            let message = "the run asks for something that this fanweave does not know: update it".to_owned();
            Error::new(ErrorKind::Newer, message)
        };
        let work = run.work.get("prompts").ok_or_else(newer)?;
        let work = PromptWork::deserialized(work).ok_or_else(newer)?;
        let args = self.batch_args(&work);
        let routed = route_with(&args, &self.config, run.settings.keep_raw, Some(&work.parameters));
        let routed = routed.map_err(failed)?;
        let settings = Settings::new()
            .concurrency(self.args.concurrency)
            .hedge(run.settings.hedge)
            .keep_going(run.settings.keep_going);
        let costs = cost::known(&self.prices, Via::Calls);
        let chain = routed.chain.clone();
        let nothing = Source::rows("rows of shards", Vec::<String>::new());
        let job = BatchJob::new(
            nothing,
            work.render().map_err(failed)?,
            chain,
            Output::Writer(Box::new(std::io::sink())),
        )
        .settings(settings)
        .costs(costs);
        Ok(Box::new(Routing { job, routed }))
    }
}

impl Prompts {
    /// The flags of a batch with these prompts, as far as they concern models.
    fn batch_args(&self, work: &PromptWork) -> BatchArgs {
        let words = ["fanweave", "batch", "rows", "--output", "results"];
        let Ok(Cli { command: Command::Batch(mut batch), .. }) = Cli::try_parse_from(words) else {
            unreachable!("these are the arguments that a batch needs")
        };
        let args = self.args.clone();
        batch.model = ModelArgs {
            model: Some(work.model.clone()),
            base_url: args.base_url,
            rpm: args.rpm,
            tpm: args.tpm,
            max_in_flight: args.max_in_flight,
            timeout: args.timeout,
            retries: args.retries,
            outage_timeout: args.outage_timeout,
            adapt: args.adapt,
            strict_request: args.strict_request,
            ..batch.model
        };
        batch.fallback_model.clone_from(&work.fallback_models);
        batch.key_env = args.key_env;
        batch.no_fallback_on_outage = args.no_fallback_on_outage;
        batch.override_model = work.overrides_model;
        *batch
    }
}

/// Rows and the models that they call, which must live as long.
struct Routing<J> {
    job: J,
    routed: Routed,
}

impl<J: RunRows + 'static> RunRows for Routing<J> {
    fn run(self: Box<Self>, feed: fanweave::workers::Feed) -> futures::future::BoxFuture<'static, ()> {
        let Self { job, mut routed } = *self;
        Box::pin(async move {
            let rows = Box::new(job).run(feed);
            let noting = async {
                while let Some(note) = routed.notes.recv().await {
                    tell!("{note}");
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = rows => {}
                () = noting => unreachable!("it never ends"),
            }
        })
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Usage => Self::usage(error.message()),
            _ => Self::new(error.message()),
        }
    }
}

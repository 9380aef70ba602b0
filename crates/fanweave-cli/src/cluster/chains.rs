//! Chain files over rows at workers: `fanweave run --rows --on`.

use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};

use fanweave::batch::{BatchJob, Output, Settings, Source};
use fanweave::chain_file::StepModel;
use fanweave::context::Concurrency;
use fanweave::models::{Limiter, Prices};
use fanweave::workers::{Error, ErrorKind, Feed, Manifest, Rates, RunRows, SharedLimits};
use fanweave::{ChainFile, Model};
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::worker::{Prompts, batch_args, is_allowed, not_allowed};
use super::{attach, refuse};
use crate::args::{BatchArgs, ModelArgs, RUN_MEMORY, RunArgs, Via};
use crate::chain_rows::{connect_step, cost_of_row, inputs_of_row, outputs_schema};
use crate::connect::{Connected, Terms, connect};
use crate::cost;
use crate::exit::{Exit, Failure};
use crate::program::Program;
use crate::rows::{STOPPING, Watch, check_output, open, output, print_notes, settings};
use crate::work::ChainWork;

/// Rejects flags that have no effect on rows at workers.
pub(crate) fn refuse_run_flags(args: &RunArgs) -> Result<(), Failure> {
    if args.cluster.on.is_none() {
        return Ok(());
    }
    if args.rows.is_empty() {
        return Err(Failure::usage("--on runs the chain for rows").with_hint("add --rows FILE -o OUTPUT"));
    }
    if args.run_memory != RUN_MEMORY {
        return Err(Failure::usage("--run-memory cannot be used with --on")
            .with_hint("set `run_memory_mib` in the limits of the chain file"));
    }
    let of_run = [
        ("--only", args.only.is_some()),
        ("--key-env", args.key_env.is_some()),
        ("--samples", args.samples.is_some()),
        ("--skip-empty", args.row.skip_empty),
    ];
    if let Some((name, _)) = of_run.into_iter().find(|(_, is_given)| *is_given) {
        return Err(Failure::usage(format!("{name} cannot be used with --on")));
    }
    refuse::refuse_flags(&batch_of(args))
}

/// The flags of a batch with the same rows, output and workers.
fn batch_of(args: &RunArgs) -> BatchArgs {
    let mut batch = batch_args();
    let mut inputs = args.rows.iter().cloned();
    batch.input = inputs.next().unwrap_or_default();
    batch.more_input = inputs.collect();
    batch.output = args.output.clone().unwrap_or_default();
    batch.template_memory = args.template_memory;
    batch.concurrency = args.concurrency;
    batch.rows = args.row.clone();
    batch.model = args.model.clone();
    batch.cluster = args.cluster.clone();
    batch.dry_run = args.dry_run;
    batch.budget_usd = args.budget_usd;
    batch.prices.clone_from(&args.prices);
    batch.quiet = args.quiet;
    batch
}

/// Runs a chain for every row at workers.
pub(crate) async fn run(
    args: &RunArgs,
    program: &Program,
    work: &ChainWork,
    prices: &Prices,
) -> Result<Exit, Failure> {
    let (file, limits) = (&work.file, work.file.limits());
    let source = open(&args.rows, &args.row)?;
    print_notes(source.notes(), args.quiet);
    let to = args.output.as_deref().expect("clap asks for the output of rows");
    check_output(to, args.json, &args.row)?;
    let mut batch = batch_of(args);
    batch.budget_usd = args.budget_usd.or(limits.budget_usd);
    batch.concurrency = args.concurrency.or(limits.concurrency);
    batch.model.rpm = args.model.rpm.or(limits.rpm.and_then(NonZeroU32::new));
    // The workers of a broker use their own keys: here, the models only have names and prices.
    let terms = Terms { dry: batch.is_remote(), ..Terms::default() };
    let mut connections = Vec::new();
    // The workers make another one of the manifest.
    let chain = work.chain(|step| {
        let connected = connect_step(file, step, &args.model, &program.config, terms)?;
        let model = connected.model.clone();
        connections.push((step.name.map(str::to_owned), connected));
        Ok(model)
    })?;
    let row_usd = cost_of_row(file, &connections, prices, &args.model);
    let fingerprint = work.fingerprint();
    let submission = attach::submission(&batch, &fingerprint, json!({ "chain": work }), &source, row_usd)?;
    if args.cluster.detach {
        return attach::detached(&batch, submission, source).await;
    }
    let cluster = attach::run(&batch, submission).await?.expect("refused without --on");
    let concurrency = batch.concurrency.map_or(Settings::default().concurrency, Concurrency::from);
    let mut settings = settings(&args.row, concurrency)?;
    settings.answer_schema = outputs_schema(file);
    let (of_row, given) = (file.clone(), work.given.clone());
    let prepare = move |input| inputs_of_row(input, &of_row, &given);
    let job = BatchJob::over(source, prepare, chain, output(to))
        .settings(settings)
        .fingerprint(fingerprint)
        .costs(cost::known(prices, Via::Calls));
    let watch = Watch {
        program,
        output: to,
        show: args.show_progress,
        quiet: args.quiet,
        concurrency,
        json: args.json,
        reads_keys: true,
        fail_if_done: args.row.fail_if_done,
        stopping: if batch.is_remote() { super::STOPPING } else { STOPPING },
        waits_for_quota: false,
        quota_reset: OnceLock::new(),
    };
    let (_, mut notes) = mpsc::unbounded_channel();
    Box::pin(watch.over(&mut notes, |progress, stop| cluster.run(job, progress, stop))).await
}

/// Rows of a chain file, and its models, which must live as long.
struct ChainRows<J> {
    job: J,
    models: Vec<Connected>,
    limits: Arc<SharedLimits>,
}

impl<J: RunRows + 'static> RunRows for ChainRows<J> {
    fn run(self: Box<Self>, feed: Feed) -> BoxFuture<'static, ()> {
        let Self { job, models, limits } = *self;
        Box::pin(async move {
            tokio::select! {
                () = Box::new(job).run(feed) => {}
                () = limits.report() => unreachable!("it never ends"),
            }
            drop(models);
        })
    }
}

impl Prompts {
    /// The rows of a run of a chain file. A chain has one key for each model: the first one of `--key-env`.
    pub(super) fn chain_rows(&self, run: &Manifest, work: &Value) -> Result<Box<dyn RunRows>, Error> {
        let work = ChainWork::deserialized(work).map_err(|error| {
            let message =
                format!("the chain cannot be read, perhaps because it is newer than this worker: {error}");
            Error::new(ErrorKind::Newer, message)
        })?;
        let file: Arc<ChainFile> = work.file.clone();
        let mut flags = batch_args().model;
        flags.connection = self.args.connection.clone();
        let limits = Arc::new(SharedLimits::new(self.broker.clone(), &self.name));
        let mut models = Vec::new();
        let connect_model = |step: StepModel<'_>| -> Result<Model, Failure> {
            if let Some(name) = step.name
                && !is_allowed(&self.args.allow_model, name)
            {
                return Err(Failure::usage(not_allowed(name)));
            }
            let mut flags = ModelArgs { model: step.name.map(str::to_owned), ..flags.clone() };
            flags.retries = flags.retries.or(step.retries).or(file.limits().retries);
            // A simulated model in this process has no account.
            let is_simulated = step.name.is_some_and(|name| self.config.named(name).starts_with("sim/"));
            let is_limited = run.limits != Rates::new() || !is_simulated || flags.base_url.is_some();
            let limiter: Option<Arc<dyn Limiter>> = is_limited.then(|| limits.limiter(run.limits));
            let terms = Terms {
                key_env: self.args.key_env.first().map(String::as_str),
                parameters: Some(work.parameters()),
                limiter: limiter.as_ref(),
                ..Terms::default()
            };
            let connected = connect(&flags, &self.config, terms)?;
            let model = connected.model.clone();
            models.push(connected);
            Ok(model)
        };
        let chain = work.chain(connect_model).map_err(|failure| {
            let hint = failure.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
            Error::new(ErrorKind::Usage, format!("{}{hint}", failure.message()))
        })?;
        let given = work.given.clone();
        let prepare = move |input| inputs_of_row(input, &file, &given);
        let nothing = Source::rows("rows of shards", Vec::<String>::new());
        let settings = Settings::new()
            .concurrency(self.args.concurrency)
            .hedge(run.settings.hedge)
            .keep_going(run.settings.keep_going);
        let job = BatchJob::over(nothing, prepare, chain, Output::Writer(Box::new(std::io::sink())))
            .settings(settings)
            .costs(cost::known(&self.prices, Via::Calls));
        Ok(Box::new(ChainRows { job, models, limits }))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use clap::CommandFactory;

    use super::*;
    use crate::args::{Cli, Command};

    /// Flags that `batch` does not have: of the work, of the command, or refused with `--rows` or by
    /// [`refuse_run_flags`].
    const OF_CHAINS: &[&str] =
        &["all-steps", "check", "graph", "no-log", "only", "rows", "run-memory", "set"];

    fn refused(words: &[&str]) -> String {
        let words = ["fanweave", "run", "a.yaml", "--on", "nats://localhost"].iter().chain(words);
        let Command::Run(args) = <Cli as clap::Parser>::try_parse_from(words).unwrap().command else {
            unreachable!("it is a run")
        };
        refuse_run_flags(&args).err().map(|failure| failure.message().to_owned()).unwrap_or_default()
    }

    #[test]
    fn every_flag_of_a_chain_has_an_effect_with_workers_or_is_refused() {
        let cli = Cli::command();
        let names = |name: &str| -> BTreeSet<String> {
            let command = cli.find_subcommand(name).expect("there is one");
            command.get_arguments().filter_map(|flag| flag.get_long().map(str::to_owned)).collect()
        };
        let only: Vec<_> = names("run").difference(&names("batch")).cloned().collect();
        assert_eq!(only, OF_CHAINS);
        let rows = ["--rows", "a.jsonl", "-o", "b.jsonl"];
        assert_eq!(refused(&rows), "");
        assert!(refused(&[]).contains("runs the chain for rows"));
        let with = |flag: &[&'static str]| refused(&[&rows[..], flag].concat());
        assert!(with(&["--run-memory", "64"]).contains("--run-memory"));
        assert!(with(&["--concurrency", "4"]).contains("--concurrency"));
        assert!(with(&["--cache", "c.db"]).contains("--cache"));
    }

    #[test]
    fn a_batch_has_the_rows_and_the_output_of_its_chain() {
        let words = [
            "fanweave", "run", "a.yaml", "--rows", "a.csv", "--rows", "b.csv", "-o", "c.csv", "--limit", "3",
        ];
        let Command::Run(args) = <Cli as clap::Parser>::try_parse_from(words).unwrap().command else {
            unreachable!("it is a run")
        };
        let batch = batch_of(&args);
        assert_eq!(batch.inputs(), args.rows);
        assert_eq!((batch.output.as_path(), batch.rows.limit), (Path::new("c.csv"), args.row.limit));
    }
}

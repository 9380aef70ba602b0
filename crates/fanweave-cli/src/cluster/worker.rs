//! `fanweave worker`: runs rows of batches.

use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use fanweave::batch::{BatchJob, Costs, IntoAnswer, Output, Render, Settings, Source};
use fanweave::context::CancellationToken;
use fanweave::models::Limiter;
use fanweave::workers::{
    Broker, Error, ErrorKind, Manifest, Rates, RunRows, SharedLimits, Worker, Workload, worker_name,
};
use fanweave::{Chain, Message, Prompt, chain, step};
use tokio::io::AsyncReadExt;

use super::access;
use super::health::Health;
use crate::args::{BatchArgs, Cli, Command, Via, WorkerArgs, limit_templates, split_share};
use crate::batch::with_endpoints;
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::out::tell;
use crate::program::Program;
use crate::route::{Routed, route_with};
use crate::work::PromptWork;
use crate::{cost, schema};

/// Fills in the settings of configuration files.
pub(crate) fn fill(args: &mut WorkerArgs, config: &mut Config) -> Result<(), Failure> {
    let mut model = batch_args().model;
    (model.model, model.connection) = (None, args.connection.clone());
    // Its note is about the model, which a run names.
    config.fill(&mut model, &mut [])?;
    args.connection = model.connection;
    Ok(())
}

pub(crate) async fn run(args: WorkerArgs, program: &Program) -> Result<Exit, Failure> {
    limit_templates(args.template_memory);
    let prices = cost::prices(args.prices.as_deref())?;
    let broker = access::broker(&args.broker).await?;
    broker.check_worker().await?;
    let ack_wait = broker.ack_wait("default").await?;
    let listening = program.stop.listen();
    let stop = listening.token().clone();
    let is_child = args.until_stdin_closes;
    if is_child {
        let stop = program.stop.clone();
        tokio::spawn(async move {
            // The process that started this one writes nothing.
            let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
            stop.request();
        });
    }
    let (concurrency, health) = (args.concurrency.get(), args.health);
    let (version, address) = broker.server();
    let broker: Arc<dyn Broker> = Arc::new(broker);
    let broker_of_parent = broker.clone();
    let name = worker_name();
    let workload =
        Prompts { args, config: program.config.clone(), prices, broker: broker.clone(), name: name.clone() };
    let worker = Worker::new(broker.clone(), Arc::new(workload))
        .named(name)
        .concurrency(concurrency)
        .ack_wait(ack_wait)
        .on_note(|note| tell!("note: {note}"));
    tell!("worker {} at nats-server {version} at {address}, {concurrency} rows in flight", worker.name());
    let health = match health {
        Some(at) => Some(Health::bind(at, broker, worker.activity()).await?),
        None => None,
    };
    let serving = async {
        match health {
            Some(health) => health.serve().await,
            None => std::future::pending().await,
        }
    };
    let draining = stop.clone();
    let orphaned = orphaned(is_child, stop.clone(), broker_of_parent);
    let running = worker.run(stop);
    let saying = async {
        draining.cancelled().await;
        tell!("stopping: calls in flight end and are recorded (press Ctrl-C again to exit immediately)");
        std::future::pending::<()>().await;
    };
    tokio::select! {
        done = running => done?,
        () = saying => unreachable!("it never ends"),
        () = serving => unreachable!("it never ends"),
        () = orphaned => return Err(Failure::new("the process that started this worker is gone, with its broker")),
    }
    Ok(Exit::Ok)
}

/// Resolves if the broker of the process that started this one does not answer any more, after that process
/// has closed its standard input: rows in flight cannot be recorded then, and the worker would wait for ever.
async fn orphaned(is_child: bool, stop: CancellationToken, broker: Arc<dyn Broker>) {
    const PAUSE: Duration = Duration::from_secs(2);
    const MAX_ANSWER: Duration = Duration::from_secs(5);
    if !is_child {
        return std::future::pending().await;
    }
    stop.cancelled().await;
    let mut unanswered = 0;
    while unanswered < 3 {
        tokio::time::sleep(PAUSE).await;
        let asked = tokio::time::timeout(MAX_ANSWER, broker.value("probe".to_owned())).await;
        unanswered = if matches!(asked, Ok(Ok(_))) { 0 } else { unanswered + 1 };
    }
}

/// Prompts and chains for rows, with the models of this process.
pub(super) struct Prompts {
    pub(super) args: WorkerArgs,
    pub(super) config: Config,
    pub(super) prices: fanweave::models::Prices,
    pub(super) broker: Arc<dyn Broker>,
    /// Name of this worker.
    pub(super) name: String,
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
        if let Some(work) = run.work.get("chain") {
            return self.chain_rows(run, work);
        }
        let work = run.work.get("prompts").ok_or_else(newer)?;
        let work = PromptWork::deserialized(work).ok_or_else(newer)?;
        let work = work.with_own_server(self.args.connection.base_url.is_some());
        self.check_allowed(&work)?;
        let args = self.batch_args(&work);
        // A simulated model in this process has no account.
        let is_limited =
            run.limits != Rates::new() || !work.model.starts_with("sim/") || args.model.base_url.is_some();
        let limits = Arc::new(SharedLimits::new(self.broker.clone(), &self.name));
        let limiter: Option<Arc<dyn Limiter>> = is_limited.then(|| limits.limiter(run.limits));
        let (keep_raw, parameters) = (run.settings.keep_raw, Some(&work.parameters));
        let routed = route_with(&args, &self.config, keep_raw, parameters, limiter.as_ref());
        let routed = routed.map_err(failed)?;
        let settings = Settings::new()
            .concurrency(self.args.concurrency)
            .hedge(run.settings.hedge)
            .keep_going(run.settings.keep_going);
        let models = match keep_raw {
            true => chain(with_endpoints(&args, &self.config, routed.chain.clone()).map_err(failed)?),
            false => routed.chain.clone(),
        };
        let models = self.allowing(models, &routed);
        let job = Job {
            render: work.render().map_err(failed)?,
            settings,
            costs: cost::known(&self.prices, Via::Calls),
            routed,
            limits,
        };
        Ok(match &work.schema {
            Some(schema) => job.over(schema::structured(&models, schema)),
            None => job.over(models),
        })
    }
}

/// Rows of a run before their chain is known.
struct Job {
    render: Render,
    settings: Settings,
    costs: Costs,
    routed: Routed,
    limits: Arc<SharedLimits>,
}

impl Job {
    fn over<O: IntoAnswer>(self, chain: Chain<Prompt, O>) -> Box<dyn RunRows> {
        let Self { render, settings, costs, routed, limits } = self;
        let nothing = Source::rows("rows of shards", Vec::<String>::new());
        let output = Output::Writer(Box::new(std::io::sink()));
        let job = BatchJob::new(nothing, render, chain, output).settings(settings).costs(costs);
        Box::new(Routing { job, routed, limits })
    }
}

impl Prompts {
    /// The flags of a batch with these prompts, as far as they concern models.
    fn batch_args(&self, work: &PromptWork) -> BatchArgs {
        let mut batch = batch_args();
        batch.model.model = Some(work.model.clone());
        batch.model.connection = self.args.connection.clone();
        batch.fallback_model.clone_from(&work.fallback_models);
        batch.key_env.clone_from(&self.args.key_env);
        batch.no_fallback_on_outage = self.args.no_fallback_on_outage;
        batch.override_model = work.overrides_model;
        batch
    }

    /// Rejects work with a model that this worker must not call.
    fn check_allowed(&self, work: &PromptWork) -> Result<(), Error> {
        let models = work.model.split(',').map(|share| split_share(share).0);
        let mut models = models.chain(work.fallback_models.iter().map(String::as_str));
        match models.find(|model| !is_allowed(&self.args.allow_model, model)) {
            None => Ok(()),
            Some(model) => Err(Error::new(ErrorKind::Usage, not_allowed(model))),
        }
    }

    /// `models`, which fail rows that name a model that this worker must not call.
    fn allowing(&self, models: Chain<Prompt, Message>, routed: &Routed) -> Chain<Prompt, Message> {
        if self.args.allow_model.is_empty() {
            return models;
        }
        let (patterns, row_model) = (self.args.allow_model.clone(), routed.row_model.clone());
        let check = step(move |prompt: Prompt, _| {
            let named = row_model.of(prompt.parameters.model.clone());
            let full = named.map(|model| model.map(|model| row_model.full_name(&model)));
            let checked = full.and_then(|model| match model {
                Some(model) if !is_allowed(&patterns, &model) => {
                    Err(fanweave::Error::new(fanweave::ErrorKind::Config, not_allowed(&model)))
                }
                _ => Ok(prompt),
            });
            std::future::ready(checked)
        });
        check | models
    }
}

/// The flags of a batch.
pub(super) fn batch_args() -> BatchArgs {
    let words = ["fanweave", "batch", "rows", "--output", "results"];
    let Ok(Cli { command: Command::Batch(batch), .. }) = Cli::try_parse_from(words) else {
        unreachable!("these are the arguments that a batch needs")
    };
    *batch
}

pub(super) fn not_allowed(model: &str) -> String {
    format!("this worker runs no rows of {model} (--allow-model)")
}

/// Returns true if a model matches one of the patterns, or without patterns. `*` stands for any text.
pub(super) fn is_allowed(patterns: &[String], model: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern, model))
}

fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let parts: Vec<_> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Rows and the models that they call, which must live as long.
struct Routing<J> {
    job: J,
    routed: Routed,
    limits: Arc<SharedLimits>,
}

impl<J: RunRows + 'static> RunRows for Routing<J> {
    fn run(self: Box<Self>, feed: fanweave::workers::Feed) -> futures::future::BoxFuture<'static, ()> {
        let Self { job, mut routed, limits } = *self;
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
                () = limits.report() => unreachable!("it never ends"),
            }
        })
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        // The setting is a flag here.
        let message = error.message().replace("`plaintext`", "--plaintext");
        match error.kind() {
            ErrorKind::Usage | ErrorKind::Denied => Self::usage(message),
            _ => Self::new(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_models_allow_what_they_name() {
        let patterns = ["openai/gpt-5*".to_owned(), "sim/echo".to_owned()];
        assert!(is_allowed(&patterns, "openai/gpt-5-mini") && is_allowed(&patterns, "sim/echo"));
        assert!(!is_allowed(&patterns, "openai/gpt-4o") && !is_allowed(&patterns, "sim/echoes"));
        assert!(matches("*/a*b*", "x/a-b-c") && matches("a*a", "aa") && !matches("a*a", "a"));
        assert!(!matches("a*b*c", "acb") && matches("*", "") && is_allowed(&[], "x"));
    }
}

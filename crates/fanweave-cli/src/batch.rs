//! `fanweave batch`: runs a prompt for every row of a file.

use std::path::Path;

use fanweave::batch::ProviderBatches;
use fanweave::batch::{BatchJob, InputFormat, Settings};
use fanweave::context::Concurrency;

use crate::args::{BatchArgs, Via};
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::program::Program;
use crate::route::route;
use crate::rows::{Watch, one_on_stdout, open, output, settings};
use crate::telemetry::Exporter;
use crate::work::PromptWork;
use crate::{connect, cost, dry_run};

pub(crate) async fn run(mut args: BatchArgs, program: &Program) -> Result<Exit, Failure> {
    if args.via == Via::BatchApi {
        // A cache from the configuration file only applies to single requests.
        args.model.cache = None;
    }
    let source = open(&args.input, &args.rows)?;
    if source.format() == Some(InputFormat::OpenAi) && args.prompt.is_some() {
        return Err(Failure::usage(
            "--prompt cannot be used with an OpenAI batch file: its rows are complete requests",
        )
        .with_hint("remove --prompt, or add --input-format jsonl if the rows are fields for a template"));
    }
    if args.json {
        one_on_stdout(&args.output)?;
    }
    let keep_raw = source.format() == Some(InputFormat::OpenAi);
    let mut routed = route(&args, &program.config, keep_raw)?;
    let work = PromptWork::new(&args)?;
    let render = work.render()?;
    let prices = cost::prices(args.prices.as_deref())?;
    let costs = cost::costs(&args, &prices, &routed.names)?;
    if args.via == Via::BatchApi {
        one_model(&args)?;
    }
    if args.dry_run {
        return dry_run::rows::run(source, &render, &args, &routed, &prices);
    }
    let concurrency = args.concurrency.map_or(Settings::default().concurrency, Concurrency::from);
    let settings = settings(&args.rows, concurrency)?.dedupe(args.dedupe);
    let output = output(&args.output);
    #[cfg(feature = "workers")]
    let cluster = match args.cluster.on {
        Some(crate::args::On::Local) => Some(crate::cluster::batch(&args, &work, keep_raw).await?),
        None => None,
    };
    let telemetry = Exporter::from_env();
    let chain = telemetry.watch("row", PromptWork::chain(&routed.chain));

    let watch = Watch {
        program,
        output: &args.output,
        show: args.show_progress,
        quiet: args.quiet,
        concurrency,
        json: args.json,
        reads_keys: args.input != Path::new("-"),
        fail_if_done: args.rows.fail_if_done,
        stopping: match args.via {
            Via::Calls => "stopping: finishing requests in flight (press Ctrl-C again to exit immediately)",
            Via::BatchApi => "stopping: submitted batches continue at the provider",
        },
    };
    let job = BatchJob::new(source, render, chain, output)
        .settings(settings)
        .costs(costs)
        .fingerprint(work.fingerprint());
    let api = match args.via {
        Via::Calls => None,
        Via::BatchApi => Some(batch_api(&args, &program.config, keep_raw)?),
    };
    let running = watch.over(&mut routed.notes, |progress, stop| async move {
        #[cfg(feature = "workers")]
        if let Some(cluster) = cluster {
            return cluster.run(job, progress, stop).await;
        }
        let job = job.progress(progress).stop(stop);
        match &api {
            Some(api) => job.run_via(api).await,
            None => job.run().await,
        }
    });
    let done = Box::pin(running).await;
    telemetry.end(&program.stop).await;
    done
}

/// Rejects several models or keys with a batch API.
fn one_model(args: &BatchArgs) -> Result<(), Failure> {
    let several = args.model.model.as_deref().is_some_and(|models| models.contains([',', '=']));
    if several || args.key_env.len() > 1 || !args.fallback_model.is_empty() {
        return Err(Failure::usage("--via batch-api supports only one model and one key")
            .with_hint("pass a single --model, at most one --key-env and no --fallback-model"));
    }
    Ok(())
}

/// Rejects flags for single requests if `args` selects the batch API.
///
/// Must be called before settings from configuration files are filled in: those may be meant for other runs.
pub(crate) fn refuse_idle_flags(args: &BatchArgs) -> Result<(), Failure> {
    if args.via == Via::Calls {
        return Ok(());
    }
    let idle = [
        ("--concurrency", args.concurrency.is_some()),
        ("--max-in-flight", args.model.max_in_flight.is_some()),
        ("--tpm", args.model.tpm.is_some()),
        ("--cache", args.model.cache.is_some()),
        ("--adapt", args.model.adapt),
        ("--strict-request", args.model.strict_request),
        ("--dedupe", args.dedupe),
        ("--keep-going", args.rows.keep_going),
        ("--no-hedging", args.rows.no_hedging),
        ("--no-fallback-on-outage", args.no_fallback_on_outage),
    ];
    let given: Vec<_> = idle.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name).collect();
    if given.is_empty() {
        return Ok(());
    }
    let verb = if given.len() == 1 { "has" } else { "have" };
    Err(Failure::usage(format!(
        "{} {verb} no effect with --via batch-api: the provider schedules the requests itself",
        given.join(", ")
    ))
    .with_hint(format!("remove {}, or remove --via", if given.len() == 1 { "it" } else { "them" })))
}

/// The batch API of the model.
fn batch_api(args: &BatchArgs, config: &Config, keep_raw: bool) -> Result<ProviderBatches, Failure> {
    let key = args.key_env.first().map(String::as_str);
    Ok(ProviderBatches::new(connect::batch_api(&args.model, config, key, keep_raw)?))
}

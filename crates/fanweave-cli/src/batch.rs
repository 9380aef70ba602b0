//! `fanweave batch`: runs a prompt for every row of a file.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use fanweave::batch::ProviderBatches;
use fanweave::batch::{BatchJob, InputFormat, OutputFormat, Render, Settings, Source};
use fanweave::context::Concurrency;
use fanweave::{Chain, Message, Prompt, chain};

use crate::args::{BatchArgs, Via, limit_templates};
use crate::config::Config;
use crate::endpoints::Endpoints;
use crate::exit::{Exit, Failure};
use crate::program::Program;
use crate::route::{Routed, route};
use crate::row_model::RowModel;
use crate::rows::{
    STOPPING, Watch, check_output, check_quota_wait, failure, in_flight, input_rows, open, output, planned,
    print_notes, settings, wait_for_quota,
};
use crate::telemetry::Exporter;
use crate::work::PromptWork;
use crate::{connect, cost, dry_run, endpoints, known, row_model, schema};

pub(crate) async fn run(mut args: BatchArgs, program: &Program) -> Result<Exit, Failure> {
    check_quota_wait(&args.rows, &args.inputs(), &args.output)?;
    loop {
        let (exit, reset) = Box::pin(run_once(args.clone(), program)).await?;
        if !wait_for_quota(reset, program).await {
            return Ok(exit);
        }
        args.rows.fresh = false;
    }
}

/// Runs the rows. Returns the time after which a quota is renewed, if the run is to continue then.
async fn run_once(mut args: BatchArgs, program: &Program) -> Result<(Exit, Option<Duration>), Failure> {
    limit_templates(args.template_memory);
    if args.via == Via::BatchApi {
        // A cache from the configuration file only applies to single requests.
        args.model.cache = None;
    }
    if args.samples.is_some() {
        // All samples of a row would have the same answer.
        args.model.cache = None;
    }
    let inputs = args.inputs();
    let source = open(&inputs, &args.rows)?;
    if source.format() == Some(InputFormat::OpenAi) && args.prompt.is_some() {
        return Err(Failure::usage(
            "--prompt cannot be used with an OpenAI batch file: its rows are complete requests",
        )
        .with_hint("remove --prompt, or add --input-format jsonl if the rows are fields for a template"));
    }
    if args.schema.is_some() {
        refuse_schema(&args, &source)?;
    }
    if args.schema.is_some() || is_table(&args) {
        known::refuse_choices(&args.model)?;
    }
    check_output(&args.output, args.json, &args.rows)?;
    if args.model.model.is_none()
        && let Some(rows) = source.rewound().map_err(|error| failure(&error))?
    {
        args.model.model = row_model::of_rows(rows)?;
    }
    let keep_raw = source.format() == Some(InputFormat::OpenAi);
    let mut routed = route(&args, &program.config, keep_raw)?;
    let work = PromptWork::new(&args)?;
    let render = work.render().map_err(|failure| with_field_hint(failure, &work, &source))?;
    let render = checking_prompts(render, &args, &program.config, &routed)?;
    let source = match args.rows.skip_empty {
        true => source.skip_empty(&render).map_err(|error| failure(&error))?,
        false => source,
    };
    print_notes(source.notes(), args.quiet);
    match render.check(&source) {
        Ok(notes) => print_notes(&notes, args.quiet),
        Err(_) if args.rows.keep_going => {}
        Err(error) => return Err(failure(&error)),
    }
    if keep_raw && !args.quiet {
        print_notes(endpoints::note(&args, &source).map_err(|e| failure(&e))?.as_slice(), false);
    }
    let prices = cost::prices(args.prices.as_deref())?;
    let costs = cost::costs(&args, &prices, &routed.names)?;
    if args.via == Via::BatchApi {
        one_model(&args)?;
    }
    let concurrency = args.concurrency.map_or(Settings::default().concurrency, Concurrency::from);
    let mut settings = settings(&args.rows, concurrency)?;
    settings.samples = args.samples.unwrap_or(settings.samples);
    settings.answer_schema.clone_from(&work.schema);
    if args.dry_run {
        let input_rows = input_rows(&source, &args.rows)?;
        let planned = planned(source, &args.output, &settings, &work.fingerprint())?;
        let at_once = in_flight(concurrency, args.model.max_in_flight);
        let done = dry_run::rows::run(planned, &render, &args, &routed, &prices, input_rows, at_once);
        return done.map(|exit| (exit, None));
    }
    let output = output(&args.output);
    #[cfg(feature = "workers")]
    let submission = {
        let row_usd = cost::of_a_row(&args, &prices, &routed.names);
        crate::cluster::submission(&args, &work.fingerprint(), work.data(), &source, row_usd)?
    };
    #[cfg(feature = "workers")]
    if args.cluster.detach {
        let detached = crate::cluster::detached(&args, submission, source).await;
        return detached.map(|exit| (exit, None));
    }
    #[cfg(feature = "workers")]
    let cluster = crate::cluster::batch(&args, submission).await?;
    let telemetry = Exporter::from_env();
    // Workers make chains of their own.
    #[cfg(feature = "workers")]
    let is_here = cluster.is_none();
    #[cfg(not(feature = "workers"))]
    let is_here = true;
    let chain = match keep_raw && is_here {
        true => chain(with_endpoints(&args, &program.config, routed.chain)?),
        false => routed.chain,
    };
    let chain = telemetry.watch("row", chain);

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
            #[cfg(feature = "workers")]
            Via::Calls if args.is_remote() => crate::cluster::STOPPING,
            Via::Calls => STOPPING,
            Via::BatchApi => "stopping: submitted batches continue at the provider",
        },
        waits_for_quota: args.rows.wait_for_quota,
        quota_reset: OnceLock::new(),
    };
    let api = match args.via {
        Via::Calls => None,
        Via::BatchApi => Some(batch_api(&args, &program.config, keep_raw)?),
    };
    let fingerprint = work.fingerprint();
    let done = match &work.schema {
        Some(schema) => {
            let job = BatchJob::new(source, render, schema::structured(&chain, schema), output)
                .settings(settings)
                .costs(costs)
                .fingerprint(fingerprint);
            let running = watch.over(&mut routed.notes, |progress, stop| async move {
                #[cfg(feature = "workers")]
                if let Some(cluster) = cluster {
                    return cluster.run(job, progress, stop).await;
                }
                job.progress(progress).stop(stop).run().await
            });
            Box::pin(running).await
        }
        None => {
            let job = BatchJob::new(source, render, chain, output)
                .settings(settings)
                .costs(costs)
                .fingerprint(fingerprint);
            let running = watch.over(&mut routed.notes, |progress, stop| async move {
                #[cfg(feature = "workers")]
                if let Some(cluster) = cluster {
                    return cluster.run(job, progress, stop).await;
                }
                let job = job.progress(progress).stop(stop);
                match &api {
                    Some(api) => job.run_via(api).await,
                    None => job.run_messages().await,
                }
            });
            Box::pin(running).await
        }
    };
    telemetry.end(&program.stop).await;
    done.map(|exit| (exit, watch.quota_reset.get().copied()))
}

/// Adds the checks of prompts before their calls: what is known of the only model, and the models that rows
/// name. Fallback models also answer rows whose model is refused.
fn checking_prompts(
    render: Render,
    args: &BatchArgs,
    config: &Config,
    routed: &Routed,
) -> Result<Render, Failure> {
    let known = match routed.names.as_slice() {
        [model] => {
            let more = "; further rows are not checked for it";
            Some(known::of_prompts(&args.model, config, &cost::catalogue()?, model, more, args.quiet))
        }
        _ => None,
    };
    let row_model = routed.row_model.clone();
    let row_model = if args.fallback_model.is_empty() { row_model } else { RowModel::Ignored };
    if known.is_none() && row_model == RowModel::Ignored {
        return Ok(render);
    }
    Ok(render.check_prompts(move |prompt| {
        if let Some(own) = &prompt.parameters.model {
            row_model.of(Some(own.clone()))?;
        }
        known.as_ref().map_or(Ok(()), |known| known(prompt))
    }))
}

/// Adds the endpoints other than chat completions for the rows of an OpenAI batch file.
pub(crate) fn with_endpoints(
    args: &BatchArgs,
    config: &Config,
    chat: Chain<Prompt, Message>,
) -> Result<Endpoints, Failure> {
    let is_single = args.model.model.as_deref().is_some_and(|model| !model.contains(','));
    let keys = args.key_env.as_slice();
    let others = match keys {
        [] | [_] if is_single && args.via == Via::Calls => {
            let raw = connect::raw_model(&args.model, config, keys.first().map(String::as_str))?;
            raw.map(|(name, raw)| {
                endpoints::others(&name, raw, args.override_model, args.model.base_url.is_none())
            })
        }
        _ => None,
    };
    Ok(Endpoints { chat, others })
}

/// Adds the expression for a field whose name has blanks to the error of a template that names it.
fn with_field_hint(failure: Failure, work: &PromptWork, source: &Source) -> Failure {
    let columns = source.columns().unwrap_or_default();
    let named = columns.iter().find(|name| {
        let is_named = |text: &String| {
            let inside = text.split("{{").skip(1).filter_map(|rest| rest.split_once("}}"));
            inside.map(|(inside, _)| inside.trim()).any(|inside| inside == name.trim())
        };
        [&work.prompt, &work.system].into_iter().flatten().any(is_named)
    });
    match named {
        Some(name) => failure.with_hint(format!("write {{{{ row[\"{name}\"] }}}} for this column")),
        None => failure,
    }
}

/// Returns true if the output is known to be a table, whose rows have one answer.
fn is_table(args: &BatchArgs) -> bool {
    let format = match args.rows.output_format.as_deref() {
        Some(given) => given.parse().ok(),
        None => OutputFormat::of_path(&args.output).ok().flatten(),
    };
    format.is_some_and(|format| !matches!(format, OutputFormat::OpenAi | OutputFormat::Jsonl))
}

/// Rejects a schema for rows that are complete requests, and for batch APIs.
fn refuse_schema(args: &BatchArgs, source: &Source) -> Result<(), Failure> {
    if source.format() == Some(InputFormat::OpenAi) {
        return Err(Failure::usage(
            "--schema cannot be used with an OpenAI batch file: its rows are complete requests",
        )
        .with_hint("set `response_format` in the rows"));
    }
    if args.via == Via::BatchApi {
        return Err(Failure::usage("--schema cannot be used with --via batch-api, which asks only once")
            .with_hint("remove --via, or set `response_format` in rows with `messages`"));
    }
    Ok(())
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
        ("--dedupe", args.rows.dedupe),
        ("--keep-going", args.rows.keep_going),
        ("--max-errors", args.rows.max_errors.is_some()),
        ("--override-model", args.override_model),
        ("--wait-for-quota", args.rows.wait_for_quota),
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

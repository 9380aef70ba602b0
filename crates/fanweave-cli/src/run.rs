//! `fanweave run`: runs a chain that is defined in a file.

use std::collections::BTreeSet;
use std::io::Write;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fanweave::batch::{BatchJob, Costs, Settings, Source};
use fanweave::chain_file::StepModel;
use fanweave::context::Concurrency;
use fanweave::errors::Advice;
use fanweave::models::{Budget, Prices};
use fanweave::{Chain, ChainFile, Context, Error, ErrorKind, Vars};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::args::{ModelArgs, RunArgs, Via, limit_templates};
use crate::chain_rows::{connect_step, cost_of_row, inputs_of_row, outputs_schema};
use crate::config::Config;
use crate::connect::Terms;
use crate::cut::TruncatedAnswers;
use crate::exit::{Exit, Failure, spelled};
use crate::known::StepPrompts;
use crate::logs::History;
use crate::out::{shown_json, tell, written};
use crate::pieces::print;
use crate::program::Program;
use crate::rows::{
    STOPPING, Watch, check_output, check_quota_wait, failure, in_flight, input_rows, open, output, planned,
    print_notes, settings, wait_for_quota,
};
use crate::telemetry::Exporter;
use crate::text_file::text_or_file;
use crate::waits::Waits;
use crate::work::ChainWork;
use crate::{cost, dry_run, known};

/// Maximum time of `--check`. Its models answer at once.
const MAX_CHECK: Duration = Duration::from_secs(10);

/// Rows whose prompts are checked before the first call.
const MAX_LOOKED_AT: usize = 100;

pub(crate) async fn run(mut args: RunArgs, program: &Program) -> Result<Exit, Failure> {
    check_quota_wait(&args.row, &args.rows, args.output.as_deref().unwrap_or(Path::new("")))?;
    loop {
        let (exit, reset) = Box::pin(run_once(args.clone(), program)).await?;
        if !wait_for_quota(reset, program).await {
            return Ok(exit);
        }
        args.row.fresh = false;
    }
}

/// Runs the chain, for each row if there are some. Returns the time after which a quota is renewed, if the
/// run is to continue then.
async fn run_once(args: RunArgs, program: &Program) -> Result<(Exit, Option<Duration>), Failure> {
    limit_templates(args.template_memory);
    let file = ChainFile::load(&args.file)?.with_max_run_memory(args.run_memory.get());
    let file = match &args.only {
        Some(step) => file.with_only(step)?,
        None => file,
    };
    let file = if args.all_steps { file.with_all_outputs() } else { file };
    let file = match args.fallback_model.as_slice() {
        [] => file,
        models => file.with_fallback(models.iter().cloned()),
    };
    let inputs = inputs(&file, &args.set)?;
    let known = cost::catalogue()?;
    let file = match &args.model.model {
        Some(model) => file.with_model(model),
        None => file,
    };
    if args.graph.is_none() {
        known::check_steps(&args.model, &program.config, &known, &file, args.quiet)?;
    }
    let checked = StepPrompts::new(&args.model, &program.config, &known, &file, args.quiet);
    if args.check {
        let missing = missing(&file, &inputs);
        check_templates(&file, inputs.clone(), &checked).await?;
        if !args.quiet {
            tell!(
                "{} is valid{}",
                args.file.display(),
                missing.map(|names| format!("; required: {}", flags(&names))).unwrap_or_default()
            );
        }
        return Ok((Exit::Ok, None));
    }
    if let Some(how) = &args.graph {
        let graph = file.graph();
        let text = if how == "mermaid" { graph.to_mermaid() } else { graph.to_ascii() };
        let exit = written(write!(std::io::stdout(), "{text}"))?;
        return Ok((exit.unwrap_or(Exit::Ok), None));
    }
    known::refuse_choices(&args.model)?;
    if let Some(variable) = &args.key_env {
        one_vendor(&file, &args.model, &program.config, variable)?;
    }
    let parameters = args.model.parameters();
    let work = ChainWork::new(&args.file, file, args.model.model.clone(), inputs, parameters)
        .with_flags(args.all_steps, args.fallback_model.clone());
    let file = work.file.clone();
    let prices = cost::prices(args.prices.as_deref())?;
    let limit = args.budget_usd.or(file.limits().budget_usd);
    let budget = limit.map(|limit| Budget::new(limit, prices.clone()));
    if args.dry_run {
        let done = dry_run(&args, program, &work, &prices, budget.as_ref(), checked).await;
        return done.map(|exit| (exit, None));
    }
    #[cfg(feature = "workers")]
    if args.cluster.on.is_some() {
        let done = Box::pin(crate::cluster::chain(&args, program, &work, &prices)).await;
        return done.map(|exit| (exit, None));
    }
    let mut connections = Vec::new();
    let history = History::begin(&program.config, args.no_log || !args.rows.is_empty(), file.name())?;
    let key_env = args.key_env.as_deref();
    let terms = Terms { key_env, budget: budget.as_ref(), history: Some(&history), ..Terms::default() };
    let telemetry = Exporter::from_env();
    let mut flags = args.model.clone();
    flags.cache = cache_of(&args, &file);
    let chain = work.chain(|step| {
        let connected = connect_step(&file, step, &flags, &program.config, terms)?;
        let model = connected.model.clone();
        connections.push((step.name.map(str::to_owned), connected));
        Ok(model)
    })?;
    let chain = telemetry.watch(file.name(), chain);
    let done = match args.rows.as_slice() {
        rows @ [_, ..] => {
            let mut costs = cost::known(&prices, Via::Calls);
            if let Some(budget) = &budget {
                let row = cost_of_row(&file, &connections, &prices, &args.model);
                let calls = budget.clone();
                costs = costs.cap(budget.limit(), row).on_earlier_cost(move |usd| calls.spend(usd));
            }
            each_row(&args, program, &work, rows, chain, costs, &checked).await
        }
        [] => {
            given_all(&file, &work.given)?;
            known::look_ahead(&checked, &file, std::iter::once(work.given.clone())).await;
            let cuts = Arc::new(TruncatedAnswers::of_chain());
            let cx = cuts.watch().with_observer(checked);
            let cx = if args.quiet { cx } else { cx.with_observer(Arc::new(Waits::default())) };
            let cx = match args.concurrency {
                Some(max) => cx.with_concurrency(max),
                None => cx,
            };
            let work = async {
                if args.json {
                    print_json(&chain, work.given, &cx).await
                } else {
                    print_deltas(&chain, work.given, &cx).await
                }
            };
            let done = tokio::select! {
                done = work => done,
                () = program.stop.requested() => Ok(Exit::Interrupted),
            };
            if !args.quiet {
                cuts.report();
            }
            done.map(|exit| (exit, None))
        }
    };
    history.end(&program.stop).await;
    telemetry.end(&program.stop).await;
    done
}

/// Runs the chain with simulated models, and prints its prompts and an estimate.
async fn dry_run(
    args: &RunArgs,
    program: &Program,
    work: &ChainWork,
    prices: &Prices,
    budget: Option<&Budget>,
    checked: Arc<StepPrompts>,
) -> Result<Exit, Failure> {
    let ChainWork { file, given, .. } = work;
    let terms = Terms { dry: true, budget, ..Terms::default() };
    let connect = |step: StepModel<'_>| connect_step(file, step, &args.model, &program.config, terms);
    let dry_run_chain = dry_run::chain::DryRunChain {
        chain: work.chain(|step| Ok(connect(step)?.model))?,
        prices,
        rpm: args.model.rpm.or(file.limits().rpm.and_then(NonZeroU32::new)),
        model: &args.model,
        checked,
        budget_usd: budget.map(Budget::limit),
        as_json: args.json,
    };
    let rows @ [_, ..] = args.rows.as_slice() else {
        given_all(file, given)?;
        return dry_run::chain::once(dry_run_chain, given.clone()).await;
    };
    let source = open_rows(args, work, rows)?;
    let (settings, concurrency) = row_settings(args, file)?;
    let of_input = input_rows(&source, &args.row)?;
    let output = args.output.as_deref().unwrap_or(Path::new("-"));
    let of_rows = dry_run::chain::DryRunRows {
        planned: planned(source, output, &settings, &work.fingerprint())?,
        samples: settings.samples.get(),
        of_input,
        at_once: in_flight(concurrency, args.model.max_in_flight),
        dedupes: settings.dedupe,
        keeps_going: args.row.keep_going,
    };
    let inputs = |input| {
        let inputs = inputs_of_row(input, file, given)?;
        match missing(file, &inputs) {
            Some(names) => Err(Error::new(ErrorKind::Input, format!("the row has no {}", names.join(", ")))),
            None => Ok(inputs),
        }
    };
    dry_run::chain::for_rows(dry_run_chain, of_rows, inputs).await
}

/// The rows of the run, without those that are skipped. Prints its notes.
fn open_rows(args: &RunArgs, work: &ChainWork, rows: &[PathBuf]) -> Result<Source, Failure> {
    let source = open(rows, &args.row)?;
    let source = match args.row.skip_empty {
        true => {
            let fields: Vec<_> = work.file.inputs().map(|(name, _)| name).collect();
            let required = missing(&work.file, &work.given).unwrap_or_default();
            source.skip_empty_fields(&fields, &required).map_err(|error| failure(&error))?
        }
        false => source,
    };
    print_notes(source.notes(), args.quiet);
    Ok(source)
}

/// The settings of a run over rows, and its maximum of rows in flight.
fn row_settings(args: &RunArgs, file: &ChainFile) -> Result<(Settings, Concurrency), Failure> {
    let concurrency = args.concurrency.or(file.limits().concurrency);
    let concurrency = concurrency.map_or(Settings::default().concurrency, Concurrency::from);
    let mut settings = settings(&args.row, concurrency)?;
    settings.samples = args.samples.unwrap_or(settings.samples);
    settings.answer_schema = outputs_schema(file);
    Ok((settings, concurrency))
}

/// Runs the chain with simulated models and sample inputs, to find templates that exceed their limits. Other
/// errors may come from the samples and are ignored. Also checks the prompts.
async fn check_templates(
    file: &ChainFile,
    mut inputs: Vars,
    checked: &Arc<StepPrompts>,
) -> Result<(), Failure> {
    const SAMPLES: [&str; 4] = ["text", "1", "[\"a\", \"b\", \"c\"]", "{}"];
    for name in missing(file, &inputs).unwrap_or_default() {
        if let Some(value) = SAMPLES.iter().find_map(|sample| file.input(name, sample).ok()) {
            inputs.insert(name, value);
        }
    }
    let chain = file.chain(|name| Ok(dry_run::stand_in(name.unwrap_or("sim/check"))))?;
    let done = tokio::time::timeout(MAX_CHECK, chain.invoke_in(inputs, &checked.watch())).await;
    match done {
        Ok(Err(error)) if exceeds_limits(&error) => {
            let message = format!("with sample inputs, {}", spelled(error));
            Err(Failure::usage(message).with_hint("--set sets other inputs"))
        }
        Err(_) => Err(Failure::usage(format!(
            "with sample inputs, the chain does not end within {} s",
            MAX_CHECK.as_secs()
        ))),
        _ => Ok(()),
    }
}

/// Returns true for the error of a run or a template that takes too much work or memory, or writes too much.
fn exceeds_limits(error: &Error) -> bool {
    let message = error.message();
    let is_of_template = message.contains("the template cannot be rendered")
        && (message.contains("than its limit of") || message.contains("are allowed"));
    is_of_template || error.advice() == Some(&Advice::RaiseRunMemory)
}

/// The file of cached responses: that of the flags, or the one that the chain file names, in its folder. None
/// for several samples, which would all have the same answers.
fn cache_of(args: &RunArgs, file: &ChainFile) -> Option<PathBuf> {
    let in_folder = |name: &str| args.file.parent().unwrap_or(Path::new("")).join(name);
    if args.samples.is_some() {
        return None;
    }
    args.model.cache.clone().or_else(|| file.cache().map(in_folder))
}

/// Parses the inputs of `--set`.
fn inputs(file: &ChainFile, set: &[String]) -> Result<Vars, Failure> {
    let mut vars = Vars::new();
    for setting in set {
        let Some((name, value)) = setting.split_once('=') else {
            return Err(
                Failure::usage(format!("--set {setting}: missing `=`")).with_hint("use --set NAME=VALUE")
            );
        };
        let value = file.input(name, &text_or_file("--set", value)?)?;
        vars.insert(name, value);
    }
    Ok(vars)
}

/// Returns an error if inputs are missing.
fn given_all(file: &ChainFile, given: &Vars) -> Result<(), Failure> {
    let refuse = |names: Vec<&str>| {
        Failure::usage(format!("missing inputs: {}", names.join(", ")))
            .with_hint(format!("add {}", flags(&names)))
    };
    missing(file, given).map(refuse).map_or(Ok(()), Err)
}

/// Names of missing inputs.
fn missing<'f>(file: &'f ChainFile, given: &Vars) -> Option<Vec<&'f str>> {
    let names = file.inputs().filter(|(name, default)| default.is_none() && given.get(name).is_none());
    let names: Vec<_> = names.map(|(name, _)| name).collect();
    (!names.is_empty()).then_some(names)
}

/// The flags that set these inputs.
fn flags(names: &[&str]) -> String {
    names.iter().map(|name| format!("--set {name}=..")).collect::<Vec<_>>().join(" ")
}

async fn print_deltas(chain: &Chain<Vars, Value>, inputs: Vars, cx: &Context) -> Result<Exit, Failure> {
    let (_, exit) = print(chain.stream_in(inputs, cx)).await?;
    Ok(exit.unwrap_or(Exit::Ok))
}

async fn print_json(chain: &Chain<Vars, Value>, inputs: Vars, cx: &Context) -> Result<Exit, Failure> {
    let output = chain.invoke_in(inputs, cx).await?;
    written(writeln!(std::io::stdout(), "{}", shown_json(&output))).map(|exit| exit.unwrap_or(Exit::Ok))
}

/// Runs the chain for every row, with the journal and the ordering of a batch.
async fn each_row(
    args: &RunArgs,
    program: &Program,
    work: &ChainWork,
    rows: &[PathBuf],
    chain: Chain<Vars, Value>,
    costs: Costs,
    checked: &Arc<StepPrompts>,
) -> Result<(Exit, Option<Duration>), Failure> {
    let source = open_rows(args, work, rows)?;
    if let Some(first) = source.rewound().map_err(|error| failure(&error))? {
        let first = first.take(MAX_LOOKED_AT).filter_map(|row| row.ok()?.input.ok());
        let first = first.filter_map(|input| inputs_of_row(input, &work.file, &work.given).ok());
        known::look_ahead(checked, &work.file, first).await;
    }
    let to = args.output.as_deref().expect("clap asks for the output of rows");
    check_output(to, args.json, &args.row)?;
    let (of_row, given) = (work.file.clone(), work.given.clone());
    let (settings, concurrency) = row_settings(args, &work.file)?;
    let prepare = move |input| inputs_of_row(input, &of_row, &given);
    let job = BatchJob::over(source, prepare, chain, output(to))
        .settings(settings)
        .comparing_inputs()
        .fingerprint(work.fingerprint())
        .costs(costs);
    let watch = Watch {
        program,
        output: to,
        show: args.show_progress,
        quiet: args.quiet,
        concurrency,
        json: args.json,
        reads_keys: rows != [Path::new("-")],
        fail_if_done: args.row.fail_if_done,
        stopping: STOPPING,
        waits_for_quota: args.row.wait_for_quota,
        quota_reset: OnceLock::new(),
    };
    // Each step has a single model: no lane can be disabled, and no notes are sent.
    let (_, mut notes) = mpsc::unbounded_channel();
    let done = watch.over(&mut notes, |progress, stop| job.progress(progress).stop(stop).run()).await;
    done.map(|exit| (exit, watch.quota_reset.get().copied()))
}

/// Rejects one key for models of several providers: each of them would see the key of another.
fn one_vendor(file: &ChainFile, flags: &ModelArgs, config: &Config, variable: &str) -> Result<(), Failure> {
    if flags.base_url.is_some() {
        // All requests go to this server.
        return Ok(());
    }
    let models = file.step_parameters().flat_map(|(_, models, _)| models);
    let named = models.filter_map(|name| name.or(flags.model.as_deref())).map(|name| config.named(name));
    let vendors: BTreeSet<String> = named
        .filter_map(|name| name.split_once('/').map(|(vendor, _)| vendor.to_owned()))
        .filter(|vendor| vendor != "sim")
        .collect();
    if vendors.len() > 1 {
        let all = vendors.into_iter().collect::<Vec<_>>().join(", ");
        return Err(Failure::usage(format!(
            "--key-env {variable}: the steps call models of several providers ({all}), which would all get this key"
        ))
        .with_hint("set the variable of each provider, or use `fanweave keys set`"));
    }
    Ok(())
}

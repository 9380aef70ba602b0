//! `fanweave embed`: vectors of the texts of rows.

mod groups;
mod model;
mod npy;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use fanweave::batch::{Answer, BatchJob, Content, Costs, Fingerprint, Input, Output, Render, Source};
use fanweave::context::Concurrency;
use fanweave::models::{Embedded, Prices};
use fanweave::prompts::Template;
use fanweave::{Embedder, Error, ErrorKind, Parameters, Usage, chain, step, vars};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::args::{EmbedArgs, Via};
use crate::exit::{Exit, Failure};
use crate::out::tell;
use crate::program::Program;
use crate::rows::{
    STOPPING, Watch, check_output, check_quota_wait, failure, input_rows, open, output, planned, print_notes,
    settings, wait_for_quota,
};
use crate::text_file::text_or_file;
use crate::{cost, dry_run};
use groups::Groups;

/// Rows in flight for each text of a request: while one group is sent, others are read.
const GROUPS_IN_FLIGHT: usize = 4;

/// Fields that have the text of a row without a template.
const TEXT_FIELDS: [&str; 4] = ["text", "input", "prompt", "content"];

pub(crate) async fn run(mut args: EmbedArgs, program: &Program) -> Result<Exit, Failure> {
    check_quota_wait(&args.rows, &args.inputs, &args.output)?;
    loop {
        let (exit, reset) = Box::pin(run_once(&args, program)).await?;
        if !wait_for_quota(reset, program).await {
            return Ok(exit);
        }
        args.rows.fresh = false;
    }
}

/// Embeds the rows. Returns the time after which a quota is renewed, if the run is to continue then.
async fn run_once(args: &EmbedArgs, program: &Program) -> Result<(Exit, Option<Duration>), Failure> {
    // An array of NumPy is an output of embeddings alone.
    if args.output.extension().is_none_or(|end| end != "npy") {
        check_output(&args.output, args.json, &args.rows)?;
    }
    let prompt = args.prompt.as_deref().map(|text| text_or_file("--prompt", text)).transpose()?;
    let template = prompt.as_deref().map(Template::parse).transpose();
    let template = template.map_err(|e| Failure::usage(format!("--prompt: {}", e.message())))?;
    let source = open(&args.inputs, &args.rows)?;
    let source = if args.rows.skip_empty { without_empty(source, template.as_ref())? } else { source };
    print_notes(source.notes(), args.quiet);
    let embedder = model::of_flags(args)?;
    if args.embeddings_url.is_none() && !args.quiet {
        for objection in cost::catalogue()?.check(embedder.name(), &Parameters::new(), None) {
            tell!("warning: {}", objection.message);
        }
    }
    let mut fingerprint = Fingerprint::new().set("embeddings", embedder.name());
    if let Some(prompt) = prompt {
        fingerprint = fingerprint.set("prompt", prompt);
    }
    let parameters = model::parameters(args)?;
    if let Some(dimensions) = parameters.dimensions {
        fingerprint = fingerprint.set("param dimensions", dimensions.to_string());
    }
    for (name, value) in &parameters.extra {
        fingerprint = fingerprint.set(format!("param {name}"), value.to_string());
    }
    let per_request = args.per_request.get();
    let at_once = args.concurrency.map_or(per_request * GROUPS_IN_FLIGHT, std::num::NonZeroUsize::get);
    let concurrency = Concurrency::new(at_once);
    let model = embedder.name().to_owned();
    let prices = cost::prices(args.prices.as_deref())?;
    let costs = costs(args, &model, &prices)?;
    let settings = settings(&args.rows, concurrency)?
        .answer_schema(json!({ "type": "array", "items": { "type": "number" } }));
    if args.dry_run {
        let of_input = input_rows(&source, &args.rows)?;
        let planned = planned(source, &args.output, &settings, &fingerprint)?;
        let text = |input| text_of(input, template.as_ref());
        return dry_run::texts::run(planned, text, args, &model, &prices, of_input).map(|exit| (exit, None));
    }
    let groups = Groups::start(embedder, per_request);
    let grouped = Embedder::new(model::Grouped { name: model.clone(), groups });
    let vectors = step(|text: String, _| async move { Ok(vec![text]) })
        | chain(grouped)
        | step(move |embedded: Embedded, _| {
            let model = model.clone();
            async move {
                // The shortest decimal that is the same number of 32 bits.
                let decimal = |n: f32| n.to_string().parse::<f64>().map_or(Value::Null, Value::from);
                let vector = embedded.vectors.into_iter().next().unwrap_or_default();
                let mut answer = Answer::new(Content::Json(vector.into_iter().map(decimal).collect()));
                (answer.usage, answer.model, answer.attempts) = (embedded.usage, Some(model), 1);
                Ok(answer)
            }
        });
    let prepare = move |input| text_of(input, template.as_ref());
    let job = BatchJob::over(source, prepare, vectors, destination(args)?)
        .comparing_inputs()
        .settings(settings)
        .costs(costs)
        .fingerprint(fingerprint);
    let watch = Watch {
        program,
        output: &args.output,
        show: args.show_progress,
        quiet: args.quiet,
        concurrency,
        json: args.json,
        reads_keys: args.inputs != [Path::new("-")],
        fail_if_done: args.rows.fail_if_done,
        stopping: STOPPING,
        waits_for_quota: args.rows.wait_for_quota,
        quota_reset: OnceLock::new(),
    };
    let (_, mut notes) = mpsc::unbounded_channel();
    let done = watch.over(&mut notes, |progress, stop| job.progress(progress).stop(stop).run()).await;
    done.map(|exit| (exit, watch.quota_reset.get().copied()))
}

/// The prices of calls, and the budget.
fn costs(args: &EmbedArgs, model: &str, prices: &Prices) -> Result<Costs, Failure> {
    let known = cost::known(prices, Via::Calls);
    let Some(budget) = args.budget_usd else { return Ok(known) };
    let Some(price) = prices.of(model) else {
        return Err(Failure::usage(format!(
            "--budget-usd: the price of {model} is unknown (prices as of {})",
            prices.date()
        ))
        .with_hint("add it to a file for --prices, with input and output in US dollars per million tokens"));
    };
    // A text of the usual length of an answer.
    Ok(known.cap(budget, price.cost(&Usage::new(Usage::EXPECTED_OUTPUT, 0))))
}

/// The rows that have a text.
fn without_empty(source: Source, template: Option<&Template>) -> Result<Source, Failure> {
    let kept = match template {
        Some(template) => source.skip_empty(&Render::new().template(template.clone())),
        None => source.skip_lacking(|input| {
            let Input::Vars(vars) = input else { return None };
            let text = TEXT_FIELDS.iter().find_map(|name| Some((*name, vars.get(name)?.as_str()?)));
            match text {
                Some((_, text)) if !text.trim().is_empty() => None,
                Some((name, _)) => Some(name),
                None => Some(TEXT_FIELDS[0]),
            }
        }),
    };
    kept.map_err(|error| failure(&error))
}

/// The output, or a matrix for NumPy if its name says so.
fn destination(args: &EmbedArgs) -> Result<Output, Failure> {
    let is_matrix = args.output.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy"));
    if !is_matrix {
        return Ok(output(&args.output));
    }
    let mut journal = args.output.as_os_str().to_owned();
    journal.push(".journal");
    let journal = PathBuf::from(journal);
    let shown = args.output.display();
    if args.output.exists() && !journal.exists() && !args.rows.fresh {
        return Err(Failure::usage(format!("{shown} already exists and was not written by this run"))
            .with_hint("overwrite it with --fresh, or choose another output"));
    }
    if args.rows.output_format.is_some() || args.rows.columns.is_some() || args.rows.unordered {
        let message = format!("{shown}: a matrix has no --output-format, --columns or --unordered");
        return Err(Failure::usage(message).with_hint("write .jsonl or .parquet"));
    }
    Ok(Output::sink(journal, npy::Matrix::new(args.output.clone())))
}

/// The text of a row.
fn text_of(input: Input, template: Option<&Template>) -> fanweave::Result<String> {
    let invalid = |why: &str| Err(Error::new(ErrorKind::Input, why));
    let text = match (input, template) {
        (Input::Text(text), None) => text,
        (Input::Text(text), Some(template)) => template.render(&vars! { input: text })?,
        (Input::Vars(vars), Some(template)) => template.render(&vars)?,
        (Input::Vars(vars), None) => {
            let field = TEXT_FIELDS.iter().find_map(|name| vars.get(name)?.as_str());
            match field {
                Some(text) => text.to_owned(),
                None => {
                    return invalid(
                        "the row has no `text`, `input`, `prompt` or `content`: name its fields with --prompt",
                    );
                }
            }
        }
        _ => return invalid("a complete request has no text to embed"),
    };
    if text.trim().is_empty() {
        return invalid("the text is empty");
    }
    Ok(text)
}

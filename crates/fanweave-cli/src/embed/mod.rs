//! `fanweave embed`: vectors of the texts of rows.

mod groups;
mod npy;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use fanweave::batch::{Answer, BatchJob, Content, Fingerprint, Input, Output};
use fanweave::context::Concurrency;
use fanweave::prompts::Template;
use fanweave::{Error, ErrorKind, Parameters, chain, step, vars};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::args::EmbedArgs;
use crate::cost;
use crate::documents::embedder;
use crate::exit::{Exit, Failure};
use crate::out::tell;
use crate::program::Program;
use crate::rows::{STOPPING, Watch, check_output, open, output, print_notes, settings};
use crate::text_file::text_or_file;
use groups::Groups;

/// Rows in flight for each text of a request: while one group is sent, others are read.
const GROUPS_IN_FLIGHT: usize = 4;

/// Fields that have the text of a row without a template.
const TEXT_FIELDS: [&str; 4] = ["text", "input", "prompt", "content"];

pub(crate) async fn run(args: EmbedArgs, program: &Program) -> Result<Exit, Failure> {
    // An array of NumPy is an output of embeddings alone.
    if args.output.extension().is_none_or(|end| end != "npy") {
        check_output(&args.output, args.json, &args.rows)?;
    }
    let prompt = args.prompt.as_deref().map(|text| text_or_file("--prompt", text)).transpose()?;
    let template = prompt.as_deref().map(Template::parse).transpose();
    let template = template.map_err(|e| Failure::usage(format!("--prompt: {}", e.message())))?;
    let source = open(&args.inputs, &args.rows)?;
    print_notes(source.notes(), args.quiet);
    let embedder = embedder(&args.embeddings, args.embeddings_url.as_deref())?;
    if args.embeddings_url.is_none() && !args.quiet {
        for objection in cost::catalogue()?.check(embedder.name(), &Parameters::new(), None) {
            tell!("warning: {}", objection.message);
        }
    }
    let mut fingerprint = Fingerprint::new().set("embeddings", embedder.name());
    if let Some(prompt) = prompt {
        fingerprint = fingerprint.set("prompt", prompt);
    }
    let per_request = args.per_request.get();
    let at_once = args.concurrency.map_or(per_request * GROUPS_IN_FLIGHT, std::num::NonZeroUsize::get);
    let concurrency = Concurrency::new(at_once);
    let model = embedder.name().to_owned();
    let groups = Groups::start(embedder, per_request);
    let vectors = step(move |text: String, _| {
        let (groups, model) = (groups.clone(), model.clone());
        async move {
            let (vector, usage) = groups.embed(text).await?;
            // The shortest decimal that is the same number of 32 bits.
            let decimal = |n: f32| n.to_string().parse::<f64>().map_or(Value::Null, Value::from);
            let mut answer = Answer::new(Content::Json(vector.into_iter().map(decimal).collect()));
            (answer.usage, answer.model, answer.attempts) = (usage, Some(model), 1);
            Ok(answer)
        }
    });
    let prepare = move |input| text_of(input, template.as_ref());
    let settings = settings(&args.rows, concurrency)?
        .answer_schema(json!({ "type": "array", "items": { "type": "number" } }));
    let job = BatchJob::over(source, prepare, chain(vectors), destination(&args)?)
        .settings(settings)
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
        waits_for_quota: false,
        quota_reset: OnceLock::new(),
    };
    let (_, mut notes) = mpsc::unbounded_channel();
    watch.over(&mut notes, |progress, stop| job.progress(progress).stop(stop).run()).await
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

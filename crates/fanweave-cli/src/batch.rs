//! `fanweave batch`: runs a prompt for every row of a file.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use fanweave::batch::{
    BatchJob, Error, ErrorKind, InputFormat, Output, Progress, Render, Settings, Source, Summary,
};
use fanweave::batch_api::ProviderBatches;
use fanweave::{Chain, Prompt, Template, step};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use crate::args::{BatchArgs, ModelArgs, ShowProgress, Via};
use crate::connect::text_or_file;
use crate::exit::{Exit, Failure, with_flags};
use crate::out::{print, tell};
use crate::program::Program;
use crate::progress::Display;
use crate::route::route;
use crate::telemetry::Exporter;
use crate::{connect, cost, dry_run, live, summary};

pub(crate) async fn run(mut args: BatchArgs, program: &Program) -> Result<Exit, Failure> {
    if args.via == Via::BatchApi {
        // A cache from the configuration file only applies to single requests.
        args.model.cache = None;
    }
    let source = open(&args.input, args.input_format.as_deref())?;
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
    let (render, mut fingerprint) = templates(&args)?;
    let prices = cost::prices(args.prices.as_deref())?;
    let costs = cost::costs(&args, &prices, &routed.names)?;
    if args.via == Via::BatchApi {
        one_model(&args)?;
    }
    if args.dry_run {
        return dry_run::rows::run(source, &render, &args, &routed, &prices);
    }
    fingerprint.extend(model_fingerprint(&args));
    let settings = settings(&args)?;
    let output = output(&args.output);
    let telemetry = Exporter::from_env();
    let chain = telemetry.watch("row", clear_row_model() | &routed.chain);

    let watch = Watch {
        program,
        output: &args.output,
        show: args.show_progress,
        quiet: args.quiet,
        concurrency: settings.concurrency,
        json: args.json,
        reads_keys: args.input != Path::new("-"),
        fail_if_done: args.fail_if_done,
        stopping: match args.via {
            Via::Calls => "stopping: finishing requests in flight (press Ctrl-C again to exit immediately)",
            Via::BatchApi => "stopping: submitted batches continue at the provider",
        },
    };
    let job =
        BatchJob::new(source, render, chain, output).settings(settings).costs(costs).fingerprint(fingerprint);
    let api = match args.via {
        Via::Calls => None,
        Via::BatchApi => Some(batch_api(&args, keep_raw)?),
    };
    let work = watch.over(&mut routed.notes, |progress, stop| {
        let job = job.progress(progress).stop(stop);
        async move {
            match &api {
                Some(api) => job.run_via(api).await,
                None => job.run().await,
            }
        }
    });
    let done = Box::pin(work).await;
    telemetry.end(&program.stop).await;
    done
}

/// Options for displaying and stopping a job over rows.
pub(crate) struct Watch<'a> {
    pub(crate) program: &'a Program,
    pub(crate) output: &'a Path,
    pub(crate) show: ShowProgress,
    pub(crate) quiet: bool,
    pub(crate) concurrency: NonZeroUsize,
    /// Set to print the summary as JSON on stdout.
    pub(crate) json: bool,
    /// Set if the keyboard can be read, because stdin is not the input.
    pub(crate) reads_keys: bool,
    /// Set to exit with a separate code if there was nothing to do.
    pub(crate) fail_if_done: bool,
    /// Notice to show at the first Ctrl-C.
    pub(crate) stopping: &'a str,
}

impl Watch<'_> {
    /// Runs a job, shows its progress and `notes`, and prints the summary.
    pub(crate) async fn over<F>(
        &self,
        notes: &mut UnboundedReceiver<String>,
        job: impl FnOnce(Arc<Progress>, CancellationToken) -> F,
    ) -> Result<Exit, Failure>
    where
        F: Future<Output = Result<Summary, Error>>,
    {
        let progress = Arc::new(Progress::default());
        let show = if self.quiet { ShowProgress::None } else { self.show };
        let display = Display::new(show, progress.clone(), self.concurrency.get());
        let listening = self.program.stop.listen();
        let stop = listening.token();
        let work = job(progress, stop.clone());
        let drawing = async {
            let draining = async {
                stop.cancelled().await;
                display.set_notice(self.stopping);
                std::future::pending::<()>().await;
            };
            let noting = async {
                while let Some(note) = notes.recv().await {
                    self.note(&display, &note);
                }
            };
            tokio::join!(
                display.draw(),
                draining,
                noting,
                live::answer(&display, self.reads_keys, self.program)
            );
        };
        let done = tokio::select! {
            done = work => done,
            _ = drawing => unreachable!("drawing never ends"),
        };
        display.clear();
        while let Ok(note) = notes.try_recv() {
            self.note(&display, &note);
        }
        if let Some(notice) = fanweave::models::connection_notice() {
            self.note(&display, &format!("note: {notice}"));
        }
        match done {
            Ok(summary) => self.finish(&summary),
            Err(error) if error.is_broken_pipe() => Ok(Exit::Ok),
            Err(error) => Err(failure(&error)),
        }
    }

    fn note(&self, display: &Display, note: &str) {
        if !self.quiet {
            display.print(note);
        }
    }

    /// Prints the summary, and the command to resume if the job is not complete.
    fn finish(&self, summary: &Summary) -> Result<Exit, Failure> {
        let output = name(self.output);
        if self.json {
            print(format!("{}\n", summary::json(summary, &output)).as_bytes())?;
        }
        let print_summary = || {
            if !self.json {
                tell!("{}", summary::text(summary, &output));
            }
        };
        let remaining = match summary.left {
            None => "some rows remaining".to_owned(),
            Some(1) => "1 row remaining".to_owned(),
            Some(n) => format!("{n} rows remaining"),
        };
        if let Some(error) = &summary.refused {
            if summary.rows > 0 {
                print_summary();
            }
            let resume = format!(
                "{remaining}; fix the problem, then resume with: {}",
                resume_command(&self.program.args)
            );
            let is_started = summary.ok + summary.resumed > 0;
            let hint = match summary.refused_rows {
                0 => resume,
                n => {
                    let which = if is_started { "last" } else { "first" };
                    format!(
                        "the {which} {n} rows were all rejected for this reason; use --keep-going to continue anyway\n  \
                         {resume}"
                    )
                }
            };
            let exit = if is_started { Exit::Stopped } else { Exit::Error };
            return Err(Failure::new(error.to_string()).with_exit(exit).with_hint(hint));
        }
        if let Some(error) = &summary.unavailable {
            print_summary();
            tell!("stopped with {remaining}: {}", summary::outage(error));
            tell!("  fix the problem, then resume with: {}", resume_command(&self.program.args));
            return Ok(Exit::Stopped);
        }
        if summary.over_budget {
            print_summary();
            tell!(
                "stopped with {remaining}: another row could exceed the budget; resume with a larger one: {}",
                resume_with_budget(&self.program.args)
            );
            return Ok(Exit::Stopped);
        }
        if summary.interrupted {
            print_summary();
            tell!("stopped with {remaining}; resume with: {}", resume_command(&self.program.args));
            return Ok(Exit::Stopped);
        }
        if summary.nothing_to_do() {
            if !self.quiet {
                tell!(
                    "nothing to do: all {} rows have a result in {output} ({} failed); --fresh starts from scratch{}",
                    summary.rows,
                    summary.failed,
                    if summary.failed > 0 { ", --retry-failed retries the failed rows" } else { "" },
                );
            }
            return Ok(if self.fail_if_done { Exit::NothingToDo } else { Exit::Ok });
        }
        if !self.quiet {
            print_summary();
        }
        Ok(if summary.failed > 0 { Exit::RowsFailed } else { Exit::Ok })
    }
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
        ("--dedupe", args.dedupe),
        ("--keep-going", args.keep_going),
        ("--no-hedging", args.no_hedging),
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
fn batch_api(args: &BatchArgs, keep_raw: bool) -> Result<ProviderBatches, Failure> {
    let key = args.key_env.first().map(String::as_str);
    Ok(ProviderBatches::new(connect::batch_api(&args.model, key, keep_raw)?))
}

/// Rejects answers and a summary on the same stdout.
pub(crate) fn one_on_stdout(output: &Path) -> Result<(), Failure> {
    if output == Path::new("-") {
        return Err(Failure::usage("--json cannot be used with output to stdout")
            .with_hint("write the output to a file, or remove --json"));
    }
    Ok(())
}

/// Opens the rows of a file, or of stdin.
pub(crate) fn open(path: &Path, format: Option<&str>) -> Result<Source, Failure> {
    let format = format.map(str::parse::<InputFormat>).transpose().map_err(|e| failure(&e))?;
    let source = if path == Path::new("-") { Source::stdin(format) } else { Source::open(path, format) };
    source.map_err(|e| failure(&e))
}

pub(crate) fn output(path: &Path) -> Output {
    if path == Path::new("-") { Output::Stdout } else { Output::File(path.to_owned()) }
}

/// Parses the templates. Also returns their texts, for the fingerprint.
fn templates(args: &BatchArgs) -> Result<(Render, BTreeMap<String, String>), Failure> {
    let mut texts = BTreeMap::new();
    let mut read = |flag: &str, text: &Option<String>| -> Result<Option<Template>, Failure> {
        let Some(text) = text else { return Ok(None) };
        let text = text_or_file(flag, text)?;
        if flag == "--prompt" && text.trim().is_empty() {
            // Usually an unset shell variable: every row would pay for an empty prompt.
            return Err(Failure::usage("--prompt: the template is empty")
                .with_hint("remove --prompt if the rows contain their prompts"));
        }
        let template =
            Template::parse(&text).map_err(|e| Failure::usage(format!("{flag}: {}", e.message())))?;
        texts.insert(flag.trim_start_matches('-').to_owned(), text);
        Ok(Some(template))
    };
    let render =
        Render { template: read("--prompt", &args.prompt)?, system: read("--system", &args.system)? };
    Ok((render, texts))
}

/// Other arguments that affect the answers. The URL is not one of them: an account may move.
fn model_fingerprint(args: &BatchArgs) -> impl Iterator<Item = (String, String)> {
    let model = args.model.model.clone().unwrap_or_default();
    let fallback = (!args.fallback_model.is_empty()).then(|| args.fallback_model.join(", "));
    let fallback = fallback.map(|models| ("fallback model".to_owned(), models));
    std::iter::once(("model".to_owned(), model)).chain(fallback).chain(parameters_fingerprint(&args.model))
}

/// Parameters that affect the answers.
pub(crate) fn parameters_fingerprint(args: &ModelArgs) -> impl Iterator<Item = (String, String)> {
    let temperature = args.temperature.map(|t| ("temperature".to_owned(), t.to_string()));
    let max_tokens = args.max_tokens.map(|n| ("max tokens".to_owned(), n.to_string()));
    temperature.into_iter().chain(max_tokens)
}

/// Clears the model of each row, so that the model of the command line answers it.
fn clear_row_model() -> Chain<Prompt, Prompt> {
    step(|mut prompt: Prompt, _cx| async move {
        prompt.parameters.model = None;
        Ok(prompt)
    })
}

fn settings(args: &BatchArgs) -> Result<Settings, Failure> {
    let output_format = args.output_format.as_deref().map(str::parse).transpose().map_err(|e| failure(&e))?;
    Ok(Settings {
        output_format,
        concurrency: args.concurrency.unwrap_or(Settings::default().concurrency),
        strict: args.strict,
        unordered: args.unordered,
        retry_failed: args.retry_failed,
        fresh: args.fresh,
        changed_input: args.resume_changed,
        dedupe: args.dedupe,
        hedge: !args.no_hedging,
        keep_going: args.keep_going,
        ..Settings::default()
    })
}

fn name(path: &Path) -> String {
    if path == Path::new("-") { "stdout".to_owned() } else { path.display().to_string() }
}

/// The command that resumes this run: the current one without `--fresh`.
fn resume_command(args: &[OsString]) -> String {
    command(args.iter())
}

/// Like [`resume_command`], with a placeholder instead of the budget.
fn resume_with_budget(args: &[OsString]) -> String {
    let mut is_value = false;
    let kept = args.iter().filter(|arg| {
        let is_flag = *arg == "--budget-usd";
        let is_budget = is_flag || is_value || arg.to_string_lossy().starts_with("--budget-usd=");
        is_value = is_flag;
        !is_budget
    });
    command(kept) + " --budget-usd AMOUNT"
}

fn command<'a>(args: impl Iterator<Item = &'a OsString>) -> String {
    let args = args.filter(|arg| *arg != "--fresh").map(|arg| quoted(arg));
    std::iter::once("fanweave".to_owned()).chain(args).collect::<Vec<_>>().join(" ")
}

/// Quotes an argument for a shell.
fn quoted(word: &OsStr) -> String {
    let Some(word) = word.to_str() else {
        // Not UTF-8: the terminal could not display it.
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\'' && byte != b'\\';
        let escaped =
            |byte: &u8| if plain(*byte) { char::from(*byte).into() } else { format!(r"\x{byte:02x}") };
        return format!("$'{}'", word.as_encoded_bytes().iter().map(escaped).collect::<String>());
    };
    let plain = |c: char| c.is_alphanumeric() || "-_./:=@,+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

pub(crate) fn failure(error: &Error) -> Failure {
    match error.kind() {
        ErrorKind::Usage | ErrorKind::Input | ErrorKind::Exists | ErrorKind::Mismatch => {
            Failure::usage(with_flags(error))
        }
        _ => Failure::new(with_flags(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_pasted_back_into_a_shell() {
        assert_eq!(quoted("answers.jsonl".as_ref()), "answers.jsonl");
        assert_eq!(quoted("Name a {{ thing }}.".as_ref()), "'Name a {{ thing }}.'");
        assert_eq!(quoted("it's".as_ref()), r"'it'\''s'");
        assert_eq!(quoted("".as_ref()), "''");
    }
}

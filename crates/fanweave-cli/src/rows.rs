//! Jobs over rows, which `fanweave batch` and `fanweave run` share: input, output, progress, summary.

use std::ffi::{OsStr, OsString};
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fanweave::batch::{
    Error, ErrorKind, Fingerprint, Output, OutputFormat, PlannedRows, Progress, Settings, Source, Summary,
};
use fanweave::context::{CancellationToken, Concurrency};
use fanweave::models::adaptations_since;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::args::{CsvFormulas, RowArgs, ShowProgress};
use crate::cost::dollars;
use crate::exit::{Exit, Failure, spelled, with_flags};
use crate::misplaced::Slips;
use crate::out::{print, tell};
use crate::program::Program;
use crate::progress::{Display, rounded};
use crate::{live, summary};

/// Message at the first signal, while requests end.
pub(crate) const STOPPING: &str =
    "stopping: finishing requests in flight (press Ctrl-C again to exit immediately)";

/// Added to the time after which a quota is renewed, because clocks differ.
const MARGIN: Duration = Duration::from_secs(1);

/// Options for displaying and stopping a job over rows.
pub(crate) struct Watch<'a> {
    pub(crate) program: &'a Program,
    pub(crate) output: &'a Path,
    pub(crate) show: ShowProgress,
    pub(crate) quiet: bool,
    pub(crate) concurrency: Concurrency,
    /// Set to print the summary as JSON on stdout.
    pub(crate) json: bool,
    /// Set if the keyboard can be read, because stdin is not the input.
    pub(crate) reads_keys: bool,
    /// Set to exit with a separate code if there was nothing to do.
    pub(crate) fail_if_done: bool,
    /// Notice to show at the first Ctrl-C.
    pub(crate) stopping: &'a str,
    /// Set to wait for the end of a quota that is used up, instead of stopping.
    pub(crate) waits_for_quota: bool,
    /// Set when the run stopped to wait: the time after which the quota is renewed.
    pub(crate) quota_reset: OnceLock<Duration>,
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
        let adapted = adaptations_since(&self.program.adapted_before);
        if self.json {
            print(format!("{}\n", summary::json(summary, &adapted, &output)).as_bytes())?;
        }
        self.program.noted_adaptations.store(self.json, Ordering::Relaxed);
        let print_summary = || {
            self.program.noted_adaptations.store(true, Ordering::Relaxed);
            if !self.json {
                tell!("{}", summary::text(summary, &adapted, &output));
            }
        };
        let remaining = match summary.left {
            None => "some rows remaining".to_owned(),
            Some(1) => "1 row remaining".to_owned(),
            Some(n) => format!("{n} rows remaining"),
        };
        if let Some(error) = &summary.refused
            && let Some(reset) = self.quota_reset_of(error)
        {
            print_summary();
            let _ = self.quota_reset.set(reset);
            return Ok(Exit::Stopped);
        }
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
            return Err(Failure::new(spelled(error.clone()).to_string()).with_exit(exit).with_hint(hint));
        }
        if let Some(error) = &summary.unavailable {
            print_summary();
            tell!("stopped with {remaining}: {}", summary::outage(error));
            tell!("  fix the problem, then resume with: {}", resume_command(&self.program.args));
            return Ok(Exit::Stopped);
        }
        if summary.over_budget {
            print_summary();
            tell!("stopped with {remaining}: {}", over_budget(summary, &self.program.args));
            return Ok(Exit::Stopped);
        }
        if summary.too_many_errors {
            print_summary();
            tell!(
                "stopped with {remaining}: more rows failed than --max-errors allows; resume with: {}",
                resume_command(&self.program.args)
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

impl Watch<'_> {
    /// The time after which a quota that is used up is renewed, if the provider said it and the run may wait.
    fn quota_reset_of(&self, error: &fanweave::Error) -> Option<Duration> {
        let waits = self.waits_for_quota && error.kind() == fanweave::ErrorKind::QuotaExhausted;
        error.retry_after().filter(|_| waits)
    }
}

/// Rejects answers and a summary on the same stdout.
fn one_on_stdout(output: &Path) -> Result<(), Failure> {
    if output == Path::new("-") {
        return Err(Failure::usage("--json cannot be used with output to stdout")
            .with_hint("write the output to a file, or remove --json"));
    }
    Ok(())
}

/// Opens the rows of files and folders, or of stdin.
pub(crate) fn open(paths: &[PathBuf], args: &RowArgs) -> Result<Source, Failure> {
    let options = args.input_options().map_err(|e| failure(&e))?;
    let is_stdin = |path: &PathBuf| path == Path::new("-");
    let source = match paths {
        [path] if is_stdin(path) => Source::stdin_with(options),
        paths if paths.iter().any(is_stdin) => {
            return Err(Failure::usage("- (stdin) cannot be combined with other inputs")
                .with_hint("write stdin to a file first"));
        }
        paths => Source::open_all(paths, options),
    };
    let sampled = source.and_then(|source| match args.sample {
        Some(sample) => source.sample(sample.rows.get(), sample.seed),
        None => Ok(source),
    });
    sampled.map_err(|e| failure(&e))
}

/// # Errors
/// If a run that waits for a quota has an input or an output from which it cannot continue.
pub(crate) fn check_quota_wait(args: &RowArgs, inputs: &[PathBuf], output: &Path) -> Result<(), Failure> {
    let is_dash = |path: &Path| path == Path::new("-");
    if args.wait_for_quota && (inputs.iter().any(|path| is_dash(path)) || is_dash(output)) {
        return Err(Failure::usage(
            "--wait-for-quota needs an input and an output that are files, to continue from",
        ));
    }
    Ok(())
}

/// Waits until a quota is renewed, after `reset`. Returns false if there is nothing to wait for, or if the
/// user stops the wait.
pub(crate) async fn wait_for_quota(reset: Option<Duration>, program: &Program) -> bool {
    let Some(reset) = reset else { return false };
    tell!(
        "the quota is used up: waiting {} until it is renewed (press Ctrl-C to stop; the same command continues)",
        rounded(reset)
    );
    tokio::select! {
        () = tokio::time::sleep(reset + MARGIN) => true,
        () = program.stop.requested() => false,
    }
}

/// Number of rows of the whole input, if the flags take only a part of it, and it can be counted.
pub(crate) fn input_rows(source: &Source, args: &RowArgs) -> Result<Option<u64>, Failure> {
    match args.limit.is_some() || args.sample.is_some() {
        true => source.count_rows().map_err(|e| failure(&e)),
        false => Ok(None),
    }
}

/// The rows of a dry run, with those that the output has already.
pub(crate) fn planned(
    source: Source,
    output: &Path,
    settings: &Settings,
    fingerprint: &Fingerprint,
) -> Result<PlannedRows, Failure> {
    let output = Some(output).filter(|path| *path != Path::new("-"));
    PlannedRows::open(source, output, settings, fingerprint).map_err(|e| failure(&e))
}

/// Maximum rows in flight, if each has one request at a time.
pub(crate) fn in_flight(concurrency: Concurrency, max_requests: Option<NonZeroUsize>) -> usize {
    max_requests.map_or(concurrency.get(), |max| concurrency.get().min(max.get()))
}

/// Prints notes on the input, unless the user wants errors only.
pub(crate) fn print_notes(notes: &[String], is_quiet: bool) {
    if !is_quiet {
        notes.iter().for_each(|note| tell!("note: {note}"));
    }
}

/// # Errors
/// If the output's name has the extension of another kind of file, and no format is given. With `is_json`,
/// for the summary, also if the output is stdout.
pub(crate) fn check_output(path: &Path, is_json: bool, args: &RowArgs) -> Result<(), Failure> {
    if is_json {
        one_on_stdout(path)?;
    }
    if args.output_format.is_none() {
        OutputFormat::of_path(path).map_err(|e| failure(&e))?;
    }
    Ok(())
}

pub(crate) fn output(path: &Path) -> Output {
    if path == Path::new("-") { Output::Stdout } else { Output::File(path.to_owned()) }
}

/// Options of a job.
pub(crate) fn settings(args: &RowArgs, concurrency: Concurrency) -> Result<Settings, Failure> {
    let output_format = args.output_format.as_deref().map(str::parse).transpose().map_err(|e| failure(&e))?;
    let mut settings = Settings::new()
        .concurrency(concurrency)
        .strict(args.strict)
        .unordered(args.unordered)
        .retry_failed(args.retry_failed)
        .fresh(args.fresh)
        .changed_input(args.resume_changed)
        .dedupe(args.dedupe)
        .hedge(!args.no_hedging)
        .keep_going(args.keep_going)
        .csv_formulas(args.csv_formulas == CsvFormulas::Keep);
    settings.output_format = output_format;
    settings.columns.clone_from(&args.columns);
    settings.max_errors = args.max_errors;
    settings.limit = args.limit.map(NonZeroU64::get);
    Ok(settings)
}

fn name(path: &Path) -> String {
    if path == Path::new("-") { "stdout".to_owned() } else { path.display().to_string() }
}

/// The command that resumes this run: the current one without `--fresh`.
fn resume_command(args: &[OsString]) -> String {
    let command = command(args.iter());
    Slips::find(args).hide(&command).unwrap_or(command)
}

/// Why a run stopped at its budget, with the amount that is needed, and the command to resume with it.
fn over_budget(summary: &Summary, args: &[OsString]) -> String {
    let Some(next) = summary.next_row_budget_usd else {
        let command = resume_with_budget(args, "AMOUNT");
        return format!("another row could exceed the budget; resume with a larger one: {command}");
    };
    let all = summary.all_rows_budget_usd;
    let of_all = all.map(|all| format!(", and all rows one of about {}", dollars(all))).unwrap_or_default();
    format!(
        "another row could exceed the budget. The next row needs a budget of {}{of_all}; resume with: {}",
        dollars(next),
        resume_with_budget(args, &rounded_up(all.unwrap_or(next).max(next)))
    )
}

/// An amount in US dollars with two significant digits, which is not below `usd`.
fn rounded_up(usd: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "a small number of digits")]
    let decimals = (1.0 - usd.log10().floor()).clamp(0.0, 12.0) as i32;
    let unit = 10_f64.powi(decimals);
    let digits = usize::try_from(decimals).unwrap_or_default();
    format!("{:.digits$}", (usd * unit - 1e-9).ceil() / unit)
}

/// Like [`resume_command`], with this budget in place of its own.
fn resume_with_budget(args: &[OsString], amount: &str) -> String {
    let mut is_value = false;
    let kept = args.iter().filter(|arg| {
        let is_flag = *arg == "--budget-usd";
        let is_budget = is_flag || is_value || arg.to_string_lossy().starts_with("--budget-usd=");
        is_value = is_flag;
        !is_budget
    });
    command(kept) + " --budget-usd " + amount
}

fn command<'a>(args: impl Iterator<Item = &'a OsString>) -> String {
    let mut is_header = false;
    let shown = args.filter(|arg| *arg != "--fresh").map(|arg| {
        let shown = match arg.to_str().and_then(|arg| arg.strip_prefix("--header=")) {
            Some(header) => quoted(format!("--header={}", without_value(header)).as_ref()),
            None if is_header => quoted(without_value(&arg.to_string_lossy()).as_ref()),
            None => quoted(arg),
        };
        is_header = arg == "--header";
        shown
    });
    std::iter::once("fanweave".to_owned()).chain(shown).collect::<Vec<_>>().join(" ")
}

/// A header without its value, which may be a secret.
fn without_value(header: &str) -> String {
    match header.split_once(':') {
        Some((name, _)) if !header.starts_with('@') => format!("{name}: .."),
        _ if header.starts_with('@') => header.to_owned(),
        _ => "..".to_owned(),
    }
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

    #[test]
    fn a_budget_is_rounded_up_to_two_digits() {
        let all = [0.000_375, 0.000_37, 0.04, 1.501, 12.1, 123.4].map(rounded_up);
        assert_eq!(all, ["0.00038", "0.00037", "0.040", "1.6", "13", "124"]);
    }

    #[test]
    fn a_command_shows_no_value_of_a_header() {
        let words =
            ["batch", "--fresh", "--header", "X-A: canary", "--header=B:canary", "--header", "@h.txt"];
        let args: Vec<_> = words.iter().map(OsString::from).collect();
        assert_eq!(
            resume_command(&args),
            "fanweave batch --header 'X-A: ..' '--header=B: ..' --header @h.txt"
        );
    }
}

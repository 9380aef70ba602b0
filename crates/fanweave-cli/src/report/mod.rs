//! `fanweave report`: time, cost and failures of a run.

mod compare;
mod compare_page;
mod figures;
mod page;
mod parts;
mod percentile;
mod table;
mod trace;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use fanweave::batch::{Input, InputOptions, RunRecord, Source};

use crate::args::ReportArgs;
use crate::exit::{Exit, Failure, with_flags};
use crate::out::{escape_controls, print, tell};
use crate::rows::failure;
use figures::Figures;

/// Maximum bytes of a text on the page. Fewer for many rows, so that the page stays small.
const MAX_SHOWN: usize = 240;
const MAX_SHOWN_OF_MANY: usize = 80;
const MANY_ROWS: usize = 4_000;

pub(crate) fn run(args: &ReportArgs) -> Result<Exit, Failure> {
    if let Some(other) = &args.other {
        return compare(args, other);
    }
    // All of a text, unless it is only shown.
    let shown = if args.csv.is_some() { usize::MAX } else { MAX_SHOWN };
    let mut run = open(&args.run, shown)?;
    // The original input, if it is unchanged. Checking that reads the whole file, so it is skipped for
    // figures.
    let is_written = args.html.is_some() || args.chrome_trace.is_some() || args.failed.is_some();
    let found = if args.input.is_empty() && is_written { run.input().map(Path::to_owned) } else { None };
    let inputs = if args.input.is_empty() { found.into_iter().collect() } else { args.input.clone() };
    check_outputs(args, &[&run], &inputs)?;
    for note in &run.notes {
        tell!("warning: {note}");
    }
    let figures = Figures::of(&run);
    if let Some(path) = &args.csv {
        write(path, &table::csv(&run))?;
    }
    if let Some(path) = &args.failed {
        write_failed(&run, &inputs, path)?;
    }
    let shown = if run.rows.len() > MANY_ROWS { MAX_SHOWN_OF_MANY } else { MAX_SHOWN };
    for row in &mut run.rows {
        row.answer = fanweave::errors::excerpt(&row.answer, shown);
    }
    let prompts = match (args.input.is_empty(), args.html.is_some()) {
        (false, true) => prompts(&inputs, shown)?,
        (true, true) if !inputs.is_empty() => prompts(&inputs, shown).unwrap_or_default(),
        _ => HashMap::new(),
    };
    if let Some(path) = &args.html {
        write(path, page::html(&args.run, &run, &prompts, &figures).as_bytes())?;
    }
    if let Some(path) = &args.chrome_trace {
        write(path, trace::chrome(&run).as_bytes())?;
    }
    if args.json {
        let json = serde_json::to_string_pretty(&figures).expect("figures have string keys");
        print(format!("{json}\n").as_bytes())?;
    } else if !is_written && args.csv.is_none() {
        print(escape_controls(&figures.text()).as_bytes())?;
    }
    Ok(if run.rows.is_empty() { Exit::NothingToDo } else { Exit::Ok })
}

fn open(path: &Path, shown: usize) -> Result<RunRecord, Failure> {
    RunRecord::open(path, shown).map_err(|e| Failure::usage(with_flags(&e)))
}

/// Compares two runs.
fn compare(args: &ReportArgs, other: &Path) -> Result<Exit, Failure> {
    let shown = match (&args.csv, &args.html) {
        (Some(_), _) => usize::MAX,
        (None, Some(_)) => MAX_SHOWN,
        (None, None) => 0,
    };
    let mut runs = [open(&args.run, shown)?, open(other, shown)?];
    check_outputs(args, &[&runs[0], &runs[1]], &[])?;
    for note in runs.iter().flat_map(|run| &run.notes) {
        tell!("warning: {note}");
    }
    let names = [args.run.display().to_string(), other.display().to_string()];
    let names = [names[0].as_str(), names[1].as_str()];
    let figures = [Figures::of(&runs[0]), Figures::of(&runs[1])];
    let pairs = compare::pairs(&runs[0], &runs[1]);
    let matches = compare::matches(&pairs);
    if let Some(path) = &args.csv {
        write(path, &compare::csv(&pairs))?;
    }
    if let Some(path) = &args.html {
        drop(pairs);
        for row in runs.iter_mut().flat_map(|run| &mut run.rows) {
            row.answer = fanweave::errors::excerpt(&row.answer, MAX_SHOWN);
        }
        let pairs = compare::pairs(&runs[0], &runs[1]);
        let lines = compare::lines(names, &figures);
        write(path, compare_page::html(names, &lines, &matches, &pairs).as_bytes())?;
    }
    if args.json {
        let json = compare::as_json(names, &figures, &matches);
        print(format!("{json:#}\n").as_bytes())?;
    } else if [&args.csv, &args.html].into_iter().flatten().all(|path| !is_stdout(path)) {
        print(escape_controls(&compare::text(names, &figures, &matches)).as_bytes())?;
    }
    Ok(Exit::Ok)
}

/// Writes the rows of the input that failed.
fn write_failed(run: &RunRecord, inputs: &[PathBuf], path: &Path) -> Result<(), Failure> {
    if inputs.is_empty() {
        return Err(Failure::usage("--failed: the input of the run is missing, or has changed")
            .with_hint("name it with --input"));
    }
    let source = Source::open_all(inputs, run.input_options().clone()).map_err(|e| failure(&e))?;
    let done = run.write_failed(source, path).map_err(|e| failure(&e))?;
    tell!(
        "wrote {} failed row{} to {}",
        done.written,
        if done.written == 1 { "" } else { "s" },
        path.display()
    );
    if done.unreadable > 0 {
        tell!("note: {} failed rows of the input cannot be read, and were not written", done.unreadable);
    }
    if done.missing > 0 {
        tell!("note: {} failed rows are not in this input", done.missing);
    }
    Ok(())
}

/// The beginnings of the rows' inputs, by index.
fn prompts(paths: &[PathBuf], shown: usize) -> Result<HashMap<u64, String>, Failure> {
    let source = Source::open_all(paths, InputOptions::new()).map_err(|e| Failure::usage(with_flags(&e)))?;
    let mut prompts = HashMap::new();
    for row in source {
        let row = row.map_err(|e| Failure::new(e.to_string()))?;
        let text = match row.input {
            Ok(Input::Text(text)) => text,
            Ok(Input::Prompt(prompt)) => prompt.last_user_text(),
            Ok(Input::Vars(vars)) => match vars.get("prompt").and_then(|prompt| prompt.as_str()) {
                Some(prompt) => prompt.to_owned(),
                None => serde_json::to_string(vars.as_map()).unwrap_or_default(),
            },
            _ => continue,
        };
        prompts.insert(row.index, fanweave::errors::excerpt(&text, shown));
    }
    Ok(prompts)
}

/// Rejects outputs that would overwrite the files of a run or each other.
fn check_outputs(args: &ReportArgs, runs: &[&RunRecord], inputs: &[PathBuf]) -> Result<(), Failure> {
    let is_journal = |path: &Path| path.extension() == Some("journal".as_ref());
    let outputs = runs.iter().filter(|run| is_journal(&run.path)).map(|run| run.path.with_extension(""));
    let named = [Some(&args.run), args.other.as_ref()].into_iter().flatten();
    let read = named.chain(runs.iter().map(|run| &run.path)).chain(inputs).cloned().chain(outputs);
    let read: Vec<_> = read.filter_map(|path| path.canonicalize().ok()).collect();
    let written = [
        ("--html", &args.html),
        ("--chrome-trace", &args.chrome_trace),
        ("--csv", &args.csv),
        ("--failed", &args.failed),
    ];
    let written: Vec<_> =
        written.into_iter().filter_map(|(flag, path)| Some((flag, path.as_ref()?))).collect();
    for (at, (flag, path)) in written.iter().enumerate() {
        let shown = path.display();
        if path.canonicalize().is_ok_and(|path| read.contains(&path)) {
            let message = format!("{flag} {shown}: this file belongs to the run");
            return Err(Failure::usage(message).with_hint("choose another file"));
        }
        let absolute = |path: &Path| std::path::absolute(path).ok();
        let earlier = written[..at].iter().find(|(_, other)| absolute(other) == absolute(path));
        if let (Some((other, _)), false) = (earlier, is_stdout(path)) {
            let message = format!("{flag} {shown}: already used by {other}");
            return Err(Failure::usage(message).with_hint("choose another file"));
        }
    }
    if args.failed.as_deref().is_some_and(is_stdout) {
        return Err(Failure::usage("--failed: failed rows are written to a file"));
    }
    let on_stdout = written.iter().filter(|(_, path)| is_stdout(path)).count() + usize::from(args.json);
    if on_stdout > 1 {
        return Err(Failure::usage(
            "only one of report, rows, trace and JSON can be written to standard output",
        )
        .with_hint("write the others to files"));
    }
    Ok(())
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    if is_stdout(path) {
        return print(bytes);
    }
    std::fs::write(path, bytes).map_err(|e| Failure::new(format!("cannot write {}: {e}", path.display())))?;
    tell!("wrote {}", path.display());
    Ok(())
}

//! `fanweave report`: time, cost and failures of a run.

mod figures;
mod page;
mod trace;

use std::collections::HashMap;
use std::path::Path;

use fanweave::batch::{Input, RunRecord, Source};

use crate::args::ReportArgs;
use crate::exit::{Exit, Failure, with_flags};
use crate::out::{escape_controls, print, tell};
use figures::Figures;

/// Maximum bytes of a text on the page. Fewer for many rows, so that the page stays small.
const MAX_SHOWN: usize = 240;
const MAX_SHOWN_OF_MANY: usize = 80;
const MANY_ROWS: usize = 4_000;

pub(crate) fn run(args: &ReportArgs) -> Result<Exit, Failure> {
    let mut run = RunRecord::open(&args.run, MAX_SHOWN).map_err(|e| Failure::usage(with_flags(&e)))?;
    // The original input, if it is unchanged. Checking that reads the whole file, so it is skipped for
    // figures.
    let is_written = args.html.is_some() || args.chrome_trace.is_some();
    let found = if args.input.is_none() && is_written { run.input().map(Path::to_owned) } else { None };
    check_outputs(args, &run, args.input.as_deref().or(found.as_deref()))?;
    let mut shown = MAX_SHOWN;
    if run.rows.len() > MANY_ROWS {
        shown = MAX_SHOWN_OF_MANY;
        for row in &mut run.rows {
            row.answer = fanweave::errors::excerpt(&row.answer, shown);
        }
    }
    let prompts = match (&args.input, &found) {
        (Some(path), _) => prompts(path, shown)?,
        (None, Some(path)) if args.html.is_some() => prompts(path, shown).unwrap_or_default(),
        _ => HashMap::new(),
    };
    for note in &run.notes {
        tell!("warning: {note}");
    }
    let figures = Figures::of(&run);
    if let Some(path) = &args.html {
        write(path, page::html(&args.run, &run, &prompts, &figures).as_bytes())?;
    }
    if let Some(path) = &args.chrome_trace {
        write(path, trace::chrome(&run).as_bytes())?;
    }
    if args.json {
        let json = serde_json::to_string_pretty(&figures).expect("figures have string keys");
        print(format!("{json}\n").as_bytes())?;
    } else if args.html.is_none() && args.chrome_trace.is_none() {
        print(escape_controls(&figures.text()).as_bytes())?;
    }
    Ok(if run.rows.is_empty() { Exit::NothingToDo } else { Exit::Ok })
}

/// The beginnings of the rows' inputs, by index.
fn prompts(path: &Path, shown: usize) -> Result<HashMap<u64, String>, Failure> {
    let source = Source::open(path, None).map_err(|e| Failure::usage(with_flags(&e)))?;
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

/// Rejects outputs that would overwrite the files of the run or each other.
fn check_outputs(args: &ReportArgs, run: &RunRecord, input: Option<&Path>) -> Result<(), Failure> {
    let output = (run.path.extension() == Some("journal".as_ref())).then(|| run.path.with_extension(""));
    let read = [Some(&*args.run), Some(&*run.path), output.as_deref(), input];
    let read: Vec<_> = read.into_iter().flatten().filter_map(|path| path.canonicalize().ok()).collect();
    for (flag, path) in [("--html", &args.html), ("--chrome-trace", &args.chrome_trace)] {
        if let Some(path) = path
            && path.canonicalize().is_ok_and(|path| read.contains(&path))
        {
            let message = format!("{flag} {}: this file belongs to the run", path.display());
            return Err(Failure::usage(message).with_hint("choose another file"));
        }
    }
    if let (Some(page), Some(trace)) = (&args.html, &args.chrome_trace)
        && std::path::absolute(page).ok() == std::path::absolute(trace).ok()
    {
        let message = format!("--chrome-trace {}: already used by --html", trace.display());
        return Err(Failure::usage(message).with_hint("choose another file"));
    }
    let on_stdout = [&args.html, &args.chrome_trace].into_iter().flatten().filter(|path| is_stdout(path));
    if on_stdout.count() + usize::from(args.json) > 1 {
        return Err(Failure::usage("only one of report, trace and JSON can be written to standard output")
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

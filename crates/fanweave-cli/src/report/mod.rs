//! `fanweave report`: what a run did with its time and money.

mod figures;
mod page;
mod trace;

use std::collections::HashMap;
use std::path::Path;

use fanweave::batch::{Input, RunRecord, Source};

use crate::args::ReportArgs;
use crate::exit::{Exit, Failure};
use crate::out::{escape_controls, print, tell};
use figures::Figures;

/// Bytes of a text that a page shows. Of many rows fewer, so that it stays small.
const SHOWN: usize = 240;
const SHOWN_OF_MANY: usize = 80;
const MANY: usize = 4_000;

pub(crate) fn run(args: &ReportArgs) -> Result<Exit, Failure> {
    let mut run = RunRecord::open(&args.run, SHOWN).map_err(|e| Failure::usage(e.to_string()))?;
    // What the run was given, where that is still there. To know it takes reading all of it, and figures do not need it.
    let is_written = args.html.is_some() || args.chrome_trace.is_some();
    let found = if args.input.is_none() && is_written { run.input().map(Path::to_owned) } else { None };
    spare(args, &run, args.input.as_deref().or(found.as_deref()))?;
    let mut shown = SHOWN;
    if run.rows.len() > MANY {
        shown = SHOWN_OF_MANY;
        for row in &mut run.rows {
            row.answer = fanweave::excerpt(&row.answer, shown);
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
    let source = Source::open(path, None).map_err(|e| Failure::usage(e.to_string()))?;
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
        prompts.insert(row.index, fanweave::excerpt(&text, shown));
    }
    Ok(prompts)
}

/// Refuses to write over what the report is made from, for answers cost money, or over the page.
fn spare(args: &ReportArgs, run: &RunRecord, input: Option<&Path>) -> Result<(), Failure> {
    let whole = (run.path.extension() == Some("journal".as_ref())).then(|| run.path.with_extension(""));
    let read = [Some(&*args.run), Some(&*run.path), whole.as_deref(), input];
    let read: Vec<_> = read.into_iter().flatten().filter_map(|path| path.canonicalize().ok()).collect();
    for (flag, path) in [("--html", &args.html), ("--chrome-trace", &args.chrome_trace)] {
        if let Some(path) = path
            && path.canonicalize().is_ok_and(|path| read.contains(&path))
        {
            let message = format!("{flag} {}: the run is read from there", path.display());
            return Err(Failure::usage(message).with_hint("name another file"));
        }
    }
    if let (Some(page), Some(trace)) = (&args.html, &args.chrome_trace)
        && std::path::absolute(page).ok() == std::path::absolute(trace).ok()
    {
        let message = format!("--chrome-trace {}: the page goes there", trace.display());
        return Err(Failure::usage(message).with_hint("name another file"));
    }
    let on_stdout = [&args.html, &args.chrome_trace].into_iter().flatten().filter(|path| is_stdout(path));
    if on_stdout.count() + usize::from(args.json) > 1 {
        return Err(Failure::usage("standard output takes one of page, trace and figures")
            .with_hint("write the others to files, or leave them out"));
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
    std::fs::write(path, bytes)
        .map_err(|e| Failure::new(format!("{}: cannot write it: {e}", path.display())))?;
    tell!("written: {}", path.display());
    Ok(())
}

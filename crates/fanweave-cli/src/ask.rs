//! `fanweave ask`: one question, its answer as it arrives.

use std::io::{IsTerminal, Read, Write};

use fanweave::{Chain, Context, Delta, Message, Model, Prompt, Run, chain};
use futures::StreamExt;
use serde_json::json;

use crate::args::AskArgs;
use crate::documents;
use crate::exit::{Exit, Failure, is_broken_pipe};
use crate::logs::History;
use crate::models::{Terms, connect, text_or_file};
use crate::telemetry::Exporter;
use crate::{out, stop};

pub(crate) async fn run(args: AskArgs) -> Result<Exit, Failure> {
    let prompt = prompt(&args)?;
    let history = History::begin(args.no_log, "ask")?;
    let connected = connect(&args.model, Terms { history: Some(&history), ..Terms::default() })?;
    let telemetry = Exporter::from_env();
    let done = tokio::select! {
        done = answer(&args, prompt, connected.model.clone(), &telemetry) => done,
        () = stop::signal() => Ok(Exit::Interrupted),
    };
    history.end().await;
    telemetry.end().await;
    done
}

async fn answer(args: &AskArgs, prompt: Prompt, model: Model, telemetry: &Exporter) -> Result<Exit, Failure> {
    if let Some(docs) = &args.docs {
        return documents::answer(docs, prompt.last_user_text(), args, model, telemetry).await;
    }
    let answer = telemetry.watch("ask", chain(model));
    if args.json { print_json(&answer, prompt).await } else { print_pieces(&answer, prompt).await }
}

/// The words of the command line, then what comes on stdin.
fn prompt(args: &AskArgs) -> Result<Prompt, Failure> {
    let mut parts = Vec::new();
    if !args.prompt.is_empty() {
        parts.push(args.prompt.join(" "));
    }
    if !std::io::stdin().is_terminal() {
        let mut piped = String::new();
        std::io::stdin()
            .read_to_string(&mut piped)
            .map_err(|e| Failure::usage(format!("cannot read stdin: {e}")))?;
        if !piped.trim().is_empty() {
            parts.push(piped.trim_end().to_owned());
        }
    }
    if parts.is_empty() {
        return Err(
            Failure::usage("nothing is asked").with_hint("write the question after the flags, or pipe it in")
        );
    }
    let prompt = Prompt::from(parts.join("\n\n"));
    match &args.system {
        Some(system) => Ok(prompt.with_system(text_or_file("--system", system)?)),
        None => Ok(prompt),
    }
}

async fn print_pieces(answer: &Chain<Prompt, Message>, prompt: Prompt) -> Result<Exit, Failure> {
    let (_, exit) = print(answer.stream(prompt)).await?;
    Ok(exit.unwrap_or(Exit::Ok))
}

/// Prints the text of a run as it arrives. Gives its output, unless nobody reads any more.
pub(crate) async fn print<O: Send + 'static>(mut run: Run<O>) -> Result<(Option<O>, Option<Exit>), Failure> {
    let mut stdout = std::io::stdout();
    let mut ends_line = true;
    while let Some(piece) = run.next().await {
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => {
                // What has arrived stays readable, and the error gets a line of its own.
                if !ends_line {
                    let _ = writeln!(stdout);
                }
                return Err(error.into());
            }
        };
        if let Delta::Text { text, .. } = &piece
            && !text.is_empty()
        {
            ends_line = text.ends_with('\n');
            if let Some(exit) =
                written(write!(stdout, "{}", out::answer(text)).and_then(|()| stdout.flush()))?
            {
                return Ok((None, Some(exit)));
            }
        }
    }
    if !ends_line && let Some(exit) = written(writeln!(stdout))? {
        return Ok((None, Some(exit)));
    }
    Ok((Some(run.output().await?), None))
}

async fn print_json(answer: &Chain<Prompt, Message>, prompt: Prompt) -> Result<Exit, Failure> {
    let message = answer.invoke_in(prompt, &Context::new()).await?;
    let reply = message.reply.clone().unwrap_or_default();
    let tool_calls: Vec<_> = message.tool_calls().collect();
    let mut line = json!({
        "answer": message.text(),
        "finish_reason": reply.finish_reason.as_ref().map(fanweave::FinishReason::as_str),
        "usage": reply.usage,
        "model": reply.model,
        "attempts": reply.attempts,
    });
    if !tool_calls.is_empty() {
        line["tool_calls"] = json!(tool_calls);
    }
    written(writeln!(std::io::stdout(), "{line}")).map(|exit| exit.unwrap_or(Exit::Ok))
}

/// How to go on after a write: not at all where the reader has gone.
pub(crate) fn written(result: std::io::Result<()>) -> Result<Option<Exit>, Failure> {
    match result {
        Ok(()) => Ok(None),
        Err(e) if is_broken_pipe(&e) => Ok(Some(Exit::Ok)),
        Err(e) => Err(Failure::new(format!("cannot write to stdout: {e}"))),
    }
}

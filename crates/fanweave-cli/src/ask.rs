//! `fanweave ask`: sends a prompt and streams the answer.

use std::io::{IsTerminal, Read, Write};
use std::sync::Arc;

use fanweave::{
    Chain, Context, Message, Model, Prompt, chain,
    messages::{FinishReason, Part},
};
use serde_json::json;

use crate::args::AskArgs;
use crate::attachments::attach;
use crate::connect::{Terms, connect};
use crate::cut::TruncatedAnswers;
use crate::exit::{Exit, Failure};
use crate::logs::{self, History};
use crate::out::{shown_json, tell, written};
use crate::pieces::print;
use crate::program::Program;
use crate::telemetry::Exporter;
use crate::text_file::text_or_file;
use crate::waits::Waits;
use crate::{ask_template, cost, documents, known};

/// Argument that stands for standard input.
const STDIN: &str = "-";

pub(crate) async fn run(args: AskArgs, program: &Program) -> Result<Exit, Failure> {
    known::refuse_choices(&args.model)?;
    let prompt = prompt(&args)?;
    let known = cost::catalogue()?;
    known::check(&args.model, &program.config, &known, &args.model.parameters(), Some(&prompt), false)?;
    let history = History::begin(&program.config, args.no_log, logs::ASK)?;
    let connected =
        connect(&args.model, &program.config, Terms { history: Some(&history), ..Terms::default() })?;
    let telemetry = Exporter::from_env();
    let done = tokio::select! {
        done = answer(&args, prompt, connected.model.clone(), &telemetry) => done,
        () = program.stop.requested() => Ok(Exit::Interrupted),
    };
    history.end(&program.stop).await;
    telemetry.end(&program.stop).await;
    done
}

async fn answer(args: &AskArgs, prompt: Prompt, model: Model, telemetry: &Exporter) -> Result<Exit, Failure> {
    let cuts = Arc::<TruncatedAnswers>::default();
    let cx = cuts.watch().with_observer(Arc::new(Waits::default()));
    let done = if let Some(docs) = &args.docs {
        documents::answer(docs, prompt.last_user_text(), args, model, telemetry, &cx).await
    } else {
        let answer = telemetry.watch("ask", chain(model));
        if args.json {
            print_json(&answer, prompt, &cx).await
        } else {
            print_deltas(&answer, prompt, args.model.reasoning_summary, &cx).await
        }
    };
    cuts.report();
    done
}

/// The prompt: the arguments, followed by standard input, after the conversation that is continued.
fn prompt(args: &AskArgs) -> Result<Prompt, Failure> {
    let mut parts = Vec::new();
    // Standard input is also read without a `-`, unless it is a terminal.
    let reads_stdin = args.prompt.iter().any(|word| word == STDIN);
    let words: Vec<_> = args.prompt.iter().map(String::as_str).filter(|word| *word != STDIN).collect();
    let arguments = words.join(" ");
    if !arguments.trim().is_empty() {
        parts.push(arguments);
    }
    if reads_stdin || !std::io::stdin().is_terminal() {
        let mut piped = String::new();
        std::io::stdin()
            .read_to_string(&mut piped)
            .map_err(|e| Failure::usage(format!("cannot read stdin: {e}")))?;
        if !piped.trim().is_empty() {
            parts.push(piped.trim_end().to_owned());
        }
    }
    if let Some(template) = &args.template {
        parts = vec![ask_template::render(template, &args.set, &parts.join("\n\n"))?];
    }
    if parts.is_empty() && args.attach.is_empty() {
        return Err(Failure::usage("no prompt given")
            .with_hint("pass the prompt as an argument or on standard input"));
    }
    let question = attach(Message::user(parts.join("\n\n")), &args.attach)?;
    let mut messages = args.last.as_ref().map(|last| last.messages.clone()).unwrap_or_default();
    messages.push(question);
    let prompt = Prompt::new(messages);
    match &args.system {
        Some(system) => Ok(prompt.with_system(text_or_file("--system", system)?)),
        None => Ok(prompt),
    }
}

async fn print_deltas(
    answer: &Chain<Prompt, Message>,
    prompt: Prompt,
    shows_reasoning: bool,
    cx: &Context,
) -> Result<Exit, Failure> {
    let (message, exit) = print(answer.stream_in(prompt, cx)).await?;
    message.iter().for_each(tell_empty);
    if shows_reasoning && let Some(message) = &message {
        match reasoning(message).as_str() {
            "" => tell!("note: the answer has no summary of its reasoning"),
            summary => tell!("reasoning: {summary}"),
        }
    }
    Ok(exit.unwrap_or(Exit::Ok))
}

/// The reasoning of an answer, as far as the provider shows it.
fn reasoning(message: &Message) -> String {
    let texts = message.parts.iter().filter_map(|part| match part {
        Part::Reasoning { text, .. } => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

/// Images, audio and other parts of an answer other than text.
fn others(message: &Message) -> Vec<&Part> {
    let is_other = |part: &&Part| !matches!(part, Part::Text(_) | Part::Reasoning { .. } | Part::ToolCall(_));
    message.parts.iter().filter(is_other).collect()
}

/// Prints a note about an answer without text, unless there is one about its finish reason.
fn tell_empty(message: &Message) {
    use FinishReason::{ContentFilter, Length, Refusal};
    if !message.text().trim().is_empty()
        || matches!(message.finish_reason(), Some(Length | ContentFilter | Refusal))
    {
        return;
    }
    let names: Vec<_> = message.tool_calls().map(|call| &*call.name).collect();
    match (names.as_slice(), others(message).len()) {
        ([], 0) => tell!("note: the answer is empty"),
        ([], _) => tell!("note: the answer has no text, but images or other data: --json prints them"),
        (names, _) => tell!(
            "note: the answer has no text, but calls of tools ({}): --json prints them",
            names.join(", ")
        ),
    }
}

async fn print_json(answer: &Chain<Prompt, Message>, prompt: Prompt, cx: &Context) -> Result<Exit, Failure> {
    let message = answer.invoke_in(prompt, cx).await?;
    let reply = message.reply.clone().unwrap_or_default();
    let tool_calls: Vec<_> = message.tool_calls().collect();
    let mut line = json!({
        "answer": message.text(),
        "finish_reason": reply.finish_reason.as_ref().map(FinishReason::as_str),
        "usage": reply.usage,
        "model": reply.model,
        "attempts": reply.attempts,
    });
    if !tool_calls.is_empty() {
        line["tool_calls"] = json!(tool_calls);
    }
    let reasoning = reasoning(&message);
    if !reasoning.is_empty() {
        line["reasoning"] = json!(reasoning);
    }
    if !reply.citations.is_empty() {
        line["citations"] = json!(reply.citations);
    }
    if !others(&message).is_empty() {
        line["parts"] = json!(others(&message));
    } else if tool_calls.is_empty() && message.text().is_empty() {
        tell_empty(&message);
    }
    written(writeln!(std::io::stdout(), "{}", shown_json(&line))).map(|exit| exit.unwrap_or(Exit::Ok))
}

//! `fanweave chat`: a conversation, one line of input at a time.

use std::io::{BufRead, IsTerminal, Read, Write};

use fanweave::messages::Part;
use fanweave::{Chain, Context, Message, Prompt, chain};

use crate::args::ChatArgs;
use crate::connect::{Terms, connect};
use crate::exit::{Exit, Failure};
use crate::logs::{self, History};
use crate::out::tell;
use crate::pieces::print;
use crate::program::Program;
use crate::telemetry::Exporter;
use crate::text_file::text_or_file;
use crate::{cost, known};

/// Command that begins a new conversation.
const RESET: &str = "/reset";
/// Commands that end the program.
const EXIT: &str = "/exit";
const QUIT: &str = "/quit";
/// Command that lists the others.
const HELP: &str = "/help";

/// Help on the commands.
const COMMANDS: &str = "/reset begins a new conversation, /exit, /quit or Ctrl-D ends the program, and a line that begins with \
     a space is a message, also with a slash after it";

/// Maximum length of a line of input, and of a conversation, in bytes. 64 MiB: as a line of a batch.
const MAX_BYTES: usize = 64 << 20;

pub(crate) async fn run(args: ChatArgs, program: &Program) -> Result<Exit, Failure> {
    known::refuse_choices(&args.model)?;
    let table = cost::catalogue()?;
    known::check(&args.model, &program.config, &table, &args.model.parameters(), None, false)?;
    let system = args.system.as_deref().map(|system| text_or_file("--system", system)).transpose()?;
    let mut messages: Vec<Message> = system.into_iter().map(Message::system).collect();
    if let Some(last) = args.last {
        messages = last.messages;
    }
    let first = messages.iter().take_while(|message| message.role == fanweave::Role::System).count();
    let history = History::begin(&program.config, args.no_log, logs::CHAT)?;
    let connected =
        connect(&args.model, &program.config, Terms { history: Some(&history), ..Terms::default() })?;
    let given = args.model.model.as_deref().unwrap_or_default();
    let check = known::of_prompts(&args.model, &program.config, &table, given, "", false);
    let telemetry = Exporter::from_env();
    let model = telemetry.watch("chat", chain(connected.model.clone()));
    let done = tokio::select! {
        done = talk(&model, messages, first, check) => done,
        () = program.stop.requested() => Ok(Exit::Interrupted),
    };
    history.end(&program.stop).await;
    telemetry.end(&program.stop).await;
    done
}

/// Answers one line after the other. The first messages are kept by a new conversation.
async fn talk(
    model: &Chain<Prompt, Message>,
    mut messages: Vec<Message>,
    first: usize,
    check: impl Fn(&Prompt) -> fanweave::Result<()>,
) -> Result<Exit, Failure> {
    let is_terminal = std::io::stdin().is_terminal();
    if is_terminal {
        tell!("{COMMANDS}");
    }
    loop {
        if is_terminal {
            eprint_prompt();
        }
        let Some(line) = read_line().await? else { return Ok(Exit::Ok) };
        match line.trim() {
            "" => continue,
            EXIT | QUIT => return Ok(Exit::Ok),
            HELP => {
                tell!("{COMMANDS}");
                continue;
            }
            RESET => {
                messages.truncate(first);
                tell!("a new conversation");
                continue;
            }
            command if !line.starts_with(' ') && is_command(command) => {
                let message = format!("unknown command {command}");
                if !is_terminal {
                    return Err(Failure::usage(message).with_hint(COMMANDS));
                }
                tell!("{message}: {COMMANDS}");
                continue;
            }
            question => messages.push(Message::user(question)),
        }
        let texts = messages.iter().flat_map(|message| &message.parts).filter_map(Part::as_text);
        if texts.map(str::len).sum::<usize>() > MAX_BYTES {
            let message = format!("the conversation has more than {} MiB", MAX_BYTES >> 20);
            return Err(Failure::usage(message).with_hint(format!("{RESET} begins a new one")));
        }
        let prompt = Prompt::new(messages.clone());
        check(&prompt)?;
        match print(model.stream_in(prompt, &Context::new())).await {
            Ok((Some(answer), None)) => messages.push(answer),
            Ok((_, exit)) => return Ok(exit.unwrap_or(Exit::Ok)),
            // A person can change the question; a script has to know of the failure.
            Err(failure) if is_terminal => {
                messages.pop();
                tell!("error: {}", failure.message());
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// Returns true for a line that is one word after a slash, as commands are. Paths have more slashes.
fn is_command(line: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphabetic());
    line.strip_prefix('/').is_some_and(is_word)
}

/// Shows that input is expected.
fn eprint_prompt() {
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "> ").and_then(|()| stderr.flush());
}

/// The next line of standard input. `None` at its end.
async fn read_line() -> Result<Option<String>, Failure> {
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        let n = std::io::stdin().lock().take(MAX_BYTES as u64 + 1).read_line(&mut line)?;
        if n > MAX_BYTES {
            return Err(std::io::Error::other(format!("a line has more than {} MiB", MAX_BYTES >> 20)));
        }
        Ok((n > 0).then_some(line))
    });
    let read = read.await.map_err(|e| Failure::new(format!("cannot read stdin: {e}")))?;
    read.map_err(|e| Failure::usage(format!("cannot read stdin: {e}")))
}

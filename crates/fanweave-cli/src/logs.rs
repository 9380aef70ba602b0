//! `fanweave logs` and the history: calls of `ask` and `run`, recorded in an SQLite file of the user.

use std::fmt::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use console::Term;
use fanweave::messages::Part;
use fanweave::models::log::{CallRecord, LogSink, RequestLog};
use fanweave::stores::{LogFilter, LoggedCall, SqliteLog};
use fanweave::{Error, ErrorKind, Message, Model, Role, errors::excerpt};
use tokio::sync::OnceCell;

use crate::args::{LogsArgs, LogsCommand};
use crate::config::{self, Config};
use crate::exit::{Exit, Failure};
use crate::out::{escape_controls, print, tell};
use crate::progress::rounded;
use crate::stop::Stop;
use crate::trust::check_private;

/// Maximum bytes of a prompt or an answer in a line of the list.
const MAX_SHOWN: usize = 60;

/// Records calls while a command runs. Disabled by the user or without a home directory.
pub(crate) struct History {
    open: Option<(RequestLog, Sink)>,
}

impl History {
    /// Starts recording the calls of `command`.
    pub(crate) fn begin(config: &Config, no_log: bool, command: &str) -> Result<Self, Failure> {
        let path = path().filter(|_| !no_log && config.logs());
        let open = path.map(|path| {
            check(&path).map_err(|failure| failure.with_hint_also("disable the history with --no-log"))?;
            let sink = Sink(Arc::new(Inner { path, file: OnceCell::new(), failed: Mutex::default() }));
            let log = RequestLog::new(sink.clone())?.tags([command]);
            Ok::<_, Failure>((log, sink))
        });
        Ok(Self { open: open.transpose()? })
    }

    /// Wraps a model so that its calls are recorded.
    pub(crate) fn wrap(&self, model: Model) -> Model {
        match &self.open {
            Some((log, _)) => log.wrap(model),
            None => model,
        }
    }

    /// Waits until all records are written or a signal arrives. Failures are reported as a note, not as an
    /// error.
    pub(crate) async fn end(self, stop: &Stop) {
        let Some((log, sink)) = self.open else { return };
        tokio::select! {
            _ = log.close() => {}
            () = stop.requested() => return tell!("note: the call was not recorded in the history"),
        }
        let failed = sink.0.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(error) = failed {
            tell!(
                "note: the call was not recorded in the history: {error} (disable the history with --no-log)"
            );
        }
    }
}

/// The history file. Opened by the first record, so that opening it does not delay the first answer.
#[derive(Clone)]
struct Sink(Arc<Inner>);

struct Inner {
    path: PathBuf,
    file: OnceCell<SqliteLog>,
    /// The first error.
    failed: Mutex<Option<Error>>,
}

impl LogSink for Sink {
    const CONCURRENCY: NonZeroUsize = SqliteLog::CONCURRENCY;

    async fn record(&self, record: CallRecord) -> fanweave::Result<()> {
        let inner = &*self.0;
        let recorded = async {
            let file = inner.file.get_or_try_init(|| async {
                if let Some(folder) = inner.path.parent() {
                    std::fs::create_dir_all(folder).map_err(|e| {
                        let message = format!("cannot create the folder {}: {e}", folder.display());
                        Error::new(ErrorKind::Config, message)
                    })?;
                }
                SqliteLog::open(&inner.path).await
            });
            file.await?.record(record).await
        };
        recorded.await.inspect_err(|error| {
            let mut failed = inner.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.get_or_insert_with(|| error.clone());
        })
    }
}

/// Tags of calls of `ask` and of `chat`.
pub(crate) const ASK: &str = "ask";
pub(crate) const CHAT: &str = "chat";

/// Maximum calls of other commands between now and the last conversation.
const MAX_OTHERS: u32 = 1_000;

/// A conversation of the history.
#[derive(Debug, Clone)]
pub(crate) struct Conversation {
    /// Its model, as `provider/model`.
    pub(crate) model: String,
    /// Its texts and reasoning. Images and other files are not in the history.
    pub(crate) messages: Vec<Message>,
}

/// The last conversation that was answered.
pub(crate) async fn last_conversation() -> Result<Conversation, Failure> {
    let none = || Failure::usage("no conversation to continue: the history has no answer of `ask` or `chat`");
    let path = path().ok_or_else(none)?;
    let log = open(&path).await?.ok_or_else(none)?;
    let calls = log.calls(LogFilter { limit: MAX_OTHERS, ..LogFilter::default() }).await?;
    let is_talk = |call: &LoggedCall| call.tags.iter().any(|tag| tag == ASK || tag == CHAT);
    let call = calls.into_iter().find(|call| is_talk(call) && call.answer.is_some()).ok_or_else(none)?;
    // Reasoning and its signatures are sent back to the providers that want them.
    let message = |role, text: String, parts: Vec<Part>| match parts.is_empty() {
        true => Message::new(role, text),
        false => Message::from_parts(role, parts),
    };
    let messages = call.messages.into_iter().map(|said| message(said.role, said.text, said.parts));
    let mut messages: Vec<_> = messages.collect();
    messages.extend(call.answer.map(|answer| message(Role::Assistant, answer, call.answer_parts)));
    Ok(Conversation { model: call.model, messages })
}

/// Path of the history. `None` without a home directory.
fn path() -> Option<PathBuf> {
    Some(config::state()?.join("logs.db"))
}

pub(crate) async fn run(args: LogsArgs) -> Result<Exit, Failure> {
    let path = path()
        .ok_or_else(|| Failure::usage("no folder for the history: neither XDG_STATE_HOME nor HOME is set"))?;
    let text = match args.command {
        Some(LogsCommand::Path) => format!("{}\n", path.display()),
        Some(LogsCommand::Show { id, json }) => {
            let call = match (open(&path).await?, id) {
                (None, _) => None,
                (Some(log), Some(id)) => log.call(id).await?,
                (Some(log), None) => {
                    log.calls(LogFilter { limit: 1, ..LogFilter::default() }).await?.into_iter().next()
                }
            };
            let call = call.ok_or_else(|| match id {
                Some(id) => Failure::usage(format!("call {id} is not in the history"))
                    .with_hint("`fanweave logs` lists the recorded calls"),
                None => Failure::usage("the history is empty"),
            })?;
            if json { as_json(&call) } else { escape_controls(&details(&call)).into_owned() }
        }
        Some(LogsCommand::Forget { older_than, all: _ }) => {
            let now = SystemTime::now();
            let at = match older_than {
                Some(age) => now.checked_sub(age).unwrap_or(UNIX_EPOCH),
                // A year ahead: records of a clock that was wrong are deleted too.
                None => now + Duration::from_secs(366 * 86_400),
            };
            let deleted = match open(&path).await? {
                Some(log) => log.delete_before(at).await?,
                None => 0,
            };
            tell!("deleted {deleted} call{}", if deleted == 1 { "" } else { "s" });
            String::new()
        }
        None => {
            let list = args.list;
            let filter = LogFilter {
                limit: list.limit.get(),
                contains: list.search,
                model: list.model,
                failed: list.failed,
            };
            let calls = match open(&path).await? {
                Some(log) => log.calls(filter).await?,
                None => Vec::new(),
            };
            if list.json {
                calls.iter().map(as_json).collect()
            } else if calls.is_empty() {
                tell!("no matching calls in the history");
                String::new()
            } else {
                let width = Term::stdout().size_checked().map(|(_, columns)| usize::from(columns));
                calls.iter().map(|call| line(call, width)).collect()
            }
        }
    };
    print(text.as_bytes())?;
    Ok(Exit::Ok)
}

/// Opens the history if it exists. Does not create it.
async fn open(path: &Path) -> Result<Option<SqliteLog>, Failure> {
    check(path)?;
    if path.exists() { Ok(Some(SqliteLog::open(path).await?)) } else { Ok(None) }
}

/// Checks that only the user can read the history, with the files that SQLite keeps beside it.
fn check(path: &Path) -> Result<(), Failure> {
    let with_suffix = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    [path.to_owned(), with_suffix("-wal"), with_suffix("-shm")]
        .iter()
        .try_for_each(|path| check_private(path))
}

fn as_json(call: &LoggedCall) -> String {
    format!("{}\n", serde_json::to_string(call).expect("a call is plain data"))
}

/// A call in one line, truncated to the `width` of the terminal if it is known.
fn line(call: &LoggedCall, width: Option<usize>) -> String {
    let question = call.messages.last().map(|message| message.text.as_str()).unwrap_or_default();
    let result = match (&call.answer, &call.error) {
        (Some(answer), _) => one_line(answer),
        (None, Some(error)) => format!("failed: {}", one_line(error)),
        (None, None) => String::new(),
    };
    let line = format!("{:>5}  {}  {}  {} -> {result}", call.id, time(call), call.model, one_line(question));
    match width {
        Some(width) => format!("{}\n", console::truncate_str(&line, width, "…")),
        None => format!("{line}\n"),
    }
}

/// The beginning of a text, without line breaks and control characters.
fn one_line(text: &str) -> String {
    let words = text.split_whitespace().take(MAX_SHOWN).collect::<Vec<_>>().join(" ");
    excerpt(&escape_controls(&words), MAX_SHOWN)
}

/// All details of a call as text.
fn details(call: &LoggedCall) -> String {
    let mut text = format!("call {} of {}, {}\n", call.id, time(call), call.model);
    let took = rounded(Duration::from_millis(call.took_ms));
    let _ = write!(text, "{took}, {} tokens in, {} out", call.usage.input_tokens, call.usage.output_tokens);
    if call.usage.reasoning_tokens > 0 {
        let _ = write!(text, " ({} reasoning)", call.usage.reasoning_tokens);
    }
    if let Some(reason) = &call.finish_reason {
        let _ = write!(text, ", ended by {reason}");
    }
    if call.cached {
        text.push_str(", from the cache");
    }
    if !call.tags.is_empty() {
        let _ = write!(text, ", tags {}", call.tags.join(", "));
    }
    text.push('\n');
    for message in &call.messages {
        let _ = write!(text, "\n[{}]\n{}\n", role(message.role), message.text);
    }
    match (&call.answer, &call.error) {
        (Some(answer), _) => _ = write!(text, "\n[answer]\n{answer}\n"),
        (None, Some(error)) => _ = write!(text, "\n[failed]\n{error}\n"),
        (None, None) => {}
    }
    text
}

fn role(role: Role) -> String {
    serde_json::to_value(role).ok().and_then(|role| role.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Start time of a call, in UTC.
fn time(call: &LoggedCall) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(call.began_ms)).to_string()
}

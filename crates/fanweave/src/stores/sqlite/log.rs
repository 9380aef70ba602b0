//! A history of calls in an SQLite file.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::types::Type;
use rusqlite::{OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::file::{File, Layout, surplus};
use crate::models::log::{CallRecord, LogSink};
use crate::stores::blocking;
use crate::{Error, ErrorKind, FinishReason, Message, Part, Result, Role, Usage, excerpt};

const LAYOUT: Layout = Layout {
    // `fanl`.
    application: 0x6661_6e6c,
    version: 2,
    tables: "
CREATE TABLE calls (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    -- In milliseconds since 1970.
    began INTEGER NOT NULL,
    -- In milliseconds.
    took INTEGER NOT NULL,
    model TEXT NOT NULL,
    messages TEXT NOT NULL,
    answer TEXT,
    error TEXT,
    finish_reason TEXT,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cached INTEGER NOT NULL,
    tags TEXT NOT NULL,
    -- The parts of an answer with reasoning.
    answer_parts TEXT
);
",
    upgrades: &["ALTER TABLE calls ADD COLUMN answer_parts TEXT"],
    overwrites_deleted: true,
    remedy: "delete it; its history is lost",
};

/// Number of writes between two checks of the file size.
const CHECK_INTERVAL: u32 = 64;
/// Maximum bytes of a message or an answer that are stored, and of the parts of one.
const MAX_TEXT_BYTES: usize = 256 * 1024;
const COLUMNS: &str = "id, began, took, model, messages, answer, error, finish_reason, input_tokens, output_tokens, cached, \
    tags, answer_parts";

/// A history of calls in an SQLite file, for a [`RequestLog`](crate::models::log::RequestLog). Shared by
/// concurrent processes. Cheap to clone.
///
/// It stores the texts of prompts and answers, up to 256 KiB each, and their reasoning with its signatures,
/// which providers want back when a conversation is continued; of images and other parts, only their kind.
/// Keys are never stored. A new file is readable only by its owner. When the file exceeds its maximum
/// size, the oldest calls are deleted. The default is 256 MiB; see [`with_max_bytes`](Self::with_max_bytes).
///
/// ```
/// use fanweave::testing::Fake;
/// use fanweave::models::log::RequestLog;
/// use fanweave::stores::{LogFilter, SqliteLog};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// # let folder = std::env::temp_dir().join(module_path!().replace("::", "-"));
/// # std::fs::create_dir_all(&folder).unwrap();
/// # let path = folder.join("logs.db");
/// let history = SqliteLog::open(&path).await?;
/// let log = RequestLog::new(history.clone())?;
/// log.wrap(Fake::echo().model()).invoke("When do tides turn?").await?;
/// log.close().await;
///
/// let calls = history.calls(LogFilter { contains: Some("tides".into()), ..LogFilter::default() }).await?;
/// assert_eq!(calls[0].answer.as_deref(), Some("When do tides turn?"));
/// # Ok(())
/// # }) }
/// ```
///
/// # Cancellation
/// A write that has begun completes even if its future is dropped. Writes are short and atomic.
#[derive(Debug, Clone)]
pub struct SqliteLog {
    file: Arc<File>,
    max_bytes: u64,
    written: Arc<AtomicU32>,
}

/// A call of a history.
///
/// ```
/// use fanweave::stores::LoggedCall;
///
/// fn line(call: &LoggedCall) -> String {
///     let text = call.answer.as_ref().or(call.error.as_ref());
///     format!("#{} {}: {}", call.id, call.model, text.map_or("", String::as_str))
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LoggedCall {
    /// Number of the call. Calls of one log are numbered in the order in which they ended.
    pub id: i64,
    /// Start, in milliseconds of Unix time.
    pub began_ms: u64,
    /// Duration, in milliseconds.
    pub took_ms: u64,
    /// `provider/model`.
    pub model: String,
    /// The prompt.
    pub messages: Vec<LoggedMessage>,
    /// The answer. `None` if the call failed.
    pub answer: Option<String>,
    /// The parts of an answer with reasoning. Empty for any other.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub answer_parts: Vec<Part>,
    /// The error of a failed call.
    pub error: Option<String>,
    /// The finish reason.
    pub finish_reason: Option<String>,
    /// Token usage.
    pub usage: Usage,
    /// Set if the answer came from a cache.
    pub cached: bool,
    /// The tags of the log, then those of the run.
    pub tags: Vec<String>,
}

/// A message of a [`LoggedCall`].
///
/// ```
/// use fanweave::{Role, stores::LoggedMessage};
///
/// let message = LoggedMessage::new(Role::User, "When do tides turn?");
/// assert_eq!(message.role, Role::User);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LoggedMessage {
    /// Role of the message.
    pub role: Role,
    /// Text of the message. Other parts are shown in brackets, such as `[image]`.
    pub text: String,
    /// The parts of a message with reasoning. Empty for any other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
}

impl LoggedMessage {
    /// A message of `role` with this text.
    pub fn new(role: Role, text: impl Into<String>) -> Self {
        Self { role, text: text.into(), parts: Vec::new() }
    }
}

/// Selects calls of a history. Default: the last ten.
///
/// ```
/// use fanweave::stores::LogFilter;
///
/// let failed = LogFilter { failed: true, ..LogFilter::default() };
/// assert_eq!(failed.limit, 10);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter {
    /// Maximum number of calls; the latest are selected. Default: 10.
    pub limit: u32,
    /// Only calls with this text in prompt, answer or error, ignoring ASCII case.
    pub contains: Option<String>,
    /// Only calls of models whose name contains this text.
    pub model: Option<String>,
    /// Only failed calls.
    pub failed: bool,
}

impl Default for LogFilter {
    fn default() -> Self {
        Self { limit: 10, contains: None, model: None, failed: false }
    }
}

impl SqliteLog {
    /// Default maximum size of the file: 256 MiB.
    pub const DEFAULT_BYTES: u64 = 256 << 20;

    /// Opens the history in the file at `path`, and creates it if it does not exist.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the file cannot be opened, is damaged, or is not a history.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let open = move || {
            create(&path)?;
            File::open(&path, &LAYOUT)
        };
        let file = Arc::new(blocking(open).await?);
        Ok(Self { file, max_bytes: Self::DEFAULT_BYTES, written: Arc::default() })
    }

    /// Sets the maximum size of the file, in bytes. It is approximate.
    #[must_use]
    pub fn with_max_bytes(self, max_bytes: u64) -> Self {
        Self { max_bytes, ..self }
    }

    /// The calls that match `filter`, latest first.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub async fn calls(&self, filter: LogFilter) -> Result<Vec<LoggedCall>> {
        let LogFilter { limit, contains, model, failed } = filter;
        let file = self.file.clone();
        let query = format!(
            "SELECT {COLUMNS} FROM calls
             WHERE (?2 IS NULL OR answer LIKE ?2 ESCAPE '\\' OR error LIKE ?2 ESCAPE '\\' OR EXISTS (
                   SELECT 1 FROM json_each(messages) WHERE json_extract(value, '$.text') LIKE ?2 ESCAPE '\\'))
               AND (?3 IS NULL OR model LIKE ?3 ESCAPE '\\')
               AND (NOT ?4 OR error IS NOT NULL)
             ORDER BY id DESC LIMIT ?1"
        );
        let (contains, model) = (contains.as_deref().map(part), model.as_deref().map(part));
        blocking(move || {
            file.read(|rows| {
                let mut query = rows.prepare(&query)?;
                let found = query.query_map(params![limit, contains, model, failed], read)?;
                found.collect()
            })
        })
        .await
    }

    /// The call with that number.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub async fn call(&self, id: i64) -> Result<Option<LoggedCall>> {
        let file = self.file.clone();
        let query = format!("SELECT {COLUMNS} FROM calls WHERE id = ?1");
        blocking(move || file.read(|rows| rows.query_row(&query, [id], read).optional())).await
    }

    /// Deletes the calls that began before `at`, and returns their number.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub async fn delete_before(&self, at: SystemTime) -> Result<usize> {
        let (file, at) = (self.file.clone(), millis(at));
        blocking(move || file.write(|rows| rows.execute("DELETE FROM calls WHERE began < ?1", [at]))).await
    }
}

/// Creates the file if it does not exist, readable only by its owner. SQLite gives its other files the same
/// mode.
fn create(path: &Path) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let cannot = |e: std::io::Error| {
        Error::new(ErrorKind::Config, format!("{} cannot be written: {e}", path.display())).with_source(e)
    };
    options.open(path).map(|_| ()).map_err(cannot)
}

/// A `LIKE` pattern for texts that contain `text`.
fn part(text: &str) -> String {
    let escaped = text.replace('\\', r"\\").replace('%', r"\%").replace('_', r"\_");
    format!("%{escaped}%")
}

fn millis(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn read(row: &Row<'_>) -> rusqlite::Result<LoggedCall> {
    let number = |column| row.get::<_, i64>(column).map(|n| u64::try_from(n).unwrap_or_default());
    let unreadable = |e| rusqlite::Error::FromSqlConversionFailure(4, Type::Text, Box::new(e));
    Ok(LoggedCall {
        id: row.get(0)?,
        began_ms: number(1)?,
        took_ms: number(2)?,
        model: row.get(3)?,
        messages: serde_json::from_str(&row.get::<_, String>(4)?).map_err(unreadable)?,
        answer: row.get(5)?,
        answer_parts: match row.get::<_, Option<String>>(12)? {
            Some(parts) => serde_json::from_str(&parts).map_err(unreadable)?,
            None => Vec::new(),
        },
        error: row.get(6)?,
        finish_reason: row.get(7)?,
        usage: Usage::new(number(8)?, number(9)?),
        cached: row.get(10)?,
        tags: serde_json::from_str(&row.get::<_, String>(11)?).map_err(unreadable)?,
    })
}

/// The text of a message, with a placeholder for each part that is not text.
fn text(message: &Message) -> String {
    let part = |part: &Part| match part {
        Part::Text(text) => text.clone(),
        Part::Image(_) => "[image]".to_owned(),
        Part::Audio(_) => "[audio]".to_owned(),
        Part::File(_) => "[file]".to_owned(),
        Part::ToolCall(call) => format!("[tool call {}({})]", call.name, call.arguments),
        Part::ToolResult(result) => result.text().into_owned(),
        Part::Reasoning { .. } => String::new(),
        _ => "[other]".to_owned(),
    };
    excerpt(&message.parts.iter().map(part).collect::<String>(), MAX_TEXT_BYTES)
}

/// The parts of a message that its provider wants back: reasoning, blocks in the provider's own form, and the
/// text between them. Empty for a message without them, for one that has other parts, and for
/// one that is too long.
fn parts(message: &Message) -> Vec<Part> {
    let is_own = |part: &Part| matches!(part, Part::Reasoning { .. } | Part::Other(_));
    let is_kept = |part: &Part| is_own(part) || matches!(part, Part::Text(_));
    if !message.parts.iter().any(is_own) || !message.parts.iter().all(is_kept) {
        return Vec::new();
    }
    let is_short = serde_json::to_string(&message.parts).is_ok_and(|parts| parts.len() <= MAX_TEXT_BYTES);
    if is_short { message.parts.clone() } else { Vec::new() }
}

impl LogSink for SqliteLog {
    /// One write at a time, so that calls are numbered in the order in which they ended.
    const CONCURRENCY: NonZeroUsize = NonZeroUsize::MIN;

    async fn record(&self, record: CallRecord) -> Result<()> {
        let check = self.written.fetch_add(1, Ordering::Relaxed).is_multiple_of(CHECK_INTERVAL);
        let (file, max_bytes) = (self.file.clone(), self.max_bytes);
        blocking(move || {
            let messages: Vec<_> = record
                .prompt
                .messages
                .iter()
                .map(|message| LoggedMessage {
                    role: message.role,
                    text: text(message),
                    parts: parts(message),
                })
                .collect();
            let took = record.ended.duration_since(record.began).unwrap_or(Duration::ZERO);
            let answer = record.result.as_ref().ok();
            let reply = answer.and_then(|answer| answer.reply.as_deref());
            let usage = reply.map(|reply| reply.usage).unwrap_or_default();
            let tokens = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
            let json = |what: Result<String, serde_json::Error>| {
                what.map_err(|e| file.refuse(&format!("cannot store a call: {e}")))
            };
            let (messages, tags) =
                (json(serde_json::to_string(&messages))?, json(serde_json::to_string(&record.tags))?);
            let answer_parts = answer.map(parts).filter(|parts| !parts.is_empty());
            let answer_parts = answer_parts.map(|parts| json(serde_json::to_string(&parts))).transpose()?;
            file.write(|rows| {
                rows.execute(
                    "INSERT INTO calls VALUES (NULL, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
                    params![
                        millis(record.began),
                        i64::try_from(took.as_millis()).unwrap_or(i64::MAX),
                        record.model,
                        messages,
                        answer.map(text),
                        record.result.as_ref().err().map(|e| excerpt(&e.to_string(), MAX_TEXT_BYTES)),
                        reply.and_then(|reply| reply.finish_reason.as_ref()).map(FinishReason::as_str),
                        tokens(usage.input_tokens),
                        tokens(usage.output_tokens),
                        reply.is_some_and(|reply| reply.cached),
                        tags,
                        answer_parts,
                    ],
                )?;
                if !check {
                    return Ok(());
                }
                let drop = surplus(rows, "calls", max_bytes)?;
                let oldest = "DELETE FROM calls WHERE id IN (SELECT id FROM calls ORDER BY id LIMIT ?1)";
                rows.execute(oldest, [drop]).map(|_| ())
            })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fake::{Answer, Fake};
    use crate::models::log::RequestLog;
    use crate::{Context, Prompt, chain};

    async fn history() -> (tempfile::TempDir, SqliteLog) {
        let folder = tempfile::tempdir().unwrap();
        let log = SqliteLog::open(folder.path().join("logs.db")).await.unwrap();
        (folder, log)
    }

    #[tokio::test]
    async fn calls_are_found_by_text_by_model_and_by_failure() {
        let (_folder, history) = history().await;
        let log = RequestLog::new(history.clone()).unwrap().tags(["ask"]);
        let script = [Ok("It is \"100 %\"\nsure"), Err(Error::new(ErrorKind::Server, "on strike"))];
        let model = log.wrap(Fake::script(script).model());
        let prompt = Prompt::from("How_sure is the \"tide\"?").with_system("Be short.");
        chain(model.clone()).invoke_in(prompt, &Context::new().with_tag("night")).await.unwrap();
        model.invoke("And now?").await.unwrap_err();
        assert_eq!(log.close().await.recorded, 2);

        let find = async |filter: LogFilter| {
            let calls = history.calls(filter).await.unwrap();
            calls.into_iter().map(|call| call.id).collect::<Vec<_>>()
        };
        let contains = |text: &str| LogFilter { contains: Some(text.into()), ..LogFilter::default() };
        assert_eq!(find(LogFilter::default()).await, [2, 1]);
        assert_eq!(find(LogFilter { limit: 1, ..LogFilter::default() }).await, [2]);
        for text in ["the \"TIDE\"", "100 %", "w_sure", "be short", "%\"\nsure"] {
            assert_eq!(find(contains(text)).await, [1], "{text}");
        }
        assert_eq!(find(contains("strike")).await, [2]);
        // Wildcards of `LIKE` are matched literally.
        assert!(find(contains("100_%")).await.is_empty() && find(contains("Howxsure")).await.is_empty());
        assert_eq!(find(LogFilter { failed: true, ..LogFilter::default() }).await, [2]);
        assert!(find(LogFilter { model: Some("gpt".into()), ..LogFilter::default() }).await.is_empty());
        // The keys of the stored JSON are not searched.
        assert!(find(contains("user")).await.is_empty() && find(contains("text")).await.is_empty());

        let call = history.call(1).await.unwrap().unwrap();
        assert_eq!(call.tags, ["ask", "night"]);
        assert_eq!(call.messages[0], LoggedMessage::new(Role::System, "Be short."));
        assert_eq!(call.answer.as_deref(), Some("It is \"100 %\"\nsure"));
        assert_eq!(history.call(9).await.unwrap(), None);
        assert_eq!(history.delete_before(SystemTime::now() + Duration::from_secs(1)).await.unwrap(), 2);
        assert!(find(LogFilter::default()).await.is_empty());
    }

    #[tokio::test]
    async fn reasoning_is_kept_for_the_next_call_and_files_without_it_are_upgraded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs.db");
        let old = rusqlite::Connection::open(&path).unwrap();
        let tables = LAYOUT.tables.replace("tags TEXT NOT NULL,", "tags TEXT NOT NULL");
        old.execute_batch(&tables.replace("    answer_parts TEXT\n", "")).unwrap();
        old.pragma_update(None, "application_id", LAYOUT.application).unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        let call =
            "INSERT INTO calls VALUES (NULL, 1, 1, 'a/m', '[{\"role\":\"user\",\"text\":\"x\"}]', 'y', NULL,
            NULL, 0, 0, 0, '[]')";
        old.execute(call, []).unwrap();
        drop(old);

        let history = SqliteLog::open(&path).await.unwrap();
        let log = RequestLog::new(history.clone()).unwrap();
        let script = [Answer::thinking("Hm.").then_text("Hello."), Answer::text("Bye.")];
        let model = log.wrap(Fake::script(script).model());
        let answer = model.invoke("Hi.").await.unwrap();
        let said = answer.parts.clone();
        assert_eq!(said.len(), 2);
        model.invoke(Prompt::from(vec![Message::user("Hi."), answer, Message::user("And?")])).await.unwrap();
        log.close().await;

        let calls = history.calls(LogFilter::default()).await.unwrap();
        let parts = |at: usize| (&calls[at].answer_parts, calls[at].answer.as_deref());
        assert_eq!(parts(0), (&vec![], Some("Bye.")));
        assert_eq!(calls[0].messages[1].parts, said);
        assert_eq!(parts(1), (&said, Some("Hello.")));
        assert_eq!(parts(2), (&vec![], Some("y")), "a call of the first version");
        // Once more, from the file of the new version.
        assert_eq!(SqliteLog::open(&path).await.unwrap().calls(LogFilter::default()).await.unwrap(), calls);
    }

    #[tokio::test]
    async fn the_oldest_calls_are_deleted_when_the_file_is_full() {
        let (_folder, history) = history().await;
        let history = history.with_max_bytes(200_000);
        let log = RequestLog::new(history.clone()).unwrap();
        let model = log.wrap(Fake::echo().model());
        let long = "word ".repeat(200);
        for _ in 0..500 {
            model.invoke(&*long).await.unwrap();
        }
        log.close().await;
        let all = history.calls(LogFilter { limit: 1_000, ..LogFilter::default() }).await.unwrap();
        assert!((20..200).contains(&all.len()), "{} calls of about 2.2 kB each", all.len());
        assert_eq!(all[0].id, 500);
    }

    #[tokio::test]
    async fn deleted_texts_are_in_no_file() {
        let (folder, history) = history().await;
        let log = RequestLog::new(history.clone()).unwrap();
        let model = log.wrap(Fake::echo().model());
        for n in 0..50 {
            model.invoke(format!("a secret of {n} {}", "words ".repeat(n * 20))).await.unwrap();
        }
        log.close().await;
        assert_eq!(history.delete_before(SystemTime::now() + Duration::from_secs(1)).await.unwrap(), 50);
        drop(history);
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            assert!(!bytes.windows(8).any(|window| window == b"a secret"));
        }
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn only_the_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let (folder, history) = history().await;
        let log = RequestLog::new(history).unwrap();
        log.wrap(Fake::echo().model()).invoke("a secret").await.unwrap();
        log.close().await;
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o77, 0, "{entry:?}");
        }
    }
}

//! Stores in SQLite files, shared by processes.
//!
//! Vectors are written to the file and searched in a copy in memory, which is updated with the writes of
//! other processes. An exact scan of the file itself would read all of it for each search.

mod cache;
mod file;
mod log;
mod process;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, params};
use serde_json::{Map, Value};

use file::{File, Layout};

use super::blocking;
use super::index::{Index, check};
use super::memory::sort;
use crate::retrieve::{Document, Entry, Hit, Search, Store, VectorStore};
use crate::session::{Session, SessionStore, Sessions};
use crate::{Context, Message, Result};

pub use cache::SqliteCache;
pub use log::{LogFilter, LoggedCall, LoggedMessage, SqliteLog};

/// Vectors, documents and conversations.
const LAYOUT: Layout = Layout {
    // `fanw`.
    application: 0x6661_6e77,
    version: 1,
    tables: TABLES,
    upgrades: &[],
    overwrites_deleted: false,
    remedy: "rebuild it from the documents",
};

/// `change` increases with every write, so that a copy can find the entries that are new to it.
const TABLES: &str = "
CREATE TABLE entries (
    change INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    text TEXT NOT NULL,
    metadata TEXT NOT NULL,
    vector BLOB NOT NULL
);
CREATE TABLE facts (name TEXT PRIMARY KEY, value ANY) STRICT;
INSERT INTO facts VALUES ('removals', 0), ('dimensions', 0);
CREATE TABLE sessions (id TEXT PRIMARY KEY, summary TEXT);
CREATE TABLE messages (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    session TEXT NOT NULL,
    message TEXT NOT NULL
);
CREATE INDEX messages_of_session ON messages (session, number);
";

/// Vectors in an SQLite file, with exact search. Persistent, and shared by concurrent processes.
///
/// From the first search on, vectors and metadata are also held in memory: 4 bytes for each number of a
/// vector. Texts stay in the file. A clone shares both.
///
/// ```
/// use fanweave::retrieval::{Entry, Search};
/// use fanweave::{Context, stores::SqliteStore};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// # let folder = std::env::temp_dir().join(module_path!().replace("::", "-"));
/// # std::fs::create_dir_all(&folder).unwrap();
/// # let path = folder.join("notes.db");
/// let cx = Context::new();
/// let entry = |id: &str, vector| Entry { id: id.into(), vector, document: id.into() };
/// let store = SqliteStore::open(&path).await?.store();
/// store.upsert(vec![entry("north", vec![0.0, 1.0]), entry("east", vec![1.0, 0.0])], &cx).await?;
///
/// // In another process.
/// let reopened = SqliteStore::open(&path).await?.store();
/// let hits = reopened.search(Search::new(vec![0.9, 0.1]).limit(1), &cx).await?;
/// assert_eq!(hits[0].document.text, "east");
/// # Ok(())
/// # }) }
/// ```
///
/// # Cancellation
/// A write that has begun completes even if its future is dropped. Writes are short and atomic.
#[derive(Clone)]
pub struct SqliteStore(Arc<Shared>);

struct Shared {
    file: File,
    copy: RwLock<VectorSnapshot>,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Sqlite").field(&self.0.file).finish()
    }
}

/// The vectors and metadata of the file at the last update.
#[derive(Default)]
struct VectorSnapshot {
    index: Index,
    /// One for each row of the index.
    changes: Vec<i64>,
    metadata: Vec<Map<String, Value>>,
    rows: HashMap<i64, usize>,
    seen: i64,
    removals: i64,
}

impl SqliteStore {
    /// Opens the store in the file at `path`, and creates it if it does not exist.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if the file cannot be opened, is damaged, or is not a
    /// store.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        blocking(move || {
            let file = File::open(&path, &LAYOUT)?;
            Ok(Self(Arc::new(Shared { file, copy: RwLock::default() })))
        })
        .await
    }

    /// Returns it as a [`Store`].
    pub fn store(&self) -> Store {
        Store::new(self.clone())
    }

    /// A value stored with [`note`](Self::note), such as the embedding model that the store was filled with.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if the file cannot be read.
    pub async fn meta(&self, name: &str) -> Result<Option<String>> {
        let (shared, name) = (self.0.clone(), format!("note:{name}"));
        blocking(move || {
            shared.file.read(|file| {
                let get = |row: &rusqlite::Row<'_>| row.get(0);
                file.query_row("SELECT value FROM facts WHERE name = ?1", [name], get).optional()
            })
        })
        .await
    }

    /// Deletes all entries whose document comes from one of `sources`, and returns their number.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if the file cannot be written.
    pub async fn forget(&self, sources: Vec<String>) -> Result<usize> {
        let shared = self.0.clone();
        blocking(move || {
            shared.file.write(|file| {
                let mut delete =
                    file.prepare_cached("DELETE FROM entries WHERE json_extract(metadata, '$.source') = ?1")?;
                let mut removed = 0;
                for source in &sources {
                    removed += delete.execute([source])?;
                }
                note_removals(file, removed)?;
                Ok(removed)
            })
        })
        .await
    }

    /// Stores a value under a name. Read it with [`meta`](Self::meta).
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if the file cannot be written.
    pub async fn note(&self, name: &str, value: &str) -> Result<()> {
        let (shared, name, value) = (self.0.clone(), format!("note:{name}"), value.to_owned());
        blocking(move || {
            shared.file.write(|file| {
                file.execute("INSERT OR REPLACE INTO facts VALUES (?1, ?2)", [name, value]).map(|_| ())
            })
        })
        .await
    }
}

impl VectorStore for SqliteStore {
    async fn upsert(&self, entries: Vec<Entry>, _: &Context) -> Result<()> {
        let shared = self.0.clone();
        blocking(move || shared.upsert(&entries)).await
    }

    async fn search(&self, search: Search, _: &Context) -> Result<Vec<Hit>> {
        let shared = self.0.clone();
        blocking(move || shared.search(&search)).await
    }

    async fn delete(&self, ids: Vec<String>, _: &Context) -> Result<()> {
        let shared = self.0.clone();
        blocking(move || {
            shared.file.write(|file| {
                let mut delete = file.prepare_cached("DELETE FROM entries WHERE id = ?1")?;
                let mut removed = 0;
                for id in &ids {
                    removed += delete.execute([id])?;
                }
                note_removals(file, removed)
            })
        })
        .await
    }

    async fn count(&self, _: &Context) -> Result<usize> {
        let shared = self.0.clone();
        blocking(move || {
            let count = shared.file.read(|file| {
                file.query_row("SELECT count(*) FROM entries", [], |row| row.get::<_, i64>(0))
            })?;
            Ok(usize::try_from(count).unwrap_or_default())
        })
        .await
    }
}

fn note_removals(file: &Transaction<'_>, removed: usize) -> rusqlite::Result<()> {
    if removed > 0 {
        file.execute("UPDATE facts SET value = value + 1 WHERE name = 'removals'", [])?;
    }
    Ok(())
}

fn meta(file: &Transaction<'_>, name: &str) -> rusqlite::Result<i64> {
    file.query_row("SELECT value FROM facts WHERE name = ?1", [name], |row| row.get(0))
}

impl Shared {
    fn upsert(&self, entries: &[Entry]) -> Result<()> {
        let Some(first) = entries.first() else { return Ok(()) };
        self.file.transact(TransactionBehavior::Immediate, |file| {
            let failed = |e| self.file.explain(e);
            let dimensions = meta(file, "dimensions").map_err(failed)?;
            let dimensions = usize::try_from(dimensions).unwrap_or_default();
            let wanted = if dimensions == 0 { first.vector.len() } else { dimensions };
            entries.iter().try_for_each(|entry| check(&entry.vector, wanted))?;
            if dimensions == 0 {
                let set = "UPDATE facts SET value = ?1 WHERE name = 'dimensions'";
                file.execute(set, [i64::try_from(wanted).unwrap_or(i64::MAX)]).map_err(failed)?;
            }
            put(file, entries).map_err(failed)
        })
    }

    fn search(&self, search: &Search) -> Result<Vec<Hit>> {
        let _use = self.file.begin()?;
        self.catch_up()?;
        let copy = self.copy.read().unwrap_or_else(PoisonError::into_inner);
        copy.index.check(&search.vector)?;
        let allows =
            |row: usize| search.filter.as_ref().is_none_or(|filter| filter.allows(&copy.metadata[row]));
        let found = copy.index.nearest(&search.vector, search.limit, allows);
        let found: Vec<_> = found
            .into_iter()
            .map(|(row, score)| {
                let vector = search.vectors.then(|| copy.index.row(row).to_vec());
                (copy.changes[row], score, copy.metadata[row].clone(), vector)
            })
            .collect();
        drop(copy);
        let mut hits = self.file.read(|file| {
            let mut texts = file.prepare_cached("SELECT id, text FROM entries WHERE change = ?1")?;
            let mut hits = Vec::with_capacity(found.len());
            for (change, score, metadata, vector) in found {
                // Skip entries that were deleted meanwhile.
                let text = texts.query_row([change], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
                if let Some::<(String, _)>((id, text)) = text {
                    let hit = Hit::new(id, score, Document { text, metadata });
                    hits.push(hit.with_vector(vector));
                }
            }
            Ok(hits)
        })?;
        sort(&mut hits);
        Ok(hits)
    }

    /// Updates the copy from the file.
    fn catch_up(&self) -> Result<()> {
        // There is one connection, so only one thread updates the copy at a time.
        self.file.transact(TransactionBehavior::Deferred, |file| {
            let failed = |e| self.file.explain(e);
            let removals = meta(file, "removals").map_err(failed)?;
            let newest = "SELECT coalesce(max(change), 0) FROM entries";
            let newest: i64 = file.query_row(newest, [], |row| row.get(0)).map_err(failed)?;
            {
                let copy = self.copy.read().unwrap_or_else(PoisonError::into_inner);
                if copy.removals == removals && copy.seen == newest {
                    return Ok(());
                }
            }
            let mut copy = self.copy.write().unwrap_or_else(PoisonError::into_inner);
            if copy.removals != removals {
                copy.drop_removed(file).map_err(failed)?;
                copy.removals = removals;
            }
            copy.take_new(file, &self.file)?;
            copy.seen = newest;
            Ok(())
        })
    }
}

fn put(file: &Transaction<'_>, entries: &[Entry]) -> rusqlite::Result<()> {
    let mut delete = file.prepare_cached("DELETE FROM entries WHERE id = ?1")?;
    let mut insert =
        file.prepare_cached("INSERT INTO entries (id, text, metadata, vector) VALUES (?1, ?2, ?3, ?4)")?;
    let mut removed = 0;
    for Entry { id, vector, document } in entries {
        // Delete and insert, so that the entry gets a new `change` and copies are updated.
        removed += delete.execute([id])?;
        let vector: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
        let metadata = serde_json::to_string(&document.metadata).expect("JSON with string keys");
        insert.execute(params![id, document.text, metadata, vector])?;
    }
    note_removals(file, removed)
}

impl VectorSnapshot {
    fn drop_removed(&mut self, file: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut present = file.prepare_cached("SELECT change FROM entries WHERE change <= ?1")?;
        let present: std::collections::HashSet<i64> =
            present.query_map([self.seen], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        let gone: Vec<_> = self.rows.keys().filter(|change| !present.contains(change)).copied().collect();
        for change in gone {
            let Some(row) = self.rows.remove(&change) else { continue };
            self.index.swap_remove(row);
            self.changes.swap_remove(row);
            self.metadata.swap_remove(row);
            if let Some(moved) = self.changes.get(row) {
                self.rows.insert(*moved, row);
            }
        }
        Ok(())
    }

    fn take_new(&mut self, file: &Transaction<'_>, whole: &File) -> Result<()> {
        let failed = |e| whole.explain(e);
        let damaged = || whole.refuse("is damaged: rebuild it from the documents");
        let new = "SELECT change, metadata, vector FROM entries WHERE change > ?1 ORDER BY change";
        let mut new = file.prepare_cached(new).map_err(failed)?;
        let mut rows = new.query([self.seen]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let change: i64 = row.get(0).map_err(failed)?;
            let metadata = row.get_ref(1).and_then(|text| Ok(text.as_str()?)).map_err(failed)?;
            let metadata = serde_json::from_str(metadata).map_err(|_| damaged())?;
            let bytes = row.get_ref(2).and_then(|blob| Ok(blob.as_blob()?)).map_err(failed)?;
            let (numbers, []) = bytes.as_chunks::<4>() else { return Err(damaged()) };
            let vector: Vec<_> = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            self.index.check(&vector).map_err(|_| damaged())?;
            self.index.push(&vector);
            self.rows.insert(change, self.changes.len());
            self.changes.push(change);
            self.metadata.push(metadata);
        }
        Ok(())
    }
}

/// Conversations in an SQLite file. Persistent, and shared by concurrent processes.
///
/// ```
/// use fanweave::{Message, stores::SqliteSessions};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// # let folder = std::env::temp_dir().join(module_path!().replace("::", "-"));
/// # std::fs::create_dir_all(&folder).unwrap();
/// # let path = folder.join("talks.db");
/// let sessions = SqliteSessions::open(&path).await?;
/// sessions.append("ada", vec![Message::user("hello")]).await?;
///
/// let reopened = SqliteSessions::open(&path).await?;
/// assert_eq!(reopened.load("ada").await?.messages[0].text(), "hello");
/// # Ok(())
/// # }) }
/// ```
///
/// # Cancellation
/// A write that has begun completes even if its future is dropped.
#[derive(Debug, Clone)]
pub struct SqliteSessions(Arc<File>);

impl SqliteSessions {
    /// Opens the conversations in the file at `path`, and creates it if it does not exist. It may be the file
    /// of a [`SqliteStore`].
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if the file cannot be opened, is damaged, or is not a
    /// store.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Sessions> {
        let path = path.into();
        blocking(move || Ok(Sessions::new(Self(Arc::new(File::open(&path, &LAYOUT)?))))).await
    }

    async fn write(
        &self,
        write: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()> + Send + 'static,
    ) -> Result<()> {
        let file = self.0.clone();
        blocking(move || file.write(write)).await
    }
}

impl SessionStore for SqliteSessions {
    async fn load(&self, id: &str) -> Result<Session> {
        let (file, id) = (self.0.clone(), id.to_owned());
        blocking(move || {
            let (summary, messages) = file.read(|file| {
                let summary = summary_of(file, &id)?;
                let messages = "SELECT message FROM messages WHERE session = ?1 ORDER BY number";
                let messages: Vec<String> = file
                    .prepare_cached(messages)?
                    .query_map([&id], |row| row.get(0))?
                    .collect::<rusqlite::Result<_>>()?;
                Ok((summary, messages))
            })?;
            let read = |text: &String| serde_json::from_str(text);
            let messages = messages
                .iter()
                .map(read)
                .collect::<Result<_, _>>()
                .map_err(|e| file.refuse(&format!("contains a message that cannot be parsed: {e}")))?;
            Ok(Session { summary, messages })
        })
        .await
    }

    async fn append(&self, id: &str, messages: Vec<Message>) -> Result<()> {
        let id = id.to_owned();
        self.write(move |file| {
            let insert = "INSERT INTO messages (session, message) VALUES (?1, ?2)";
            let mut insert = file.prepare_cached(insert)?;
            for message in &messages {
                let message = serde_json::to_string(message).expect("a message is JSON with string keys");
                insert.execute([&id, &message])?;
            }
            Ok(())
        })
        .await
    }

    async fn summarise(&self, id: &str, of: &Session, summary: String) -> Result<()> {
        let (id, of) = (id.to_owned(), of.clone());
        self.write(move |file| {
            if summary_of(file, &id)? != of.summary {
                return Ok(());
            }
            let first = "SELECT number, message FROM messages WHERE session = ?1 ORDER BY number LIMIT ?2";
            let max = i64::try_from(of.messages.len()).unwrap_or(i64::MAX);
            let first: Vec<(i64, String)> = file
                .prepare_cached(first)?
                .query_map(params![id, max], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<rusqlite::Result<_>>()?;
            let read = |text: &str| serde_json::from_str::<Message>(text).ok();
            if !first.iter().map(|(_, text)| read(text)).eq(of.messages.into_iter().map(Some)) {
                return Ok(());
            }
            file.execute("INSERT OR REPLACE INTO sessions VALUES (?1, ?2)", [&id, &summary])?;
            let Some((last, _)) = first.last() else { return Ok(()) };
            let delete = "DELETE FROM messages WHERE session = ?1 AND number <= ?2";
            file.execute(delete, params![id, last]).map(|_| ())
        })
        .await
    }

    async fn clear(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.write(move |file| {
            file.execute("DELETE FROM sessions WHERE id = ?1", [&id])?;
            file.execute("DELETE FROM messages WHERE session = ?1", [&id]).map(|_| ())
        })
        .await
    }
}

fn summary_of(file: &Transaction<'_>, id: &str) -> rusqlite::Result<Option<String>> {
    let summary = "SELECT summary FROM sessions WHERE id = ?1";
    file.query_row(summary, [id], |row| row.get(0)).optional().map(Option::flatten)
}

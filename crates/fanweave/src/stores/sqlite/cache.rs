//! Cached answers in an SQLite file.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{OptionalExtension, Transaction, params};

use super::file::{File, Layout, surplus};
use crate::stores::blocking;
use crate::{CacheKey, CacheStore, Message, Result};

const LAYOUT: Layout = Layout {
    // `fanc`.
    application: 0x6661_6e63,
    version: 1,
    tables: "
CREATE TABLE answers (
    key BLOB PRIMARY KEY,
    answer TEXT NOT NULL,
    -- Time of the last use, in hours since 1970. Updated once an hour.
    used INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX answers_by_use ON answers (used);
",
    upgrades: &[],
    overwrites_deleted: false,
    remedy: "delete it; its answers will be requested again",
};

/// Number of writes between two checks of the file size.
const CHECK_INTERVAL: u32 = 256;

/// Cached answers in an SQLite file. Persistent, and shared by concurrent processes.
///
/// When the file exceeds its maximum size, the least recently used answers are deleted. The default is 1 GiB;
/// see [`with_max_bytes`](Self::with_max_bytes).
///
/// ```
/// use fanweave::{stores::SqliteCache, testing::Fake};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// # let folder = std::env::temp_dir().join(module_path!().replace("::", "-"));
/// # std::fs::create_dir_all(&folder).unwrap();
/// # let path = folder.join("answers.db");
/// let model = Fake::script([Ok("only once")]).model().cached(SqliteCache::open(&path).await?);
/// model.invoke("Say something.").await?;
///
/// // In another process: the script is empty, so the answer comes from the cache.
/// let cached = Fake::script::<&str>([]).model().cached(SqliteCache::open(&path).await?);
/// assert_eq!(cached.invoke("Say something.").await?.text(), "only once");
/// # Ok(())
/// # }) }
/// ```
///
/// # Cancellation
/// A write that has begun completes even if its future is dropped. Writes are short and atomic.
#[derive(Debug, Clone)]
pub struct SqliteCache {
    file: Arc<File>,
    max_bytes: u64,
    writes: Arc<AtomicU32>,
}

impl SqliteCache {
    /// Default maximum size of the file: 1 GiB.
    pub const DEFAULT_BYTES: u64 = 1 << 30;

    /// Opens the cache in the file at `path`, and creates it if it does not exist.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if the file cannot be opened, is damaged, or is not a
    /// cache.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let file = blocking(move || File::open(&path, &LAYOUT)).await?;
        Ok(Self { file: Arc::new(file), max_bytes: Self::DEFAULT_BYTES, writes: Arc::default() })
    }

    /// Sets the maximum size of the file, in bytes. It is approximate.
    #[must_use]
    pub fn with_max_bytes(self, max_bytes: u64) -> Self {
        Self { max_bytes, ..self }
    }

    /// Number of cached answers.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub async fn count(&self) -> Result<i64> {
        let file = self.file.clone();
        let count =
            |rows: &Transaction<'_>| rows.query_row("SELECT count(*) FROM answers", [], |row| row.get(0));
        blocking(move || file.read(count)).await
    }
}

fn this_hour() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs() / 3600).unwrap_or(i64::MAX)
}

impl CacheStore for SqliteCache {
    async fn get(&self, key: &CacheKey) -> Result<Option<Message>> {
        let (file, key) = (self.file.clone(), *key);
        blocking(move || {
            let found: Option<(String, i64)> = file.read(|rows| {
                let answer = "SELECT answer, used FROM answers WHERE key = ?1";
                rows.query_row(answer, [key.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?))).optional()
            })?;
            let Some((answer, used)) = found else { return Ok(None) };
            let now = this_hour();
            if used < now {
                file.write(|rows| {
                    rows.execute("UPDATE answers SET used = ?2 WHERE key = ?1", params![key.as_bytes(), now])
                })?;
            }
            let unreadable = |e| file.refuse(&format!("contains an answer that cannot be parsed: {e}"));
            serde_json::from_str(&answer).map(Some).map_err(unreadable)
        })
        .await
    }

    async fn put(&self, key: &CacheKey, answer: &Message) -> Result<()> {
        let (file, key, max_bytes) = (self.file.clone(), *key, self.max_bytes);
        let check = self.writes.fetch_add(1, Ordering::Relaxed) % CHECK_INTERVAL == CHECK_INTERVAL - 1;
        let answer = serde_json::to_string(answer)
            .map_err(|e| file.refuse(&format!("cannot store an answer: {e}")))?;
        blocking(move || {
            file.write(|rows| {
                let keep = "INSERT OR REPLACE INTO answers VALUES (?1, ?2, ?3)";
                rows.execute(keep, params![key.as_bytes(), answer, this_hour()])?;
                if check { fit(rows, max_bytes) } else { Ok(()) }
            })
        })
        .await
    }
}

/// Deletes the least recently used answers if the file is larger than `max` bytes.
fn fit(rows: &Transaction<'_>, max: u64) -> rusqlite::Result<()> {
    let drop = surplus(rows, "answers", max)?;
    let oldest = "DELETE FROM answers WHERE key IN (SELECT key FROM answers ORDER BY used LIMIT ?1)";
    rows.execute(oldest, [drop]).map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::fake::Fake;
    use crate::{ErrorKind, Model, chain};

    async fn model(path: &Path) -> Model {
        Fake::echo().model().cached(SqliteCache::open(path).await.unwrap())
    }

    #[tokio::test]
    async fn answers_survive_and_are_shared_by_handles() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.db");
        let (one, other) = (model(&path).await, model(&path).await);
        let prompts = || (0..200).map(|n| format!("prompt {n}"));
        let (a, b) = tokio::join!(
            chain(one).batch(prompts()).concurrency(32).collect(),
            chain(other).batch(prompts()).concurrency(32).collect()
        );
        assert!(a.iter().chain(&b).all(Result::is_ok));
        let cached = chain(model(&path).await).batch(prompts()).collect().await;
        for (n, answer) in cached.into_iter().enumerate() {
            let answer = answer.unwrap();
            assert_eq!(answer.text(), format!("prompt {n}"));
            assert!(answer.reply.unwrap().cached);
        }
    }

    #[tokio::test]
    async fn a_file_of_another_kind_and_a_damaged_one_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        std::fs::write(&path, "this is a letter, and not a database at all").unwrap();
        let error = SqliteCache::open(&path).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("is not a database"), "{error}");
        let notes = folder.path().join("notes.db");
        crate::stores::SqliteStore::open(&notes).await.unwrap();
        let error = SqliteCache::open(&notes).await.err().unwrap();
        assert!(error.to_string().contains("another program"), "{error}");
    }

    #[tokio::test]
    async fn the_file_stays_about_as_large_as_it_may_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.db");
        let cache = SqliteCache::open(&path).await.unwrap().with_max_bytes(300_000);
        let model = Fake::echo().model().cached(cache.clone());
        let long = "word ".repeat(200);
        chain(model).batch((0..2_000).map(move |n| format!("{n} {long}"))).concurrency(8).collect().await;
        let held = cache.count().await.unwrap();
        assert!((50..600).contains(&held), "{held} answers of about 1.2 kB each");
    }
}

//! An SQLite file: created or opened, shared by processes, and rejected if its contents are not the expected
//! ones.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use super::process::{SharedConnection, Use, register};
use crate::{Error, ErrorKind, Result};

/// Timeout for the lock of another writer.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);

/// The expected contents of a file.
pub(super) struct Layout {
    /// Application id of this kind of file.
    pub(super) application: i32,
    /// Files of other versions are rejected, unless they can be upgraded.
    pub(super) version: i32,
    pub(super) tables: &'static str,
    /// Statements that make a file of this version from one of the versions before it, one for each version.
    pub(super) upgrades: &'static [&'static str],
    /// Overwrites deleted texts, which SQLite would leave in the file.
    pub(super) overwrites_deleted: bool,
    /// Advice for a damaged file.
    pub(super) remedy: &'static str,
}

/// Opens or creates a file.
fn open(path: &Path, layout: &Layout) -> Result<Connection> {
    let failed = |e| explain(path, layout, e);
    let mut file = Connection::open(path).map_err(failed)?;
    file.busy_timeout(LOCK_TIMEOUT).map_err(failed)?;
    let application: i32 =
        file.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(failed)?;
    let tables: i64 =
        file.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    if application == 0 && tables == 0 {
        // Two processes may get here concurrently: the second one finds the tables.
        file.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        let transaction = file.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let tables: i64 = transaction
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .map_err(failed)?;
        if tables == 0 {
            transaction.execute_batch(layout.tables).map_err(failed)?;
            transaction.pragma_update(None, "application_id", layout.application).map_err(failed)?;
            transaction.pragma_update(None, "user_version", layout.version).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
    } else if application != layout.application {
        return Err(config(path, "is a database of another program: use another file"));
    }
    let mut version: i32 = file.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    if version < layout.version {
        version = upgrade(&mut file, layout).map_err(failed)?;
    }
    if version != layout.version {
        return Err(config(
            path,
            "was written by another version of fanweave: delete it to create a new one",
        ));
    }
    file.pragma_update(None, "synchronous", "NORMAL").map_err(failed)?;
    if layout.overwrites_deleted {
        file.pragma_update(None, "secure_delete", true).map_err(failed)?;
    }
    Ok(file)
}

/// Upgrades a file of an earlier version, if there are statements for it. Returns its version.
fn upgrade(file: &mut Connection, layout: &Layout) -> rusqlite::Result<i32> {
    // Two processes may get here concurrently: the second one finds the new version.
    let transaction = file.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let missing = usize::try_from(layout.version - version).unwrap_or_default();
    let Some(first) = layout.upgrades.len().checked_sub(missing) else { return Ok(version) };
    for statement in &layout.upgrades[first..] {
        transaction.execute_batch(statement)?;
    }
    transaction.pragma_update(None, "user_version", layout.version)?;
    transaction.commit()?;
    Ok(layout.version)
}

fn config(path: &Path, reason: &str) -> Error {
    Error::new(ErrorKind::Config, format!("{} {reason}", path.display()))
}

fn explain(path: &Path, layout: &Layout, error: rusqlite::Error) -> Error {
    let reason = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => "is not a database: use another file".to_owned(),
        Some(ErrorCode::DatabaseCorrupt) => format!("is damaged: {}", layout.remedy),
        Some(ErrorCode::DatabaseBusy) => {
            format!(
                "has been locked by another process for {LOCK_TIMEOUT:?}: retry when that process has ended"
            )
        }
        Some(ErrorCode::ReadOnly) => "cannot be written to".to_owned(),
        Some(ErrorCode::DiskFull) => "cannot be written to: the disk is full".to_owned(),
        _ => format!("cannot be used: {error}"),
    };
    config(path, &reason).with_source(error)
}

/// Number of rows of `table` to delete so that the file takes at most nine tenths of `max` bytes. 0 if it
/// fits.
pub(super) fn surplus(rows: &Transaction<'_>, table: &str, max: u64) -> rusqlite::Result<i64> {
    let pragma = |name: &str| rows.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let used = (pragma("page_count")? - pragma("freelist_count")?) * pragma("page_size")?;
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    if used <= max {
        return Ok(0);
    }
    let count: i64 = rows.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
    let surplus = used - max / 10 * 9;
    // Estimated from the mean length of a row.
    Ok(count.saturating_mul(surplus) / used + 1)
}

/// A file with its only connection, used by one thread at a time. A forked child opens another one.
pub(super) struct File {
    path: PathBuf,
    /// The path from the root: a child may be in another folder.
    absolute: PathBuf,
    layout: &'static Layout,
    connection: Arc<SharedConnection>,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.path.fmt(f)
    }
}

impl File {
    pub(super) fn open(path: &Path, layout: &'static Layout) -> Result<Self> {
        let in_use = begin(path)?;
        let connection = register(open(path, layout)?, &in_use);
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Ok(Self { path: path.to_owned(), absolute, layout, connection })
    }

    /// Begins a use of the file that consists of more than one transaction. No other lock that a fork could
    /// leave locked may be held without one.
    pub(super) fn begin(&self) -> Result<Use> {
        begin(&self.path)
    }

    pub(super) fn read<T>(&self, read: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T> {
        self.transact(TransactionBehavior::Deferred, |transaction| {
            read(transaction).map_err(|e| self.explain(e))
        })
    }

    pub(super) fn write<T>(&self, write: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T> {
        self.transact(TransactionBehavior::Immediate, |transaction| {
            write(transaction).map_err(|e| self.explain(e))
        })
    }

    pub(super) fn transact<T>(
        &self,
        behaviour: TransactionBehavior,
        work: impl FnOnce(&Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        let _use = self.begin()?;
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = match &mut *connection {
            Some(connection) => connection,
            closed => closed.insert(open(&self.absolute, self.layout)?),
        };
        let failed = |e| self.explain(e);
        let transaction = connection.transaction_with_behavior(behaviour).map_err(failed)?;
        let done = work(&transaction)?;
        transaction.commit().map_err(failed)?;
        Ok(done)
    }

    /// An error of this file.
    pub(super) fn explain(&self, error: rusqlite::Error) -> Error {
        explain(&self.path, self.layout, error)
    }

    /// An error of this file that SQLite did not report.
    pub(super) fn refuse(&self, reason: &str) -> Error {
        config(&self.path, reason)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let in_use = self.begin();
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner).take();
        if in_use.is_err() {
            std::mem::forget(connection);
        }
    }
}

fn begin(path: &Path) -> Result<Use> {
    let reason = "cannot be used by this process: it was forked while another thread of its parent used SQLite; \
        fork while no store, cache or log is in use";
    Use::begin().map_err(|_| config(path, reason))
}

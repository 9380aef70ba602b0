//! Connections of a process that forks.
//!
//! SQLite keeps the locks that a process has on a file in the memory of the process, one entry for each file.
//! A forked child inherits the entry without the locks. A connection that the child opened then would rely on
//! locks that it does not have, and the parent could delete the write-ahead log under it. The child therefore
//! first closes all inherited connections, without a checkpoint: this changes no file, and removes the
//! entries.
//!
//! That is only possible if no thread was within SQLite at the time of the fork: its mutexes would stay
//! locked, and a transaction would be half done. The uses in progress are therefore counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::runtime::generation;

/// The only connection of a file. `None` until it is opened in this process.
pub(super) type SharedConnection = Mutex<Option<Connection>>;

/// The generation in the upper half, the number of uses in progress in the lower one.
static STATE: AtomicU64 = AtomicU64::new(0);

/// Number of uses while the connections of the parent are closed.
const IS_CHANGING: u64 = u32::MAX as u64;

/// The connections of all files. Locked only during a [`Use`], so that a child inherits it unlocked.
static CONNECTIONS: Mutex<Vec<Weak<SharedConnection>>> = Mutex::new(Vec::new());

/// A use of SQLite in progress.
pub(super) struct Use(());

/// The process was forked while another thread used SQLite.
#[derive(Debug)]
pub(super) struct ForkedInUse;

impl Use {
    /// Begins a use. The first one in a forked child closes the connections of its parent.
    pub(super) fn begin() -> Result<Self, ForkedInUse> {
        let generation = generation();
        let mut now = STATE.load(Ordering::Acquire);
        loop {
            let (of, uses) = (now >> 32, now & IS_CHANGING);
            let is_current = of == generation;
            let next = match uses {
                IS_CHANGING if is_current => {
                    std::thread::yield_now();
                    now = STATE.load(Ordering::Acquire);
                    continue;
                }
                _ if is_current => now + 1,
                0 => generation << 32 | IS_CHANGING,
                _ => return Err(ForkedInUse),
            };
            match STATE.compare_exchange(now, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) if is_current => return Ok(Self(())),
                Ok(_) => {
                    close_inherited();
                    STATE.store(generation << 32 | 1, Ordering::Release);
                    return Ok(Self(()));
                }
                Err(changed) => now = changed,
            }
        }
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        STATE.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Registers a connection, so that a forked child of this process closes it.
pub(super) fn register(connection: Connection, _: &Use) -> Arc<SharedConnection> {
    let shared = Arc::new(Mutex::new(Some(connection)));
    let mut all = connections();
    all.retain(|other| other.strong_count() > 0);
    all.push(Arc::downgrade(&shared));
    shared
}

fn connections() -> MutexGuard<'static, Vec<Weak<SharedConnection>>> {
    CONNECTIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn close_inherited() {
    for shared in connections().iter().filter_map(Weak::upgrade) {
        let Some(connection) = shared.lock().unwrap_or_else(PoisonError::into_inner).take() else { continue };
        match connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true) {
            Ok(_) => drop(connection),
            // A checkpoint would write to the file.
            Err(_) => std::mem::forget(connection),
        }
    }
}

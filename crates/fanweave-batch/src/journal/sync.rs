//! Syncs a journal to the disk in the background.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::disk::DiskFile;

/// Maximum rows that a power failure can lose. Killing the process loses none. Source: one sync per row
/// limits a run to 1,000 rows/s; one per 64 rows allows 73,000.
const MAX_UNSYNCED_ROWS: u64 = 64;
/// Maximum time between writing a row and syncing it.
const MAX_DELAY: Duration = Duration::from_millis(250);

/// Thread that syncs one file. When dropped, it syncs a last time and ends.
pub(super) struct Syncer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    /// Rows written since the last sync started.
    dirty: u64,
    closed: bool,
    error: Option<io::Error>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to sync. Returns false if nothing will follow.
    fn wait(&self) -> bool {
        let idle = |state: &mut State| state.dirty == 0 && !state.closed;
        let state = self.wake.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        if state.dirty == 0 {
            return false;
        }
        let early = |state: &mut State| state.dirty < MAX_UNSYNCED_ROWS && !state.closed;
        let waited = self.wake.wait_timeout_while(state, MAX_DELAY, early);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.dirty = 0;
        true
    }
}

impl Syncer {
    pub(super) fn spawn(file: DiskFile) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let own = shared.clone();
        let thread = std::thread::Builder::new().name("fanweave-sync".into()).spawn(move || {
            while own.wait() {
                if let Err(e) = file.sync_data() {
                    own.lock().error = Some(e);
                }
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Counts further rows.
    ///
    /// # Errors
    /// The error of an earlier sync.
    pub(super) fn rows_written(&self, rows: u64) -> io::Result<()> {
        let mut state = self.shared.lock();
        let before = state.dirty;
        state.dirty += rows;
        if before == 0 || (before < MAX_UNSYNCED_ROWS && state.dirty >= MAX_UNSYNCED_ROWS) {
            self.shared.wake.notify_one();
        }
        state.error.take().map_or(Ok(()), Err)
    }

    /// Syncs the remaining rows and ends the thread.
    ///
    /// # Errors
    /// The error of a sync.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.shared.lock().closed = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| io::Error::other("the thread that syncs it panicked"))?;
        }
        self.shared.lock().error.take().map_or(Ok(()), Err)
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        // Callers that need the error call `finish` before.
        let _ = self.finish();
    }
}

//! Has the system write a journal to the disk, beside the work and never in its way.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::disk::DiskFile;

/// Rows that may be lost with the machine's power, before the disk is asked to take them. Killing the process
/// loses none. Source: one sync for each row makes 1,000 rows/s, one for 64 makes 73,000.
const ROWS: u64 = 64;
/// Longest that a row waits for the disk.
const WAIT: Duration = Duration::from_millis(250);

/// A thread that syncs one file. Ends, with a last sync, when it is dropped.
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
    /// Rows written since the last sync began.
    dirty: u64,
    closed: bool,
    error: Option<io::Error>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to sync. `false` where there is nothing and never will be.
    fn wait(&self) -> bool {
        let idle = |state: &mut State| state.dirty == 0 && !state.closed;
        let state = self.wake.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        if state.dirty == 0 {
            return false;
        }
        let early = |state: &mut State| state.dirty < ROWS && !state.closed;
        let waited = self.wake.wait_timeout_while(state, WAIT, early);
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

    /// Takes note of one more row.
    ///
    /// # Errors
    /// That of an earlier sync.
    pub(super) fn row_written(&self) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.dirty += 1;
        if state.dirty == 1 || state.dirty == ROWS {
            self.shared.wake.notify_one();
        }
        state.error.take().map_or(Ok(()), Err)
    }

    /// Syncs what is left, and waits for it.
    ///
    /// # Errors
    /// That of a sync.
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
        // Whoever wants to know of errors calls `finish`.
        let _ = self.finish();
    }
}

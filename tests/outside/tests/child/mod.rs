//! A forked child. The only code of the tests with `unsafe`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Time after which a child hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// Time between two looks at a condition.
const POLL: Duration = Duration::from_millis(2);

/// Held by each test that forks. The tests of a process run on threads: a child can use SQLite only if no
/// other thread did at the fork, and can start a thread only if none of its parent began or ended.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A child that is running.
pub struct Child(libc::pid_t);

/// Runs `work` in a forked child. Its result is the exit code: 101 after a panic.
pub fn fork(work: impl FnOnce() -> u8) -> Child {
    // SAFETY: the child runs ordinary code after the fork, which is what is tested: a service that forks its
    // workers does the same. It ends without the destructors of the parent's values.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "the process can fork");
    if child == 0 {
        let code = catch_unwind(AssertUnwindSafe(work)).unwrap_or(101);
        // SAFETY: ends this process, which owns nothing that others wait for.
        unsafe { libc::_exit(code.into()) };
    }
    Child(child)
}

/// Runs `work` in a forked child. Returns its exit code, or fails if it has not ended in time.
pub fn in_child(work: impl FnOnce() -> u8) -> u8 {
    fork(work).wait()
}

impl Child {
    /// The exit code. Fails if the child has not ended in time.
    pub fn wait(self) -> u8 {
        self.exited().unwrap_or_else(|why| panic!("{why}"))
    }

    /// The exit code, or an error if the child hangs or was killed.
    pub fn exited(self) -> Result<u8, String> {
        let (mut status, end) = (0, Instant::now() + LIMIT);
        // SAFETY: `status` is valid for the call, and the child has not been waited for.
        while unsafe { libc::waitpid(self.0, &raw mut status, libc::WNOHANG) } != self.0 {
            if Instant::now() > end {
                return Err(format!("the child hangs: it has not ended within {LIMIT:?}"));
            }
            std::thread::sleep(POLL);
        }
        std::mem::forget(self);
        if !libc::WIFEXITED(status) {
            return Err(format!("the child was killed by signal {}", libc::WTERMSIG(status)));
        }
        Ok(u8::try_from(libc::WEXITSTATUS(status)).expect("an exit code has 8 bits"))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: the child has not been waited for, so its id is that of no other process.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
    }
}

/// Waits until `holds`, and fails if that takes too long.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < end, "{what}: not within {LIMIT:?}");
        std::thread::sleep(POLL);
    }
}

//! A process that has called forks, and its child calls: it is answered. The only test with `unsafe` code.

#![cfg(unix)]

use std::time::{Duration, Instant};

use fanweave::blocking;
use fanweave::{Chain, Model, Prompt, chain, runtime, text};
use outside::server::Server;

/// Runs `work` in a forked child. Returns its exit code, or fails if it has not ended in time.
fn in_child(work: impl FnOnce() -> u8) -> u8 {
    // SAFETY: the child runs ordinary code after the fork, which is what is tested: a service that forks its
    // workers does the same. It ends without the destructors of the parent's values.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "the process can fork");
    if child == 0 {
        let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or(101);
        // SAFETY: ends this process, which owns nothing that others wait for.
        unsafe { libc::_exit(code.into()) };
    }
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let mut status = 0;
        // SAFETY: `status` is valid for the call, and `child` is a child of this process that has not been
        // waited for.
        if unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == child {
            assert!(libc::WIFEXITED(status), "the child was killed by signal {}", libc::WTERMSIG(status));
            return u8::try_from(libc::WEXITSTATUS(status)).expect("an exit code has 8 bits");
        }
        if Instant::now() > until {
            // SAFETY: as above.
            unsafe { libc::kill(child, libc::SIGKILL) };
            panic!("the child hangs");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A call, a chain, a stream and a batch. Returns the number of the first that fails.
fn all_verbs(model: &Model, chain: &Chain<Prompt, String>) -> u8 {
    let called = blocking::wait(model.invoke("called"));
    if called.ok().is_none_or(|message| message.text() != "called") {
        return 1;
    }
    if chain.blocking().invoke("chained").ok().as_deref() != Some("chained") {
        return 2;
    }
    let rows = chain.blocking().batch((0..8).map(|n| n.to_string())).collect();
    if !rows.into_iter().zip(0..8).all(|(row, n)| row.ok() == Some(n.to_string())) {
        return 3;
    }
    let on_threads = blocking::blocking_step(|n: u64, _| Ok(n + 1));
    if on_threads.blocking().invoke(1_u64).ok() != Some(2) {
        return 4;
    }
    0
}

#[test]
fn a_forked_child_calls_and_is_answered_while_its_parent_has_calls_of_its_own() {
    let server = Server::echo();
    let model = server.model().build().unwrap();
    let chain = chain(model.clone()) | text();
    for _ in 0..50 {
        assert_eq!(all_verbs(&model, &chain), 0, "in the parent");
        let mut open = chain.blocking().stream("a stream of the parent");
        assert_eq!(open.next().unwrap().unwrap().to_string(), "once ");
        let parent = std::process::id();
        let code = in_child(|| {
            assert_ne!(std::process::id(), parent);
            all_verbs(&model, &chain)
        });
        assert_eq!(code, 0, "in the child");
        // A child of a child, and a child that never calls.
        assert_eq!(in_child(|| in_child(|| all_verbs(&model, &chain))), 0, "in a grandchild");
        assert_eq!(in_child(|| 0), 0);
    }
}

#[test]
fn a_child_has_the_settings_of_its_parent_and_can_shut_its_runtime_down() {
    let server = Server::echo();
    let model = server.model().build().unwrap();
    let chain = chain(model.clone()) | text();
    assert_eq!(all_verbs(&model, &chain), 0);
    let code = in_child(|| {
        let first = all_verbs(&model, &chain);
        if runtime::shutdown(Duration::from_secs(10)).is_err() {
            return 10;
        }
        first.max(all_verbs(&model, &chain))
    });
    assert_eq!(code, 0);
    assert_eq!(all_verbs(&model, &chain), 0, "the parent goes on");
}

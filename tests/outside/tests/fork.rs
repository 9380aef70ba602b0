//! A process that has called forks, and its child calls: it is answered.

#![cfg(unix)]

#[allow(dead_code, reason = "other tests use the rest")]
mod child;

use std::time::Duration;

use fanweave::blocking;
use fanweave::{Chain, Model, Prompt, chain, runtime, text};
use outside::server::Server;

use child::{alone, in_child};

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
    let _alone = alone();
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
    let _alone = alone();
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

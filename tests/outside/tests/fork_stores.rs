//! A process with open stores, caches and logs forks, and both it and its child use them.

#![cfg(unix)]

#[allow(dead_code, reason = "other tests use the rest")]
mod child;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use fanweave::blocking::wait;
use fanweave::compose::Hooks;
use fanweave::models::log::{LogSummary, RequestLog};
use fanweave::retrieval::{Entry, Search};
use fanweave::stores::{LogFilter, SqliteCache, SqliteLog, SqliteSessions, SqliteStore};
use fanweave::testing::Fake;
use fanweave::{Context, Message, Model, chain, text};
use outside::server::{Server, completion};
use tempfile::TempDir;

use child::{alone, fork, in_child, until};

/// A model that repeats prompts, with a cache.
fn cached(cache: &SqliteCache) -> Model {
    Fake::echo().model().cached(cache.clone())
}

/// A call. Returns the text, and whether it came from the cache.
fn call(model: &Model, prompt: &str) -> Result<(String, bool), String> {
    let answer = wait(model.invoke(prompt.to_owned())).map_err(|error| error.to_string())?;
    Ok((answer.text(), answer.reply.is_some_and(|reply| reply.cached)))
}

fn is_cached(model: &Model, prompt: &str) -> bool {
    call(model, prompt).unwrap() == (prompt.to_owned(), true)
}

fn is_called(model: &Model, prompt: &str) -> bool {
    call(model, prompt).unwrap() == (prompt.to_owned(), false)
}

fn assert_intact(path: &Path) {
    let file = rusqlite::Connection::open(path).unwrap();
    let found: String = file.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(found, "ok", "{}", path.display());
}

fn cache(folder: &TempDir) -> SqliteCache {
    wait(SqliteCache::open(folder.path().join("answers.db"))).unwrap()
}

#[test]
fn a_child_reads_and_writes_the_cache_of_its_parent() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(&folder);
    let model = cached(&cache);
    assert!(is_called(&model, "of the parent"));
    for n in 0..20 {
        let own = format!("of child {n}");
        let code = in_child(|| u8::from(!(is_cached(&model, "of the parent") && is_called(&model, &own))));
        assert_eq!(code, 0, "child {n}");
        assert!(is_cached(&model, &own), "the parent sees what child {n} wrote");
        assert!(is_called(&model, &format!("after child {n}")));
        let code = in_child(|| in_child(|| u8::from(!is_cached(&model, &format!("after child {n}")))));
        assert_eq!(code, 0, "a grandchild");
    }
    // A child that ends without having used it, and one that drops it.
    assert_eq!(in_child(|| 0), 0);
    let mut own = Some((cache, model));
    let dropped = in_child(|| {
        own = None;
        0
    });
    assert_eq!(dropped, 0);
    let (_, model) = own.unwrap();
    assert!(is_called(&model, "at the end"));
    drop(model);
    assert_intact(&folder.path().join("answers.db"));
}

#[test]
fn a_child_keeps_the_file_when_its_parent_closes_it() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let model = cached(&cache(&folder));
    assert!(is_called(&model, "before the fork"));
    let [written, closed] = ["written", "closed"].map(|name| folder.path().join(name));
    let child = fork(|| {
        let first = is_called(&model, "first");
        std::fs::write(&written, "").unwrap();
        until("the parent has closed the file", || closed.exists());
        u8::from(!(first && is_called(&model, "second")))
    });
    until("the child has written", || written.exists());
    // The last connection of a process deletes the write-ahead log, unless another process has a lock.
    drop(model);
    std::fs::write(&closed, "").unwrap();
    assert_eq!(child.wait(), 0);
    let model = cached(&cache(&folder));
    for prompt in ["before the fork", "first", "second"] {
        assert!(is_cached(&model, prompt), "{prompt}");
    }
    drop(model);
    assert_intact(&folder.path().join("answers.db"));
}

#[test]
fn a_child_of_a_busy_parent_works_or_says_why_not() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let model = cached(&cache(&folder));
    let (stop, written) = (AtomicBool::new(false), AtomicUsize::new(0));
    let started = Barrier::new(3);
    let (mut worked, mut refused, mut failed) = (0, 0, Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (model, stop, written, started) = (&model, &stop, &written, &started);
            scope.spawn(move || {
                started.wait();
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    assert!(is_called(model, &format!("thread {thread}, call {n}")));
                    written.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_micros(500));
                }
            });
        }
        started.wait();
        for n in 0..60 {
            let child = fork(|| match call(&model, &format!("of child {n}")) {
                Ok((text, is_cached)) => u8::from(is_cached || text != format!("of child {n}")),
                Err(why) if why.contains("was forked while another thread") => 2,
                Err(_) => 3,
            });
            match child.exited() {
                Ok(0) => worked += 1,
                Ok(2) => refused += 1,
                Ok(code) => failed.push(format!("code {code}")),
                Err(why) => failed.push(why),
            }
            if !failed.is_empty() {
                break;
            }
        }
        // The threads end, whatever the children did.
        stop.store(true, Ordering::Relaxed);
    });
    assert!(failed.is_empty(), "{failed:?}");
    assert!(worked > 0, "{refused} of 60 children were refused");
    let cache = cache(&folder);
    let rows = worked + written.load(Ordering::Relaxed);
    assert_eq!(usize::try_from(wait(cache.count()).unwrap()).unwrap(), rows, "every answer is in the file");
    drop((cache, model));
    assert_intact(&folder.path().join("answers.db"));
}

#[test]
fn a_child_in_another_folder_finds_the_file() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let code = in_child(|| {
        std::env::set_current_dir(folder.path()).unwrap();
        let model = cached(&wait(SqliteCache::open("answers.db")).unwrap());
        assert!(is_called(&model, "before"));
        in_child(|| {
            std::env::set_current_dir("/").unwrap();
            u8::from(!(is_cached(&model, "before") && is_called(&model, "after")))
        })
    });
    assert_eq!(code, 0);
    assert!(is_cached(&cached(&cache(&folder)), "after"));
}

#[test]
fn vectors_and_conversations_of_one_file_are_shared_with_a_child() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.db");
    let store = wait(SqliteStore::open(&path)).unwrap().store();
    let sessions = wait(SqliteSessions::open(&path)).unwrap();
    let cx = Context::new();
    let entry = |id: &str, vector| Entry { id: id.into(), vector, document: id.into() };
    let nearest = |vector: [f32; 2]| {
        let hits = wait(store.search(Search::new(vector.to_vec()).limit(1), &cx)).unwrap();
        hits[0].document.text.clone()
    };
    wait(store.upsert(vec![entry("north", vec![0.0, 1.0])], &cx)).unwrap();
    wait(sessions.append("ada", vec![Message::user("one")])).unwrap();
    assert_eq!(nearest([1.0, 0.0]), "north");
    let code = in_child(|| {
        wait(store.upsert(vec![entry("east", vec![1.0, 0.0])], &cx)).unwrap();
        wait(sessions.append("ada", vec![Message::user("two")])).unwrap();
        let talk = wait(sessions.load("ada")).unwrap();
        u8::from(
            !(nearest([0.9, 0.1]) == "east" && nearest([0.1, 0.9]) == "north" && talk.messages.len() == 2),
        )
    });
    assert_eq!(code, 0);
    assert_eq!(nearest([0.9, 0.1]), "east", "the parent sees what the child wrote");
    let talk = wait(sessions.load("ada")).unwrap();
    assert_eq!(talk.messages.iter().map(Message::text).collect::<Vec<_>>(), ["one", "two"]);
    drop((store, sessions));
    assert_intact(&path);
}

#[test]
fn a_log_records_the_calls_of_a_child_too() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let history = wait(SqliteLog::open(folder.path().join("logs.db"))).unwrap();
    let mut log = Some(wait(async { RequestLog::new(history.clone()) }).unwrap());
    let model = log.as_ref().unwrap().wrap(Fake::echo().model());
    call(&model, "of the parent").unwrap();
    until("the call is in the file", || log.as_ref().unwrap().summary().recorded == 1);
    // One that closes the log, one that drops it, and one that closes it without a call.
    let closed = in_child(|| {
        call(&model, "of a child").unwrap();
        let counts = wait(log.take().unwrap().close());
        u8::from((counts.recorded, counts.dropped) != (1, 0))
    });
    assert_eq!(closed, 0);
    let dropped = in_child(|| {
        log = None;
        call(&model, "after a drop").unwrap();
        0
    });
    assert_eq!(dropped, 0);
    assert_eq!(in_child(|| u8::from(wait(log.take().unwrap().close()) != LogSummary::default())), 0);
    call(&model, "of the parent again").unwrap();
    assert_eq!(wait(log.take().unwrap().close()).recorded, 2);
    let calls = wait(history.calls(LogFilter::default())).unwrap();
    let texts: Vec<_> = calls.iter().rev().filter_map(|call| call.answer.as_deref()).collect();
    assert_eq!(texts, ["of the parent", "of a child", "of the parent again"]);
}

#[test]
fn a_child_waits_neither_for_the_hooks_nor_for_the_equal_calls_of_its_parent() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let ended = Arc::new(AtomicUsize::new(0));
    let counted = ended.clone();
    // Hooks of the parent wait until the test allows them to end.
    let (allow, allowed) = tokio::sync::watch::channel(false);
    let hooks = Hooks::new().on_end(move |answer: String, _| {
        let (counted, mut allowed) = (counted.clone(), allowed.clone());
        async move {
            if answer == "slow" {
                let _ = allowed.wait_for(|allowed| *allowed).await;
            }
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    });
    let chain = (chain(Fake::echo()) | text()).with_hooks(&hooks);
    assert_eq!(chain.blocking().invoke("slow").unwrap(), "slow");
    let code = in_child(|| {
        assert_eq!(chain.blocking().invoke("quick").unwrap(), "quick");
        wait(hooks.finish());
        u8::from(ended.load(Ordering::Relaxed) != 1)
    });
    assert_eq!(code, 0);
    allow.send(true).unwrap();
    wait(hooks.finish());
    assert_eq!(ended.load(Ordering::Relaxed), 1);

    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Mutex::new(released);
    // The first call is answered when the test allows it, the others at once.
    let server = Server::start(move |nth, _| {
        if nth == 0 {
            let _ = released.lock().unwrap().recv();
        }
        (200, String::new(), completion(&"an answer".into()))
    });
    let model = server.model().build().unwrap().cached(cache(&folder));
    std::thread::scope(|scope| {
        let call_of_parent = scope.spawn(|| call(&model, "equal").unwrap());
        until("the call of the parent is in flight", || server.requests() == 1);
        assert_eq!(in_child(|| u8::from(call(&model, "equal").is_err())), 0);
        drop(release);
        call_of_parent.join().unwrap();
    });
}

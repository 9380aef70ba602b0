//! Calls from several runtimes in sequence, and from code without a runtime.

use fanweave::{chain, text, vars};
use fanweave_sim::Settings;
use tokio::runtime::{Builder, Runtime};

use crate::provider::Provider;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn a_model_works_after_the_runtime_of_its_connections_has_ended() {
    let provider = Provider::start(Settings::default());
    let echo = chain(provider.echo()) | text();
    for n in 0..3 {
        let ask = echo.batch((0..8).map(move |i| format!("{n} {i}"))).collect();
        let answers = runtime().block_on(ask);
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert!(echo.blocking().invoke("without one").unwrap().ends_with("without one"));
    }
}

#[test]
fn the_blocking_verbs_reach_a_server_from_threads_of_any_kind() {
    let provider = Provider::start(Settings::default());
    let echo = fanweave::prompt("say {{ n }}") | provider.echo() | text();
    let call = move || {
        let rows = echo.blocking().batch((0..20).map(|n| vars! { n: n })).concurrency(5).collect();
        assert!(rows.iter().all(Result::is_ok), "{rows:?}");
        let pieces: String =
            echo.blocking().stream(vars! { n: "it again" }).map(|piece| piece.unwrap().to_string()).collect();
        assert!(pieces.ends_with("say it again"), "{pieces}");
    };
    std::thread::scope(|threads| {
        threads.spawn(&call);
        threads.spawn(|| runtime().block_on(async { call() }));
        threads.spawn(|| {
            let many = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            let call = call.clone();
            many.block_on(async { tokio::spawn(async move { call() }).await.unwrap() });
        });
    });
}

#[test]
fn the_blocking_verbs_do_not_wait_for_a_connection_of_the_thread_that_they_block() {
    let provider = Provider::start(Settings::default());
    let echo = chain(provider.echo()) | text();
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        runtime().block_on(async {
            echo.invoke("first").await.unwrap();
            let answers = [echo.blocking().invoke("second"), echo.invoke("third").await];
            done.send(answers).unwrap();
        });
    });
    let answers = ended.recv_timeout(std::time::Duration::from_secs(60)).expect("it comes to an end");
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
}

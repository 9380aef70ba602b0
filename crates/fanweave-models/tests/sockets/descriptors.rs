//! Calls in a process with few file descriptors. Each test runs its client in a separate process.
#![cfg(unix)]

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::process::Stdio;
use std::time::{Duration, Instant};

use fanweave_core::{Model, Result};
use fanweave_models::{ModelBuilder, RetryPolicy, connection_notice};
use futures::future::join_all;
use nix::sys::resource::{Resource, setrlimit};
use tokio::process::Command;
use tokio::sync::oneshot;

use crate::server::{Act, Server, completion};

/// Runs the ignored test `name` in another process, against these servers.
async fn child(name: &str, servers: &[&Server]) {
    let urls: Vec<_> = servers.iter().map(|server| server.address.port().to_string()).collect();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([&format!("descriptors::{name}"), "--exact", "--ignored", "--nocapture"])
        .env("TEST_PORTS", urls.join(","))
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// In the child process: models on the servers, without retries that would hide a failure. Otherwise none,
/// since the limit would affect all other tests.
fn models(host: &str) -> Vec<Model> {
    let ports = std::env::var("TEST_PORTS").expect("run by the test of the same subject, not by itself");
    let model = |port| {
        let model = ModelBuilder::new("openai/test").base_url(format!("http://{host}:{port}/v1"));
        model.retry(RetryPolicy::never()).build().unwrap()
    };
    ports.split(',').map(model).collect()
}

fn limit(files: u64) {
    setrlimit(Resource::RLIMIT_NOFILE, files, files).unwrap();
}

async fn calls(model: &Model, count: usize) -> Vec<Result<()>> {
    calls_with(model, count, |_| ()).await
}

/// Calls `ended` with the number of calls that have ended, from 1, at each end.
async fn calls_with(model: &Model, count: usize, ended: impl Fn(usize)) -> Vec<Result<()>> {
    let number = Cell::new(0);
    let call = async || {
        let result = model.invoke("x").await.map(drop);
        number.set(number.get() + 1);
        ended(number.get());
        result
    };
    join_all((0..count).map(|_| call())).await
}

async fn slow() -> Server {
    Server::start(|_| [vec![Act::Wait(Duration::from_millis(50))], completion("hi")].concat()).await
}

#[tokio::test]
async fn a_limit_of_64_open_files_fails_none_of_256_calls() {
    let server = slow().await;
    child("with_64_files", &[&server]).await;
    assert!((20..=48).contains(&server.connections()), "{}", server.connections());
    assert_eq!(server.requests().len(), 256);
}

#[tokio::test]
#[ignore = "run in a process of its own by the test above"]
async fn with_64_files() {
    let model = models("127.0.0.1").remove(0);
    limit(64);
    for answer in calls(&model, 256).await {
        answer.unwrap();
    }
    let notice = connection_notice().unwrap();
    assert!(notice.starts_with("open connections are limited to ") && notice.ends_with(" 64)"), "{notice}");
}

#[tokio::test]
async fn descriptors_that_other_code_takes_delay_calls_and_fail_none() {
    let server = slow().await;
    child("with_files_taken_by_others", &[&server]).await;
    assert_eq!(server.requests().len(), 128);
}

#[tokio::test]
#[ignore = "run in a process of its own by the test above"]
async fn with_files_taken_by_others() {
    // By name: a lookup needs descriptors too, and rarely reports why it failed.
    let models = ["127.0.0.1", "localhost"].map(|host| models(host).remove(0));
    limit(100);
    for model in models {
        model.invoke("x").await.unwrap();
        let mut taken = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            taken.push(file);
        }
        // The first ones share one connection.
        let taken = RefCell::new(taken);
        let free = |ended| {
            if ended == 8 {
                taken.take();
            }
        };
        for answer in calls_with(&model, 63, free).await {
            answer.unwrap();
        }
        assert!(taken.take().is_empty(), "eight calls were answered while no descriptor was free");
    }
}

#[tokio::test]
async fn calls_wait_for_the_first_descriptor_too() {
    let server = slow().await;
    child("with_no_descriptor_at_first", &[&server]).await;
    assert_eq!(server.requests().len(), 32);
}

#[tokio::test]
#[ignore = "run in a process of its own by the test above"]
async fn with_no_descriptor_at_first() {
    let model = models("localhost").remove(0);
    limit(100);
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    std::thread::spawn(move || {
        // Longer than a connection that waits for no descriptor would take to fail: that the calls wait shows
        // only in that they do not fail.
        std::thread::sleep(Duration::from_millis(700));
        drop(taken);
    });
    for answer in calls(&model, 32).await {
        answer.unwrap();
    }
}

#[tokio::test]
async fn a_busy_host_leaves_connections_to_another_one() {
    let [busy, other] = [slow().await, slow().await];
    child("with_two_hosts", &[&busy, &other]).await;
}

#[tokio::test]
#[ignore = "run in a process of its own by the test above"]
async fn with_two_hosts() {
    let models = models("127.0.0.1");
    limit(64);
    let [busy, other] = [&models[0], &models[1]];
    let began = Instant::now();
    let (all_in_use, are_in_use) = oneshot::channel();
    let all_in_use = Cell::new(Some(all_in_use));
    let late = async {
        are_in_use.await.unwrap();
        for answer in calls(other, 8).await {
            answer.unwrap();
        }
        began.elapsed()
    };
    let busy = async {
        // Each connection has been used more than once.
        let note = |ended| {
            if ended == 100 {
                all_in_use.take().unwrap().send(()).unwrap();
            }
        };
        for answer in calls_with(busy, 1000, note).await {
            answer.unwrap();
        }
        began.elapsed()
    };
    let (busy, late) = tokio::join!(busy, late);
    assert!(late < busy / 2, "{late:?} of {busy:?}");

    // The idle connections of one host make room for the other.
    for answer in calls(other, 64).await {
        answer.unwrap();
    }
}

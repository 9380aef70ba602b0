//! Models in a process that begins a new generation, as after a fork. In a test binary of its own, because
//! every pool of the process is replaced.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

#[path = "sockets/server.rs"]
#[expect(dead_code, reason = "each test binary uses its own part")]
mod server;

use std::num::NonZeroU32;

use fanweave_core::runtime;
use fanweave_models::{Client, RateLimits, account_states};

use crate::server::{Server, completion};

fn idempotency_keys(server: &Server) -> Vec<(String, String)> {
    let key = |head: &str| {
        let key = head.lines().find_map(|line| line.strip_prefix("idempotency-key: fanweave-")).unwrap();
        let (process, call) = key.split_once('-').unwrap();
        (process.to_owned(), call.to_owned())
    };
    server.requests().iter().map(|seen| key(&seen.head)).collect()
}

#[tokio::test]
async fn a_model_of_another_generation_uses_new_connections_accounts_and_idempotency_keys() {
    let server = Server::start(|_| completion("hi")).await;
    let limits = RateLimits::new().requests_per_minute(const { NonZeroU32::new(60_000).expect("not 0") });
    let own = server.model().client(Client::builder().build().unwrap()).limits(limits).build().unwrap();
    let shared = server.model().build().unwrap();
    for model in [&own, &own, &shared] {
        model.invoke("x").await.unwrap();
    }
    assert_eq!(server.connections(), 2, "one for each client");
    let counted = || account_states().iter().map(|account| account.requests).collect::<Vec<_>>();
    assert_eq!(counted(), [3]);

    runtime::after_fork();
    assert_eq!(counted(), [0_u64; 0], "the accounts of the parent are its own");
    for model in [&own, &own, &shared] {
        assert_eq!(model.invoke("x").await.unwrap().text(), "hi");
    }
    assert_eq!(server.connections(), 4);
    assert_eq!(counted(), [3]);
    assert_eq!(account_states()[0].limits.requests_per_minute, limits.requests_per_minute);

    let keys = idempotency_keys(&server);
    let (before, after) = keys.split_at(3);
    assert!(before.iter().all(|(process, _)| *process == before[0].0), "{keys:?}");
    assert!(after.iter().all(|(process, _)| *process == after[0].0 && *process != before[0].0), "{keys:?}");
    let mut distinct = keys.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 6);
}

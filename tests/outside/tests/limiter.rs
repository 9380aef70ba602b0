//! A limiter of another crate, shared by two models.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fanweave::models::{Accounts, account_states};
use fanweave::{chain, text};
use outside::fair_share::FairShare;
use outside::server::{Server, completion};

#[tokio::test]
async fn an_injected_limiter() {
    let (now, max) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let seen = max.clone();
    let server = Server::start(move |_, request| {
        seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(5));
        now.fetch_sub(1, Ordering::SeqCst);
        (200, String::new(), completion(&request["messages"][0]["content"]))
    });
    let limiter = FairShare::new(3);
    let accounts = Accounts::new();
    let [first, second] = ["tenant-1", "tenant-2"].map(|key| {
        let model = server.model().api_key(key).limiter(limiter.clone()).accounts(accounts.clone());
        chain(model.build().unwrap()) | text()
    });
    let rows = || (0..30).map(|n| n.to_string());
    let (first, second) = tokio::join!(
        first.batch(rows()).concurrency(16).collect(),
        second.batch(rows()).concurrency(16).collect()
    );
    assert!(first.into_iter().chain(second).all(|row| row.is_ok()));
    assert_eq!(max.load(Ordering::SeqCst), 3);
    assert_eq!(limiter.tokens(), 2 * 60);
    // The accounts of this set are not those of the process.
    assert_eq!(accounts.states().iter().map(|account| account.requests).collect::<Vec<_>>(), [30, 30]);
    assert!(account_states().is_empty());
}

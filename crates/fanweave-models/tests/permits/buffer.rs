//! A response that is larger than its buffer and that is never read.

use std::time::Duration;

use fanweave_core::{Context, chain, text};
use fanweave_sim::Settings;
use futures::StreamExt;
use tokio::time::{sleep, timeout};

use crate::account::{Account, Ceiling};

#[tokio::test]
async fn an_unread_answer_gives_up_its_permit_only_if_another_call_waits() {
    let account = Account::start(Ceiling::Set(1), true, Settings { chunks: 200, ..Settings::default() });
    let (echo, cx) = (chain(account.echo.clone()) | text(), Context::new());
    // Larger than two buffers of 4 MiB, that of the call and those of the sockets.
    let long = "x".repeat(24 << 20);
    let mut left_alone = echo.stream_in(long.as_str(), &cx);
    left_alone.next().await.unwrap().unwrap();
    sleep(Duration::from_millis(500)).await;
    assert_eq!(account.held(&cx, None).over_limit, 0);

    let other = timeout(Duration::from_secs(10), echo.invoke_in("other", &cx)).await;
    assert!(other.expect("the first answer is not read").unwrap().ends_with("other"));
    let figures = account.held(&cx, None);
    assert_eq!((figures.over_limit, figures.peak), (1, 2));

    let rest = left_alone.map(|piece| piece.unwrap().to_string().len()).collect::<Vec<_>>().await;
    assert!(rest.iter().sum::<usize>() > (24 << 20) * 199 / 200);
    account.is_at_rest(&cx, None).await;
}

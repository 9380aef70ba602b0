//! A subscriber of `tracing` of another crate.

use std::num::NonZeroUsize;

use fanweave::models::RateLimits;
use fanweave::{chain, text};
use outside::collector::Collector;
use outside::server::{Server, completion};

#[tokio::test]
async fn a_subscriber_sees_waits_and_retries() {
    let server = Server::start(|n, request| match n {
        0 => (429, "retry-after-ms: 60\r\n".to_owned(), r#"{"error":{"message":"slow down"}}"#.to_owned()),
        1 => (500, String::new(), r#"{"error":{"message":"oops"}}"#.to_owned()),
        _ => (200, String::new(), completion(&request["messages"][0]["content"])),
    });
    // One call at a time: the other one waits.
    let limits = RateLimits::new().concurrency(NonZeroUsize::MIN);
    let model = server.model().limits(limits).build().unwrap();
    let ask = (chain(model) | text()).named("ask");
    let collector = Collector::default();
    let guard = tracing::subscriber::set_default(collector.clone());
    let (first, second) = tokio::join!(ask.invoke("canary one"), ask.invoke("canary two"));
    drop(guard);
    assert_eq!((first.unwrap(), second.unwrap()), ("canary one".to_owned(), "canary two".to_owned()));

    let lines = collector.lines();
    let all = lines.join("\n");
    let with = |parts: &[&str]| {
        lines.iter().filter(|line| parts.iter().all(|part| line.contains(part))).collect::<Vec<_>>()
    };
    assert_eq!(with(&["DEBUG request", "step=ask > openai/test"]).len(), 4, "{all}");
    assert!(!with(&["INFO waiting", "reason=\"limit\"", "step=ask > openai/test"]).is_empty(), "{all}");
    let [refused] = with(&["INFO retrying", "status=429", "kind=\"rate_limited\""])[..] else {
        panic!("one call is refused: {all}");
    };
    let wait = refused.split_once("wait_ms=").unwrap().1.split(' ').next().unwrap();
    assert!(wait.parse::<f64>().unwrap() >= 60.0, "it waits as long as the server asks: {refused}");
    assert_eq!(with(&["INFO retrying", "status=500", "kind=\"server\""]).len(), 1, "{all}");
    // Two chains, each with a model, and nothing of what was said.
    assert_eq!(collector.steps(), 4, "{all}");
    assert!(!all.contains("canary") && !all.contains("slow down"), "{all}");
}

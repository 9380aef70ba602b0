//! A custom client: another base URL, more headers, shorter timeouts, a rate limit.
//!
//!     cargo run --release -p fanweave --example custom_client
//!
//! The server is the simulated provider on a local port.

use std::num::NonZeroU32;
use std::time::Duration;

use fanweave::models::{Client, ModelBuilder, RateLimits, RetryPolicy, Timeouts};
use fanweave::{Result, prompt, text, vars};
use fanweave_sim::{Server, Settings};

#[tokio::main]
async fn main() -> Result<()> {
    let server = Server::start(Settings::default()).expect("a port of this machine is free");

    // Models that share a client share its connections.
    let client = Client::builder()
        .header("x-team", "documentation")
        .timeouts(Timeouts::new().connect(Duration::from_secs(2)).first_byte(Duration::from_secs(30)))
        .build()?;
    let model = ModelBuilder::new("openai/writer")
        .base_url(server.base_url())
        .api_key("any-key-will-do-here")
        .client(client)
        .retry(RetryPolicy::new().initial_backoff(Duration::from_millis(100)))
        .limits(RateLimits::new().requests_per_minute(NonZeroU32::new(600).expect("600 is not 0")))
        .build()?;

    let haiku = prompt("Write a haiku about {{ topic }}.") | &model | text();
    let topics = ["tides", "wind", "rain"].map(|topic| vars! { topic: topic });
    for answer in haiku.batch(topics).collect().await {
        println!("{}\n", answer?);
    }
    let stats = server.stats();
    println!(
        "{} requests over {} connections to {}",
        stats.requests,
        stats.connections_opened,
        server.base_url()
    );
    server.shutdown().await;
    Ok(())
}

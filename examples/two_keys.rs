//! Two keys from code: calls are distributed by weight, and a rejected key is disabled.
//!
//!     cargo run --release -p fanweave --example two_keys
//!
//! The server is the simulated provider on a local port, which accepts every key.

use std::num::NonZeroU32;

use fanweave::models::{Lane, ModelBuilder, Spread, account_states};
use fanweave::{Result, prompt, text, vars};
use fanweave_sim::{Server, Settings};

#[tokio::main]
async fn main() -> Result<()> {
    let server = Server::start(Settings::default()).expect("a port of this machine is free");
    let with_key =
        |key: &str| ModelBuilder::new("openai/writer").base_url(server.base_url()).api_key(key).build();

    // Three of four calls use the first key. Each key has rate limits of its own.
    let lanes = [
        Lane::new(with_key("the-first-key")?).key_name("FIRST_KEY").weight(NonZeroU32::MIN.saturating_add(2)),
        Lane::new(with_key("the-second-key")?).key_name("SECOND_KEY"),
    ];
    let keys = Spread::new(lanes).on_change(|change| eprintln!("note: {change}")).chain()?;

    let haiku = prompt("Write a haiku about {{ topic }}.") | keys | text();
    let topics = ["tides", "wind", "rain", "snow"].map(|topic| vars! { topic: topic });
    for answer in haiku.batch(topics).collect().await {
        println!("{}\n", answer?);
    }
    println!("{} requests with {} keys", server.stats().requests, account_states().len());
    server.shutdown().await;
    Ok(())
}

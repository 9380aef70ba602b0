//! Many prompts with limited concurrency, in place of a hand-written semaphore.
//!
//!     cargo run --release -p fanweave --example semaphore_batch
//!
//! At most five calls are in flight, even if a row makes several: here each row requests a title and a
//! summary concurrently. Set `FANWEAVE_MODEL` to any `provider/model` to use a real model.

use std::time::Instant;

use fanweave::{Result, model, parallel, prompt, text, vars};

const CONCURRENCY: usize = 5;

#[tokio::main]
async fn main() -> Result<()> {
    let name = std::env::var("FANWEAVE_MODEL").unwrap_or_else(|_| "sim/writer".to_owned());
    let model = model(&name)?;
    let both = parallel((
        prompt("Write a title for an article about {{ topic }}.") | &model | text(),
        prompt("Sum up what is known about {{ topic }} in one sentence.") | &model | text(),
    ));

    let topics = ["tides", "wind", "rain", "snow", "frost", "fog", "hail", "thunder", "dew", "drought"];
    let started = Instant::now();
    let mut rows = both.batch(topics.map(|topic| vars! { topic: topic })).concurrency(CONCURRENCY).run();
    while let Some(row) = rows.next().await {
        let (title, summary) = row.result?;
        println!("{}. {title}\n   {summary}", row.index + 1);
    }
    println!("20 calls, {CONCURRENCY} at a time, in {:.2} s", started.elapsed().as_secs_f64());
    Ok(())
}

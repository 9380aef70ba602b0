//! The same ten calls, sequentially and concurrently.
//!
//!     cargo run --release -p fanweave --example concurrent_calls
//!
//! Set `FANWEAVE_MODEL` to any `provider/model` to use a real model.

use std::time::Instant;

use fanweave::{Message, Model, Result};
use futures::future::try_join_all;

const CALLS: usize = 10;
const QUESTION: &str = "Hello, how are you?";

async fn one_after_another(model: &Model) -> Result<Vec<Message>> {
    let mut answers = Vec::new();
    for _ in 0..CALLS {
        answers.push(model.invoke(QUESTION).await?);
    }
    Ok(answers)
}

async fn all_at_once(model: &Model) -> Result<Vec<Message>> {
    try_join_all((0..CALLS).map(|_| model.invoke(QUESTION))).await
}

#[tokio::main]
async fn main() -> Result<()> {
    let name = std::env::var("FANWEAVE_MODEL").unwrap_or_else(|_| "sim/writer".to_owned());
    let model = fanweave::model(&name)?;

    let started = Instant::now();
    for answer in all_at_once(&model).await? {
        println!("{}", answer.text());
    }
    let concurrent = started.elapsed();

    let started = Instant::now();
    one_after_another(&model).await?;
    let serial = started.elapsed();

    println!("concurrently: {:.2} s", concurrent.as_secs_f64());
    println!("sequentially: {:.2} s", serial.as_secs_f64());
    println!("{:.1} times as fast", serial.as_secs_f64() / concurrent.as_secs_f64());
    Ok(())
}

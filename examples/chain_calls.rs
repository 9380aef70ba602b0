//! A chain (prompt, model, text), called five times sequentially and five times concurrently.
//!
//!     cargo run --release -p fanweave --example chain_calls

use std::time::Instant;

use fanweave::{Result, Vars, model, prompt, text, vars};

fn toothpaste() -> Vars {
    vars! { product: "toothpaste" }
}

#[tokio::main]
async fn main() -> Result<()> {
    let name = std::env::var("FANWEAVE_MODEL").unwrap_or_else(|_| "sim/writer".to_owned());
    let namer =
        prompt("What is a good name for a company that makes {{ product }}?") | model(&name)? | text();

    let started = Instant::now();
    for answer in namer.batch((0..5).map(|_| toothpaste())).collect().await {
        println!("{}", answer?);
    }
    println!("concurrently: {:.2} s", started.elapsed().as_secs_f64());

    let started = Instant::now();
    for _ in 0..5 {
        println!("{}", namer.invoke(toothpaste()).await?);
    }
    println!("sequentially: {:.2} s", started.elapsed().as_secs_f64());
    Ok(())
}

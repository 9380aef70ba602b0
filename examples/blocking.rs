//! Chains in code that is not async, and blocking code as a step of a chain.
//!
//!     cargo run --release -p fanweave --example blocking
//!
//! Set `FANWEAVE_MODEL` to any `provider/model` to use a real model.

use fanweave::{Error, Result, blocking::blocking_step, model, prompt, text, vars};

fn main() -> Result<()> {
    let name = std::env::var("FANWEAVE_MODEL").unwrap_or_else(|_| "sim/writer".to_owned());
    let haiku = prompt("Write a haiku about {{ topic }}.") | model(&name)? | text();

    println!("{}\n", haiku.blocking().invoke(vars! { topic: "rain" })?);

    for delta in haiku.blocking().stream(vars! { topic: "wind" }) {
        print!("{}", delta?);
    }
    println!("\n");

    // Reading a file blocks, so it runs on the thread pool.
    let read = blocking_step(|path: String, _cx| std::fs::read_to_string(path).map_err(Error::step));
    let first_line = read.map(|text| text.lines().next().unwrap_or_default().to_owned());
    let about = first_line.map(|topic| vars! { topic: topic }) | haiku;
    for row in about.blocking().batch(["examples/topics.txt", "examples/nowhere.txt"]).run() {
        match row.result {
            Ok(haiku) => println!("{haiku}"),
            Err(error) => println!("row {} failed: {error}", row.index),
        }
    }
    Ok(())
}

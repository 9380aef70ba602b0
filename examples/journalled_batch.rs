//! A chain over rows from memory, with a journal: after a crash, a rerun calls only what is missing.
//!
//!     cargo run --release -p fanweave --example journalled_batch

use fanweave::batch::JournalExt;
use fanweave::{Chain, Vars, model, prompt, text, vars};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = std::env::var("FANWEAVE_MODEL").unwrap_or_else(|_| "sim/writer".to_owned());
    let path = std::env::temp_dir().join(format!("titles-{}.journal", std::process::id()));
    let title: Chain<Vars, String> =
        prompt("Write a title for an article about {{ topic }}.") | model(&name)? | text();
    let topics = ["tidal power", "lighthouses", "sea shanties", "harbour seals"];

    // The journal names the model, so that answers of another model are not reused.
    for run in 1..=2 {
        let began = std::time::Instant::now();
        let journalled = title.journal(&path).fingerprint("model", &name);
        let titles =
            journalled.batch(topics.map(|topic| vars! { topic: topic }))?.concurrency(16).collect().await;
        println!("run {run}, {} ms:", began.elapsed().as_millis());
        for (topic, title) in topics.iter().zip(titles) {
            println!("  {topic}: {}", title?);
        }
    }
    std::fs::remove_file(path)?;
    Ok(())
}

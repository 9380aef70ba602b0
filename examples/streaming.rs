//! Three streamed answers, two of them concurrently.
//!
//!     cargo run --release -p fanweave --example streaming

use std::io::Write;

use fanweave::{Result, model, prompt, text, vars};
use futures::StreamExt;

#[tokio::main]
async fn main() -> Result<()> {
    let name = std::env::var("FANWEAVE_MODEL").unwrap_or_else(|_| "sim/writer".to_owned());
    let recommend = prompt("Recommend a {{ genre }} book in two sentences.") | model(&name)? | text();

    // One stream, read to its end: deltas first, then the whole answer.
    let mut run = recommend.stream(vars! { genre: "fantasy" });
    while let Some(delta) = run.next().await {
        print!("{}", delta?);
        std::io::stdout().flush().map_err(fanweave::Error::step)?;
    }
    println!("\n({} characters)\n", run.output().await?.chars().count());

    // Two concurrent streams: each delta is printed with its genre.
    let [scifi, mystery] = ["science fiction", "mystery"]
        .map(|genre| recommend.stream(vars! { genre: genre }).map(move |delta| (genre, delta)));
    let mut both = futures::stream::select(scifi, mystery);
    while let Some((genre, delta)) = both.next().await {
        println!("{genre:>15} | {}", delta?.to_string().trim_end());
    }
    Ok(())
}

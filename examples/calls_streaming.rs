//! Prints the answer of a call as it arrives.
//!
//!     cargo run --release -p fanweave --example calls_streaming

use std::io::Write;

use fanweave::Result;

#[fanweave::call(model = "sim/writer")]
async fn recommend_book(genre: &str) -> String {
    format!("Recommend a {genre} book, and say why in a paragraph.")
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut stream = recommend_book("fantasy").stream();
    while let Some(piece) = stream.next().await {
        print!("{}", piece?);
        let _ = std::io::stdout().flush();
    }
    // The same response as without streaming.
    let response = stream.output().await?;
    println!("\n\n{} tokens in {:?}", response.usage().total_tokens(), response.latency());
    Ok(())
}

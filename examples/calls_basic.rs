//! A function as an LLM call.
//!
//!     cargo run --release -p fanweave --example calls_basic

use fanweave::Result;

#[fanweave::call(provider = "sim", model = "writer")]
async fn recommend_book(genre: &str) -> String {
    format!("Recommend a {genre} book.")
}

#[tokio::main]
async fn main() -> Result<()> {
    let response = recommend_book("fantasy").await?;
    println!("{response}");

    let usage = response.usage();
    println!("{} tokens in, {} out, {:?}", usage.input_tokens, usage.output_tokens, response.latency());
    Ok(())
}

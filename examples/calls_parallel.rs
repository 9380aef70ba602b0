//! Concurrent calls: three with `join`, and a hundred through the chain of the call.
//!
//!     cargo run --release -p fanweave --example calls_parallel

use fanweave::Result;
use futures::future::try_join_all;

#[fanweave::call(model = "sim/writer")]
async fn recommend_book(genre: &str) -> String {
    format!("Recommend a {genre} book.")
}

#[tokio::main]
async fn main() -> Result<()> {
    let genres = ["fantasy", "science fiction", "mystery"];
    let began = std::time::Instant::now();
    let responses = try_join_all(genres.map(recommend_book)).await?;
    for (genre, response) in genres.iter().zip(&responses) {
        println!("({genre})\n{response}\n");
    }
    println!("three calls in {:?}", began.elapsed());

    // A hundred, 50 at a time. A failed row does not affect the others.
    let many = (0..100).map(|n| format!("number {n}"));
    let rows = recommend_book::chain().batch(many).concurrency(50).collect().await;
    println!("{} of {} answered", rows.iter().filter(|row| row.is_ok()).count(), rows.len());
    Ok(())
}

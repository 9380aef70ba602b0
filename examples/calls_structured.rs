//! Calls with typed answers: whole, streamed, and validated.
//!
//!     cargo run --release -p fanweave --example calls_structured

use fanweave::{Delta, Result, chain, model, structured};

/// A book to read.
#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
struct Book {
    title: String,
    /// First and last name.
    author: String,
    genre: Genre,
    /// Year of publication, if known.
    year: Option<u16>,
    themes: Vec<String>,
}

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Genre {
    Fantasy,
    Crime,
    ScienceFiction,
    Other,
}

#[fanweave::call(model = "sim/writer", response = Book)]
async fn recommend_book(genre: &str) -> String {
    format!("Recommend a {genre} book.")
}

#[tokio::main]
async fn main() -> Result<()> {
    let book = recommend_book("fantasy").await?;
    println!(
        "{} by {} ({:?}, {:?}): {}",
        book.title,
        book.author,
        book.genre,
        book.year,
        book.themes.join(", ")
    );

    // The value so far. Shown parts never change.
    let mut stream = recommend_book("crime").stream();
    while let Some(piece) = stream.next().await {
        if let Delta::Value(so_far) = piece? {
            println!("  {so_far}");
        }
    }
    println!("{:?}", stream.output().await?);

    // A step of a chain with a check beyond the type. A failed check is retried.
    let checked = structured::<Book>(model("sim/writer")?)
        .check(|book| if book.title.is_empty() { Err("a book has a title".to_owned()) } else { Ok(()) });
    println!("{}", chain(checked).invoke("Recommend a book on tides.").await?.title);
    Ok(())
}

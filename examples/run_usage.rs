//! The usage of a whole run, whatever its chain returns: a structured value by a tool call, a tool whose
//! result is the answer, and the results of a fan-out as they complete.
//!
//!     cargo run --release -p fanweave --example run_usage

use fanweave::crates::serde_json::json;
use fanweave::prelude::StreamExt;
use fanweave::testing::{Answer, Fake};
use fanweave::{Context, Error, ErrorKind, Result, Tools, chain, prompt, step, structured, text, vars};

/// A book to read.
#[fanweave::schema]
#[derive(Debug)]
struct Book {
    title: String,
    year: u16,
}

/// Looks up the price of a book, in words for the customer.
#[fanweave::tool(return_direct)]
fn price(title: String) -> String {
    format!("{title} costs 9 euros.")
}

#[tokio::main]
async fn main() -> Result<()> {
    // Scripts instead of models, so that the example needs no key. The first answer is retried, because it
    // has no year.
    let model = Fake::script([
        Answer::calls([("Book", json!({ "title": "Emma" }))]).usage(20, 5),
        Answer::calls([("Book", json!({ "title": "Emma", "year": 1815 }))]).usage(40, 8),
    ]);
    // For models and servers with tools and without a response format.
    let book = chain(structured::<Book>(model).by_tool());
    let cx = Context::new();
    let book = book.invoke_in("Recommend a book.", &cx).await?;
    println!("{book:?}, for {} tokens in {} calls", cx.usage().usage.total_tokens(), cx.usage().calls);

    // The result of the tool is the answer: no second call is paid for.
    let model =
        Fake::script([Answer::calls([("price", json!({ "title": book.title }))]).usage(30, 6)]).model();
    let shop = chain(model.with_tools(Tools::new().with::<price>()).run_tools(3)) | text();
    let cx = Context::new();
    println!("{} ({} call)", shop.invoke_in("What does Emma cost?", &cx).await?, cx.usage().calls);

    // The results of a fan-out as they complete, each with the index of its item.
    let titles = prompt("1. Emma\n2. Sanditon\n3. Persuasion") | Fake::echo().model();
    let finished = step(|title: String, _| async move {
        if title == "Sanditon" { Err(Error::new(ErrorKind::Step, "unfinished")) } else { Ok(title.len()) }
    });
    let mut results = titles.lines().each_completed(finished).stream(vars! {});
    while let Some(result) = results.next().await {
        match result? {
            (index, Ok(letters)) => println!("title {}: {letters} letters", index + 1),
            (index, Err(error)) => println!("title {}: {error}", index + 1),
        }
    }
    Ok(())
}

//! Tools for a model: an async function, a blocking function, and a struct called by hand.
//!
//!     cargo run --release -p fanweave --example calls_tools

use std::collections::BTreeMap;
use std::time::Duration;

use fanweave::Tools;
use fanweave::{EventKind, Result, chain, model, prompt, text, vars};

/// Looks up the weather in a city.
#[fanweave::tool(timeout = Duration::from_secs(5))]
async fn get_weather(
    /// The city, such as `Paris`.
    city: String,
) -> Result<String> {
    tokio::time::sleep(Duration::from_millis(100)).await;
    Ok(format!("It is sunny in {city}."))
}

/// Counts how often each word of a text occurs.
#[fanweave::tool]
fn count_words(text: String) -> BTreeMap<String, usize> {
    let mut words = BTreeMap::new();
    for word in text.split_whitespace() {
        *words.entry(word.to_lowercase()).or_default() += 1;
    }
    words
}

/// Formats a book the way that we write books.
#[fanweave::tool]
struct FormatBook {
    title: String,
    author: String,
}

impl FormatBook {
    async fn call(&self) -> String {
        format!("{} by {}", self.title, self.author)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let name = std::env::var("FANWEAVE_MODEL").unwrap_or_else(|_| "sim/writer".to_owned());
    let model = model(&name)?;

    // By hand: one model call; the arguments of the tool call are typed.
    let with_tools = chain(model.with_tools(Tools::new().with::<FormatBook>()));
    let answer = with_tools.invoke("Recommend a fantasy book and format it.").await?;
    match answer.tool::<FormatBook>()? {
        Some(book) => println!("{}", book.call().await),
        None => println!("{}", answer.text()),
    }

    // Or run the tools in a loop, and print its events.
    let tools = Tools::new().with::<get_weather>().with::<count_words>().with::<FormatBook>();
    let agent = prompt("What is the weather in both cities: {{ a }} and {{ b }}?")
        | model.with_tools(tools).run_tools(5)
        | text();
    let mut events = agent.events(vars! { a: "Paris", b: "London" });
    while let Some(event) = events.next().await {
        if let EventKind::StepFinished { .. } = event.kind {
            println!("{:>5} ms  {} is done", event.at.as_millis(), event.path);
        }
    }
    println!("{}", events.output().await?);

    // The agent is a chain like any other.
    let cities = [("Rome", "Oslo"), ("Lima", "Cairo")].map(|(a, b)| vars! { a: a, b: b });
    for answer in agent.batch(cities).collect().await {
        println!("{}", answer?);
    }
    Ok(())
}

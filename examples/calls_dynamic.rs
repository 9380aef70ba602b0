//! A function that selects its model, parameters and messages at run time.
//!
//!     cargo run --release -p fanweave --example calls_dynamic

use fanweave::call::Config;
use fanweave::{Message, Parameters, Result};

/// The reader that asks for advice.
struct Reader {
    name: &'static str,
    is_patient: bool,
}

#[fanweave::call(model = "sim/writer", temperature = 0.9)]
async fn recommend_book(reader: Reader, genre: &str) -> Config {
    let messages = vec![
        Message::system(format!("You advise {}, who reads a lot.", reader.name)),
        Message::user(format!("Recommend a {genre} book.")),
    ];
    let config = Config::new(messages);
    if reader.is_patient {
        return config;
    }
    // Another model, and a short answer.
    let short = Parameters::new().max_tokens(12);
    config.model("sim/echo").parameters(short)
}

#[tokio::main]
async fn main() -> Result<()> {
    for reader in [Reader { name: "Ada", is_patient: true }, Reader { name: "Max", is_patient: false }] {
        let name = reader.name;
        let response = recommend_book(reader, "fantasy").await?;
        println!("{name}, by {}: {response}\n", response.model().unwrap_or("?"));
    }
    Ok(())
}

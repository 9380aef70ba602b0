//! A history for any chain: a tool loop with a memory, one session per user, and the rows of a batch.
//!
//!     cargo run --release -p fanweave --example chains_memory

use fanweave::chains::{ConversationMemory, SessionHistory};
use fanweave::crates::serde_json::json;
use fanweave::prompts::chat;
use fanweave::stores::MemorySessions;
use fanweave::testing::{Answer, Fake};
use fanweave::{Context, Result, Tools, text, vars};

/// Adds two numbers.
#[fanweave::tool]
fn add(a: i64, b: i64) -> i64 {
    a + b
}

#[tokio::main]
async fn main() -> Result<()> {
    // A script instead of a model, so that the example needs no key: use `fanweave::model("openai/..")?`.
    let model = Fake::script([
        Answer::calls([("add", json!({ "a": 2, "b": 3 }))]),
        Answer::text("It is 5."),
        Answer::text("You asked for 2 + 3."),
    ])
    .model();
    let agent = chat().system("Be kind.").history("history").user("{{ input }}")
        | model.with_tools(Tools::new().with::<add>()).run_tools(5)
        | text();

    // Any store of sessions, such as `fanweave::stores::SqliteSessions`, and any policy.
    let sessions = MemorySessions::sessions();
    let history = SessionHistory::new(sessions.clone(), ConversationMemory::window(10));
    let agent = history.clone().over(agent);
    let ada = Context::new().with_session("ada");
    for question in ["What is 2 + 3?", "What did I ask?"] {
        println!("> {question}\n{}", agent.invoke_in(question, &ada).await?);
    }
    for message in sessions.load("ada").await?.messages {
        println!("  {:?}: {:?}", message.role, message.parts);
    }

    // The session of each row.
    let echo = history.over(chat().history("history").user("{{ input }}") | Fake::echo() | text());
    let rows =
        [("bob", "Hello"), ("cleo", "Good morning")].map(|(user, input)| vars! { user: user, input: input });
    let rows = echo
        .batch(rows)
        .context(|row, cx| cx.with_session(row.get("user").map_or("", |user| user.as_str().unwrap_or(""))));
    rows.fail_fast().await?;
    println!("bob's session has {} messages", sessions.load("bob").await?.messages.len());
    Ok(())
}

//! A conversation about documents, with memory and streamed answers.
//!
//!     cargo run --release -p fanweave --example chains_conversation

use std::io::Write;

use fanweave::chains::qa::Qa;
use fanweave::chains::{Conversational, FollowUp, RetrievalQa};
use fanweave::retrieval::{Document, TextSplitter};
use fanweave::splitters::Splitter;
use fanweave::stores::{MemorySessions, MemoryStore, VectorIndex};
use fanweave::testing::HashEmbedder;
use fanweave::{Context, Error, Message, Result, model};

const TEXT: &str = "The Rance station opened in 1966. It stands in Brittany.\n\n\
                    The Rance station has 24 turbines. Each of them turns in both directions.\n\n\
                    Polar bears weigh 450 kilograms. They hunt seals.";

#[tokio::main]
async fn main() -> Result<()> {
    let name = std::env::var("FANWEAVE_MODEL").unwrap_or_else(|_| "sim/writer".to_owned());
    let model = model(&name)?;

    // `HashEmbedder` needs no key; use `fanweave::embedder("openai/text-embedding-3-small")?` to search by
    // meaning.
    let library = VectorIndex::new(MemoryStore::store(), HashEmbedder::embedder()).limit(2);
    let chunks = Splitter::recursive(120).split_documents([Document::new(TEXT).with("source", "notes.txt")]);
    library.add(chunks, &Context::new()).await?;

    let conversation =
        Conversational::new(model.clone(), RetrievalQa::new(library, Qa::stuff(model))).chain();
    let sessions = MemorySessions::sessions();
    for question in
        ["When did the Rance station open?", "How many turbines does it have?", "What do polar bears weigh?"]
    {
        println!("> {question}");
        let history = sessions.load("ada").await?.messages;
        let mut run = conversation.stream(FollowUp::new(question, history));
        while let Some(piece) = run.next().await {
            print!("{}", piece?);
            std::io::stdout().flush().map_err(Error::step)?;
        }
        let answered = run.output().await?;
        println!("\n  asked as: {}\n  from {} chunks\n", answered.question, answered.sources.len());
        sessions.append("ada", vec![Message::user(question), Message::assistant(answered.text)]).await?;
    }
    Ok(())
}

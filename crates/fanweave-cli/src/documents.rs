//! Answers from a store of documents, and the embedding model that belongs to it.

use std::io::Write;
use std::path::Path;

use fanweave::chains::RetrievalQa;
use fanweave::chains::qa::{Answer, Qa};
use fanweave::models::ModelBuilder;
use fanweave::stores::{SqliteStore, VectorIndex};
use fanweave::{Context, Embedder, Model};
use serde_json::json;

use crate::args::AskArgs;
use crate::exit::{Exit, Failure};
use crate::out::{tell, written};
use crate::pieces::print;
use crate::telemetry::Exporter;

/// The name under which a store notes its embedding model.
pub(crate) const EMBEDDINGS: &str = "embeddings";

/// The embedding model called `name`, at `url` where one is given.
pub(crate) fn embedder(name: &str, url: Option<&str>) -> Result<Embedder, Failure> {
    let embedder = match url {
        Some(url) => ModelBuilder::new(name).base_url(url).build_embedder(),
        None => fanweave::embedder(name),
    };
    embedder.map_err(|e| Failure::usage(e.to_string()))
}

/// Answers `question` from the store at `docs`.
pub(crate) async fn answer(
    docs: &Path,
    question: String,
    args: &AskArgs,
    model: Model,
    telemetry: &Exporter,
    cx: &Context,
) -> Result<Exit, Failure> {
    if !docs.exists() {
        return Err(Failure::usage(format!("there is no store {}", docs.display()))
            .with_hint(format!("make it with fanweave index DOCS --store {}", docs.display())));
    }
    let store = SqliteStore::open(docs).await?;
    let name = store.meta(EMBEDDINGS).await?.ok_or_else(|| {
        Failure::usage(format!("{} holds no documents", docs.display()))
            .with_hint(format!("fill it with fanweave index DOCS --store {}", docs.display()))
    })?;
    let embedder = embedder(&name, args.embeddings_url.as_deref())?;
    let library = VectorIndex::new(store.store(), embedder).limit(args.top.get());
    let ask = telemetry.watch("ask", RetrievalQa::new(library, Qa::stuff(model)).chain());
    if args.json {
        let answer = ask.invoke_in(question, cx).await?;
        let line = json!({ "answer": answer.text, "sources": answer.sources, "usage": answer.usage });
        return written(writeln!(std::io::stdout(), "{line}")).map(|exit| exit.unwrap_or(Exit::Ok));
    }
    let (answer, exit) = print(ask.stream_in(question, cx)).await?;
    if let Some(answer) = answer {
        name_sources(&answer);
    }
    Ok(exit.unwrap_or(Exit::Ok))
}

/// Where the answer comes from, on stderr: the answer alone is for other programs.
fn name_sources(answer: &Answer) {
    let mut named: Vec<&str> = Vec::new();
    for source in answer.sources.iter().filter_map(|document| document.source()) {
        if !named.contains(&source) {
            named.push(source);
        }
    }
    if !named.is_empty() {
        tell!("\nfrom {}", named.join(", "));
    }
}

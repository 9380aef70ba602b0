//! Answers from the documents of a store, with the store's embedding model.

use std::io::Write;
use std::path::Path;

use fanweave::chains::RetrievalQa;
use fanweave::chains::qa::{Answer, Qa};
use fanweave::models::ModelBuilder;
use fanweave::stores::{SqliteStore, VectorIndex};
use fanweave::{Context, Embedder, Model};
use serde_json::json;

use crate::args::AskArgs;
use crate::connect::given_or_stored;
use crate::exit::{Exit, Failure};
use crate::out::{shown_json, tell, written};
use crate::pieces::print;
use crate::telemetry::Exporter;

/// The key of the embedding model in the metadata of a store.
pub(crate) const EMBEDDINGS: &str = "embeddings";

/// The embedding model called `name`, at `url` if given.
pub(crate) fn embedder(name: &str, url: Option<&str>) -> Result<Embedder, Failure> {
    embedder_with(name, url, None, Ok)
}

/// Like [`embedder`], with a key in place of the provider's, and further settings, which simulated models do
/// not have.
pub(crate) fn embedder_with(
    name: &str,
    url: Option<&str>,
    key: Option<String>,
    set: impl FnOnce(ModelBuilder) -> Result<ModelBuilder, Failure>,
) -> Result<Embedder, Failure> {
    let invalid = |e: fanweave::Error| Failure::usage(e.to_string());
    if url.is_none() && (name.starts_with("sim/") || !name.contains('/')) {
        return fanweave::embedder(name).map_err(invalid);
    }
    let mut builder = ModelBuilder::new(name);
    if let Some(key) = given_or_stored(name, url, key)? {
        builder = builder.api_key(key);
    }
    if let Some(url) = url {
        builder = builder.base_url(url);
    }
    set(builder)?.build_embedder().map_err(invalid)
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
        return Err(Failure::usage(format!("the store {} does not exist", docs.display()))
            .with_hint(format!("create it with fanweave index DOCS --store {}", docs.display())));
    }
    let store = SqliteStore::open(docs).await?;
    let name = store.meta(EMBEDDINGS).await?.ok_or_else(|| {
        Failure::usage(format!("the store {} has no documents", docs.display()))
            .with_hint(format!("add some with fanweave index DOCS --store {}", docs.display()))
    })?;
    let embedder = embedder(&name, args.embeddings_url.as_deref())?;
    let library = VectorIndex::new(store.store(), embedder).limit(args.top.get());
    let chain = telemetry.watch("ask", RetrievalQa::new(library, Qa::stuff(model)).chain());
    if args.json {
        let answer = chain.invoke_in(question, cx).await?;
        let line = json!({ "answer": answer.text, "sources": answer.sources, "usage": answer.usage });
        return written(writeln!(std::io::stdout(), "{}", shown_json(&line)))
            .map(|exit| exit.unwrap_or(Exit::Ok));
    }
    let (answer, exit) = print(chain.stream_in(question, cx)).await?;
    if let Some(answer) = answer {
        name_sources(&answer);
    }
    Ok(exit.unwrap_or(Exit::Ok))
}

/// Prints the sources of the answer on stderr: stdout only has the answer.
fn name_sources(answer: &Answer) {
    let mut named: Vec<&str> = Vec::new();
    for source in answer.sources.iter().filter_map(|document| document.source()) {
        if !named.contains(&source) {
            named.push(source);
        }
    }
    if !named.is_empty() {
        tell!("\nsources: {}", named.join(", "));
    }
}

//! `fanweave index`: adds documents to a store.

use std::collections::{BTreeSet, HashMap};

use fanweave::retrieval::{Document, TextSplitter};
use fanweave::splitters::{Markdown, Splitter};
use fanweave::stores::{SqliteStore, VectorIndex};
use fanweave::{
    Context, Embedder, Error, ErrorKind, Runnable, Usage,
    loaders::Loader,
    models::{Embedded, Embeddings},
};
use serde_json::json;

use crate::args::IndexArgs;
use crate::documents::{EMBEDDINGS, embedder};
use crate::exit::{Exit, Failure};
use crate::out::{print, tell};
use crate::program::Program;

pub(crate) async fn run(args: IndexArgs, program: &Program) -> Result<Exit, Failure> {
    tokio::select! {
        done = index(&args) => done,
        () = program.stop.requested() => Ok(Exit::Interrupted),
    }
}

async fn index(args: &IndexArgs) -> Result<Exit, Failure> {
    let embedder = embedder(&args.embeddings, args.embeddings_url.as_deref())?;
    let mut documents = Vec::new();
    let mut skipped = Vec::new();
    let loader = Loader::new().follow_links(args.follow);
    for path in &args.docs {
        let loaded = loader.load(path)?;
        documents.extend(loaded.documents);
        skipped.extend(loaded.skipped);
    }
    if let Some(first) = skipped.first().filter(|_| !args.quiet) {
        let (n, s) = (skipped.len(), if skipped.len() == 1 { "" } else { "s" });
        let first = first.display();
        tell!("note: skipped {n} link{s} out of the folder, such as {first} (--follow reads them)");
    }
    if documents.is_empty() {
        return Err(Failure::usage("no documents to index")
            .with_hint("pass text, Markdown, CSV or JSON files, or folders with such files"));
    }

    let store = SqliteStore::open(&args.store).await?;
    match store.meta(EMBEDDINGS).await? {
        Some(other) if other != args.embeddings => {
            let message = format!("{} uses the embedding model {other}", args.store.display());
            return Err(
                Failure::usage(message).with_hint(format!("use --embeddings {other} or another store"))
            );
        }
        _ => {}
    }
    let sources: BTreeSet<_> =
        documents.iter().filter_map(|document| document.source().map(str::to_owned)).collect();
    let files = sources.len();
    let chunks = split(documents, args.tokens.get());
    let count = chunks.len();

    // Old chunks are only deleted once all new ones are embedded, so that a failure loses nothing.
    let cx = Context::new();
    let embedded = Embedder::new(Precomputed::new(&embedder, &chunks, &cx).await?);
    store.note(EMBEDDINGS, &args.embeddings).await?;
    store.forget(sources.into_iter().collect()).await?;
    VectorIndex::new(store.store(), embedded).add(chunks, &cx).await?;
    if args.json {
        let done = json!({ "pieces": count, "files": files, "store": args.store.display().to_string() });
        print(format!("{done}\n").as_bytes())?;
    } else if !args.quiet {
        let plural = |n: usize| if n == 1 { "" } else { "s" };
        let (s, store) = (plural(count), args.store.display());
        tell!("indexed {count} chunk{s} of {files} file{} in {store}", plural(files));
    }
    Ok(Exit::Ok)
}

/// Embeddings of all chunks, computed in advance.
struct Precomputed {
    name: String,
    vectors: HashMap<String, Vec<f32>>,
}

impl Precomputed {
    /// Embeds `chunks` with `embedder`.
    async fn new(embedder: &Embedder, chunks: &[Document], cx: &Context) -> fanweave::Result<Self> {
        let texts: Vec<_> = chunks.iter().map(|chunk| chunk.text.clone()).collect();
        let vectors = embedder.run(texts.clone(), cx).await?.vectors;
        if vectors.len() != texts.len() {
            let message = format!("expected {} vectors, got {}", texts.len(), vectors.len());
            return Err(Error::new(ErrorKind::Decode, message).with_step(embedder.name()));
        }
        Ok(Self { name: embedder.name().to_owned(), vectors: texts.into_iter().zip(vectors).collect() })
    }
}

impl Embeddings for Precomputed {
    fn name(&self) -> &str {
        &self.name
    }

    async fn embed(&self, texts: Vec<String>, _cx: &Context) -> fanweave::Result<Embedded> {
        let vectors = texts.iter().filter_map(|text| self.vectors.get(text).cloned()).collect();
        Ok(Embedded::new(vectors, Usage::default()))
    }
}

/// Splits Markdown at its headings, other documents at paragraphs, sentences and words.
fn split(documents: Vec<Document>, tokens: usize) -> Vec<Document> {
    let is_markdown = |document: &Document| {
        document.source().is_some_and(|source| source.ends_with(".md") || source.ends_with(".markdown"))
    };
    let (markdown, other): (Vec<_>, Vec<_>) = documents.into_iter().partition(is_markdown);
    let mut chunks = Markdown::new(tokens.saturating_mul(4)).split_documents(markdown);
    chunks.extend(Splitter::tokens(tokens).split_documents(other));
    chunks
}

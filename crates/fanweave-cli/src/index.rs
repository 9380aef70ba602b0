//! `fanweave index`: documents into a store.

use std::collections::{BTreeSet, HashMap};

use fanweave::retrieve::{Document, TextSplitter};
use fanweave::splitters::{Markdown, Splitter};
use fanweave::stores::{SqliteStore, VectorIndex};
use fanweave::{Context, Embedded, Embedder, Embeddings, Error, ErrorKind, Runnable, Usage, loaders};
use serde_json::json;

use crate::args::IndexArgs;
use crate::documents::{EMBEDDINGS, embedder};
use crate::exit::{Exit, Failure};
use crate::out::{print, tell};
use crate::stop;

pub(crate) async fn run(args: IndexArgs) -> Result<Exit, Failure> {
    tokio::select! {
        done = index(&args) => done,
        () = stop::signal() => Ok(Exit::Interrupted),
    }
}

async fn index(args: &IndexArgs) -> Result<Exit, Failure> {
    let embedder = embedder(&args.embeddings, args.embeddings_url.as_deref())?;
    let mut documents = Vec::new();
    for path in &args.docs {
        documents.extend(loaders::load(path)?);
    }
    if documents.is_empty() {
        return Err(Failure::usage("there is no text in what is to be indexed")
            .with_hint("name files, or folders that hold text, Markdown, CSV or JSON"));
    }

    let store = SqliteStore::open(&args.store).await?;
    match store.meta(EMBEDDINGS).await? {
        Some(other) if other != args.embeddings => {
            let message = format!("{} was filled with the embedding model {other}", args.store.display());
            return Err(
                Failure::usage(message).with_hint(format!("add --embeddings {other}, or name another store"))
            );
        }
        _ => {}
    }
    let sources: BTreeSet<_> =
        documents.iter().filter_map(|document| document.source().map(str::to_owned)).collect();
    let files = sources.len();
    let pieces = split(documents, args.tokens.get());
    let count = pieces.len();

    // Not before everything has been read and embedded: what is forgotten must come back.
    let cx = Context::new();
    let embedded = Embedder::new(Done::new(&embedder, &pieces, &cx).await?);
    store.note(EMBEDDINGS, &args.embeddings).await?;
    store.forget(sources.into_iter().collect()).await?;
    VectorIndex::new(store.store(), embedded).add(pieces, &cx).await?;
    if args.json {
        let done = json!({ "pieces": count, "files": files, "store": args.store.display().to_string() });
        print(format!("{done}\n").as_bytes())?;
    } else if !args.quiet {
        let plural = |n: usize| if n == 1 { "" } else { "s" };
        let (pieces, store) = (plural(count), args.store.display());
        tell!("indexed {count} piece{pieces} of {files} file{} in {store}", plural(files));
    }
    Ok(Exit::Ok)
}

/// An embedding model that has embedded all that it will be asked for.
struct Done {
    name: String,
    vectors: HashMap<String, Vec<f32>>,
}

impl Done {
    /// Embeds `pieces` with `embedder`.
    async fn new(embedder: &Embedder, pieces: &[Document], cx: &Context) -> fanweave::Result<Self> {
        let texts: Vec<_> = pieces.iter().map(|piece| piece.text.clone()).collect();
        let vectors = embedder.run(texts.clone(), cx).await?.vectors;
        if vectors.len() != texts.len() {
            let message = format!("{} texts were given, and {} vectors came", texts.len(), vectors.len());
            return Err(Error::new(ErrorKind::Decode, message).with_step(embedder.name()));
        }
        Ok(Self { name: embedder.name().to_owned(), vectors: texts.into_iter().zip(vectors).collect() })
    }
}

impl Embeddings for Done {
    fn name(&self) -> &str {
        &self.name
    }

    async fn embed(&self, texts: Vec<String>, _cx: &Context) -> fanweave::Result<Embedded> {
        let vectors = texts.iter().filter_map(|text| self.vectors.get(text).cloned()).collect();
        Ok(Embedded { vectors, usage: Usage::default() })
    }
}

/// Markdown by its headings, all else by paragraphs, sentences and words.
fn split(documents: Vec<Document>, tokens: usize) -> Vec<Document> {
    let is_markdown = |document: &Document| {
        document.source().is_some_and(|source| source.ends_with(".md") || source.ends_with(".markdown"))
    };
    let (markdown, other): (Vec<_>, Vec<_>) = documents.into_iter().partition(is_markdown);
    let mut pieces = Markdown::new(tokens.saturating_mul(4)).split_documents(markdown);
    pieces.extend(Splitter::tokens(tokens).split_documents(other));
    pieces
}

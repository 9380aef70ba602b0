//! `fanweave index`: documents into a store.

use std::collections::BTreeSet;

use fanweave::retrieve::{Document, TextSplitter};
use fanweave::splitters::{Markdown, Splitter};
use fanweave::stores::{Library, Sqlite};
use fanweave::{Context, loaders};
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

    let store = Sqlite::open(&args.store).await?;
    match store.fact(EMBEDDINGS).await? {
        Some(other) if other != args.embeddings => {
            let message = format!("{} was filled with the embedding model {other}", args.store.display());
            return Err(
                Failure::usage(message).with_hint(format!("add --embeddings {other}, or name another store"))
            );
        }
        Some(_) => {}
        None => store.note(EMBEDDINGS, &args.embeddings).await?,
    }
    let sources: BTreeSet<_> =
        documents.iter().filter_map(|document| document.source().map(str::to_owned)).collect();
    let files = sources.len();
    let pieces = split(documents, args.tokens.get());
    let count = pieces.len();

    // Not before everything has been read and the model is there: what is forgotten must come back.
    store.forget(sources.into_iter().collect()).await?;
    Library::new(store.store(), embedder).add(pieces, &Context::new()).await?;
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

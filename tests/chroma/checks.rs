//! Checks the contract of a store against a Chroma server. Run by `tests/chroma/run.sh`.
//!
//!     cargo run -p fanweave --example chroma_checks -- http://localhost:8000

use fanweave::retrieval::{Document, Entry, Filter, Hit, Search};
use fanweave::stores::{Chroma, VectorIndex};
use fanweave::testing::HashEmbedder;
use fanweave::{Context, ErrorKind, Result};

fn entry(id: usize, vector: Vec<f32>) -> Entry {
    let document = Document::new(format!("text {id}")).with("number", id).with("even", id.is_multiple_of(2));
    Entry { id: format!("{id:05}"), vector, document }
}

fn ids(hits: &[Hit]) -> Vec<&str> {
    hits.iter().map(|hit| hit.id.as_str()).collect()
}

#[tokio::main]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "http://localhost:8000".to_owned());
    let cx = &Context::new();
    let name = format!("checks-{}", std::process::id());
    let store = Chroma::open(&url, &name).await?.store();

    assert_eq!(store.count(cx).await?, 0);
    store
        .upsert(vec![entry(1, vec![2.0, 0.0]), entry(2, vec![1.0, 1.0]), entry(3, vec![0.0, 3.0])], cx)
        .await?;
    let hits = store.search(Search::new(vec![1.0, 0.0]).with_vectors(), cx).await?;
    assert_eq!(ids(&hits), ["00001", "00002", "00003"]);
    assert!((hits[1].score - 0.5f32.sqrt()).abs() < 1e-4, "{}", hits[1].score);
    assert_eq!(hits[1].document, entry(2, vec![]).document);
    assert_eq!(hits[1].vector.as_ref().map(Vec::len), Some(2));
    println!("ok: entries are kept and found, the nearest first");

    store.upsert(vec![entry(1, vec![-1.0, 0.0]), entry(1, vec![0.0, -1.0])], cx).await?;
    store.delete(vec!["00002".into(), "none".into()], cx).await?;
    assert_eq!(ids(&store.search(Search::new(vec![1.0, 0.0]), cx).await?).len(), 2);
    assert_eq!(store.count(cx).await?, 2);
    println!("ok: entries are replaced and deleted");

    // Reopen the collection, as after a restart of this program.
    let reopened = Chroma::open(&url, &name).await?.store();
    assert_eq!(reopened.count(cx).await?, 2);
    println!("ok: the collection is there again");

    let wrong = reopened.search(Search::new(vec![1.0, 0.0, 0.0]), cx).await.expect_err("this is refused");
    assert_eq!(wrong.kind(), ErrorKind::BadRequest);
    assert!(wrong.to_string().contains("expecting embedding with dimension of 2"), "{wrong}");
    let gone = Chroma::open("http://127.0.0.1:1", "x").await.expect_err("this is refused");
    assert_eq!(gone.kind(), ErrorKind::Connection);
    println!("ok: what is wrong is said: {wrong}");

    let many = Chroma::open(&url, &format!("{name}-many")).await?.store();
    let entries: Vec<_> =
        (0..2500u16).map(|n| entry(n.into(), vec![f32::from(n).cos(), f32::from(n).sin(), 0.1])).collect();
    many.upsert(entries.clone(), cx).await?;
    assert_eq!(many.count(cx).await?, 2500);
    let filter = Filter::eq("even", true) & Filter::lt("number", 100) & Filter::none_of("number", [2, 4]);
    let allowed = |entry: &Entry| filter.allows(&entry.document.metadata);
    let search = Search::new(vec![1.0, 0.0, 0.1]).limit(1000).filter(filter.clone());
    let found = many.search(search, cx).await?;
    assert_eq!(found.len(), entries.iter().filter(|entry| allowed(entry)).count());
    assert!(found.iter().all(|hit| filter.allows(&hit.document.metadata)));
    println!("ok: filters mean the same on the server: {} of 2,500 entries", found.len());

    let library = VectorIndex::new(
        Chroma::open(&url, &format!("{name}-words")).await?.store(),
        HashEmbedder::embedder(),
    )
    .limit(1);
    library.add(["Tides follow the moon.".into(), "Bears sleep in winter.".into()], cx).await?;
    assert_eq!(library.search("When do bears sleep?", cx).await?[0].document.text, "Bears sleep in winter.");
    println!("ok: questions find their documents");
    Ok(())
}

//! One suite for every store in this process.

#[cfg(feature = "sqlite")]
use serde_json::json;

use super::*;
use crate::retrieve::{Document, Entry, Filter, Hit, Search, Store};
use crate::session::Sessions;
use crate::{Context, Message};

fn cx() -> Context {
    Context::new()
}

fn entry(id: usize, vector: Vec<f32>) -> Entry {
    let document = Document::new(format!("text {id}")).with("number", id).with("even", id.is_multiple_of(2));
    Entry { id: format!("{id:05}"), vector, document }
}

/// Pseudo-random vectors: the same ones every time.
fn vectors(n: usize, dimensions: usize) -> Vec<Vec<f32>> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        f32::from(u16::try_from(state >> 48).unwrap()) / 32768.0 - 1.0
    };
    (0..n).map(|_| (0..dimensions).map(|_| next()).collect()).collect()
}

fn ids(hits: &[Hit]) -> Vec<&str> {
    hits.iter().map(|hit| hit.id.as_str()).collect()
}

/// The ids of a plain scan in 64 bits.
fn plain(entries: &[Entry], wanted: &[f32], limit: usize) -> Vec<String> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    let cosine = |entry: &Entry| {
        dot(&entry.vector, wanted) / (dot(&entry.vector, &entry.vector) * dot(wanted, wanted)).sqrt()
    };
    let mut all: Vec<_> = entries.iter().map(|entry| (cosine(entry), entry.id.clone())).collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    all.into_iter().take(limit).map(|(_, id)| id).collect()
}

async fn keeps_what_it_is_given(store: Store) {
    assert_eq!(store.count(&cx()).await.unwrap(), 0);
    assert!(store.search(Search::new(vec![1.0, 0.0]), &cx()).await.unwrap().is_empty());

    store.upsert(vec![entry(1, vec![2.0, 0.0]), entry(2, vec![1.0, 1.0])], &cx()).await.unwrap();
    let hits = store.search(Search::new(vec![1.0, 0.0]).with_vectors(), &cx()).await.unwrap();
    assert_eq!(ids(&hits), ["00001", "00002"]);
    assert!((hits[0].score - 1.0).abs() < 1e-6 && (hits[1].score - 0.5f32.sqrt()).abs() < 1e-6);
    assert_eq!(hits[0].document, Document::new("text 1").with("number", 1).with("even", false));
    assert_eq!(hits[0].vector.as_deref(), Some(&[1.0, 0.0][..]));

    // Replaced, deleted, and an unknown id.
    store.upsert(vec![entry(1, vec![0.0, -1.0]), entry(3, vec![1.0, 0.1])], &cx()).await.unwrap();
    let hits = store.search(Search::new(vec![1.0, 0.0]), &cx()).await.unwrap();
    assert_eq!(ids(&hits), ["00003", "00002", "00001"]);
    store.delete(vec!["00003".into(), "none".into(), "00003".into()], &cx()).await.unwrap();
    assert_eq!(store.count(&cx()).await.unwrap(), 2);
    let hits = store.search(Search::new(vec![1.0, 0.0]).limit(1), &cx()).await.unwrap();
    assert_eq!(ids(&hits), ["00002"]);

    // The same id twice: the last one counts.
    store.upsert(vec![entry(4, vec![1.0, 0.0]), entry(4, vec![-1.0, 0.0])], &cx()).await.unwrap();
    let hits = store.search(Search::new(vec![-1.0, 0.0]).limit(1), &cx()).await.unwrap();
    assert_eq!((ids(&hits), store.count(&cx()).await.unwrap()), (vec!["00004"], 3));

    // All or none.
    let error = store.upsert(vec![entry(5, vec![1.0, 0.0]), entry(6, vec![1.0])], &cx()).await.unwrap_err();
    assert!(error.to_string().contains("a vector has 1 numbers, but those in the store have 2"), "{error}");
    assert_eq!(store.count(&cx()).await.unwrap(), 3);
    assert!(store.search(Search::new(vec![1.0]), &cx()).await.is_err());
    assert!(store.search(Search::new(vec![1.0, 0.0]).limit(0), &cx()).await.unwrap().is_empty());
}

async fn finds_what_a_plain_scan_finds(store: Store) {
    let entries: Vec<_> =
        vectors(2000, 48).into_iter().enumerate().map(|(id, vector)| entry(id, vector)).collect();
    for some in entries.chunks(300) {
        store.upsert(some.to_vec(), &cx()).await.unwrap();
    }
    for wanted in vectors(2050, 48).split_off(2000) {
        let hits = store.search(Search::new(wanted.clone()).limit(10), &cx()).await.unwrap();
        assert_eq!(ids(&hits), plain(&entries, &wanted, 10));

        let even = Filter::eq("even", true) & Filter::lt("number", 1000);
        let search = Search::new(wanted.clone()).limit(10).filter(even.clone());
        let some: Vec<_> =
            entries.iter().filter(|entry| even.allows(&entry.document.metadata)).cloned().collect();
        assert_eq!(ids(&store.search(search, &cx()).await.unwrap()), plain(&some, &wanted, 10));
    }
}

async fn remembers_conversations(sessions: Sessions) {
    assert_eq!(sessions.load("a").await.unwrap(), crate::session::Session::default());
    let messages: Vec<_> = (0..4).map(|n| Message::user(format!("message {n}"))).collect();
    sessions.append("a", messages[..3].to_vec()).await.unwrap();
    sessions.append("a", messages[3..].to_vec()).await.unwrap();
    sessions.append("b", vec![Message::assistant("other")]).await.unwrap();
    assert_eq!(sessions.load("a").await.unwrap().messages, messages);
    let of = crate::session::Session { summary: None, messages: messages[..3].to_vec() };
    sessions.summarise("a", &of, "three messages".into()).await.unwrap();
    // These messages have been replaced.
    sessions.summarise("a", &of, "others".into()).await.unwrap();
    let of = crate::session::Session { messages: messages[3..].to_vec(), ..of };
    sessions.summarise("a", &of, "of another summary".into()).await.unwrap();
    let session = sessions.load("a").await.unwrap();
    assert_eq!((session.summary.as_deref(), &session.messages[..]), (Some("three messages"), &messages[3..]));
    sessions.clear("a").await.unwrap();
    assert!(sessions.load("a").await.unwrap().messages.is_empty());
    assert_eq!(sessions.load("b").await.unwrap().messages.len(), 1);
}

#[tokio::test]
async fn memory_keeps_finds_and_remembers() {
    keeps_what_it_is_given(MemoryStore::store()).await;
    finds_what_a_plain_scan_finds(MemoryStore::store()).await;
    remembers_conversations(MemorySessions::sessions()).await;
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use super::*;
    use crate::ErrorKind;

    async fn store(folder: &tempfile::TempDir, name: &str) -> Store {
        SqliteStore::open(folder.path().join(name)).await.unwrap().store()
    }

    #[tokio::test]
    async fn sqlite_keeps_finds_and_remembers() {
        let folder = tempfile::tempdir().unwrap();
        keeps_what_it_is_given(store(&folder, "1.db").await).await;
        finds_what_a_plain_scan_finds(store(&folder, "2.db").await).await;
        remembers_conversations(SqliteSessions::open(folder.path().join("2.db")).await.unwrap()).await;
    }

    #[tokio::test]
    async fn entries_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let first = SqliteStore::open(folder.path().join("s.db")).await.unwrap();
        first.store().upsert(vec![entry(1, vec![1.0, 0.0])], &cx()).await.unwrap();
        first.note("embeddings", "words").await.unwrap();
        drop(first);
        let second = SqliteStore::open(folder.path().join("s.db")).await.unwrap();
        assert_eq!(second.meta("embeddings").await.unwrap().as_deref(), Some("words"));
        assert_eq!(second.meta("other").await.unwrap(), None);
        let hits = second.store().search(Search::new(vec![1.0, 0.0]), &cx()).await.unwrap();
        assert_eq!(hits[0].document.metadata["number"], json!(1));
    }

    #[tokio::test]
    async fn one_handle_sees_what_another_writes_and_deletes() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (store(&folder, "s.db").await, store(&folder, "s.db").await);
        let found = async |store: &Store| {
            let hits = store.search(Search::new(vec![1.0, 0.0]), &cx()).await.unwrap();
            hits.into_iter().map(|hit| hit.id).collect::<Vec<_>>()
        };
        one.upsert(vec![entry(1, vec![1.0, 0.0]), entry(2, vec![0.9, 0.1])], &cx()).await.unwrap();
        assert_eq!(found(&other).await, ["00001", "00002"]);
        other.delete(vec!["00002".into()], &cx()).await.unwrap();
        assert_eq!(found(&one).await, ["00001"]);
        one.upsert(vec![entry(3, vec![1.0, 0.5])], &cx()).await.unwrap();
        assert_eq!(found(&other).await, ["00001", "00003"]);
        other.upsert(vec![entry(1, vec![0.0, 1.0])], &cx()).await.unwrap();
        assert_eq!(found(&one).await, ["00003", "00001"]);
        assert_eq!(found(&other).await, ["00003", "00001"]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn readers_see_whole_writes_while_a_writer_writes() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, path) = (store(&folder, "s.db").await, folder.path().join("s.db"));
        let mut readers = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let path = path.clone();
            readers.spawn(async move {
                let store = SqliteStore::open(path).await.unwrap().store();
                let mut seen = 0;
                while seen < 200 {
                    let hits = store.search(Search::new(vec![1.0, 0.0]).limit(1000), &cx()).await.unwrap();
                    assert!(
                        hits.len() >= seen && hits.len().is_multiple_of(10),
                        "{} after {seen}",
                        hits.len()
                    );
                    seen = hits.len();
                }
            });
        }
        for ten in 0..20 {
            let entries = (0..10).map(|n| entry(ten * 10 + n, vec![1.0, 0.1])).collect();
            writer.upsert(entries, &cx()).await.unwrap();
        }
        while let Some(reader) = readers.join_next().await {
            reader.unwrap();
        }
    }

    #[tokio::test]
    async fn a_file_that_is_not_a_store_is_rejected_with_advice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        std::fs::write(&path, "this is a text, and a long one at that".repeat(100)).unwrap();
        let error = SqliteStore::open(&path).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().ends_with("notes.txt is not a database: use another file"), "{error}");

        let path = folder.path().join("other.db");
        rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE x (y)").unwrap();
        let error = SqliteStore::open(&path).await.err().unwrap();
        assert!(error.to_string().contains("is a database of another program"), "{error}");
        assert!(SqliteStore::open(folder.path().join("no/such/folder.db")).await.is_err());
    }

    #[tokio::test]
    async fn a_damaged_file_is_rejected_with_advice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.db");
        {
            let store = SqliteStore::open(&path).await.unwrap().store();
            let entries = vectors(500, 64).into_iter().enumerate().map(|(id, v)| entry(id, v)).collect();
            store.upsert(entries, &cx()).await.unwrap();
        }
        let mut bytes = std::fs::read(&path).unwrap();
        assert!(bytes.len() > 40_000, "the write is in the file itself");
        bytes[8192..40_000].fill(0xa5);
        std::fs::write(&path, bytes).unwrap();
        let damaged = async {
            let store = SqliteStore::open(&path).await?.store();
            store.search(Search::new(vec![1.0; 64]), &cx()).await
        };
        let error = damaged.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("is damaged: rebuild it from the documents"), "{error}");
    }
}

//! Stores in memory.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::index::{Index, check};
use super::{MIN_POOL_SCAN, blocking};
use crate::retrieve::{Document, Entry, Hit, Search, Store, VectorStore};
use crate::session::{Session, SessionStore, Sessions};
use crate::{Context, Message, Result};

/// Vectors in memory, with exact search. Not persistent.
///
/// Searches run concurrently, and wait only while entries are written. A clone shares the vectors.
///
/// ```
/// use fanweave::retrieval::{Entry, Search};
/// use fanweave::{Context, stores::MemoryStore};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let (store, cx) = (MemoryStore::store(), Context::new());
/// let entry = |id: &str, vector| Entry { id: id.into(), vector, document: id.into() };
/// store.upsert(vec![entry("north", vec![0.0, 1.0]), entry("east", vec![1.0, 0.0])], &cx).await?;
/// let hits = store.search(Search::new(vec![0.9, 0.1]).limit(1), &cx).await?;
/// assert_eq!(hits[0].document.text, "east");
/// # Ok(())
/// # }) }
/// ```
#[derive(Debug, Clone, Default)]
pub struct MemoryStore(Arc<RwLock<State>>);

#[derive(Debug, Default)]
struct State {
    index: Index,
    ids: Vec<String>,
    documents: Vec<Document>,
    rows: HashMap<String, usize>,
}

impl MemoryStore {
    /// An empty store.
    pub fn store() -> Store {
        Store::new(Self::default())
    }
}

impl VectorStore for MemoryStore {
    async fn upsert(&self, entries: Vec<Entry>, _: &Context) -> Result<()> {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let dimensions = match state.index.dimensions() {
            0 => entries.first().map_or(0, |entry| entry.vector.len()),
            dimensions => dimensions,
        };
        // All or none: check every entry before the first change.
        entries.iter().try_for_each(|entry| check(&entry.vector, dimensions))?;
        entries.into_iter().for_each(|entry| state.put(entry));
        Ok(())
    }

    async fn search(&self, search: Search, _: &Context) -> Result<Vec<Hit>> {
        let size = {
            let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
            state.index.check(&search.vector)?;
            state.index.rows() * state.index.dimensions()
        };
        let state = self.0.clone();
        let scan = move || Ok(state.read().unwrap_or_else(PoisonError::into_inner).search(&search));
        if size < MIN_POOL_SCAN { scan() } else { blocking(scan).await }
    }

    async fn delete(&self, ids: Vec<String>, _: &Context) -> Result<()> {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        ids.iter().collect::<HashSet<_>>().into_iter().for_each(|id| state.remove(id));
        Ok(())
    }

    async fn count(&self, _: &Context) -> Result<usize> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).ids.len())
    }
}

impl State {
    fn put(&mut self, entry: Entry) {
        let Entry { id, vector, document } = entry;
        if let Some(&row) = self.rows.get(&id) {
            self.index.replace(row, &vector);
            self.documents[row] = document;
        } else {
            self.index.push(&vector);
            self.rows.insert(id.clone(), self.ids.len());
            self.ids.push(id);
            self.documents.push(document);
        }
    }

    fn remove(&mut self, id: &str) {
        let Some(row) = self.rows.remove(id) else { return };
        self.index.swap_remove(row);
        self.ids.swap_remove(row);
        self.documents.swap_remove(row);
        if let Some(moved) = self.ids.get(row) {
            self.rows.insert(moved.clone(), row);
        }
    }

    fn search(&self, search: &Search) -> Vec<Hit> {
        let allows = |row: usize| {
            search.filter.as_ref().is_none_or(|filter| filter.allows(&self.documents[row].metadata))
        };
        let hit = |(row, score): (usize, f32)| {
            Hit::new(&self.ids[row], score, self.documents[row].clone())
                .with_vector(search.vectors.then(|| self.index.row(row).to_vec()))
        };
        let mut hits: Vec<_> =
            self.index.nearest(&search.vector, search.limit, allows).into_iter().map(hit).collect();
        sort(&mut hits);
        hits
    }
}

/// Sorts hits by score, highest first; ties by id.
pub(super) fn sort(hits: &mut [Hit]) {
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
}

/// Conversations in memory. Not persistent.
///
/// ```
/// use fanweave::{Message, stores::MemorySessions};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let sessions = MemorySessions::sessions();
/// sessions.append("ada", vec![Message::user("hello")]).await?;
/// assert_eq!(sessions.load("ada").await?.messages.len(), 1);
/// # Ok(())
/// # }) }
/// ```
#[derive(Debug, Clone, Default)]
pub struct MemorySessions(Arc<Mutex<HashMap<String, Session>>>);

impl MemorySessions {
    /// An empty store.
    pub fn sessions() -> Sessions {
        Sessions::new(Self::default())
    }

    fn with<T>(&self, id: &str, change: impl FnOnce(&mut Session) -> T) -> T {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(sessions.entry(id.to_owned()).or_default())
    }
}

impl SessionStore for MemorySessions {
    async fn load(&self, id: &str) -> Result<Session> {
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(sessions.get(id).cloned().unwrap_or_default())
    }

    async fn append(&self, id: &str, messages: Vec<Message>) -> Result<()> {
        self.with(id, |session| session.messages.extend(messages));
        Ok(())
    }

    async fn summarise(&self, id: &str, of: &Session, summary: String) -> Result<()> {
        self.with(id, |session| {
            if session.summary == of.summary && session.messages.starts_with(&of.messages) {
                session.summary = Some(summary);
                session.messages.drain(..of.messages.len());
            }
        });
        Ok(())
    }

    async fn clear(&self, id: &str) -> Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        Ok(())
    }
}

//! Cached answers: keys, the store trait and the store in memory.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{Error, ErrorKind, Message, Prompt, Result};

/// Identifies a request: model, messages and every parameter. Requests that differ in anything have different
/// keys.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheKey([u8; 32]);

impl CacheKey {
    /// The key of `prompt` for the model with that identity. `prompt` must already contain the parameters of
    /// the model.
    pub(crate) fn new(model: &str, prompt: &Prompt) -> Self {
        let mut request = sorted(json!({ "model": model, "prompt": prompt }));
        if let Some(body) = &prompt.body {
            request["body"] = body.canonical().into();
        }
        Self(Sha256::digest(request.to_string()).into())
    }

    /// The key as bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The same value with the fields of all objects sorted by name.
pub fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let fields: BTreeMap<_, _> = map.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CacheKey({self})")
    }
}

/// A store for answers. See [`Model::cached`](crate::Model::cached).
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::Mutex;
/// use fanweave::{Message, Result, stores::{CacheKey, CacheStore}};
///
/// #[derive(Default)]
/// struct Forever(Mutex<HashMap<CacheKey, Message>>);
///
/// impl CacheStore for Forever {
///     async fn get(&self, key: &CacheKey) -> Result<Option<Message>> {
///         Ok(self.0.lock().unwrap().get(key).cloned())
///     }
///
///     async fn put(&self, key: &CacheKey, answer: &Message) -> Result<()> {
///         self.0.lock().unwrap().insert(*key, answer.clone());
///         Ok(())
///     }
/// }
/// ```
pub trait CacheStore: Send + Sync + 'static {
    /// Returns the stored answer for a request.
    ///
    /// # Errors
    /// If the store cannot be read. The call then fails before it costs anything.
    fn get(&self, key: &CacheKey) -> impl Future<Output = Result<Option<Message>>> + Send;

    /// Stores an answer.
    ///
    /// # Errors
    /// If the store cannot be written. The answer, which is already paid for, is returned anyway.
    fn put(&self, key: &CacheKey, answer: &Message) -> impl Future<Output = Result<()>> + Send;
}

/// Answers in memory: the most recently used, up to a number and a size.
///
/// ```
/// use fanweave::{stores::MemoryCache, testing::Fake};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let model = Fake::script([Ok("only once")]).model().cached(MemoryCache::default());
/// assert_eq!(model.invoke("Say something.").await?.text(), "only once");
/// let again = model.invoke("Say something.").await?;
/// assert_eq!(again.text(), "only once");
/// assert!(again.reply.unwrap().cached);
/// # Ok(())
/// # }) }
/// ```
pub struct MemoryCache {
    max_answers: NonZeroUsize,
    max_bytes: usize,
    entries: Mutex<Entries>,
}

impl fmt::Debug for MemoryCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryCache")
            .field("max_answers", &self.max_answers)
            .field("most_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Entries {
    answers: HashMap<CacheKey, Entry>,
    /// The keys by time of last use, oldest first.
    uses: BTreeMap<u64, CacheKey>,
    clock: u64,
    bytes: usize,
}

struct Entry {
    json: Box<[u8]>,
    used: u64,
}

impl MemoryCache {
    /// Default maximum number of answers.
    pub const DEFAULT_ANSWERS: NonZeroUsize = NonZeroUsize::new(10_000).expect("10,000 is not 0");
    /// Default maximum bytes: 64 MiB.
    pub const DEFAULT_BYTES: usize = 64 << 20;

    /// Keeps at most `max_answers` answers and at most `max_bytes` bytes of JSON. A single answer that
    /// exceeds `max_bytes` is not kept.
    pub fn new(max_answers: NonZeroUsize, max_bytes: usize) -> Self {
        Self { max_answers, max_bytes, entries: Mutex::default() }
    }

    /// The number of answers in the store.
    pub fn len(&self) -> usize {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).answers.len()
    }

    /// Returns true if the store is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Default for MemoryCache {
    fn default() -> Self {
        Self::new(Self::DEFAULT_ANSWERS, Self::DEFAULT_BYTES)
    }
}

impl Entries {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn get(&mut self, key: &CacheKey) -> Option<&[u8]> {
        let now = self.tick();
        let entry = self.answers.get_mut(key)?;
        self.uses.remove(&entry.used);
        self.uses.insert(now, *key);
        entry.used = now;
        Some(&entry.json)
    }

    fn remove(&mut self, key: &CacheKey) {
        if let Some(entry) = self.answers.remove(key) {
            self.uses.remove(&entry.used);
            self.bytes -= entry.json.len();
        }
    }

    fn put(&mut self, key: CacheKey, json: Box<[u8]>) {
        self.remove(&key);
        let used = self.tick();
        self.bytes += json.len();
        self.uses.insert(used, key);
        self.answers.insert(key, Entry { json, used });
    }
}

impl CacheStore for MemoryCache {
    async fn get(&self, key: &CacheKey) -> Result<Option<Message>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(key).map(serde_json::from_slice).transpose().map_err(unreadable)
    }

    async fn put(&self, key: &CacheKey, answer: &Message) -> Result<()> {
        let json = serde_json::to_vec(answer).map_err(unreadable)?.into_boxed_slice();
        if json.len() > self.max_bytes {
            return Ok(());
        }
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.put(*key, json);
        while entries.answers.len() > self.max_answers.get() || entries.bytes > self.max_bytes {
            let Some((_, oldest)) = entries.uses.first_key_value() else { break };
            let oldest = *oldest;
            entries.remove(&oldest);
        }
        Ok(())
    }
}

fn unreadable(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Decode, format!("a cached answer cannot be read: {error}")).with_source(error)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::prompt::{Endpoint, RequestBody};
    use crate::{Parameters, ToolChoice};

    fn key(n: u32) -> CacheKey {
        CacheKey::new("test/model", &Prompt::from(n.to_string()))
    }

    #[tokio::test]
    async fn the_least_recently_used_answer_is_evicted_first() {
        let cache = MemoryCache::new(NonZeroUsize::new(2).unwrap(), 1 << 20);
        for n in [1, 2] {
            cache.put(&key(n), &Message::assistant(n.to_string())).await.unwrap();
        }
        assert!(cache.get(&key(1)).await.unwrap().is_some());
        cache.put(&key(3), &Message::assistant("3")).await.unwrap();
        let mut present = Vec::new();
        for n in [1, 2, 3] {
            present.push(cache.get(&key(n)).await.unwrap().map(|message| message.text()));
        }
        assert_eq!(present, [Some("1".to_owned()), None, Some("3".to_owned())]);
    }

    #[test]
    fn requests_that_differ_in_anything_have_different_keys() {
        let base = || Prompt::from("hello");
        let with = |change: fn(&mut Parameters)| {
            let mut prompt = base();
            change(&mut prompt.parameters);
            prompt
        };
        let prompts = [
            base(),
            base().with_system("be brief"),
            Prompt::from(Message::assistant("hello")),
            with(|p| p.temperature = Some(0.0)),
            with(|p| p.temperature = Some(0.1)),
            with(|p| p.max_tokens = Some(1)),
            with(|p| p.seed = Some(1)),
            with(|p| p.stop = vec!["x".to_owned()]),
            with(|p| p.tool_choice = Some(ToolChoice::None)),
            with(|p| _ = p.extra.insert("n".to_owned(), 2.into())),
            with(|p| p.model = Some("other".to_owned())),
        ];
        let body = |json: &str| {
            base().with_body(RequestBody::new(Endpoint::ChatCompletions, json).expect("an object"))
        };
        let prompts = [&prompts[..], &[body("{}"), body(r#"{"n":1}"#), body(r#"{"n":1.0}"#)]].concat();
        let mut keys: Vec<_> = prompts.iter().map(|prompt| CacheKey::new("test/model", prompt)).collect();
        keys.push(CacheKey::new("test/other", &base()));
        let all = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), all);
        let extra = |names: [&str; 2]| {
            let mut prompt = base();
            for name in names {
                prompt.parameters.extra.insert(name.to_owned(), 1.into());
            }
            CacheKey::new("m", &prompt)
        };
        assert_eq!(extra(["a", "b"]), extra(["b", "a"]), "the order of fields says nothing");
    }

    proptest! {
        #[test]
        fn neither_number_nor_size_ever_exceeds_its_limit(
            puts in prop::collection::vec((0u32..20, 0usize..400), 1..80),
            max_answers in 1usize..10,
            max_bytes in 100usize..2000,
        ) {
            let cache = MemoryCache::new(NonZeroUsize::new(max_answers).unwrap(), max_bytes);
            futures::executor::block_on(async {
                for (n, length) in puts {
                    cache.put(&key(n), &Message::assistant("x".repeat(length))).await.unwrap();
                    let entries = cache.entries.lock().unwrap();
                    assert!(entries.answers.len() <= max_answers && entries.bytes <= max_bytes);
                    assert_eq!(entries.answers.len(), entries.uses.len());
                    assert_eq!(entries.bytes, entries.answers.values().map(|entry| entry.json.len()).sum::<usize>());
                }
            });
        }
    }
}

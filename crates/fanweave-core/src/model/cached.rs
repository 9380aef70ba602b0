//! A model with a cache for its answers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures::future::BoxFuture;
use tokio::sync::Mutex as CallLock;

use super::{ChatModel, Model};
use crate::generation::PerProcess;
use crate::{CacheKey, CacheStore, Context, Message, Prompt, Result};

impl Model {
    /// Caches answers in `store`: a request that is equal, including its parameters, is answered from there.
    ///
    /// Concurrent equal requests make one call; if it fails or is cancelled, another one of them makes the
    /// call. The call does not wait for the reader of its stream, unless the reader is more than about 4 MiB
    /// behind. An answer from the store has [`Reply::cached`](crate::Reply::cached) set and no usage, and
    /// arrives as one delta. Errors are not cached. [`Context::with_fresh_answers`] skips the store.
    ///
    /// ```
    /// use fanweave::{chain, stores::MemoryCache, testing::Fake, text};
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let joke = chain(Fake::script([Ok("a joke")]).model().cached(MemoryCache::default())) | text();
    /// assert_eq!(joke.invoke("Tell a joke.").await?, joke.invoke("Tell a joke.").await?);
    /// # Ok(())
    /// # }) }
    /// ```
    #[must_use]
    pub fn cached(self, store: impl CacheStore) -> Self {
        self.cached_in(Arc::new(store))
    }

    /// Like [`cached`](Self::cached), with a store that several models share.
    #[must_use]
    pub fn cached_in(self, store: Arc<impl CacheStore>) -> Self {
        Self::new(Cached { model: self, store, calls: Arc::default() })
    }
}

/// The lock that a caller holds while it makes the call, for each request in flight.
type CallLocks = HashMap<CacheKey, Weak<CallLock<()>>>;

#[derive(Clone)]
struct Cached {
    model: Model,
    store: Arc<dyn DynCacheStore>,
    /// A forked child does not wait for the calls of its parent.
    calls: Arc<PerProcess<Mutex<CallLocks>>>,
}

impl ChatModel for Cached {
    const DRIVES_CALLS: bool = true;

    fn name(&self) -> &str {
        self.model.name()
    }

    fn identity(&self) -> String {
        self.model.identity()
    }

    async fn generate(&self, mut prompt: Prompt, cx: &Context) -> Result<Message> {
        prompt.parameters = std::mem::take(&mut prompt.parameters).or(&self.model.parameters);
        if cx.wants_fresh_answers() {
            return self.model.inner.generate(prompt, cx).await;
        }
        let key = CacheKey::new(&self.model.identity(), &prompt);
        if let Some(answer) = self.remembered(&key).await? {
            return Ok(answer);
        }
        if cx.is_driven() {
            return self.call(key, prompt, cx).await;
        }
        // In a task: a reader that does not poll must not keep the lock from other callers, which may be its
        // own calls.
        let cached = self.clone();
        Box::pin(cx.in_task(move |cx| async move { cached.call(key, prompt, &cx).await })).await
    }
}

impl Cached {
    /// Makes the call, unless a concurrent one stores the answer first.
    async fn call(&self, key: CacheKey, prompt: Prompt, cx: &Context) -> Result<Message> {
        let call_lock = self.call_lock(key);
        let _guard = match call_lock.try_lock() {
            Ok(guard) => guard,
            Err(_) => {
                // The call that holds the lock may wait for the permit that an enclosing call holds.
                cx.return_permit();
                call_lock.lock().await
            }
        };
        // The previous holder of the lock may have stored the answer.
        if let Some(answer) = self.remembered(&key).await? {
            return Ok(answer);
        }
        let answer = self.model.inner.generate(prompt, cx).await?;
        // The answer has been paid for: return it even if the store is full.
        let _ = self.store.put(&key, &answer).await;
        Ok(answer)
    }

    async fn remembered(&self, key: &CacheKey) -> Result<Option<Message>> {
        Ok(self.store.get(key).await?.map(Message::without_cost))
    }

    fn call_lock(&self, key: CacheKey) -> Arc<CallLock<()>> {
        let calls = self.calls.get(Mutex::default);
        let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(call_lock) = calls.get(&key).and_then(Weak::upgrade) {
            return call_lock;
        }
        // Finished calls are removed before the map grows.
        if calls.len() == calls.capacity() {
            calls.retain(|_, call_lock| call_lock.strong_count() > 0);
        }
        let call_lock = Arc::new(CallLock::new(()));
        calls.insert(key, Arc::downgrade(&call_lock));
        call_lock
    }
}

/// Dyn-compatible counterpart of [`CacheStore`].
trait DynCacheStore: Send + Sync {
    fn get<'a>(&'a self, key: &'a CacheKey) -> BoxFuture<'a, Result<Option<Message>>>;
    fn put<'a>(&'a self, key: &'a CacheKey, answer: &'a Message) -> BoxFuture<'a, Result<()>>;
}

impl<S: CacheStore> DynCacheStore for S {
    fn get<'a>(&'a self, key: &'a CacheKey) -> BoxFuture<'a, Result<Option<Message>>> {
        Box::pin(CacheStore::get(self, key))
    }

    fn put<'a>(&'a self, key: &'a CacheKey, answer: &'a Message) -> BoxFuture<'a, Result<()>> {
        Box::pin(CacheStore::put(self, key, answer))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures::StreamExt;
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::Usage;
    use crate::{Error, ErrorKind, MemoryCache, Parameters, chain, text};

    /// Counts its calls, takes a second for each, and fails the first `fails` of them.
    struct Slow {
        calls: Arc<AtomicUsize>,
        fails: usize,
    }

    impl ChatModel for Slow {
        fn name(&self) -> &str {
            "test/slow"
        }

        async fn generate(&self, prompt: Prompt, _: &Context) -> Result<Message> {
            let n = self.calls.fetch_add(1, Ordering::SeqCst);
            sleep(Duration::from_secs(1)).await;
            if n < self.fails {
                Err(Error::new(ErrorKind::Server, "no"))
            } else {
                Ok(Message::assistant(prompt.last_user_text()))
            }
        }
    }

    fn slow(fails: usize) -> (Model, Arc<AtomicUsize>) {
        let calls = Arc::new(AtomicUsize::new(0));
        (Model::new(Slow { calls: calls.clone(), fails }).cached(MemoryCache::default()), calls)
    }

    #[tokio::test(start_paused = true)]
    async fn equal_requests_at_the_same_time_make_one_call() {
        let (model, calls) = slow(0);
        let rows = chain(model.clone())
            .batch((0..50).map(|n| if n < 40 { "same" } else { "other" }))
            .collect()
            .await;
        assert!(rows.iter().all(Result::is_ok));
        assert_eq!(calls.load(Ordering::SeqCst), 2);
        let cached =
            rows.iter().filter(|row| row.as_ref().unwrap().reply.as_ref().is_some_and(|r| r.cached)).count();
        assert_eq!(cached, 48);
    }

    #[tokio::test(start_paused = true)]
    async fn if_the_first_caller_fails_or_is_dropped_another_one_calls() {
        let (model, calls) = slow(1);
        let (first, second) = tokio::join!(model.invoke("x"), model.invoke("x"));
        assert!(first.is_err());
        assert_eq!(second.unwrap().text(), "x");
        assert_eq!(calls.load(Ordering::SeqCst), 2);

        let (model, calls) = slow(0);
        let leaves = timeout(Duration::from_millis(500), model.invoke("x"));
        let (left, stayed) = tokio::join!(leaves, model.invoke("x"));
        assert!(left.is_err());
        assert_eq!(stayed.unwrap().text(), "x");
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn parameters_of_the_call_and_of_the_model_are_part_of_the_request() {
        let (model, calls) = slow(0);
        let cold = model.clone().with(Parameters { temperature: Some(0.0), ..Parameters::default() });
        model.invoke("x").await.unwrap();
        cold.invoke("x").await.unwrap();
        let mut prompt = Prompt::from("x");
        prompt.parameters.temperature = Some(0.0);
        model.invoke(prompt).await.unwrap();
        // The last two are the same request.
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_from_the_store_costs_nothing_arrives_as_one_delta_and_can_be_skipped() {
        let (model, calls) = slow(0);
        let chain = chain(model.clone()) | text();
        chain.invoke("a b c").await.unwrap();
        let deltas: Vec<_> = chain.stream("a b c").map(|delta| delta.unwrap().to_string()).collect().await;
        assert_eq!(deltas, ["a b c"]);
        assert_eq!(model.invoke("a b c").await.unwrap().usage(), Usage::default());
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        let cx = Context::new().with_fresh_answers();
        chain.invoke_in("a b c", &cx).await.unwrap();
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }
}

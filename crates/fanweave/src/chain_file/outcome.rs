//! What a step has made so far, for the steps that wait for it.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;

/// The output of one step of one run, as it grows.
#[derive(Debug)]
pub(super) struct Outcome(watch::Sender<Progress>);

#[derive(Debug, Default)]
struct Progress {
    /// Of a step that answers with text: what has arrived.
    text: String,
    /// Of a step that gives a list: its items so far.
    items: Vec<Value>,
    end: Option<End>,
}

/// How a step ended. One that fails the run ends nothing: the run is over.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum End {
    /// Shared: whoever goes over a list asks for it once an item.
    Done(Arc<Value>),
    /// What needs it is skipped too.
    Skipped,
}

impl Default for Outcome {
    fn default() -> Self {
        Self(watch::Sender::new(Progress::default()))
    }
}

impl Outcome {
    pub(super) fn say(&self, text: &str) {
        self.0.send_modify(|progress| progress.text.push_str(text));
    }

    pub(super) fn push(&self, item: Value) {
        self.0.send_modify(|progress| progress.items.push(item));
    }

    pub(super) fn end(&self, end: End) {
        self.0.send_modify(|progress| progress.end = Some(end));
    }

    /// The items that were pushed.
    pub(super) fn take_items(&self) -> Vec<Value> {
        self.0.borrow().items.clone()
    }

    async fn wait<T>(&self, mut look: impl FnMut(&Progress) -> Option<T>) -> T {
        let mut found = None;
        let mut seen = self.0.subscribe();
        let waited = seen.wait_for(|progress| {
            found = look(progress);
            found.is_some()
        });
        // The sender is `self`, and cannot go while this waits.
        let _ = waited.await;
        found.expect("the wait ends when something is found")
    }

    /// Waits for the end.
    pub(super) async fn ended(&self) -> End {
        self.wait(|progress| progress.end.clone()).await
    }

    /// Waits for the item at `index`. `None` where the list is shorter.
    pub(super) async fn item(&self, index: usize) -> Option<Value> {
        self.wait(|progress| match (progress.items.get(index), &progress.end) {
            (Some(item), _) => Some(Some(item.clone())),
            (None, Some(_)) => Some(None),
            (None, None) => None,
        })
        .await
    }

    /// Waits for text after the first `seen` bytes. `None` where there is no more.
    pub(super) async fn more_text(&self, seen: usize) -> Option<String> {
        self.wait(|progress| match (&progress.text[seen..], &progress.end) {
            ("", Some(_)) => Some(None),
            ("", None) => None,
            (more, _) => Some(Some(more.to_owned())),
        })
        .await
    }
}

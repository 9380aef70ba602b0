//! The output of a step so far, for the steps that wait for it.

use std::sync::Arc;

use tokio::sync::watch;

use crate::Item;

/// The output of one step of one run, as it grows.
#[derive(Debug)]
pub(super) struct Outcome(watch::Sender<Progress>);

#[derive(Debug, Default)]
struct Progress {
    /// Text received so far, for a step whose output is text.
    text: String,
    /// Items so far, for a step whose output is a list.
    items: Vec<Item>,
    end: Option<End>,
}

/// Result of a finished step. A step that fails the run never gets one, since the run ends with it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum End {
    /// Shared, because a fan-out reads the list once for each item.
    Done(Arc<Item>),
    /// Steps that depend on it are skipped as well.
    Skipped,
}

impl Default for Outcome {
    fn default() -> Self {
        Self(watch::Sender::new(Progress::default()))
    }
}

impl Outcome {
    pub(super) fn push_text(&self, text: &str) {
        self.0.send_modify(|progress| progress.text.push_str(text));
    }

    pub(super) fn push(&self, item: Item) {
        self.0.send_modify(|progress| progress.items.push(item));
    }

    pub(super) fn end(&self, end: End) {
        self.0.send_modify(|progress| progress.end = Some(end));
    }

    /// Ends with the list of the items that were pushed.
    pub(super) fn end_with_items(&self) {
        self.0.send_modify(|progress| {
            let items = std::mem::take(&mut progress.items);
            progress.end = Some(End::Done(Arc::new(Item::List(items))));
        });
    }

    async fn wait<T>(&self, mut look: impl FnMut(&Progress) -> Option<T>) -> T {
        let mut found = None;
        let mut seen = self.0.subscribe();
        let waited = seen.wait_for(|progress| {
            found = look(progress);
            found.is_some()
        });
        // The sender is part of `self`, so it is not dropped during the wait.
        let _ = waited.await;
        found.expect("the wait ends when something is found")
    }

    /// The output, if the step has ended with one.
    pub(super) fn output(&self) -> Option<Arc<Item>> {
        match self.0.borrow().end.as_ref()? {
            End::Done(item) => Some(item.clone()),
            End::Skipped => None,
        }
    }

    /// Waits for the end.
    pub(super) async fn ended(&self) -> End {
        self.wait(|progress| progress.end.clone()).await
    }

    /// Waits for the item at `index` while the list grows. `None` if the step ends before, with the list.
    pub(super) async fn item(&self, index: usize) -> Option<Item> {
        self.wait(|progress| match (progress.items.get(index), &progress.end) {
            (Some(item), _) => Some(Some(item.clone())),
            (None, Some(_)) => Some(None),
            (None, None) => None,
        })
        .await
    }

    /// Waits for text after the first `seen` bytes. `None` at the end of the text.
    pub(super) async fn more_text(&self, seen: usize) -> Option<String> {
        self.wait(|progress| match (&progress.text[seen..], &progress.end) {
            ("", Some(_)) => Some(None),
            ("", None) => None,
            (more, _) => Some(Some(more.to_owned())),
        })
        .await
    }
}

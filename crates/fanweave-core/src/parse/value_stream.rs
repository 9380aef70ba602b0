//! Reads the JSON of a streamed answer.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use super::partial::Partial;
use crate::Delta;
use crate::think::ThinkSplitter;

/// Reads the JSON of the text deltas of an answer, without its thinking.
#[derive(Default)]
pub(crate) struct ValueStream {
    partial: Partial,
    thinking: ThinkSplitter,
    part: u32,
    /// Set if the reader holds complete values back.
    holds_complete: bool,
    is_shown: bool,
}

impl ValueStream {
    /// For the items of the top-level array, or of the first array in the top-level object.
    pub(crate) fn of_items() -> Self {
        Self { partial: Partial::of_items(), ..Self::default() }
    }

    /// For the items of the array with this name in the top-level object.
    pub(crate) fn of_items_in(field: Arc<str>) -> Self {
        Self { partial: Partial::of_items_in(field), ..Self::default() }
    }

    /// For a reader that holds complete values back.
    pub(crate) fn holding_complete() -> Self {
        Self { holds_complete: true, ..Self::default() }
    }

    /// Reads a delta. Returns the value so far if enough of it is new.
    pub(crate) fn push(&mut self, delta: &Delta) -> Option<Value> {
        let text = self.answer(delta)?;
        let value = self.partial.push(&text);
        self.is_shown |= value.is_some() && !(self.holds_complete && self.has_ended());
        value
    }

    /// Reads a delta. Returns the items that are complete now.
    pub(crate) fn take_items(&mut self, delta: &Delta) -> Vec<Value> {
        let text = self.answer(delta).unwrap_or_default();
        self.partial.take_items(&text)
    }

    /// Returns the last items. The answer has ended.
    pub(crate) fn last_items(&mut self) -> Vec<Value> {
        self.partial.last_items()
    }

    /// Returns true if the array is complete.
    pub(crate) fn items_ended(&self) -> bool {
        self.partial.items_ended()
    }

    /// Returns true if a value has been returned that the reader did not hold back.
    pub(crate) fn is_shown(&self) -> bool {
        self.is_shown
    }

    /// Returns true if the value is complete.
    pub(crate) fn has_ended(&self) -> bool {
        self.partial.has_ended()
    }

    /// The text of a delta without its thinking. `None` if it has no text.
    ///
    /// Rounds of a tool loop have parts of their own. A value that was interrupted belongs to an earlier one,
    /// and so may one that was not shown.
    fn answer<'d>(&mut self, delta: &'d Delta) -> Option<Cow<'d, str>> {
        let mut held = Cow::default();
        if let Delta::Text { part, .. } = delta
            && std::mem::replace(&mut self.part, *part) != *part
        {
            held = std::mem::take(&mut self.thinking).finish().text;
            if self.partial.is_broken() || self.holds_complete && !self.is_shown && self.has_ended() {
                self.partial.restart();
                held = Cow::default();
            }
        }
        // `Cow` takes over the second text if the first one is empty.
        Some(held + self.thinking.push(delta.as_text()?).text)
    }
}

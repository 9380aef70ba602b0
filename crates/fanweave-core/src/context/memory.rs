//! Memory for the values of a run: the texts that it holds, and their limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value};

use super::Context;
use crate::{Error, ErrorKind, Item, Media, Message, Part, Prompt, Result, Vars};

/// Default of [`Dag::max_memory_bytes`](crate::Dag::max_memory_bytes). 512 MiB.
pub(crate) const MAX_RUN_BYTES: u64 = 512 << 20;

/// Bytes of a JSON value without its text, and of a part of a message.
const VALUE: u64 = 64;

/// Bytes of an entry of an object without its texts, and of a message without its parts.
const ENTRY: u64 = 128;

/// Counts the memory of the values of a run.
#[derive(Debug)]
pub(crate) struct RunMemory {
    held: AtomicU64,
    max: u64,
}

/// A part of the memory of a run. Dropping it releases it.
#[derive(Debug)]
pub(crate) struct Held {
    memory: Arc<RunMemory>,
    bytes: AtomicU64,
}

impl RunMemory {
    pub(crate) fn new(max: u64) -> Self {
        Self { held: AtomicU64::new(0), max }
    }

    /// Holds `bytes` more.
    ///
    /// # Errors
    /// [`ErrorKind::Input`] beyond the limit.
    pub(crate) fn hold(self: &Arc<Self>, bytes: u64) -> Result<Held> {
        let held = Held { memory: self.clone(), bytes: AtomicU64::new(0) };
        held.add(bytes).map(|()| held)
    }
}

impl Held {
    /// Holds `bytes` more.
    ///
    /// # Errors
    /// [`ErrorKind::Input`] beyond the limit.
    pub(crate) fn add(&self, bytes: u64) -> Result<()> {
        // Added before the check: dropping this releases them.
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let before = self.memory.held.fetch_add(bytes, Ordering::Relaxed);
        let (all, max) = (before.saturating_add(bytes), self.memory.max);
        if all <= max {
            return Ok(());
        }
        let message = format!(
            "the prompts and outputs of the run need {} of memory, more than its limit of {}: raise \
             `run_memory_mib` of the chain file, Dag::max_memory_bytes or Context::with_max_memory",
            mib(all.div_ceil(1 << 20) << 20),
            mib(max),
        );
        Err(Error::new(ErrorKind::Input, message))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.memory.held.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

fn mib(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 20) { format!("{} MiB", bytes >> 20) } else { format!("{bytes} bytes") }
}

impl Context {
    /// Limits the memory for the prompts of calls in flight, and for the values of [dags](crate::dag), in all
    /// runs of this context together. A step that exceeds it fails with [`ErrorKind::Input`]. Default: none
    /// for prompts, and [`Dag::max_memory_bytes`](crate::Dag::max_memory_bytes), which this replaces.
    ///
    /// Texts are counted by their bytes, a prompt twice, since its request contains it, and a JSON value with
    /// 64 bytes more. The answers that a model is still receiving are not counted.
    ///
    /// ```
    /// use fanweave::{Context, ErrorKind, prompt, testing::Fake, text, vars};
    ///
    /// # fn main() { fanweave::blocking::wait(async {
    /// let chain = prompt("{{ word * 1000 }}") | Fake::echo() | text();
    /// let cx = Context::new().with_max_memory(10_000);
    /// let error = chain.invoke_in(vars! { word: "river " }, &cx).await.unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Input);
    /// assert!(error.message().contains("more than its limit of 10000 bytes"), "{error}");
    /// # }) }
    /// ```
    #[must_use]
    pub fn with_max_memory(self, bytes: u64) -> Self {
        self.with_memory(Arc::new(RunMemory::new(bytes)))
    }

    pub(crate) fn with_memory(self, memory: Arc<RunMemory>) -> Self {
        self.with(|s| s.memory = Some(memory))
    }

    /// The memory of the run, if it is limited.
    pub(crate) fn memory(&self) -> Option<&Arc<RunMemory>> {
        self.shared.memory.as_ref()
    }
}

/// Bytes of an item. A foreign value counts as if it were empty.
pub(crate) fn of_item(item: &Item) -> u64 {
    VALUE
        + match item {
            Item::Text(text) => text.capacity() as u64,
            Item::Value(value) => of_value(value),
            Item::Vars(vars) => of_vars(vars),
            Item::Prompt(prompt) => of_messages(&prompt.messages),
            Item::Message(message) => of_message(message),
            Item::List(items) => {
                let unused = (items.capacity() - items.len()) as u64 * VALUE;
                items.iter().map(of_item).fold(unused, u64::saturating_add)
            }
            Item::Foreign(_) => 0,
        }
}

/// Bytes of variables.
pub(crate) fn of_vars(vars: &Vars) -> u64 {
    of_map(vars.as_map())
}

/// Bytes of an object.
pub(crate) fn of_map(map: &Map<String, Value>) -> u64 {
    map.iter().map(|(name, value)| ENTRY + name.len() as u64 + of_value(value)).sum()
}

fn of_value(value: &Value) -> u64 {
    VALUE
        + match value {
            Value::String(text) => text.capacity() as u64,
            Value::Array(items) => items.iter().map(of_value).sum(),
            Value::Object(fields) => of_map(fields),
            _ => 0,
        }
}

/// Bytes of a prompt and of the request that contains it.
pub(crate) fn of_call(prompt: &Prompt) -> u64 {
    let texts = prompt.messages.iter().flat_map(|message| &message.parts).filter_map(Part::as_text);
    // A control character is an escape of six bytes in JSON.
    let escapes: u64 = texts.map(|text| 5 * text.bytes().filter(|byte| *byte < b' ').count() as u64).sum();
    2 * of_messages(&prompt.messages) + escapes
}

fn of_messages(messages: &[Message]) -> u64 {
    messages.iter().map(of_message).sum()
}

/// Bytes of a message.
pub(crate) fn of_message(message: &Message) -> u64 {
    ENTRY + of_parts(&message.parts)
}

pub(crate) fn of_parts(parts: &[Part]) -> u64 {
    let of_part = |part: &Part| {
        VALUE
            + match part {
                Part::Text(text) => text.len() as u64,
                Part::Image(media) | Part::Audio(media) | Part::File(media) => match media {
                    Media::Url(url) => url.len() as u64,
                    Media::Inline { base64, .. } => base64.len() as u64,
                },
                Part::ToolCall(call) => (call.id.len() + call.name.len() + call.arguments.len()) as u64,
                Part::ToolResult(result) => result.id.len() as u64 + of_parts(&result.parts),
                Part::Reasoning { text, signature } => {
                    (text.len() + signature.as_ref().map_or(0, String::len)) as u64
                }
                Part::Other(value) => of_value(value),
            }
    };
    parts.iter().map(of_part).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vars;

    #[test]
    fn what_is_dropped_is_released_also_after_an_error() {
        let memory = Arc::new(RunMemory::new(100));
        let first = memory.hold(60).unwrap();
        assert!(memory.hold(60).is_err());
        assert!(first.add(41).is_err());
        drop(first);
        assert_eq!(memory.held.load(Ordering::Relaxed), 0);
        memory.hold(100).unwrap().add(1).unwrap_err();
        memory.hold(100).unwrap();
    }

    #[test]
    fn the_error_says_how_much_is_needed_and_what_raises_the_limit() {
        let error = Arc::new(RunMemory::new(2 << 20)).hold((2 << 20) + 1).unwrap_err();
        assert_eq!(
            error.message(),
            "the prompts and outputs of the run need 3 MiB of memory, more than its limit of 2 MiB: raise \
             `run_memory_mib` of the chain file, Dag::max_memory_bytes or Context::with_max_memory"
        );
    }

    #[test]
    fn texts_count_in_whatever_value_they_are() {
        let text = "x".repeat(10_000);
        let message = |parts| Message::from_parts(crate::Role::User, parts);
        let call = crate::ToolCall { id: "1".into(), name: "f".into(), arguments: text.clone() };
        let prompt = Prompt::from(text.as_str());
        for item in [
            Item::Text(text.clone()),
            Item::Value(serde_json::json!({ "a": [text] })),
            Item::Value(serde_json::json!({ &text: 1 })),
            Item::Vars(vars! { a: text.clone() }),
            Item::List(vec![Item::Text(text.clone())]),
            Item::Prompt(Box::new(prompt.clone())),
            Item::Message(Box::new(message(vec![Part::ToolCall(call)]))),
            Item::Message(Box::new(message(vec![Part::Other(text.clone().into())]))),
            Item::Message(Box::new(message(vec![Part::ToolResult(crate::ToolResult::new(
                "1",
                text.clone(),
            ))]))),
            Item::Message(Box::new(message(vec![Part::Image(Media::Url(text.clone()))]))),
        ] {
            let bytes = of_item(&item);
            assert!((10_000..11_000).contains(&bytes), "{bytes}: {item:?}");
        }
        assert!((20_000..21_000).contains(&of_call(&prompt)));
        assert!(of_call(&"\u{1}".repeat(10_000).into()) >= 70_000);
    }
}

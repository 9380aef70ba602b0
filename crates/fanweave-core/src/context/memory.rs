//! Memory for the values of a run: the texts that it holds, and their limit.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{BranchId, Context};
use crate::{Advice, Error, ErrorKind, Item, Media, Message, Part, Prompt, Result, Vars};

/// Default of [`Dag::max_memory_bytes`](crate::Dag::max_memory_bytes). 512 MiB.
pub(crate) const MAX_RUN_BYTES: u64 = 512 << 20;

/// Bytes of a JSON value without its text, and of a part of a message.
const VALUE: u64 = 64;

/// Maximum renderings of a run that other threads make at once, or whose texts are not counted yet.
const MAX_RENDERINGS: usize = 4;

/// Length of a prompt that counts from its rendering. Shorter ones count when their calls begin.
const LONG: usize = 64 << 10;

/// Bytes of an entry of an object without its texts, and of a message without its parts.
const ENTRY: u64 = 128;

/// Counts the memory of the values of a run.
#[derive(Debug)]
pub(crate) struct RunMemory {
    held: AtomicU64,
    max: u64,
    rendered: Mutex<Vec<Rendered>>,
    /// Number of `rendered`. 0 in most runs, which then need not take the lock.
    rendered_count: AtomicUsize,
    /// For renderings on other threads, until their text is counted.
    renderings: Semaphore,
}

/// The memory of a prompt whose call has not begun.
#[derive(Debug)]
struct Rendered {
    /// Branch of the step of the dag, which releases it if no call takes it over.
    step: BranchId,
    /// Branch of the call.
    branch: BranchId,
    bytes: u64,
}

/// A part of the memory of a run. Dropping it releases it.
#[derive(Debug)]
pub(crate) struct Held {
    memory: Arc<RunMemory>,
    bytes: AtomicU64,
}

impl RunMemory {
    pub(crate) fn new(max: u64) -> Self {
        Self {
            held: AtomicU64::new(0),
            max,
            rendered: Mutex::default(),
            rendered_count: AtomicUsize::new(0),
            renderings: Semaphore::new(MAX_RENDERINGS),
        }
    }

    /// Holds `bytes` more.
    ///
    /// # Errors
    /// [`ErrorKind::Input`] beyond the limit.
    pub(crate) fn hold(self: &Arc<Self>, bytes: u64) -> Result<Held> {
        let held = Held { memory: self.clone(), bytes: AtomicU64::new(0) };
        held.add(bytes).map(|()| held)
    }

    /// Holds the `bytes` of a call, in place of those of its prompt since it was rendered.
    ///
    /// # Errors
    /// [`ErrorKind::Input`] beyond the limit.
    pub(crate) fn hold_call(self: &Arc<Self>, branch: BranchId, bytes: u64) -> Result<Held> {
        if self.rendered_count.load(Ordering::Relaxed) > 0 {
            self.release(|rendered| rendered.branch == branch);
        }
        self.hold(bytes)
    }

    /// Holds the memory of a prompt until its call begins or its step ends.
    fn hold_rendered(self: &Arc<Self>, rendered: Rendered) -> Result<()> {
        let held = self.hold(rendered.bytes)?;
        let mut all = self.rendered();
        all.push(rendered);
        self.rendered_count.store(all.len(), Ordering::Relaxed);
        // Released by its number of bytes.
        held.bytes.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Waits for a permit to render on another thread. It is kept until the text is counted.
    pub(crate) async fn rendering(&self) -> SemaphorePermit<'_> {
        self.renderings.acquire().await.expect("the semaphore is never closed")
    }

    /// A guard that releases the prompts of a step when it ends.
    pub(crate) fn prompts_of(&self, step: BranchId) -> PromptsOf<'_> {
        PromptsOf { memory: self, step }
    }

    fn release(&self, is_done: impl Fn(&Rendered) -> bool) {
        let mut all = self.rendered();
        all.retain(|rendered| {
            let is_done = is_done(rendered);
            if is_done {
                self.held.fetch_sub(rendered.bytes, Ordering::Relaxed);
            }
            !is_done
        });
        self.rendered_count.store(all.len(), Ordering::Relaxed);
    }

    fn rendered(&self) -> MutexGuard<'_, Vec<Rendered>> {
        self.rendered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Releases the prompts of a step that no call has taken over.
pub(crate) struct PromptsOf<'a> {
    memory: &'a RunMemory,
    step: BranchId,
}

impl Drop for PromptsOf<'_> {
    fn drop(&mut self) {
        if self.memory.rendered_count.load(Ordering::Relaxed) > 0 {
            self.memory.release(|rendered| rendered.step == self.step);
        }
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
            "the prompts and outputs of the run need {} of memory, more than its limit of {}",
            mib(all.div_ceil(1 << 20) << 20),
            mib(max),
        );
        Err(Error::new(ErrorKind::Input, message).with_advice(Advice::RaiseRunMemory))
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

    /// Counts a long text that was rendered as `bytes`, until its call takes the memory over. Only within a
    /// step of a dag, whose end releases the texts that are not sent.
    ///
    /// # Errors
    /// [`ErrorKind::Input`] beyond the limit.
    pub(crate) fn hold_text(&self, text: &str, bytes: impl FnOnce(&str) -> u64) -> Result<()> {
        if text.len() < LONG {
            return Ok(());
        }
        let (Some(memory), Some(step)) = (self.memory(), self.prompts_of) else { return Ok(()) };
        memory.hold_rendered(Rendered { step, branch: self.branch_id(), bytes: bytes(text) })
    }

    /// The same run, for a step of a dag that releases the prompts of its branch.
    pub(crate) fn holding_prompts(self) -> Self {
        Self { prompts_of: Some(self.branch_id()), ..self }
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
    2 * of_messages(&prompt.messages) + texts.map(escapes).sum::<u64>()
}

/// Bytes of a text of a prompt and of the request that contains it.
pub(crate) fn of_text_of_call(text: &str) -> u64 {
    2 * text.len() as u64 + escapes(text)
}

/// Bytes by which a text is longer in JSON. A control character is an escape of six bytes.
fn escapes(text: &str) -> u64 {
    5 * text.bytes().filter(|byte| *byte < b' ').count() as u64
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
    fn a_rendered_prompt_counts_once_until_its_call_or_its_step_ends() {
        let memory = Arc::new(RunMemory::new(1 << 20));
        let cx = Context::new().with_memory(memory.clone()).fork(1).holding_prompts();
        let held = || memory.held.load(Ordering::Relaxed);
        let text = "x".repeat(100_000);
        let (bytes, call) = (of_text_of_call(&text), of_call(&Prompt::from(text.as_str())));
        {
            let _step = memory.prompts_of(cx.branch_id());
            cx.hold_text(&text, of_text_of_call).unwrap();
            cx.fork(7).hold_text(&text, of_text_of_call).unwrap();
            cx.hold_text("short", of_text_of_call).unwrap();
            assert_eq!(held(), 2 * bytes);
            let of_call = memory.hold_call(cx.branch_id(), call).unwrap();
            assert_eq!(held(), bytes + call, "the call has taken the memory over");
            drop(of_call);
            assert_eq!(held(), bytes);
            // A retry.
            drop(memory.hold_call(cx.branch_id(), call).unwrap());
            assert_eq!(held(), bytes);
            cx.hold_text(&"x".repeat(500_000), of_text_of_call).unwrap_err();
            assert_eq!(held(), bytes, "what exceeds the limit is not held");
        }
        assert_eq!((held(), memory.rendered_count.load(Ordering::Relaxed)), (0, 0));
        // Outside of a step, nothing would release it.
        Context::new().with_memory(memory.clone()).hold_text(&text, of_text_of_call).unwrap();
        assert_eq!(held(), 0);
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

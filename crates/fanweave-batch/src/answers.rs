//! Answers of the calls of a row, journalled before the row ends: a resumed row computes its steps a second
//! time, but pays for no answered call.
//!
//! Only rows of several calls need this. The diagram of a chain says whether it has such rows; for chains
//! that call models in closures, the first row of several calls shows it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanweave_core::model::{CallHook, PendingCall};
use fanweave_core::{Chain, Context, Message, Result, Runnable};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::mpsc;

use crate::Costs;
use crate::journal::{CallRecord, EarlierCalls, JournalReader};
use crate::key::Key;
use crate::recorder::Entry;
use crate::tally::Tally;

/// An answer of a call of a row.
#[derive(Debug, Clone)]
pub(crate) struct EarlierAnswer {
    /// Key of the call.
    pub(crate) call: Key,
    pub(crate) answer: Arc<Message>,
}

impl EarlierAnswer {
    /// Reads the answered calls of a row.
    pub(crate) fn read(calls: &EarlierCalls, reader: &JournalReader) -> crate::Result<Vec<Self>> {
        let read = |location| {
            let CallRecord { call, answer, .. } = reader.call(location)?;
            Ok(Self { call, answer: Arc::new(answer) })
        };
        calls.lines.iter().copied().map(read).collect()
    }
}

/// Journal of the calls of a run. Cheap to clone.
#[derive(Clone)]
pub(crate) struct CallJournal {
    /// Set once rows are known to make several calls.
    is_enabled: Arc<AtomicBool>,
    recorder: mpsc::WeakSender<Entry>,
}

impl CallJournal {
    /// The journal of a run of `chain`, which had calls in it before if `has_calls`.
    pub(crate) fn new<I: Send + 'static, O: Send + 'static>(
        recorder: mpsc::WeakSender<Entry>,
        has_calls: bool,
        chain: &Chain<I, O>,
    ) -> Self {
        let is_enabled = has_calls || chain.describe().models() > 1;
        Self { is_enabled: Arc::new(AtomicBool::new(is_enabled)), recorder }
    }

    /// The context of a row that starts, and its answers. `None` if its calls are not journalled.
    pub(crate) fn begin(
        &self,
        row: Key,
        earlier: Vec<EarlierAnswer>,
        costs: &Costs,
        cx: Context,
    ) -> (Context, Option<Arc<RowAnswers>>) {
        if earlier.is_empty() && !self.is_enabled.load(Ordering::Relaxed) {
            return (cx, None);
        }
        let outer = cx.call_hook().cloned();
        let (recorder, costs) = (self.recorder.clone(), costs.clone());
        let state = Mutex::new(State { answers: earlier, given: HashMap::new() });
        let answers = Arc::new(RowAnswers { row, recorder, costs, outer, state });
        (cx.with_call_hook(answers.clone()), Some(answers))
    }

    /// Notes that a row has ended: if it made several calls, those of rows that start from now on are
    /// journalled.
    pub(crate) fn ended(&self, tally: &Tally) {
        if tally.has_several() {
            self.is_enabled.store(true, Ordering::Relaxed);
        }
    }
}

/// Answers the calls of a row that were answered before, and journals the others.
///
/// A call is the same if its model, prompt and branch are, and as many equal calls before it in this branch:
/// equal calls get their answers in the order in which these were given.
pub(crate) struct RowAnswers {
    row: Key,
    recorder: mpsc::WeakSender<Entry>,
    costs: Costs,
    /// The hook of the run around the batch, which sees calls first.
    outer: Option<Arc<dyn CallHook>>,
    state: Mutex<State>,
}

struct State {
    /// Answers in the order in which they were given.
    answers: Vec<EarlierAnswer>,
    /// Number of answers of each call that the row has got.
    given: HashMap<Key, usize>,
}

/// Key of a call: of the model, the prompt with all parameters, and the branch. Computed before the call and
/// after it, because a step may make several calls at once in one branch.
fn key_of(call: &PendingCall<'_>) -> Key {
    let prompt = serde_json::to_value(call.prompt).expect("a prompt has string keys");
    let branch = serde_json::to_value(call.branch).expect("a branch is a number");
    let key = Key::of_value(&serde_json::json!([call.identity, prompt, branch]));
    match &call.prompt.body {
        Some(body) => key.and(&Key::of(&[body.canonical().as_bytes()])),
        None => key,
    }
}

impl RowAnswers {
    /// All answers, for the next attempt of the row.
    pub(crate) fn all(&self) -> Vec<EarlierAnswer> {
        self.lock().answers.clone()
    }

    /// The next earlier answer of a call.
    fn earlier(&self, call: &PendingCall<'_>) -> Option<Message> {
        let key = key_of(call);
        let mut state = self.lock();
        let State { answers, given } = &mut *state;
        let n = given.entry(key).or_default();
        let earlier = answers.iter().filter(|answer| answer.call == key).nth(*n)?;
        *n += 1;
        Some(Message::clone(&earlier.answer).without_cost())
    }

    /// Keeps a new answer. Returns the record of its call.
    fn keep(&self, call: &PendingCall<'_>, answer: &Message) -> CallRecord {
        let key = key_of(call);
        let mut state = self.lock();
        *state.given.entry(key).or_default() += 1;
        state.answers.push(EarlierAnswer { call: key, answer: Arc::new(answer.clone()) });
        let cost_usd = self.costs.of(call.model, &answer.usage());
        // Without the name of the model, the innermost one.
        let path = call.cx.path().names().filter(|name| *name != call.model);
        let step = Some(path.collect::<Vec<_>>().join(" > ")).filter(|path| !path.is_empty());
        CallRecord { row: self.row, call: key, step, cost_usd, answer: answer.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallHook for RowAnswers {
    fn before<'a>(&'a self, call: &'a PendingCall<'a>) -> BoxFuture<'a, Result<Option<Message>>> {
        async move {
            if let Some(outer) = &self.outer
                && let Some(answer) = outer.before(call).await?
            {
                return Ok(Some(answer));
            }
            Ok(self.earlier(call))
        }
        .boxed()
    }

    fn knows(&self, call: &PendingCall<'_>) -> bool {
        if self.outer.as_ref().is_some_and(|outer| outer.knows(call)) {
            return true;
        }
        // Nearly all rows have no answers yet: the key is not computed for them.
        if self.lock().answers.is_empty() {
            return false;
        }
        let key = key_of(call);
        let state = self.lock();
        let given = state.given.get(&key).copied().unwrap_or_default();
        state.answers.iter().filter(|answer| answer.call == key).nth(given).is_some()
    }

    fn answered<'a>(&'a self, call: &'a PendingCall<'a>, answer: &'a Message) -> BoxFuture<'a, Result<()>> {
        async move {
            let record = self.keep(call, answer);
            if let Some(recorder) = self.recorder.upgrade() {
                // In the queue before the next call starts. If the recorder has ended, so has the run.
                let _ = recorder.send(Entry::Called(Box::new(record))).await;
            }
            match &self.outer {
                Some(outer) => outer.answered(call, answer).await,
                None => Ok(()),
            }
        }
        .boxed()
    }
}

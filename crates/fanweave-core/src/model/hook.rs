//! A hook that sees every model call of a run, and may answer it in place of the model.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;

use super::DynChatModel;
use crate::context::BranchId;
use crate::{Context, Message, Prompt, Result};

/// A model call that is about to be made, or has been answered.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct PendingCall<'a> {
    /// The [name](crate::Model::name) of the model, such as `openai/gpt-5-mini`.
    pub model: &'a str,
    /// The [identity](crate::ChatModel::identity) of the model: its name and endpoint.
    pub identity: &'a str,
    /// The prompt with all parameters of the call.
    pub prompt: &'a Prompt,
    /// The branch of the run that makes the call. The calls of one branch follow each other.
    pub branch: BranchId,
    /// The context of the call.
    pub cx: &'a Context,
}

/// Sees the model calls of a run, and may answer them in place of their models: for recorded answers, or to
/// collect calls. Set by [`Context::with_call_hook`].
///
/// Parsers, retries of the chain, events and deltas are those of a call of the model.
///
/// ```
/// use std::sync::Arc;
/// use fanweave::{models::{CallHook, PendingCall}, testing::Fake};
/// use fanweave::{Context, Message, Result, prompt, text, vars};
/// use fanweave::crates::futures::FutureExt;
/// use fanweave::crates::futures::future::BoxFuture;
///
/// /// Answers from a test fixture.
/// struct Recorded;
///
/// impl CallHook for Recorded {
///     fn before<'a>(&'a self, call: &'a PendingCall<'a>) -> BoxFuture<'a, Result<Option<Message>>> {
///         async move {
///             let question = call.prompt.last_user_text();
///             Ok(question.contains("capital").then(|| Message::assistant("Paris")))
///         }
///         .boxed()
///     }
/// }
///
/// # fn main() -> Result<()> { fanweave::blocking::wait(async {
/// let chain = prompt("{{ input }}") | Fake::echo() | text();
/// let cx = Context::new().with_call_hook(Arc::new(Recorded));
/// assert_eq!(chain.invoke_in(vars! { input: "The capital of France?" }, &cx).await?, "Paris");
/// assert_eq!(chain.invoke_in(vars! { input: "hello" }, &cx).await?, "hello");
/// # Ok(())
/// # }) }
/// ```
///
/// # Cancellation
/// The futures are dropped with the call.
pub trait CallHook: Send + Sync + 'static {
    /// Called before the model. With an answer, the model is not called.
    ///
    /// # Errors
    /// An error ends the call.
    fn before<'a>(&'a self, call: &'a PendingCall<'a>) -> BoxFuture<'a, Result<Option<Message>>>;

    /// Returns true if [`before`](Self::before) would answer this call. Must not block. Default: false.
    ///
    /// Steps that choose between models, such as `models::Spread`, ask this to choose the model whose answer
    /// is known: another one would be paid for.
    fn knows(&self, _call: &PendingCall<'_>) -> bool {
        false
    }

    /// Called with the answer of the model, before anything else receives it, except for the deltas of a
    /// stream. Not called for failed calls and for answers of [`before`](Self::before). Default: nothing.
    ///
    /// # Errors
    /// An error ends the call, and discards the answer.
    fn answered<'a>(&'a self, _call: &'a PendingCall<'a>, _answer: &'a Message) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

/// The hook of a context.
struct Hook(Arc<dyn CallHook>);

impl Context {
    /// Adds a hook that sees every model call of the run, in place of an earlier one.
    ///
    /// It sees the calls of [`Model`](crate::Model)s that are steps; a model that another model calls with
    /// [`generate_in`](crate::Model::generate_in), such as one behind a cache, is a part of its call.
    /// Embeddings are not calls of this kind.
    #[must_use]
    pub fn with_call_hook(self, hook: Arc<dyn CallHook>) -> Self {
        self.with_extension(Arc::new(Hook(hook)))
    }

    /// Removes the hook for everything below.
    #[must_use]
    pub fn without_call_hook(self) -> Self {
        if self.call_hook().is_none() {
            return self;
        }
        self.without_extension::<Hook>()
    }

    /// The hook that sees the model calls of the run.
    pub fn call_hook(&self) -> Option<&Arc<dyn CallHook>> {
        self.own_extension().map(|Hook(hook)| hook)
    }
}

/// Returns true if the hook of the context knows the answer to a prompt.
pub(super) fn is_known(name: &str, model: &dyn DynChatModel, prompt: &Prompt, cx: &Context) -> bool {
    let Some(hook) = cx.call_hook() else { return false };
    let identity = model.identity();
    hook.knows(&PendingCall { model: name, identity: &identity, prompt, branch: cx.branch_id(), cx })
}

/// Answers a prompt through a hook.
pub(super) async fn generate(
    hook: &dyn CallHook,
    name: &str,
    model: &dyn DynChatModel,
    prompt: Prompt,
    cx: &Context,
) -> Result<Message> {
    let identity = model.identity();
    let call = PendingCall { model: name, identity: &identity, prompt: &prompt, branch: cx.branch_id(), cx };
    if let Some(answer) = hook.before(&call).await? {
        return Ok(answer);
    }
    let answer = model.generate(prompt.clone(), cx).await?;
    hook.answered(&call, &answer).await?;
    Ok(answer)
}

impl fmt::Debug for dyn CallHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallHook")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures::{FutureExt, StreamExt};
    use proptest::prelude::*;
    use tokio::time::sleep;

    use super::*;
    use crate::model::fake::Fake;
    use crate::{
        Chain, ChatModel, Error, ErrorKind, Event, Model, Prompt, Vars, chain, parallel, parallel_map,
        prompt, step, text, vars,
    };

    /// Records calls and answers. Answers after one of the latencies, if it has an answer.
    #[derive(Default)]
    struct Recorder {
        calls: Mutex<Vec<(BranchId, String)>>,
        answers: Mutex<Vec<String>>,
        answer: Option<&'static str>,
        latencies: Vec<u64>,
    }

    impl Recorder {
        fn answers(answer: &'static str) -> Arc<Self> {
            Arc::new(Self { answer: Some(answer), ..Self::default() })
        }

        fn calls(&self) -> Vec<(BranchId, String)> {
            self.calls.lock().unwrap().clone()
        }
    }

    impl CallHook for Recorder {
        fn before<'a>(&'a self, call: &'a PendingCall<'a>) -> BoxFuture<'a, Result<Option<Message>>> {
            async move {
                let number = {
                    let mut calls = self.calls.lock().unwrap();
                    calls.push((call.branch, call.prompt.last_user_text()));
                    calls.len()
                };
                if !self.latencies.is_empty() {
                    sleep(Duration::from_millis(self.latencies[number % self.latencies.len()])).await;
                }
                Ok(self.answer.map(Message::assistant))
            }
            .boxed()
        }

        fn answered<'a>(
            &'a self,
            call: &'a PendingCall<'a>,
            answer: &'a Message,
        ) -> BoxFuture<'a, Result<()>> {
            async move {
                self.answers.lock().unwrap().push(format!("{} {}", call.identity, answer.text()));
                if answer.text() == "refused" {
                    return Err(Error::new(ErrorKind::Step, "the journal is full"));
                }
                Ok(())
            }
            .boxed()
        }
    }

    /// Answers at once, without deltas, and counts its calls.
    struct Counted(Arc<AtomicUsize>);

    impl ChatModel for Counted {
        fn name(&self) -> &str {
            "test/counted"
        }

        async fn generate(&self, _: Prompt, _: &Context) -> Result<Message> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(Message::assistant("an answer"))
        }
    }

    #[tokio::test]
    async fn a_hook_answers_in_place_of_the_model_with_the_same_events() {
        let calls = Arc::new(AtomicUsize::new(0));
        let chain = (prompt("{{ input }}") | Model::new(Counted(calls.clone())) | text()).named("whole");
        let observed = async |cx: Context| {
            let events = Arc::new(Mutex::new(Vec::new()));
            let seen = events.clone();
            let cx = cx.with_observer(Arc::new(move |event: &Event| {
                seen.lock().unwrap().push(format!("{} {:?}", event.path, event.kind));
            }));
            let run = chain.stream_in(vars! { input: "x" }, &cx);
            let deltas: Vec<_> = run.map(|delta| delta.unwrap().to_string()).collect().await;
            let events = events.lock().unwrap().clone();
            (deltas, events)
        };
        let by_model = observed(Context::new()).await;
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        let hook = Recorder::answers("an answer");
        let by_hook = observed(Context::new().with_call_hook(hook.clone())).await;
        assert_eq!(calls.load(Ordering::SeqCst), 1, "the model was not called");
        assert_eq!(by_hook, by_model);
        assert_eq!(hook.calls().len(), 1);
        assert!(hook.answers.lock().unwrap().is_empty(), "it knows its own answers");
        observed(Context::new().with_call_hook(hook).without_call_hook()).await;
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn an_answer_of_the_model_reaches_the_hook_which_may_refuse_it() {
        let hook = Arc::new(Recorder::default());
        let cx = Context::new().with_call_hook(hook.clone());
        let chain = chain(Fake::script(["fine", "refused"].map(Ok)).model()) | text();
        assert_eq!(chain.invoke_in("x", &cx).await.unwrap(), "fine");
        let error = chain.invoke_in("x", &cx).await.unwrap_err();
        assert!(error.to_string().ends_with("the journal is full"), "{error}");
        assert_eq!(*hook.answers.lock().unwrap(), ["fake/script fine", "fake/script refused"]);
    }

    #[tokio::test]
    async fn equal_prompts_of_two_branches_are_two_calls() {
        let hook = Recorder::answers("yes");
        let cx = Context::new().with_call_hook(hook.clone());
        let ask = || chain(Fake::echo().model()) | text();
        parallel((ask(), ask())).invoke_in("same", &cx).await.unwrap();
        let calls = hook.calls();
        assert_eq!(calls[0].1, calls[1].1);
        assert_ne!(calls[0].0, calls[1].0);
        // Calls that follow each other are in one branch.
        let twice = ask().map(|_| Prompt::from("same")) | Fake::echo().model();
        twice.invoke_in("same", &cx).await.unwrap();
        assert_eq!(hook.calls()[2], hook.calls()[3]);
    }

    #[tokio::test]
    async fn rows_of_a_batch_are_branches() {
        let hook = Recorder::answers("yes");
        let cx = Context::new().with_call_hook(hook.clone());
        chain(Fake::echo().model()).batch(["same"; 3]).within(cx).collect().await;
        let mut calls = hook.calls();
        calls.sort();
        calls.dedup();
        assert_eq!(calls.len(), 3);
    }

    /// Fan-outs in fan-outs.
    fn nested() -> Chain<Vars, ()> {
        let ask = |about: &str| prompt(format!("{about} {{{{ input }}}}")) | Fake::echo().model() | text();
        let each = parallel((ask("one"), ask("two")));
        let all = step(|titles: Vec<String>, _| async move { Ok(Prompt::from(titles.join(" "))) })
            | Fake::echo().model()
            | text();
        let both = (prompt("outline") | Fake::echo().model()).lines().each_and_all(each, all);
        let named = parallel_map([("a", both.map(|_| ())), ("b", ask("b").map(|_| ()))]);
        named.map(|_| ())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn branch_ids_are_the_same_in_every_run_whatever_the_latencies(
            latencies in prop::collection::vec(0..50u64, 1..12),
        ) {
            let run = |latencies: Vec<u64>| {
                let hook = Arc::new(Recorder {
                    answer: Some("a\nb\na\nc"),
                    latencies,
                    ..Recorder::default()
                });
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .start_paused(true)
                    .build()
                    .unwrap();
                let cx = Context::new().with_call_hook(hook.clone());
                runtime.block_on(nested().invoke_in(vars! { input: "x" }, &cx)).unwrap();
                let mut calls = hook.calls();
                calls.sort();
                calls
            };
            let calls = run(latencies);
            // The outline, two for each of four titles, one for all titles, and that of `b`.
            prop_assert_eq!(calls.len(), 11);
            let mut distinct = calls.clone();
            distinct.dedup();
            prop_assert_eq!(distinct.len(), 11);
            prop_assert_eq!(calls, run(vec![0]));
        }
    }
}

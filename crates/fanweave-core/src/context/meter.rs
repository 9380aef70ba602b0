//! Usage of a run: what its calls have used so far.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::Context;
use crate::{Reply, Usage};

/// Usage of a run so far. See [`Context::usage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunUsage {
    /// Tokens of all calls of models and embedders.
    pub usage: Usage,
    /// Number of calls that have been answered, including cached answers.
    pub calls: u64,
    /// Number of requests for them, including retries. Requests of calls that failed are not counted.
    pub requests: u64,
    /// Number of calls that were answered from a [store](crate::Model::cached), without cost.
    pub cached: u64,
}

/// Counts the usage of a run, and of the runs around it.
#[derive(Default)]
pub(super) struct Meter {
    used: Mutex<RunUsage>,
    around: Option<Arc<Meter>>,
}

impl Meter {
    fn add(&self, usage: Usage, requests: u64, cached: bool) {
        let mut meter = Some(self);
        while let Some(Self { used, around }) = meter {
            let mut used = used.lock().unwrap_or_else(PoisonError::into_inner);
            used.usage += usage;
            used.calls = used.calls.saturating_add(1);
            used.requests = used.requests.saturating_add(requests);
            used.cached += u64::from(cached);
            meter = around.as_deref();
        }
    }
}

impl Context {
    /// Usage of the run so far: of all calls of models and embedders in this context and its clones, whatever
    /// the chain returns, such as a structured value. Reasoning, retries of parsers, tool loops, summaries
    /// and failed rows count too.
    ///
    /// A context that is used for several runs counts all of them: make a new one for each, or a
    /// [nested count](Self::metered). An answer counts once it is complete; a call that fails or is dropped
    /// does not. A [`ChatModel`](crate::ChatModel) around another must call it by
    /// [`generate_in`](crate::Model::generate_in), or its calls count twice.
    ///
    /// ```
    /// use fanweave::{Context, Vars, prompt, testing::{Answer, Fake}, text, vars};
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let answers = [Answer::text("Bears.").usage(7, 2), Answer::text("Ursi.").usage(9, 3)];
    /// let model = Fake::script(answers).model();
    /// let animal = prompt("An animal?") | &model | text();
    /// let chain = animal.map(Vars::from) | prompt("Latin: {{ input }}") | &model | text();
    /// let cx = Context::new();
    /// chain.invoke_in(vars! {}, &cx).await?;
    /// let used = cx.usage();
    /// assert_eq!((used.calls, used.usage.input_tokens, used.usage.output_tokens), (2, 16, 5));
    /// # Ok(())
    /// # }) }
    /// ```
    pub fn usage(&self) -> RunUsage {
        *self.shared.meter.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same run with a count of usage of its own, which begins at zero: for the usage of one step or of
    /// one row. The calls count in the enclosing run too.
    ///
    /// ```
    /// use fanweave::{Context, Runnable, chain, step, testing::{Answer, Fake}};
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let model = chain(Fake::answer_with(|_| Answer::text("Yes.").usage(5, 1)));
    /// let with_tokens = step(move |question: String, cx: Context| {
    ///     let model = model.clone();
    ///     async move {
    ///         let cx = cx.metered();
    ///         let answer = model.run(question.into(), &cx).await?;
    ///         Ok((answer.text(), cx.usage().usage.total_tokens()))
    ///     }
    /// });
    /// let cx = Context::new();
    /// let rows = with_tokens.batch(["a", "b"].map(String::from)).within(cx.clone()).collect().await;
    /// assert_eq!(rows[1].as_ref().unwrap(), &("Yes.".to_owned(), 6));
    /// assert_eq!(cx.usage().usage.total_tokens(), 12);
    /// # Ok(())
    /// # }) }
    /// ```
    #[must_use]
    pub fn metered(&self) -> Self {
        let meter = Meter { used: Mutex::default(), around: Some(self.shared.meter.clone()) };
        self.clone().with(|s| s.meter = Arc::new(meter))
    }

    /// Counts an answered call.
    pub(crate) fn count_reply(&self, reply: Option<&Reply>) {
        let (usage, requests, cached) = match reply {
            Some(reply) if reply.cached => (Usage::default(), 0, true),
            Some(reply) => (reply.usage, u64::from(reply.attempts), false),
            None => (Usage::default(), 0, false),
        };
        self.shared.meter.add(usage, requests, cached);
    }

    /// Counts an answered call of an embedder, whose number of requests is not known.
    pub(crate) fn count_embedding(&self, usage: Usage) {
        self.shared.meter.add(usage, 1, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fake::{Answer, Fake};
    use crate::tool::{Tools, TypedTool};
    use crate::{Message, Result, chain, parallel, text};

    struct Now;

    impl<'de> Deserialize<'de> for Now {
        fn deserialize<D: serde::Deserializer<'de>>(arguments: D) -> Result<Self, D::Error> {
            serde::de::IgnoredAny::deserialize(arguments).map(|_| Self)
        }
    }

    impl TypedTool for Now {
        const NAME: &'static str = "now";
        const DESCRIPTION: &'static str = "Says what time it is.";

        fn parameters() -> serde_json::Value {
            serde_json::json!({ "type": "object", "properties": {} })
        }

        async fn run_tool(self, cx: &Context) -> Result<String> {
            let model = Fake::script([Answer::text("12:00").usage(100, 10)]).model();
            Ok(crate::Runnable::run(&model, "Now?".into(), cx).await?.text())
        }
    }

    #[tokio::test]
    async fn every_call_of_a_run_counts_once() {
        let calls = || Answer::calls([("now", serde_json::json!({}))]).usage(10, 1);
        let model = Fake::script([calls(), Answer::text("Noon.").usage(20, 2)]).model();
        let agent = chain(model.with_tools(Tools::new().with::<Now>()).run_tools(5));
        let other = chain(Fake::answer_with(|_| Answer::text("x").usage(1000, 1000)));
        let both = parallel((agent | text(), other | text()));
        let cx = Context::new();
        both.invoke_in("When?", &cx).await.unwrap();
        let RunUsage { usage, calls, .. } = cx.usage();
        assert_eq!((usage.input_tokens, usage.output_tokens, calls), (1130, 1013, 4));
        assert_eq!(Context::new().usage(), RunUsage::default());
    }

    #[tokio::test]
    async fn answers_of_a_store_cost_nothing_and_changed_contexts_belong_to_the_run() {
        let model = Fake::answer_with(|_| Answer::text("x").usage(3, 4)).model();
        let cached = chain(model.cached(crate::MemoryCache::default()));
        let cached = cached.scoped(|cx| cx.with_tag("x").with_timeout(std::time::Duration::from_secs(9)));
        let cx = Context::new();
        for _ in 0..3 {
            cached.invoke_in("x", &cx).await.unwrap();
        }
        let used = cx.usage();
        assert_eq!((used.usage.total_tokens(), used.calls, used.cached), (7, 3, 2));
    }

    #[tokio::test]
    async fn streams_and_failed_parsers_count_and_embedders_too() {
        let model = Fake::answer_with(|_| Answer::text("no number").usage(3, 4)).model();
        let cx = Context::new();
        let parsed = chain(model.clone()) | crate::json_as::<u8>();
        parsed.invoke_in("x", &cx).await.unwrap_err();
        let run = chain(model).stream_in("x", &cx);
        let message: Message = run.output().await.unwrap();
        assert_eq!(message.usage().total_tokens(), 7);
        assert_eq!(cx.usage().usage.total_tokens(), 14);
    }
}

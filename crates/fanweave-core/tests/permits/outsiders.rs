//! Third-party steps and models: they decide when their calls are polled, also in a batch row.

use std::sync::Arc;

use fanweave_core::model::fake::Load;
use fanweave_core::{ChatModel, Context, Message, Model, Prompt, Result, Runnable, chain, text};
use futures::StreamExt;

use crate::pairs::run_both;
use crate::styles::{STYLES, Style};
use crate::verbs::Verb;
use crate::{ends, limited};

/// A third-party step that reads a stream while it calls another model, and passes on its own context.
struct Lazy {
    verb: Verb,
    style: Style,
    load: Load,
}

impl Runnable for Lazy {
    type Input = String;
    type Output = String;

    async fn run(&self, input: String, cx: &Context) -> Result<String> {
        run_both(self.verb, Verb::Invoke, self.style, &self.load, cx).await;
        Ok(input)
    }
}

/// A wrapper around a model that does the same.
struct Wrapper(Model, Arc<Lazy>);

impl ChatModel for Wrapper {
    fn name(&self) -> &str {
        "test/wrapper"
    }

    async fn generate(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
        let Lazy { verb, style, load } = &*self.1;
        run_both(*verb, Verb::Invoke, *style, load, cx).await;
        self.0.generate_in(prompt, cx).await
    }
}

#[tokio::test(start_paused = true)]
async fn rows_with_steps_and_models_of_outsiders_end() {
    let verbs = [Verb::Invoke, Verb::Stream, Verb::Parallel];
    for (verb, style) in verbs.into_iter().flat_map(|verb| STYLES.map(|style| (verb, style))) {
        let (cx, load) = limited(2);
        let lazy = || Lazy { verb, style, load: load.clone() };
        let echo = fanweave_core::model::fake::Fake::echo().count_in(&load).model();
        let wrapped = Model::new(Wrapper(echo, Arc::new(lazy())));
        let rows = (chain(wrapped) | text() | lazy()).batch(["a"; 20]).concurrency(2).within(cx.clone());
        let work = rows.run().for_each(|row| async move { _ = row.result.unwrap() });
        ends(&format!("20 rows, {verb:?}, {style:?}"), 2, &cx, &load, work).await;
    }
}

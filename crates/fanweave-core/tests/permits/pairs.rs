//! Every verb within every other, in every style.

use std::sync::Arc;
use std::time::Duration;

use fanweave_core::model::fake::{Fake, Load};
use fanweave_core::{ChatModel, Context, MemoryCache, Message, Model, Prompt, Result, chain, step};
use futures::{FutureExt, StreamExt};

use crate::styles::{STYLES, Style};
use crate::verbs::{ASKED, Inside, VERBS, Verb, drain, nothing, start};
use crate::{ends, fakes, limited, styles};

/// Runs two verbs concurrently, within `cx`.
pub(crate) async fn run_both(outer: Verb, inner: Verb, style: Style, load: &Load, cx: &Context) {
    let models = fakes::models(load);
    let run_inner = || drain(start(inner, &models, &nothing(), cx)).boxed();
    styles::run(style, || start(outer, &models, &nothing(), cx), run_inner).await;
}

/// One verb in the step, the tool or the generator of another, in that style.
fn inside(inner: Verb, style: Style, load: &Load) -> Inside {
    let load = load.clone();
    Arc::new(move |cx| {
        let load = load.clone();
        async move { run_both(inner, inner, style, &load, &cx).await }.boxed()
    })
}

#[tokio::test(start_paused = true)]
async fn every_verb_alongside_every_other_ends() {
    for (outer, inner) in VERBS.into_iter().flat_map(|outer| VERBS.map(|inner| (outer, inner))) {
        for (style, n) in STYLES.into_iter().flat_map(|style| [(style, 1), (style, 2)]) {
            let (cx, load) = limited(n);
            let what = format!("{outer:?} beside {inner:?}, {style:?}, concurrency {n}");
            ends(&what, n, &cx, &load, run_both(outer, inner, style, &load, &cx)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_verb_in_the_code_of_every_other_ends() {
    for (outer, inner) in VERBS.into_iter().flat_map(|outer| VERBS.map(|inner| (outer, inner))) {
        for (style, n) in STYLES.into_iter().flat_map(|style| [(style, 1), (style, 2)]) {
            let (cx, load) = limited(n);
            let what = format!("{inner:?} in {outer:?}, {style:?}, concurrency {n}");
            let work = drain(start(outer, &fakes::models(&load), &inside(inner, style, &load), &cx));
            ends(&what, n, &cx, &load, work).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rows_whose_step_calls_a_model_while_it_reads_a_stream_end() {
    for (style, concurrency) in STYLES.into_iter().flat_map(|style| [(style, 64), (style, 1)]) {
        let (cx, load) = limited(64);
        let row = {
            let load = load.clone();
            step(move |_: u32, cx: Context| {
                let load = load.clone();
                async move {
                    run_both(Verb::Stream, Verb::Invoke, style, &load, &cx).await;
                    Ok(())
                }
            })
        };
        let rows = row.batch(0..200u32).concurrency(concurrency).within(cx.clone());
        let work = rows.run().for_each(|row| async move { row.result.unwrap() });
        ends(&format!("200 rows, {style:?}"), 64, &cx, &load, work).await;
        assert!(load.max_in_flight() <= concurrency);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cached_answer_whose_first_reader_does_not_poll_reaches_the_others() {
    let (cx, load) = limited(1);
    let cached = Fake::echo().count_in(&load).model();
    let cached = chain(cached.cached(MemoryCache::default()));
    let work = async {
        let mut left = cached.stream_in(ASKED, &cx);
        left.next().await;
        cached.invoke_in(ASKED, &cx).await.unwrap();
        assert!(cached.invoke(ASKED).await.unwrap().reply.unwrap().cached);
        left.output().await.unwrap();
    };
    ends("a cached stream", 1, &cx, &load, work).await;
    assert_eq!(load.calls(), 1);
}

/// Calls a model after a second, within its own permit.
struct HoldsPermit(Model);

impl ChatModel for HoldsPermit {
    fn name(&self) -> &str {
        "test/holds-permit"
    }

    async fn generate(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
        let model = self.0.clone();
        cx.permit(move |cx| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            model.generate_in(prompt, &cx).await
        })
        .await
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_the_answer_of_another_one_returns_the_permit_around_it() {
    let (cx, load) = limited(1);
    let cached = Fake::echo().count_in(&load).model().cached(MemoryCache::default());
    let holds = Model::new(HoldsPermit(cached.clone()));
    // The second one has begun to make the answer, and waits for the permit that the first one holds.
    let work = async {
        let calls = [holds.generate_in(ASKED.into(), &cx), cached.generate_in(ASKED.into(), &cx)];
        futures::future::try_join_all(calls).await.unwrap();
    };
    ends("a permit around a cached answer", 1, &cx, &load, work).await;
    assert_eq!(load.calls(), 1);
}

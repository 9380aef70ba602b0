//! Random compositions of verbs and styles.

use std::sync::Arc;
use std::time::Duration;

use fanweave_core::Context;
use fanweave_core::model::fake::Load;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::styles::{self, STYLES, Style};
use crate::verbs::{Inside, Models, VERBS, Verb, drain, nothing, start};

/// A verb, what runs beside it and in which style, and what runs in its step, tool or generator.
#[derive(Debug)]
pub(crate) struct Plan {
    verb: Verb,
    style: Style,
    latency: Duration,
    per_word: Duration,
    beside: Option<Arc<Plan>>,
    inside: Option<Arc<Plan>>,
}

impl Plan {
    /// One of at most `depth` levels.
    pub(crate) fn random(random: &mut fastrand::Rng, depth: u32) -> Arc<Self> {
        let verb = random.choice(VERBS).expect("there are verbs");
        let style = random.choice(STYLES).expect("there are styles");
        let latency = Duration::from_millis(random.u64(0..3) * 50);
        let per_word = Duration::from_millis(random.u64(0..3) * 7);
        let mut part =
            |one_in: u32| (depth > 1 && random.u32(0..one_in) == 0).then(|| Plan::random(random, depth - 1));
        let (beside, inside) = (part(2), part(3));
        Arc::new(Self { verb, style, latency, per_word, beside, inside })
    }

    pub(crate) fn run(self: Arc<Self>, load: Load, cx: Context) -> BoxFuture<'static, ()> {
        async move {
            let models = Models { load: load.clone(), latency: self.latency, per_word: self.per_word };
            let inside: Inside = match self.inside.clone() {
                None => nothing(),
                Some(plan) => {
                    let load = load.clone();
                    Arc::new(move |cx| plan.clone().run(load.clone(), cx))
                }
            };
            let outer = || start(self.verb, &models, &inside, &cx);
            let beside = || match self.beside.clone() {
                None => drain(start(self.verb, &models, &nothing(), &cx)).boxed(),
                Some(plan) => plan.run(load.clone(), cx.clone()),
            };
            styles::run(self.style, outer, beside).await;
        }
        .boxed()
    }
}

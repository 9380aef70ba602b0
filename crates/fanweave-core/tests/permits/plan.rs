//! Random compositions of verbs and styles.

use std::sync::Arc;
use std::time::Duration;

use fanweave_core::Context;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::styles::{self, STYLES, Style};
use crate::verbs::{Inside, Models, VERBS, Verb, drain, nothing, start};

/// Makes the models of one part of a plan, from the time to the first word and the time for each word.
pub(crate) type MakeModels = Arc<dyn Fn(Duration, Duration) -> Models + Send + Sync>;

/// A verb, the plan that runs alongside it and the style, and the plan in its step, tool or generator.
#[derive(Debug)]
pub(crate) struct Plan {
    verb: Verb,
    style: Style,
    latency: Duration,
    per_word: Duration,
    alongside: Option<Arc<Plan>>,
    inside: Option<Arc<Plan>>,
}

impl Plan {
    /// A plan of at most `depth` levels, whose models take up to twice `unit`.
    pub(crate) fn random(random: &mut fastrand::Rng, depth: u32, unit: Duration) -> Arc<Self> {
        let verb = random.choice(VERBS).expect("there are verbs");
        let style = random.choice(STYLES).expect("there are styles");
        let latency = unit * random.u32(0..3);
        let per_word = unit / 7 * random.u32(0..3);
        let mut part = |one_in: u32| {
            (depth > 1 && random.u32(0..one_in) == 0).then(|| Plan::random(random, depth - 1, unit))
        };
        let (alongside, inside) = (part(2), part(3));
        Arc::new(Self { verb, style, latency, per_word, alongside, inside })
    }

    pub(crate) fn run(self: Arc<Self>, make: MakeModels, cx: Context) -> BoxFuture<'static, ()> {
        async move {
            let models = make(self.latency, self.per_word);
            let inside: Inside = match self.inside.clone() {
                None => nothing(),
                Some(plan) => {
                    let make = make.clone();
                    Arc::new(move |cx| plan.clone().run(make.clone(), cx))
                }
            };
            let outer = || start(self.verb, &models, &inside, &cx);
            let alongside = || match self.alongside.clone() {
                None => drain(start(self.verb, &models, &nothing(), &cx)).boxed(),
                Some(plan) => plan.run(make.clone(), cx.clone()),
            };
            styles::run(self.style, outer, alongside).await;
        }
        .boxed()
    }
}

//! Fake models that count their calls.

use std::time::Duration;

use fanweave_core::model::fake::{Fake, Load};
use fanweave_core::{ChatModel, Context, Delta, Message, Model, Prompt, Result};

use crate::verbs::{Models, ask_for_tools};

/// Models that take 100 ms, and 10 ms for each word.
pub(crate) fn models(load: &Load) -> Models {
    models_with(load, Duration::from_millis(100), Duration::from_millis(10))
}

pub(crate) fn models_with(load: &Load, latency: Duration, per_word: Duration) -> Models {
    let echo = Fake::echo().latency(latency).per_word(per_word).count_in(load).model();
    Models { echo, agent: Model::new(Agent { load: load.clone(), latency, per_word }) }
}

/// A third-party model, which calls two tools and then answers.
struct Agent {
    load: Load,
    latency: Duration,
    per_word: Duration,
}

impl ChatModel for Agent {
    fn name(&self) -> &str {
        "test/agent"
    }

    async fn generate(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
        let Self { load, latency, per_word } = self;
        let (load, latency, per_word) = (load.clone(), *latency, *per_word);
        cx.permit(move |cx| async move {
            let _flight = load.enter();
            tokio::time::sleep(latency).await;
            for word in ["one ", "two ", "three"] {
                tokio::time::sleep(per_word).await;
                cx.delta(Delta::text(word)).await;
            }
            let mut message = Message::assistant("one two three");
            ask_for_tools(&prompt, &mut message);
            Ok(message)
        })
        .await
    }
}

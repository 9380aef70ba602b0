//! Models that wrap the one behind HTTP, by who polls its calls and the permits that they hold.

use std::pin::pin;

use fanweave_core::{ChatModel, Context, MemoryCache, Message, Model, Prompt, Result};

use crate::verbs::{Models, ask_for_tools};

/// Wrapper between a chain and the model behind HTTP.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Around {
    Nothing,
    /// A model that awaits the call in place, as it promises with `DRIVES_CALLS`.
    Driving,
    /// A third-party model, which promises nothing.
    Outsider,
    /// A third-party model that stops polling a call while it awaits another one.
    Juggler,
    /// A third-party model that holds a permit of the run.
    Permit,
    Cache,
}

pub(crate) const AROUND: [Around; 6] =
    [Around::Nothing, Around::Driving, Around::Outsider, Around::Juggler, Around::Permit, Around::Cache];

pub(crate) fn models(echo: &Model, around: Around) -> Models {
    let echo = match around {
        Around::Nothing => echo.clone(),
        Around::Driving => Model::new(InPlace::<true>(echo.clone())),
        Around::Outsider => Model::new(InPlace::<false>(echo.clone())),
        Around::Juggler => Model::new(Juggler(echo.clone())),
        Around::Permit => Model::new(Permit { model: echo.clone(), asks_for_tools: false }),
        Around::Cache => echo.clone().cached(MemoryCache::default()),
    };
    let agent = Model::new(Permit { model: echo.clone(), asks_for_tools: true });
    Models { echo, agent }
}

/// Awaits the call in place, and promises so or not.
struct InPlace<const DRIVES: bool>(Model);

impl<const DRIVES: bool> ChatModel for InPlace<DRIVES> {
    const DRIVES_CALLS: bool = DRIVES;

    fn name(&self) -> &str {
        if DRIVES { "test/driving" } else { "test/outsider" }
    }

    async fn generate(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
        self.0.generate_in(prompt, cx).await
    }
}

struct Juggler(Model);

impl ChatModel for Juggler {
    fn name(&self) -> &str {
        "test/juggler"
    }

    async fn generate(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
        let mut left_alone = pin!(self.0.generate_in(prompt.clone(), cx));
        let is_done = futures::poll!(&mut left_alone).is_ready();
        let answer = self.0.generate_in(prompt, cx).await?;
        if !is_done {
            left_alone.await?;
        }
        Ok(answer)
    }
}

/// Calls the model within its own permit, which the call takes over.
struct Permit {
    model: Model,
    asks_for_tools: bool,
}

impl ChatModel for Permit {
    fn name(&self) -> &str {
        "test/permit"
    }

    async fn generate(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
        let (model, asks_for_tools) = (self.model.clone(), self.asks_for_tools);
        cx.permit(move |cx| async move {
            let mut answer = model.generate_in(prompt.clone(), &cx).await?;
            if asks_for_tools {
                ask_for_tools(&prompt, &mut answer);
            }
            Ok(answer)
        })
        .await
    }
}

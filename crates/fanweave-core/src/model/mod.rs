//! Models: the step that turns a prompt into a message.

mod cached;
pub mod fake;
mod generate;
mod hook;
mod parameters;

use std::fmt;
use std::future::Future;
use std::ops::BitOr;
use std::sync::Arc;

use futures::future::BoxFuture;

pub use generate::{Generate, Generation, Generations};
pub use hook::{CallHook, PendingCall};
pub use parameters::{Parameters, ResponseFormat, ToolChoice, ToolSpec};

use crate::chain::Chain;
use crate::context::memory;
use crate::runnable::{Runnable, Streaming};
use crate::tool::ToolRound;
use crate::{Context, EventKind, Message, Node, Prompt, Result, delta};

/// A chat model: implemented by the author of a provider. Users hold a [`Model`].
///
/// ```
/// use fanweave::{ChatModel, Context, Message, Model, Prompt, Result};
///
/// struct Parrot;
///
/// impl ChatModel for Parrot {
///     fn name(&self) -> &str {
///         "birds/parrot"
///     }
///
///     async fn generate(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
///         cx.permit(|_cx| async move { Ok(Message::assistant(prompt.last_user_text())) }).await
///     }
/// }
///
/// # fn main() -> Result<()> { fanweave::blocking::wait(async {
/// assert_eq!(Model::new(Parrot).invoke("hello").await?.text(), "hello");
/// # Ok(())
/// # }) }
/// ```
pub trait ChatModel: Send + Sync + 'static {
    /// Like [`Runnable::DRIVES_CALLS`].
    #[doc(hidden)]
    const DRIVES_CALLS: bool = false;

    /// `provider/model`, such as `openai/gpt-5-mini`.
    fn name(&self) -> &str;

    /// Distinguishes this model from others of the same name in stores of answers: the name and the endpoint.
    /// Default: the name.
    fn identity(&self) -> String {
        self.name().to_owned()
    }

    /// Answers `prompt`.
    ///
    /// Emits deltas with [`Context::delta`] if [`Context::wants_deltas`] is true; if a model emits none, its
    /// [`Model`] emits the whole answer as one delta. Makes each request with a [`Context::permit`].
    fn generate(&self, prompt: Prompt, cx: &Context) -> impl Future<Output = Result<Message>> + Send;
}

/// Dyn-compatible counterpart of [`ChatModel`].
trait DynChatModel: Send + Sync {
    fn identity(&self) -> String;
    fn generate<'a>(&'a self, prompt: Prompt, cx: &'a Context) -> BoxFuture<'a, Result<Message>>;
}

impl<M: ChatModel> DynChatModel for M {
    fn identity(&self) -> String {
        ChatModel::identity(self)
    }

    fn generate<'a>(&'a self, prompt: Prompt, cx: &'a Context) -> BoxFuture<'a, Result<Message>> {
        if !M::DRIVES_CALLS && cx.is_driven() {
            return Box::pin(async move { ChatModel::generate(self, prompt, &cx.clone().undriven()).await });
        }
        Box::pin(ChatModel::generate(self, prompt, cx))
    }
}

/// A chat model with its parameters: a step from [`Prompt`] to [`Message`]. Cheap to clone.
///
/// ```
/// use fanweave::{Parameters, prompt, testing::Fake, text, vars};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let model = Fake::echo().with(Parameters::new().max_tokens(64));
/// let chain = prompt("Name a {{ animal }}.") | &model | text();
/// assert_eq!(chain.invoke(vars! { animal: "bear" }).await?, "Name a bear.");
/// # Ok(())
/// # }) }
/// ```
#[derive(Clone)]
pub struct Model {
    inner: Arc<dyn DynChatModel>,
    name: Arc<str>,
    parameters: Arc<Parameters>,
}

impl Model {
    /// A handle on `model`.
    pub fn new(model: impl ChatModel) -> Self {
        let name = model.name().into();
        Self { inner: Arc::new(model), name, parameters: Arc::default() }
    }

    /// `provider/model`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Distinguishes this model from others of the same name: see [`ChatModel::identity`].
    pub fn identity(&self) -> String {
        self.inner.identity()
    }

    /// The same model with `parameters` set for every call. Parameters already set stay if `parameters` does
    /// not set them, and those of a [`Prompt`] override both.
    #[must_use]
    pub fn with(mut self, parameters: Parameters) -> Self {
        self.parameters = Arc::new(parameters.or(&self.parameters));
        self
    }

    /// The parameters of every call.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Answers one prompt.
    ///
    /// # Errors
    /// The error of the provider or the transport.
    pub async fn invoke(&self, prompt: impl Into<Prompt> + Send) -> Result<Message> {
        self.run(prompt.into(), &Context::new()).await
    }

    /// Calls this model from within another [`ChatModel`]. Events and errors name the outer model as their
    /// step.
    ///
    /// ```
    /// use fanweave::{ChatModel, Context, Message, Model, Prompt, Result};
    ///
    /// /// Asks politely.
    /// struct Polite(Model);
    ///
    /// impl ChatModel for Polite {
    ///     fn name(&self) -> &str {
    ///         self.0.name()
    ///     }
    ///
    ///     async fn generate(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
    ///         self.0.generate_in(prompt.with_system("Please."), cx).await
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// Like [`invoke`](Self::invoke).
    pub async fn generate_in(&self, mut prompt: Prompt, cx: &Context) -> Result<Message> {
        self.fill(&mut prompt, cx);
        self.inner.generate(prompt, cx).await
    }

    /// Returns true if the [hook](Context::with_call_hook) of the run [knows](CallHook::knows) the answer of
    /// this model to `prompt`: a call would not be paid for. For steps that choose between models.
    pub fn is_known(&self, prompt: &Prompt, cx: &Context) -> bool {
        if cx.call_hook().is_none() {
            return false;
        }
        let mut prompt = prompt.clone();
        self.fill(&mut prompt, cx);
        hook::is_known(&self.name, &*self.inner, &prompt, cx)
    }

    /// Adds the parameters of the model to those of the prompt.
    fn fill(&self, prompt: &mut Prompt, cx: &Context) {
        if !self.parameters.is_empty() {
            prompt.parameters.fill(&self.parameters);
        }
        if let Some(ToolChoice::Required | ToolChoice::Tool(_)) = prompt.parameters.tool_choice
            && cx.extension::<ToolRound>().is_some_and(|round| round.frees(&prompt.parameters))
        {
            prompt.parameters.tool_choice = Some(ToolChoice::Auto);
        }
    }
}

impl Runnable for Model {
    const DRIVES_CALLS: bool = true;

    type Input = Prompt;
    type Output = Message;

    async fn run(&self, mut prompt: Prompt, cx: &Context) -> Result<Message> {
        let cx = cx.begin(&self.name).await.track_emitted();
        self.fill(&mut prompt, &cx);
        let prompt = cx.emit_value(prompt, EventKind::PromptSent).await;
        let hold =
            |memory: &Arc<memory::RunMemory>| memory.hold_call(cx.branch_id(), memory::of_call(&prompt));
        let held = cx.memory().map(hold).transpose();
        let mut result = match (held, cx.call_hook()) {
            (Err(error), _) => Err(error),
            (Ok(_held), None) => self.inner.generate(prompt, &cx).await,
            // Boxed, to keep the futures of calls without a hook small.
            (Ok(_held), Some(hook)) => {
                Box::pin(hook::generate(&**hook, &self.name, &*self.inner, prompt, &cx)).await
            }
        };
        if let Ok(message) = result {
            cx.count_reply(message.reply.as_deref());
            cx.record(|| vec![message.clone()]);
            result = Ok(cx.emit_value(message, EventKind::Answered).await);
        }
        if let Ok(message) = &result
            && !cx.has_emitted()
        {
            for delta in delta::of_message(message) {
                cx.delta(delta).await;
            }
        }
        match result {
            Ok(message) if cx.has_observers() => Ok(finished(message, &cx).await),
            result => cx.end(&self.name, result, |_| None).await,
        }
    }

    fn streaming(&self) -> Streaming {
        Streaming::Deltas
    }

    fn describe(&self) -> Node {
        Node::model(&*self.name)
    }
}

/// Reports the end of a call. The reply is copied only for observers that keep theirs.
async fn finished(mut message: Message, cx: &Context) -> Message {
    let reply = message.reply.take().map(|reply| Arc::new(*reply));
    cx.emit(EventKind::StepFinished { reply: reply.clone() }).await;
    message.reply = reply.map(|reply| Box::new(Arc::unwrap_or_clone(reply)));
    message
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("name", &self.name).field("parameters", &self.parameters).finish()
    }
}

impl<I: Send + 'static> BitOr<&Model> for Chain<I, Prompt> {
    type Output = Chain<I, Message>;

    fn bitor(self, next: &Model) -> Self::Output {
        self.then(next.clone())
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;
    use crate::{chain, text};

    struct Mute;

    impl ChatModel for Mute {
        fn name(&self) -> &str {
            "test/mute"
        }

        async fn generate(&self, _: Prompt, _: &Context) -> Result<Message> {
            Ok(Message::assistant("all at once"))
        }
    }

    #[tokio::test]
    async fn a_model_that_cannot_stream_emits_one_delta() {
        let run = (chain(Model::new(Mute)) | text()).stream("x");
        let deltas: Vec<_> = run.map(|delta| delta.unwrap().to_string()).collect().await;
        assert_eq!(deltas, ["all at once"]);
    }

    #[tokio::test]
    async fn parameters_of_the_prompt_win_over_those_of_the_model() {
        struct Temperature;
        impl ChatModel for Temperature {
            fn name(&self) -> &str {
                "test/temperature"
            }
            async fn generate(&self, prompt: Prompt, _: &Context) -> Result<Message> {
                let Parameters { temperature, max_tokens, .. } = prompt.parameters;
                Ok(Message::assistant(format!("{temperature:?} {max_tokens:?}")))
            }
        }
        let model = Model::new(Temperature).with(Parameters {
            temperature: Some(1.0),
            max_tokens: Some(9),
            ..Parameters::default()
        });
        let mut prompt = Prompt::from("x");
        prompt.parameters.temperature = Some(0.5);
        assert_eq!(model.invoke(prompt).await.unwrap().text(), "Some(0.5) Some(9)");
    }
}

//! The verbs: each makes calls within a context, and gives what it reads as a stream that nobody polls but its reader.

use std::sync::Arc;
use std::time::Duration;

use fanweave_core::model::fake::{Fake, Load};
use fanweave_core::tool::{Tool, Tools};
use fanweave_core::{
    Chain, ChatModel, Context, Delta, Message, Model, Part, Prompt, Result, Role, ToolCall, ToolSpec, chain,
    generator, parallel, step, text,
};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, stream};
use serde_json::{Value, json};

/// What is asked: two lines of two words.
pub(crate) const ASKED: &str = "a b\nc d";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Invoke,
    Stream,
    Events,
    Batch,
    ManyStream,
    Each,
    Generator,
    ToolLoop,
    Parallel,
}

pub(crate) const VERBS: [Verb; 9] = [
    Verb::Invoke,
    Verb::Stream,
    Verb::Events,
    Verb::Batch,
    Verb::ManyStream,
    Verb::Each,
    Verb::Generator,
    Verb::ToolLoop,
    Verb::Parallel,
];

/// Items that are read, whatever they are.
pub(crate) type Items = BoxStream<'static, ()>;

/// Code of a user that runs within a verb: in its step, its tool, its generator.
pub(crate) type Inside = Arc<dyn Fn(Context) -> BoxFuture<'static, ()> + Send + Sync>;

/// Does nothing.
pub(crate) fn nothing() -> Inside {
    Arc::new(|_| async {}.boxed())
}

/// The models of one run, which count their calls.
#[derive(Clone)]
pub(crate) struct Models {
    pub(crate) load: Load,
    pub(crate) latency: Duration,
    pub(crate) per_word: Duration,
}

impl Models {
    pub(crate) fn of(load: &Load) -> Self {
        Self { load: load.clone(), latency: Duration::from_millis(100), per_word: Duration::from_millis(10) }
    }

    fn fake(&self) -> Model {
        Fake::echo().latency(self.latency).per_word(self.per_word).count_in(&self.load).model()
    }

    fn words(&self) -> Chain<Prompt, String> {
        chain(self.fake()) | text()
    }

    /// The words, and then the user's code.
    fn then(&self, inside: &Inside) -> Chain<Prompt, String> {
        self.words() | user_step(inside)
    }
}

fn user_step(inside: &Inside) -> Chain<String, String> {
    let inside = inside.clone();
    step(move |words: String, cx: Context| {
        let inside = inside.clone();
        async move {
            inside(cx).await;
            Ok(words)
        }
    })
}

/// Starts the verb. Nothing runs before the stream is polled.
pub(crate) fn start(verb: Verb, models: &Models, inside: &Inside, cx: &Context) -> Items {
    let cx = cx.clone();
    let unit = |_| ();
    match verb {
        Verb::Invoke => {
            let chain = models.then(inside);
            stream::once(async move { check(chain.invoke_in(ASKED, &cx).await) }).boxed()
        }
        Verb::Stream => models.words().stream_in(ASKED, &cx).map(check).boxed(),
        Verb::Events => models.then(inside).events_in(ASKED, &cx).map(unit).boxed(),
        Verb::Batch => {
            let rows = models.then(inside).batch([ASKED, ASKED, ASKED]).concurrency(2).within(cx);
            rows.run().map(|row| check(row.result)).boxed()
        }
        Verb::ManyStream => chain(models.fake()).lines().stream_in(ASKED.into(), cx).map(check).boxed(),
        Verb::Each => {
            let each = user_step(inside) | step(|line: String, _| async move { Ok(Prompt::from(line)) });
            let lines = chain(models.fake()).lines().each(each | &models.fake() | text());
            lines.stream_in(ASKED.into(), cx).map(check).boxed()
        }
        Verb::Generator => {
            let (words, inside) = (models.words(), inside.clone());
            let says = generator(move |_: u32, cx: Context| {
                let (inside, own) = (inside.clone(), cx.clone());
                words.stream_in(ASKED, &cx).then(move |piece| {
                    let (inside, cx) = (inside.clone(), own.clone());
                    async move {
                        inside(cx).await;
                        Ok(piece?.to_string())
                    }
                })
            });
            says.stream_in(1u32, &cx).map(check).boxed()
        }
        Verb::ToolLoop => {
            let tools = Tools::new().tool(Does(inside.clone()));
            let agent = Model::new(Agent(models.clone())).with_tools(tools).run_tools(5);
            chain(agent).stream_in(ASKED, &cx).map(check).boxed()
        }
        Verb::Parallel => {
            let both = parallel((models.then(inside), models.words(), models.words()));
            both.stream_in(ASKED, &cx).map(check).boxed()
        }
    }
}

fn check<T>(result: Result<T>) {
    if let Err(error) = result {
        panic!("no call fails: {error}");
    }
}

/// Reads all items.
pub(crate) async fn drain(mut items: Items) {
    while items.next().await.is_some() {}
}

/// A model of an outsider, which asks for two tools and then answers.
struct Agent(Models);

impl ChatModel for Agent {
    fn name(&self) -> &str {
        "test/agent"
    }

    async fn generate(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
        let models = self.0.clone();
        cx.permit(move |cx| async move {
            let _flight = models.load.enter();
            tokio::time::sleep(models.latency).await;
            for word in ["one ", "two ", "three"] {
                tokio::time::sleep(models.per_word).await;
                cx.delta(Delta::text(word)).await;
            }
            let mut message = Message::assistant("one two three");
            if prompt.messages.last().is_some_and(|last| last.role != Role::Tool) {
                let call = |id: &str| {
                    Part::ToolCall(ToolCall { id: id.into(), name: "does".into(), arguments: "{}".into() })
                };
                message.parts.extend([call("1"), call("2")]);
            }
            Ok(message)
        })
        .await
    }
}

struct Does(Inside);

impl Tool for Does {
    type Arguments = Value;

    fn spec(&self) -> ToolSpec {
        let parameters = json!({ "type": "object", "properties": {} });
        ToolSpec { name: "does".into(), description: "Does something.".into(), parameters }
    }

    async fn call(&self, _: Value, cx: &Context) -> Result<String> {
        (self.0)(cx.clone()).await;
        Ok("done".into())
    }
}

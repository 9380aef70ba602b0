//! The verbs: each makes calls within a context, and returns its output as a stream that only its reader
//! polls. The tests of other crates include this file, `styles.rs` and `plan.rs`, with their own models.

use std::sync::Arc;

use fanweave_core::tool::{Tool, Tools};
use fanweave_core::{
    Chain, Context, DagStep, Message, Model, Part, Prompt, Result, Role, ToolCall, ToolSpec, Vars, chain,
    dag, generator, parallel, prompt, step, text,
};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, stream};
use serde_json::{Value, json};

/// The prompt: two lines of two words.
pub(crate) const ASKED: &str = "a b\nc d";

/// The template of the last step of a dag.
const ALL: &str = "{{ steps.each.output | join }} {{ steps.other.output }}";

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
    Dag,
}

pub(crate) const VERBS: [Verb; 10] = [
    Verb::Invoke,
    Verb::Stream,
    Verb::Events,
    Verb::Batch,
    Verb::ManyStream,
    Verb::Each,
    Verb::Generator,
    Verb::ToolLoop,
    Verb::Parallel,
    Verb::Dag,
];

/// Maximum items that are read.
pub(crate) type Items = BoxStream<'static, ()>;

/// Code of a user that runs within a verb: in its step, its tool, its generator.
pub(crate) type Inside = Arc<dyn Fn(Context) -> BoxFuture<'static, ()> + Send + Sync>;

/// Does nothing.
pub(crate) fn nothing() -> Inside {
    Arc::new(|_| async {}.boxed())
}

/// The models that the verbs call.
#[derive(Clone)]
pub(crate) struct Models {
    /// Answers with its prompt.
    pub(crate) echo: Model,
    /// [Calls tools](ask_for_tools), and then answers.
    pub(crate) agent: Model,
}

impl Models {
    fn words(&self) -> Chain<Prompt, String> {
        chain(self.echo.clone()) | text()
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
        Verb::ManyStream => chain(models.echo.clone()).lines().stream_in(ASKED, &cx).map(check).boxed(),
        Verb::Each => {
            let each = user_step(inside) | step(|line: String, _| async move { Ok(Prompt::from(line)) });
            let lines = chain(models.echo.clone()).lines().each(each | &models.echo | text());
            lines.stream_in(ASKED, &cx).map(check).boxed()
        }
        Verb::Generator => {
            let (words, inside) = (models.words(), inside.clone());
            let says = generator(move |_: u32, cx: Context| {
                let (inside, own) = (inside.clone(), cx.clone());
                words.stream_in(ASKED, &cx).then(move |delta| {
                    let (inside, cx) = (inside.clone(), own.clone());
                    async move {
                        inside(cx).await;
                        Ok(delta?.to_string())
                    }
                })
            });
            says.stream_in(1u32, &cx).map(check).boxed()
        }
        Verb::ToolLoop => {
            let tools = Tools::new().tool(Does(inside.clone()));
            let agent = models.agent.clone().with_tools(tools).run_tools(5);
            chain(agent).stream_in(ASKED, &cx).map(check).boxed()
        }
        Verb::Parallel => {
            let both = parallel((models.then(inside), models.words(), models.words()));
            both.stream_in(ASKED, &cx).map(check).boxed()
        }
        Verb::Dag => {
            let asks = || prompt("{{ asked }}") | &models.echo;
            let each = user_step(inside) | step(|line: String, _| async move { Ok(Prompt::from(line)) });
            let lines = dag()
                .input_or("asked", ASKED)
                .step(DagStep::items("lines", asks().lines()))
                .step(
                    DagStep::of("each", "item", each | &models.echo | text()).for_each("steps.lines.output"),
                )
                .step(DagStep::new("other", asks()))
                .step(DagStep::template("all", ALL).expect("it is a template"));
            let lines = lines.build().expect("its references exist");
            lines.stream_in(Vars::new(), &cx).map(check).boxed()
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

/// Adds two tool calls to the answer of an agent, unless `prompt` ends with results of tools.
pub(crate) fn ask_for_tools(prompt: &Prompt, answer: &mut Message) {
    if prompt.messages.last().is_some_and(|last| last.role != Role::Tool) {
        let call = |id: &str| {
            Part::ToolCall(ToolCall { id: id.into(), name: "does".into(), arguments: "{}".into() })
        };
        answer.parts.extend([call("1"), call("2")]);
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

//! Chains of steps whose types are known only at run time.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::chain::{Chain, chain};
use crate::item::{FromItem, IntoItem, Item};
use crate::runnable::run_within;
use crate::{Context, Error, ErrorKind, Node, Result, Runnable, Streaming};

/// A step from [`Item`] to [`Item`]. Made by [`Chain::erased`] and [`erased`].
struct Erased<R> {
    inner: R,
}

/// A step from [`Item`] to [`Item`], to be part of a step of another crate: without a chain of its own.
#[doc(hidden)]
pub fn erased<R>(step: R) -> impl Runnable<Input = Item, Output = Item>
where
    R: Runnable<Input: FromItem, Output: IntoItem>,
{
    Erased { inner: step }
}

impl<R> Runnable for Erased<R>
where
    R: Runnable<Input: FromItem, Output: IntoItem>,
{
    const DRIVES_CALLS: bool = true;

    type Input = Item;
    type Output = Item;

    async fn run(&self, item: Item, cx: &Context) -> Result<Item> {
        let input = R::Input::from_item(item).map_err(|item| {
            let step = self.inner.describe().first().title();
            let (expects, got) = (R::Input::expects(), item.description());
            Mismatch { step, expects, got, is_settled: false }.into_error()
        })?;
        run_within(&self.inner, input, cx).await.map_err(settled)?.into_item()
    }

    fn streaming(&self) -> Streaming {
        self.inner.streaming()
    }

    fn describe(&self) -> Node {
        self.inner.describe()
    }
}

/// The input of an erased step is of the wrong kind. Source of the error until the step before it is known.
#[derive(Debug, Clone)]
struct Mismatch {
    step: String,
    expects: String,
    got: String,
    /// Set once the step before it is known, or known not to matter.
    is_settled: bool,
}

impl Mismatch {
    fn into_error(self) -> Error {
        Error::new(ErrorKind::Input, self.to_string()).with_source(self)
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step `{}` expects {}, but got {}", self.step, self.expects, self.got)
    }
}

impl std::error::Error for Mismatch {}

fn mismatch(error: &Error) -> Option<&Mismatch> {
    let mismatch: &Mismatch = std::error::Error::source(error)?.downcast_ref()?;
    (!mismatch.is_settled).then_some(mismatch)
}

/// An error from within a step, which is not about the input of that step.
fn settled(error: Error) -> Error {
    match mismatch(&error) {
        Some(mismatch) => {
            let settled = Mismatch { is_settled: true, ..mismatch.clone() };
            error.with_source(settled)
        }
        None => error,
    }
}

/// Adds to an error of an erased step where its input of the wrong kind comes from: `step a returned`.
pub(crate) fn explain_mismatch(error: Error, origin: &str) -> Error {
    match mismatch(&error) {
        Some(mismatch) => {
            let Mismatch { step, expects, got, .. } = mismatch;
            let message = format!("step `{step}` expects {expects}, but {origin} {got}");
            settled(error.with_message(message))
        }
        None => error,
    }
}

/// A step that knows the one before it, to name both if their types differ.
struct Connected {
    inner: Chain<Item, Item>,
    previous: Arc<str>,
}

impl Runnable for Connected {
    const DRIVES_CALLS: bool = true;

    type Input = Item;
    type Output = Item;

    async fn run(&self, item: Item, cx: &Context) -> Result<Item> {
        let done = run_within(&self.inner, item, cx).await;
        done.map_err(|error| explain_mismatch(error, &format!("step `{}` returned", self.previous)))
    }

    fn streaming(&self) -> Streaming {
        self.inner.streaming()
    }

    fn describe(&self) -> Node {
        self.inner.describe()
    }
}

/// A chain whose output is an item.
struct ItemOutput<I, O> {
    inner: Chain<I, O>,
}

impl<I: Send + 'static, O: IntoItem + Send + 'static> Runnable for ItemOutput<I, O> {
    const DRIVES_CALLS: bool = true;

    type Input = I;
    type Output = Item;

    async fn run(&self, input: I, cx: &Context) -> Result<Item> {
        self.inner.run(input, cx).await?.into_item()
    }

    fn streaming(&self) -> Streaming {
        self.inner.streaming()
    }

    fn describe(&self) -> Node {
        self.inner.describe()
    }
}

impl<I: Send + 'static, O: IntoItem + Send + 'static> Chain<I, O> {
    /// The same chain with an item as its output.
    pub(crate) fn with_item_output(self) -> Chain<I, Item> {
        chain(ItemOutput { inner: self })
    }
}

/// A chain whose output has a type again. Made by [`Chain::output_as`].
struct OutputAs<I, O> {
    inner: Chain<I, Item>,
    output: PhantomData<fn() -> O>,
}

impl<I: Send + 'static, O: FromItem + Send + 'static> Runnable for OutputAs<I, O> {
    const DRIVES_CALLS: bool = true;

    type Input = I;
    type Output = O;

    async fn run(&self, input: I, cx: &Context) -> Result<O> {
        let output = self.inner.run(input, cx).await.map_err(settled)?;
        O::from_item(output).map_err(|item| {
            let step = self.inner.describe().last().title();
            let message =
                format!("expected {}, but step `{step}` returned {}", O::expects(), item.description());
            Error::new(ErrorKind::Input, message)
        })
    }

    fn streaming(&self) -> Streaming {
        self.inner.streaming()
    }

    fn describe(&self) -> Node {
        self.inner.describe()
    }
}

/// A chain of items whose input has a type again. Part of [`Chain::typed`].
struct InputAs<I> {
    inner: Chain<Item, Item>,
    input: PhantomData<fn(I)>,
}

impl<I: IntoItem + Send + 'static> Runnable for InputAs<I> {
    const DRIVES_CALLS: bool = true;

    type Input = I;
    type Output = Item;

    async fn run(&self, input: I, cx: &Context) -> Result<Item> {
        self.inner.run(input.into_item()?, cx).await
    }

    fn streaming(&self) -> Streaming {
        self.inner.streaming()
    }

    fn describe(&self) -> Node {
        self.inner.describe()
    }
}

impl<I: FromItem + Send + 'static, O: IntoItem + Send + 'static> Chain<I, O> {
    /// The same chain from [`Item`] to [`Item`]: for chains whose steps are known only at run time. Connect
    /// them with [`connect`](Chain::connect).
    ///
    /// ```
    /// use fanweave::{ErrorKind, chain, json, prompt, testing::Fake, text, values::IntoItem, vars};
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let steps = [
    ///     prompt("[{{ x }}]").erased(),
    ///     chain(Fake::echo()).erased(),
    ///     chain(text()).erased(),
    /// ];
    /// let all = steps.into_iter().reduce(|chain, step| chain.connect(step)).expect("there are steps");
    /// let answer = all.invoke(vars! { x: 1 }.into_item()?).await?;
    /// assert_eq!(answer.into_text()?, "[1]");
    ///
    /// let list = chain(json()).erased().connect(chain(text()).erased());
    /// let wrong = chain(Fake::echo()).erased().connect(list).invoke("[1]".into_item()?).await.unwrap_err();
    /// assert_eq!(wrong.kind(), ErrorKind::Input);
    /// assert_eq!(wrong.to_string(), "step `text` expects a message, but step `json` returned a list");
    /// # Ok(())
    /// # }) }
    /// ```
    ///
    /// # Errors
    /// A run fails with [`ErrorKind::Input`] if its input is not of the kind that the chain expects.
    pub fn erased(self) -> Chain<Item, Item> {
        chain(Erased { inner: self })
    }
}

impl<I: Send + 'static> Chain<I, Item> {
    /// The same chain with an output of this type.
    ///
    /// ```
    /// use fanweave::{compose::DagStep, dag, vars};
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let greeting = dag().input("name").step(DagStep::template("greeting", "Hello {{ name }}!")?).build()?;
    /// assert_eq!(greeting.output_as::<String>().invoke(vars! { name: "Ada" }).await?, "Hello Ada!");
    /// # Ok(())
    /// # }) }
    /// ```
    ///
    /// # Errors
    /// A run fails with [`ErrorKind::Input`] if the chain returns another kind of value.
    pub fn output_as<O: FromItem + Send + 'static>(self) -> Chain<I, O> {
        chain(OutputAs { inner: self, output: PhantomData })
    }
}

impl Chain<Item, Item> {
    /// Like [`then`](Chain::then). If `next` expects another kind of item than this chain returns, the error
    /// names both steps.
    #[must_use]
    pub fn connect(self, next: Chain<Item, Item>) -> Chain<Item, Item> {
        let previous = self.describe().last().title().into();
        self.then(Connected { inner: next, previous })
    }

    /// The same chain with types.
    ///
    /// ```
    /// use fanweave::{Chain, Prompt, chain, testing::Fake, text};
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let erased = chain(Fake::echo()).erased().connect(chain(text()).erased());
    /// let typed: Chain<Prompt, String> = erased.typed();
    /// assert_eq!(typed.invoke("hello").await?, "hello");
    /// # Ok(())
    /// # }) }
    /// ```
    ///
    /// # Errors
    /// A run fails with [`ErrorKind::Input`] if the chain returns another kind of value than `O`.
    pub fn typed<I, O>(self) -> Chain<I, O>
    where
        I: IntoItem + Send + 'static,
        O: FromItem + Send + 'static,
    {
        chain(InputAs { inner: self, input: PhantomData }).output_as()
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;
    use crate::model::fake::Fake;
    use crate::{Event, json, lines, prompt, step, text, vars};

    fn steps() -> [Chain<Item, Item>; 3] {
        [prompt("{{ x }}").erased(), chain(Fake::echo()).named("ask").erased(), chain(text()).erased()]
    }

    fn connected(steps: impl IntoIterator<Item = Chain<Item, Item>>) -> Chain<Item, Item> {
        steps.into_iter().reduce(Chain::connect).unwrap()
    }

    #[tokio::test]
    async fn chains_of_steps_known_at_run_time_name_both_steps_of_a_mismatch() {
        let error_of = async |steps: Vec<Chain<Item, Item>>| {
            connected(steps).invoke(vars! { x: "[1, 2]" }.into_item().unwrap()).await.unwrap_err().to_string()
        };
        let [prompt, ask, text] = steps();
        assert_eq!(
            error_of(vec![prompt.clone(), ask.clone(), ask.clone(), text.clone(), text.clone()]).await,
            "step `text` expects a message, but step `text` returned a text"
        );
        let list = || vec![prompt.clone(), ask.clone(), chain(json()).erased()];
        let shout = step(|all: Vec<String>, _| async move { Ok(all) }).named("shout").erased();
        assert_eq!(
            error_of([list(), vec![shout]].concat()).await,
            "step `shout` expects a list (each item: a text), but step `json` returned a list with a number"
        );
        // However the chain was put together.
        let nested = connected(list()).connect(connected([ask.clone(), text.clone()]));
        assert_eq!(
            nested.invoke(vars! { x: "[1, 2]" }.into_item().unwrap()).await.unwrap_err().to_string(),
            "step `ask` expects a prompt, but step `json` returned a list"
        );
        // No step is before the first one.
        let error = connected([ask, text]).invoke(Item::Value(3.into())).await.unwrap_err();
        assert_eq!(error.to_string(), "step `ask` expects a prompt, but got a number");
    }

    #[tokio::test]
    async fn a_mismatch_within_a_step_does_not_name_the_steps_around_it() {
        let inner = chain(text()).erased();
        let outer = step(move |_: String, cx: Context| {
            let inner = inner.clone();
            async move { inner.invoke_in(Item::Value(3.into()), &cx).await }
        });
        let [prompt, ask, text] = steps();
        let error = connected([prompt, ask, text, outer.named("outer").erased()])
            .invoke(vars! { x: 1 }.into_item().unwrap())
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "step outer: step `text` expects a message, but got a number");
    }

    #[tokio::test]
    async fn an_erased_chain_streams_like_the_typed_one() {
        let typed = prompt("{{ x }}") | chain(Fake::echo()).named("ask") | text();
        let erased = connected(steps()).typed::<crate::Vars, String>();
        let input = || vars! { x: "one two" };
        let deltas = async |chain: &Chain<crate::Vars, String>| {
            chain.stream(input()).map(|delta| delta.unwrap().to_string()).collect::<Vec<_>>().await
        };
        assert_eq!(deltas(&erased).await, ["one ", "two"]);
        assert_eq!(deltas(&erased).await, deltas(&typed).await);
        let events = async |chain: &Chain<crate::Vars, String>| {
            let shown = |event: Event| format!("{} {:?}", event.path, std::mem::discriminant(&event.kind));
            chain.events(input()).map(shown).collect::<Vec<_>>().await
        };
        assert!(events(&erased).await.len() > 4);
        assert_eq!(events(&erased).await, events(&typed).await);
    }

    #[tokio::test]
    async fn a_text_that_arrives_whole_is_one_delta() {
        let whole = step(|text: String, _| async move { Ok(text.to_uppercase()) }).erased();
        let mut run = whole.stream(Item::Text("a b".to_owned()));
        assert_eq!(run.next().await.unwrap().unwrap().to_string(), "A B");
        assert_eq!(run.output().await.unwrap(), Item::Text("A B".to_owned()));
    }

    #[tokio::test]
    async fn a_foreign_value_reaches_a_rust_step_as_an_input_error() {
        let make = step(|(): (), _| async { Ok(Item::foreign(vec![1u8])) }).named("make").erased();
        let back =
            step(|ticket: crate::Ticket, _| async move { Ok(ticket.downcast::<Vec<u8>>().unwrap()[0]) });
        let null = || Item::Value(serde_json::Value::Null);
        assert_eq!(make.clone().connect(back.erased()).invoke(null()).await.unwrap(), Item::Value(1.into()));
        let error = make.connect(chain(lines()).erased()).invoke(null()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input);
        assert_eq!(
            error.to_string(),
            "step `lines` expects a message, but step `make` returned a foreign value"
        );
    }

    #[tokio::test]
    async fn a_typed_chain_refuses_another_kind_of_output() {
        let typed = connected(steps()).typed::<crate::Vars, Vec<String>>();
        let error = typed.invoke(vars! { x: 1 }).await.unwrap_err();
        assert_eq!(error.to_string(), "expected a list (each item: a text), but step `text` returned a text");
    }
}

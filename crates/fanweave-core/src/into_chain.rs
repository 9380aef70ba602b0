//! [`IntoChain`]: all that can be a step of a chain.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use crate::chain::Chain;
use crate::compose::parallel_map::ParallelMap;
use crate::compose::step::Step;
use crate::{Context, Result, Runnable};

/// Values that can be a step of a chain from `I` to `O`: models, prompts, parsers, chains, async closures of
/// an input and a [`Context`], and mappings of names to chains.
///
/// The verbs of [`Chain`] take them, and [`chain`](crate::chain) turns one into a chain. Right of `|`, wrap
/// closures and mappings in `chain(..)`.
///
/// ```
/// use fanweave::{Context, chain, prompt, testing::Fake, text};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let model = Fake::echo().model();
/// let texts = chain(["joke", "poem"].map(|kind| (kind, prompt(format!("A {kind}.")) | &model | text())));
/// let count = texts.then(|texts: std::collections::BTreeMap<String, String>, _: Context| async move {
///     Ok(texts["poem"].len())
/// });
/// assert_eq!(count.invoke(fanweave::vars! {}).await?, 7);
/// # Ok(())
/// # }) }
/// ```
///
/// `M` only tells the implementations apart; it is always inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a step of a chain from `{I}` to `{O}`",
    note = "use a model, prompt, parser or chain, or an async closure of its input and a `Context` that returns a `Result`",
    note = "end a `Result`, such as that of `model(..)`, with `?`, and a `Branch` with `.otherwise(..)`"
)]
pub trait IntoChain<I, O, M = ByRunnable>: Sized {
    /// The step.
    type Step: Runnable<Input = I, Output = O>;

    /// Converts the value to a step.
    fn into_step(self) -> Self::Step;

    /// Converts the value to a chain of this one step.
    fn into_chain(self) -> Chain<I, O> {
        Chain::of(self.into_step())
    }
}

/// Marks the implementation of [`IntoChain`] for steps.
#[derive(Debug)]
pub enum ByRunnable {}

/// Marks the implementation of [`IntoChain`] for functions.
#[derive(Debug)]
pub enum ByFunction {}

/// Marks the implementations of [`IntoChain`] for mappings.
#[derive(Debug)]
pub enum ByMap {}

impl<R: Runnable> IntoChain<R::Input, R::Output, ByRunnable> for R {
    type Step = R;

    fn into_step(self) -> R {
        self
    }
}

impl<F, Fut, I, O> IntoChain<I, O, ByFunction> for F
where
    F: Fn(I, Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O>> + Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    type Step = Step<F, I>;

    fn into_step(self) -> Step<F, I> {
        Step::new(self)
    }
}

impl<I, O, N, const K: usize> IntoChain<I, BTreeMap<String, O>, ByMap> for [(N, Chain<I, O>); K]
where
    I: Clone + Send + Sync + 'static,
    O: Send + 'static,
    N: Into<Arc<str>>,
{
    type Step = ParallelMap<I, O>;

    fn into_step(self) -> ParallelMap<I, O> {
        ParallelMap::new(self)
    }
}

impl<I, O, N> IntoChain<I, BTreeMap<String, O>, ByMap> for BTreeMap<N, Chain<I, O>>
where
    I: Clone + Send + Sync + 'static,
    O: Send + 'static,
    N: Into<Arc<str>>,
{
    type Step = ParallelMap<I, O>;

    fn into_step(self) -> ParallelMap<I, O> {
        ParallelMap::new(self)
    }
}

/// Implements `|` for a step at the left of it.
macro_rules! chainable {
    ($type:ty => $output:ty $(, for $parameter:ident: $bound:path)?) => {
        impl<$($parameter: $bound + Send + 'static,)? R: $crate::Runnable<Input = $output>> std::ops::BitOr<R> for $type {
            type Output = $crate::Chain<<$type as $crate::Runnable>::Input, R::Output>;

            fn bitor(self, next: R) -> Self::Output {
                $crate::chain(self).then(next)
            }
        }

        impl<$($parameter: $bound + Send + 'static,)? P: Send + 'static> std::ops::BitOr<&$crate::Chain<$output, P>> for $type {
            type Output = $crate::Chain<<$type as $crate::Runnable>::Input, P>;

            fn bitor(self, next: &$crate::Chain<$output, P>) -> Self::Output {
                $crate::chain(self).then(next.clone())
            }
        }
    };
}

chainable!(crate::Model => crate::Message);
chainable!(crate::model::fake::Fake => crate::Message);
chainable!(crate::tool::WithTools => crate::Message);
chainable!(crate::tool::RunTools => crate::Message);
chainable!(crate::Structured<T> => T, for T: serde::de::DeserializeOwned);
chainable!(crate::Template => crate::Prompt);
chainable!(crate::Chat => crate::Prompt);

/// Implements `|` for a prompt at the left of a borrowed model.
macro_rules! prompts {
    ($($type:ty),+) => {$(
        impl std::ops::BitOr<&crate::Model> for $type {
            type Output = Chain<crate::Vars, crate::Message>;

            fn bitor(self, next: &crate::Model) -> Self::Output {
                crate::chain(self).then(next.clone())
            }
        }
    )+};
}

prompts!(crate::Template, crate::Chat);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::fake::Fake;
    use crate::{Message, Prompt, Template, Vars, branch, chain, prompt, text, vars};

    async fn shout(text: String, _: Context) -> Result<String> {
        Ok(text.to_uppercase())
    }

    #[tokio::test]
    async fn functions_closures_and_mappings_are_steps_of_all_verbs() {
        let shouted =
            chain(Fake::echo()).then(text()).then(shout).then(|text: String, cx: Context| async move {
                // The context is that of the run.
                Ok(format!("{text}{}", if cx.is_limited() { "" } else { "!" }))
            });
        assert_eq!(shouted.invoke("hi").await.unwrap(), "HI!");

        let short = branch()
            .when(|text: &String| text.len() < 3, shout)
            .otherwise(|text: String, _| async move { Ok(text) });
        assert_eq!(short.invoke("hi").await.unwrap(), "HI");
        assert_eq!(short.invoke("hello").await.unwrap(), "hello");

        let lines = chain(Fake::echo()).lines().each(shout).collect();
        assert_eq!(lines.invoke("a\nb").await.unwrap(), ["A", "B"]);

        let both = chain(BTreeMap::from([("a", chain(shout)), ("b", chain(shout))]));
        assert_eq!(both.invoke("x").await.unwrap()["b"], "X");
    }

    #[tokio::test]
    async fn every_model_and_prompt_can_be_the_left_operand() {
        let model = Fake::echo().model();
        let template = || Template::parse("Say {{ x }}").unwrap();
        let chains: [Chain<Vars, Message>; 3] =
            [template() | model.clone(), template() | &model, crate::chat().user("Say {{ x }}") | &model];
        for chain in chains {
            assert_eq!(chain.invoke(vars! { x: "hi" }).await.unwrap().text(), "Say hi");
        }
        let parsed: Chain<Prompt, String> = Fake::echo() | text();
        assert_eq!((prompt("{{ x }}") | &parsed).invoke(vars! { x: 1 }).await.unwrap(), "1");
        assert_eq!((Fake::echo() | &chain(text())).invoke("hi").await.unwrap(), "hi");
    }
}

//! Parts of a chain that the caller chooses.

use std::sync::Arc;

use crate::chain::{Chain, chain};
use crate::run::run_streamed;
use crate::{Context, Error, ErrorKind, Message, Model, Node, Prompt, Result, Runnable, Streaming, closest};

/// A part of a chain with alternatives: [`Context::with_choice`] selects one for a run. Default: the first
/// one.
///
/// ```
/// use fanweave::{Context, chain, compose::configurable, testing::Fake, text};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let small = chain(Fake::script([Ok("small")]));
/// let big = chain(Fake::script([Ok("big")]));
/// let answer = configurable("writer", [("small", small), ("big", big)]) | text();
/// let cx = Context::new().with_choice("writer", "big");
/// assert_eq!(answer.invoke_in("Who are you?", &cx).await?, "big");
/// assert_eq!(answer.invoke("Who are you?").await?, "small");
/// # Ok(())
/// # }) }
/// ```
///
/// # Errors
/// A run fails with [`ErrorKind::Config`] if the choice is not among the alternatives.
pub fn configurable<I, O, N>(
    name: impl Into<Arc<str>>,
    alternatives: impl IntoIterator<Item = (N, Chain<I, O>)>,
) -> Chain<I, O>
where
    I: Send + 'static,
    O: Send + 'static,
    N: Into<String>,
{
    let alternatives = alternatives.into_iter().map(|(name, chain)| (name.into(), chain)).collect();
    chain(Configurable { name: name.into(), alternatives })
}

struct Configurable<I, O> {
    name: Arc<str>,
    alternatives: Vec<(String, Chain<I, O>)>,
}

impl<I: Send + 'static, O: Send + 'static> Runnable for Configurable<I, O> {
    const DRIVES_CALLS: bool = true;

    type Input = I;
    type Output = O;

    async fn run(&self, input: I, cx: &Context) -> Result<O> {
        let Some((_, first)) = self.alternatives.first() else {
            return Err(Error::new(ErrorKind::Config, format!("`{}` has no alternatives", self.name)));
        };
        let chosen = match cx.choice(&self.name) {
            None => first,
            Some(choice) => match self.alternatives.iter().find(|(name, _)| name == choice) {
                Some((_, chain)) => chain,
                None => return Err(Error::new(ErrorKind::Config, self.unknown(choice))),
            },
        };
        run_streamed(chosen, input, cx).await
    }

    fn streaming(&self) -> Streaming {
        Streaming::Deltas
    }

    fn describe(&self) -> Node {
        let alternatives = self.alternatives.iter().map(|(name, chain)| (name.clone(), chain.describe()));
        Node::configurable_part(&self.name, alternatives)
    }
}

impl<I, O> Configurable<I, O> {
    fn unknown(&self, choice: &str) -> String {
        let names: Vec<_> = self.alternatives.iter().map(|(name, _)| name.as_str()).collect();
        let hint =
            closest(choice, names.iter()).map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
        let names = names.join(", ");
        format!("`{}` has no alternative `{choice}`: {hint}The alternatives are {names}", self.name)
    }
}

impl Model {
    /// Lets [`Context::with_parameters`] set parameters of this model by `name` when a chain is called. They
    /// override those of the prompt and of the model.
    ///
    /// ```
    /// use fanweave::{Context, Parameters, testing::Fake, text};
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let draft = Fake::echo().model().configurable("draft") | text();
    /// let cold = Parameters::new().temperature(0.0);
    /// let cx = Context::new().with_parameters("draft", cold);
    /// draft.invoke_in("Draft a letter.", &cx).await?;
    /// # Ok(())
    /// # }) }
    /// ```
    pub fn configurable(self, name: impl Into<Arc<str>>) -> Chain<Prompt, Message> {
        chain(Tunable { model: self, name: name.into() })
    }
}

struct Tunable {
    model: Model,
    name: Arc<str>,
}

impl Runnable for Tunable {
    const DRIVES_CALLS: bool = true;

    type Input = Prompt;
    type Output = Message;

    async fn run(&self, mut prompt: Prompt, cx: &Context) -> Result<Message> {
        if let Some(parameters) = cx.parameters(&self.name) {
            prompt.parameters = parameters.clone().or(&prompt.parameters);
        }
        self.model.run(prompt, cx).await
    }

    fn streaming(&self) -> Streaming {
        self.model.streaming()
    }

    fn describe(&self) -> Node {
        self.model.describe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChatModel, Parameters, step, text};

    #[tokio::test]
    async fn an_unknown_alternative_is_refused_with_the_known_ones() {
        let constant = |word: &'static str| step(move |(): (), _| async move { Ok(word) });
        let either = configurable("size", [("small", constant("s")), ("large", constant("l"))]);
        let cx = Context::new().with_choice("size", "larg");
        let error = either.invoke_in((), &cx).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(
            error.to_string(),
            "`size` has no alternative `larg`: did you mean `large`? The alternatives are small, large"
        );
    }

    #[tokio::test]
    async fn a_choice_for_an_unknown_part_is_refused_by_every_verb() {
        let word = |word: &'static str| step(move |_: u32, _| async move { Ok(word.to_owned()) });
        let either = configurable("size", [("small", word("s")), ("large", word("l"))]);
        let similar = Context::new().with_choice("sise", "large");
        let other = Context::new().with_choice("colour", "red");
        let hint = "the chain has no part `sise` to choose: did you mean `size`?";
        let known = "the chain has no part `colour` to choose: its parts are size";
        for (cx, message) in [(&similar, hint), (&other, known)] {
            assert_eq!(either.invoke_in(1u32, cx).await.unwrap_err().to_string(), message);
            assert_eq!(either.stream_in(1u32, cx).output().await.unwrap_err().to_string(), message);
            assert_eq!(either.events_in(1u32, cx).output().await.unwrap_err().to_string(), message);
            let choices = cx.clone();
            let rows = either.batch([1u32, 2]).context(move |_, _| choices.clone());
            for row in rows.collect().await {
                assert_eq!(row.unwrap_err().message(), message);
            }
        }
        let none = step(|n: u32, _| async move { Ok(n) });
        let error = none.invoke_in(1u32, &other).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the chain has no part `colour` to choose: it has no configurable parts"
        );
    }

    #[tokio::test]
    async fn a_choice_reaches_parts_within_closures_and_branches_that_are_not_taken() {
        let word = |word: &'static str| step(move |_: u32, _| async move { Ok(word.to_owned()) });
        let either = configurable("size", [("small", word("s")), ("large", word("l"))]);
        let hidden = either.clone();
        let hides = step(move |n: u32, cx: Context| {
            let hidden = hidden.clone();
            async move { hidden.invoke_in(n, &cx).await }
        });
        let cx = Context::new().with_choice("size", "large");
        assert_eq!(hides.invoke_in(1u32, &cx).await.unwrap(), "l");
        // The choice of the outer part is not that of the inner chain, and the other way round.
        let plain = word("plain");
        let outer = configurable(
            "outer",
            [(
                "a",
                step(move |n: u32, cx: Context| {
                    let plain = plain.clone();
                    async move { plain.invoke_in(n, &cx).await }
                }),
            )],
        );
        let cx = Context::new().with_choice("outer", "a");
        assert_eq!(outer.invoke_in(1u32, &cx).await.unwrap(), "plain");
        let skipped = crate::branch().when(|n: &u32| *n > 9, either).otherwise(word("none"));
        let cx = Context::new().with_choice("size", "large");
        assert_eq!(skipped.invoke_in(1u32, &cx).await.unwrap(), "none");
    }

    #[tokio::test]
    async fn parameters_are_set_by_name_for_one_run_only() {
        struct Temperature;
        impl ChatModel for Temperature {
            fn name(&self) -> &str {
                "test/temperature"
            }
            async fn generate(&self, prompt: Prompt, _: &Context) -> Result<Message> {
                Ok(Message::assistant(format!("{:?}", prompt.parameters.temperature)))
            }
        }
        let chain = Model::new(Temperature).configurable("draft") | text();
        let hot = Parameters { temperature: Some(2.0), ..Parameters::default() };
        let cx = Context::new().with_parameters("draft", hot);
        let (one, other) = tokio::join!(chain.invoke_in("x", &cx), chain.invoke("x"));
        assert_eq!((one.unwrap().as_str(), other.unwrap().as_str()), ("Some(2.0)", "None"));
    }
}

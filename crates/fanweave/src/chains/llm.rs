//! A prompt, a model and a parser, with typed variables and calls with many inputs.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;

use crate::{Chain, Context, Message, Model, Prompt, Result, Runnable, Usage, Vars, chain, text};

/// A prompt and a model with inputs of type `I`, whose fields are the variables of the prompt.
///
/// ```
/// use fanweave::{chains::Llm, prompt, testing::Fake};
///
/// #[fanweave::schema]
/// struct Shop {
///     product: &'static str,
/// }
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let names = Llm::new(prompt("Name a shop that sells {{ product }}."), Fake::echo().model());
///
/// // A chain from a struct to the text of the answer.
/// let name = names.text().invoke(Shop { product: "socks" }).await?;
/// assert_eq!(name, "Name a shop that sells socks.");
///
/// // Several inputs concurrently, with their token usage.
/// let answers = names.generate([Shop { product: "tea" }, Shop { product: "maps" }]).await;
/// assert_eq!(answers.results[1].as_ref().unwrap().text(), "Name a shop that sells maps.");
/// assert_eq!(answers.usage.input_tokens, 12);
/// # Ok(())
/// # }) }
/// ```
pub struct Llm<I> {
    prompt: Chain<Vars, Prompt>,
    model: Model,
    input: PhantomData<fn(I)>,
}

impl<I> fmt::Debug for Llm<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Llm").field("prompt", &self.prompt).field("model", &self.model).finish()
    }
}

impl<I> Clone for Llm<I> {
    fn clone(&self) -> Self {
        Self { prompt: self.prompt.clone(), model: self.model.clone(), input: PhantomData }
    }
}

/// The output of [`Llm::generate`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Generated {
    /// One result for each input, in the order of the inputs.
    pub results: Vec<Result<Message>>,
    /// Total tokens. Failed calls are not counted.
    pub usage: Usage,
}

impl<I: Serialize + Send + 'static> Llm<I> {
    /// A chain of `prompt` and `model`.
    pub fn new(prompt: Chain<Vars, Prompt>, model: Model) -> Self {
        Self { prompt, model, input: PhantomData }
    }

    /// The chain to the message of the model, to be piped into a parser.
    pub fn chain(&self) -> Chain<I, Message> {
        chain(Fields(PhantomData)) | &self.prompt | &self.model
    }

    /// The chain to the text of the answer.
    pub fn text(&self) -> Chain<I, String> {
        self.chain() | text()
    }

    /// Answers all inputs, with the default concurrency of a [`Batch`](crate::Batch).
    pub async fn generate(&self, inputs: impl IntoIterator<Item = I>) -> Generated {
        self.generate_in(inputs, &Context::new()).await
    }

    /// Like [`generate`](Self::generate), with the deadline, cancellation, observers and tags of `cx`.
    pub async fn generate_in(&self, inputs: impl IntoIterator<Item = I>, cx: &Context) -> Generated {
        let inputs: Vec<_> = inputs.into_iter().collect();
        let mut rows = self.chain().batch(inputs).within(cx.without_deltas()).run();
        let mut generated = Generated { results: Vec::new(), usage: Usage::default() };
        while let Some(row) = rows.next().await {
            if let Ok(message) = &row.result {
                generated.usage += message.usage();
            }
            generated.results.push(row.result);
        }
        generated
    }
}

/// Converts a struct to variables.
struct Fields<I>(PhantomData<fn(I)>);

impl<I: Serialize + Send + 'static> Runnable for Fields<I> {
    type Input = I;

    const DRIVES_CALLS: bool = true;
    type Output = Vars;

    async fn run(&self, input: I, _: &Context) -> Result<Vars> {
        Vars::from_serialize(input)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::StreamExt;
    use tokio::time::Instant;

    use super::*;
    use crate::model::fake::Fake;
    use crate::{Error, ErrorKind, prompt, vars};

    fn model() -> Model {
        Fake::echo().latency(Duration::from_secs(1)).model()
    }

    #[tokio::test(start_paused = true)]
    async fn five_runs_at_once_take_the_time_of_one() {
        let chain = Llm::<Vars>::new(prompt("{{ x }}"), model()).text();
        let started = Instant::now();
        for n in 0..5 {
            chain.invoke(vars! { x: n }).await.unwrap();
        }
        let serial = started.elapsed();
        let started = Instant::now();
        futures::future::join_all((0..5).map(|n| chain.invoke(vars! { x: n }))).await;
        let ratio = serial.as_secs_f64() / started.elapsed().as_secs_f64();
        assert!(ratio >= 4.9, "{ratio}");
    }

    #[tokio::test(start_paused = true)]
    async fn inputs_are_answered_concurrently_and_results_including_failures_keep_their_order() {
        let llm = Llm::<Vars>::new(prompt("{{ x }}"), model());
        let started = Instant::now();
        let generated = llm.generate([vars! { x: "a" }, vars! {}, vars! { x: "b c" }]).await;
        assert_eq!(started.elapsed().as_secs(), 1);
        let texts: Vec<_> =
            generated.results.into_iter().map(|result| result.map(Message::into_text)).collect();
        assert_eq!(texts[0].as_ref().unwrap(), "a");
        assert_eq!(texts[1].as_ref().map_err(Error::kind).unwrap_err(), ErrorKind::Input);
        assert_eq!(texts[2].as_ref().unwrap(), "b c");
        assert_eq!(generated.usage.total_tokens(), 6);
    }

    #[tokio::test]
    async fn a_typed_chain_streams() {
        let chain = Llm::<Vars>::new(prompt("{{ x }}"), Fake::echo().model()).text();
        let deltas: Vec<_> =
            chain.stream(vars! { x: "a b" }).map(|piece| piece.unwrap().to_string()).collect().await;
        assert_eq!(deltas, ["a ", "b"]);
    }
}

//! Keeps the input next to the values computed from it.

use futures::future::try_join_all;
use serde::Serialize;
use serde_json::Value;

use crate::chain::{Chain, chain};
use crate::run::run_streamed;
use crate::{Context, Delta, Error, ErrorKind, Node, Result, Runnable, Streaming, Vars, step};

/// A step that returns its input.
///
/// ```
/// use fanweave::compose::passthrough;
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// assert_eq!(passthrough::<u32>().invoke(7u32).await?, 7);
/// # Ok(())
/// # }) }
/// ```
pub fn passthrough<T: Send + 'static>() -> Chain<T, T> {
    chain(Passthrough(std::marker::PhantomData))
}

struct Passthrough<T>(std::marker::PhantomData<fn(T)>);

impl<T: Send + 'static> Runnable for Passthrough<T> {
    const DRIVES_CALLS: bool = true;

    type Input = T;
    type Output = T;

    async fn run(&self, input: T, _: &Context) -> Result<T> {
        Ok(input)
    }

    fn describe(&self) -> Node {
        Node::step("passthrough")
    }
}

/// Adds variables that are computed from the existing ones: `assign("summary", summarise)`.
///
/// Several are computed concurrently: `assign("summary", summarise).and("title", entitle)`. In a stream, the
/// existing variables come first as a [`Delta::Value`], and the deltas of each new one follow as a branch of
/// its name.
///
/// ```
/// use fanweave::{Vars, chain, compose::assign, prompt, testing::Fake, text, vars};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let joke = prompt("A joke about {{ topic }}.") | Fake::echo() | text();
/// let both = chain(assign("joke", joke)).invoke(vars! { topic: "bears" }).await?;
/// assert_eq!(both, vars! { topic: "bears", joke: "A joke about bears." });
/// # Ok(())
/// # }) }
/// ```
pub fn assign<R>(name: impl Into<String>, step: R) -> Assign
where
    R: Runnable<Input = Vars>,
    R::Output: Serialize + Sync,
{
    Assign { added: Vec::new() }.and(name, step)
}

/// The step that [`assign`] makes.
pub struct Assign {
    added: Vec<(String, Chain<Vars, Value>)>,
}

impl Assign {
    /// Adds another variable, computed concurrently.
    #[must_use]
    pub fn and<R>(mut self, name: impl Into<String>, computed: R) -> Self
    where
        R: Runnable<Input = Vars>,
        R::Output: Serialize + Sync,
    {
        self.added.push((name.into(), chain(AsValue(computed))));
        self
    }
}

impl Runnable for Assign {
    const DRIVES_CALLS: bool = true;

    type Input = Vars;
    type Output = Vars;

    async fn run(&self, mut vars: Vars, cx: &Context) -> Result<Vars> {
        let is_streamed = cx.has_delta_reader();
        if is_streamed {
            cx.delta(Delta::Value(Value::Object(vars.as_map().clone()))).await;
        }
        let values = try_join_all(self.added.iter().enumerate().map(async |(part, (name, chain))| {
            let cx = if is_streamed { cx.branch(part, name.as_str()) } else { cx.fork(part as u64) };
            chain.run(vars.clone(), &cx).await.map_err(|error| error.with_step(name.as_str()))
        }))
        .await?;
        for ((name, _), value) in self.added.iter().zip(values) {
            vars.insert(name, value);
        }
        Ok(vars)
    }

    fn streaming(&self) -> Streaming {
        Streaming::Deltas
    }

    fn describe(&self) -> Node {
        Node::all_of("assign", self.added.iter().map(|(name, chain)| (name.clone(), chain.describe())))
    }
}

/// A step whose output is converted to JSON.
struct AsValue<R>(R);

impl<R: Runnable> Runnable for AsValue<R>
where
    R::Output: Serialize + Sync,
{
    const DRIVES_CALLS: bool = true;

    type Input = R::Input;
    type Output = Value;

    async fn run(&self, input: R::Input, cx: &Context) -> Result<Value> {
        let output = run_streamed(&self.0, input, cx).await?;
        serde_json::to_value(output).map_err(|e| {
            Error::new(ErrorKind::Step, format!("the output is not valid JSON: {e}")).with_source(e)
        })
    }

    fn streaming(&self) -> Streaming {
        Streaming::Deltas
    }

    fn describe(&self) -> Node {
        self.0.describe()
    }
}

/// Keeps only the variables with these names, in this order.
///
/// ```
/// use fanweave::{compose::pick, vars};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// assert_eq!(pick(["a"]).invoke(vars! { a: 1, b: 2 }).await?, vars! { a: 1 });
/// # Ok(())
/// # }) }
/// ```
///
/// # Errors
/// A run fails with [`ErrorKind::Input`] if a variable is missing.
pub fn pick<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Chain<Vars, Vars> {
    let names: Vec<String> = names.into_iter().map(Into::into).collect();
    step(move |vars: Vars, _| {
        let picked: Result<Vars> = names
            .iter()
            .map(|name| match vars.get(name) {
                Some(value) => Ok((name.clone(), value.clone())),
                None => {
                    let given = vars.names().collect::<Vec<_>>().join(", ");
                    let given = if given.is_empty() {
                        "no variables are given".to_owned()
                    } else {
                        format!("the variables are {given}")
                    };
                    Err(Error::new(ErrorKind::Input, format!("unknown variable `{name}`: {given}")))
                }
            })
            .collect();
        async move { picked }
    })
    .named("pick")
}

impl<I: Clone + Send + 'static, O: Send + 'static> Chain<I, O> {
    /// Keeps the input together with the output: `join` combines them into one value.
    ///
    /// ```
    /// use fanweave::step;
    ///
    /// struct Report {
    ///     article: String,
    ///     words: usize,
    /// }
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let count = step(|article: String, _| async move { Ok(article.split(' ').count()) });
    /// let report = count.keep_input(|article, words| Report { article, words }).invoke("tides turn").await?;
    /// assert_eq!((report.article.as_str(), report.words), ("tides turn", 2));
    /// # Ok(())
    /// # }) }
    /// ```
    pub fn keep_input<N: Send + 'static>(
        self,
        join: impl Fn(I, O) -> N + Send + Sync + 'static,
    ) -> Chain<I, N> {
        chain(KeepInput { inner: self, join })
    }
}

impl<I: Send + 'static, O: Send + 'static> Chain<I, O> {
    /// Maps the output with a function.
    ///
    /// ```
    /// use fanweave::step;
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let double = step(|n: u32, _| async move { Ok(n * 2) });
    /// assert_eq!(double.map(|n| n.to_string()).invoke(21u32).await?, "42");
    /// # Ok(())
    /// # }) }
    /// ```
    pub fn map<N: Send + 'static>(self, f: impl Fn(O) -> N + Send + Sync + 'static) -> Chain<I, N> {
        chain(Map { inner: self, f })
    }
}

struct KeepInput<I, O, F> {
    inner: Chain<I, O>,
    join: F,
}

impl<I, O, N, F> Runnable for KeepInput<I, O, F>
where
    I: Clone + Send + 'static,
    O: Send + 'static,
    N: Send + 'static,
    F: Fn(I, O) -> N + Send + Sync + 'static,
{
    const DRIVES_CALLS: bool = true;

    type Input = I;
    type Output = N;

    async fn run(&self, input: I, cx: &Context) -> Result<N> {
        let output = self.inner.run(input.clone(), cx).await?;
        Ok((self.join)(input, output))
    }

    fn describe(&self) -> Node {
        self.inner.describe()
    }
}

struct Map<I, O, F> {
    inner: Chain<I, O>,
    f: F,
}

impl<I, O, N, F> Runnable for Map<I, O, F>
where
    I: Send + 'static,
    O: Send + 'static,
    N: Send + 'static,
    F: Fn(O) -> N + Send + Sync + 'static,
{
    const DRIVES_CALLS: bool = true;

    type Input = I;
    type Output = N;

    async fn run(&self, input: I, cx: &Context) -> Result<N> {
        self.inner.run(input, cx).await.map(&self.f)
    }

    fn describe(&self) -> Node {
        self.inner.describe()
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;
    use crate::model::fake::Fake;
    use crate::{prompt, text, vars};

    #[tokio::test]
    async fn existing_variables_are_emitted_before_assigned_ones() {
        let joke = prompt("on {{ topic }}") | Fake::echo() | text();
        let shout = joke.clone() | step(|s: String, _| async move { Ok(s.to_uppercase()) });
        let added = chain(assign("joke", joke).and("shout", shout));
        let deltas: Vec<_> =
            added.stream(vars! { topic: "bears" }).map(|delta| delta.unwrap()).collect().await;
        assert_eq!(deltas[0], Delta::Value(serde_json::json!({ "topic": "bears" })));
        let mut rest: Vec<_> = deltas[1..]
            .iter()
            .map(|delta| match delta {
                Delta::Branch { branch, delta } => format!("{branch}: {delta}"),
                other => panic!("{other:?}"),
            })
            .collect();
        rest.sort();
        assert_eq!(rest, ["joke: bears", "joke: on ", "shout: ON BEARS"]);
    }

    #[tokio::test]
    async fn a_variable_that_cannot_be_picked_is_named() {
        let error = pick(["b"]).invoke(vars! { a: 1 }).await.unwrap_err();
        assert_eq!(error.to_string(), "step pick: unknown variable `b`: the variables are a");
    }
}

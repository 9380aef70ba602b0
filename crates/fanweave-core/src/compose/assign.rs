//! Adds computed values to the variables.

use futures::future::try_join_all;
use serde::Serialize;
use serde_json::Value;

use crate::chain::{Chain, chain};
use crate::run::run_streamed;
use crate::{Context, Delta, Error, ErrorKind, Node, Result, Runnable, Streaming, Vars};

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

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;
    use crate::model::fake::Fake;
    use crate::{prompt, step, text, vars};

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
}

//! Keeps some of the variables.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::chain::{Chain, chain};
use crate::{Context, Delta, Error, ErrorKind, Node, Result, Runnable, Streaming, Vars};

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
/// In a stream, the deltas of the other variables are dropped.
///
/// # Errors
/// A run fails with [`ErrorKind::Input`] if a variable is missing.
pub fn pick<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Chain<Vars, Vars> {
    let names = names.into_iter().map(Into::into).collect();
    chain(Pick { names }).named("pick")
}

struct Pick {
    names: Arc<[String]>,
}

impl Runnable for Pick {
    const DRIVES_CALLS: bool = true;

    type Input = Vars;
    type Output = Vars;

    async fn run(&self, vars: Vars, _: &Context) -> Result<Vars> {
        let picked = self.names.iter().map(|name| match vars.get(name) {
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
        });
        picked.collect()
    }

    /// Passes the deltas of the variables that are kept.
    fn streaming(&self) -> Streaming {
        let names = self.names.clone();
        Streaming::Through(Box::new(move |delta| match delta {
            Delta::Value(Value::Object(vars)) => {
                let vars: Map<_, _> = vars.into_iter().filter(|(name, _)| names.contains(name)).collect();
                (!vars.is_empty()).then_some(Delta::Value(Value::Object(vars)))
            }
            Delta::Branch { ref branch, .. } => names.iter().any(|name| **name == **branch).then_some(delta),
            _ => None,
        }))
    }

    fn describe(&self) -> Node {
        Node::step("pick")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vars;

    #[tokio::test]
    async fn a_variable_that_cannot_be_picked_is_named() {
        let error = pick(["b"]).invoke(vars! { a: 1 }).await.unwrap_err();
        assert_eq!(error.to_string(), "step pick: unknown variable `b`: the variables are a");
    }

    #[tokio::test]
    async fn an_assigned_variable_streams_through() {
        let joke = crate::prompt("on {{ topic }}") | crate::model::fake::Fake::echo() | crate::text();
        let added = crate::assign("joke", joke.clone()).and("other", joke);
        let picked = chain(added) | pick(["joke"]);
        let mut run = picked.stream(vars! { topic: "bears" });
        let mut deltas = Vec::new();
        while let Some(delta) = run.next().await {
            let Delta::Branch { branch, delta } = delta.unwrap() else { panic!("not of a branch") };
            deltas.push(format!("{branch}: {delta}"));
        }
        assert_eq!(deltas, ["joke: on ", "joke: bears"]);
        assert_eq!(run.output().await.unwrap(), vars! { joke: "on bears" });
        let run = pick(["a"]).stream(vars! { a: 1, b: 2 });
        let deltas: Vec<_> = futures::StreamExt::collect(run).await;
        assert_eq!(deltas.len(), 1, "the variables themselves are one delta");
    }
}

//! Streams the output of a chain as JSON.

use serde::Serialize;

use crate::chain::{Chain, chain};
use crate::run::as_single_delta;
use crate::runnable::run_within;
use crate::{Context, Delta, Error, ErrorKind, Node, Result, Runnable, Streaming};

/// Made by [`Chain::values`].
struct Values<I, O>(Chain<I, O>);

impl<I: Send + 'static, O: Serialize + Send + 'static> Runnable for Values<I, O> {
    const DRIVES_CALLS: bool = true;

    type Input = I;
    type Output = O;

    async fn run(&self, input: I, cx: &Context) -> Result<O> {
        if !cx.has_delta_reader() || !matches!(self.0.streaming(), Streaming::Whole) {
            return run_within(&self.0, input, cx).await;
        }
        let output = run_within(&self.0, input, &cx.without_deltas()).await?;
        let delta = match as_single_delta(&output) {
            Some(delta) => delta,
            None => Delta::Value(serde_json::to_value(&output).map_err(|e| {
                Error::new(ErrorKind::Step, format!("the output is not valid JSON: {e}")).with_source(e)
            })?),
        };
        cx.delta(delta).await;
        Ok(output)
    }

    fn streaming(&self) -> Streaming {
        match self.0.streaming() {
            Streaming::Whole => Streaming::Deltas,
            other => other,
        }
    }

    fn describe(&self) -> Node {
        self.0.describe()
    }
}

impl<I: Send + 'static, O: Serialize + Send + 'static> Chain<I, O> {
    /// Streams the output of a chain that cannot stream as one [`Delta::Value`]. Chains that stream are not
    /// changed, and neither are texts. Needed for own types only: see [`Run`](crate::Run).
    ///
    /// ```
    /// use fanweave::{Delta, step};
    /// use fanweave::crates::serde_json::json;
    ///
    /// #[fanweave::schema]
    /// struct Page {
    ///     title: String,
    /// }
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let page = step(|title: String, _| async move { Ok(Page { title }) }).values();
    /// let mut run = page.stream("Tides");
    /// assert_eq!(run.next().await.unwrap()?, Delta::Value(json!({ "title": "Tides" })));
    /// # Ok(())
    /// # }) }
    /// ```
    ///
    /// # Errors
    /// A streamed run fails with [`ErrorKind::Step`] if the output cannot be serialised.
    #[must_use]
    pub fn values(self) -> Self {
        chain(Values(self))
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use serde_json::json;

    use super::*;
    use crate::model::fake::Fake;
    use crate::{Message, Vars, json_as, lines, list, pick, prompt, step, text, vars};

    /// The deltas of a run, the last of which holds the output.
    async fn deltas<O: Send + 'static>(chain: &Chain<Vars, O>) -> Vec<Delta> {
        chain.stream(vars! { x: "1. a\n2. b" }).map(Result::unwrap).collect().await
    }

    #[tokio::test]
    async fn every_chain_yields_at_least_one_delta_and_the_last_is_its_output() {
        let answer = prompt("{{ x }}") | Fake::echo();
        let value = |value| Some(Delta::Value(value));
        let list_of = |parsed| Some(Delta::Value(parsed));
        assert_eq!(deltas(&(answer.clone() | lines())).await.last().cloned(), value(json!(["a", "b"])));
        assert_eq!(
            deltas(&(answer.clone() | list())).await.last().cloned(),
            list_of(json!(["1. a", "2. b"]))
        );
        let size = (answer.clone() | text()).map(|text| text.len());
        assert_eq!(deltas(&size).await.last().cloned(), value(json!(9)));
        assert_eq!(deltas(&pick(["x"])).await.last().cloned(), value(json!({ "x": "1. a\n2. b" })));
        assert_eq!(deltas(&answer).await.len(), 3);

        let own = step(|_: Vars, _| async move { Ok(Message::assistant("x")) }).map(|message| vec![message]);
        assert!(deltas(&own).await.is_empty(), "messages in a list are no known type");
        let own = deltas(&own.values()).await;
        let [Delta::Value(all)] = &own[..] else { panic!("{own:?}") };
        assert_eq!(all[0]["role"], "assistant");
    }

    #[tokio::test]
    async fn a_chain_that_streams_is_not_changed() {
        let number = prompt("{{ x }}") | Fake::echo() | json_as::<Vec<u32>>();
        let run = |chain: &Chain<Vars, Vec<u32>>| {
            chain.stream(vars! { x: "[1, 2]" }).map(Result::unwrap).collect::<Vec<_>>()
        };
        assert_eq!(run(&number.clone().values()).await, run(&number).await);
    }
}

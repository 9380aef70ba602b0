//! Selects one of several chains by a key.

use std::sync::Arc;

use crate::chain::{Chain, chain};
use crate::run::run_streamed;
use crate::{Context, Error, ErrorKind, IntoChain, Node, Result, Runnable, Streaming, closest};

/// Runs the chain whose name is the `key` of the input.
///
/// ```
/// use fanweave::{compose::router, step};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let add = step(|(_, n): (&'static str, i64), _| async move { Ok(n + n) });
/// let square = step(|(_, n): (&'static str, i64), _| async move { Ok(n * n) });
/// let calculate = router(|(word, _): &(&'static str, i64)| *word, [("double", add), ("square", square)]);
/// assert_eq!(calculate.invoke(("square", 5)).await?, 25);
/// let error = calculate.invoke(("sqare", 5)).await.unwrap_err();
/// assert_eq!(error.to_string(), "no route `sqare`: did you mean `square`? The routes are double, square");
/// # Ok(())
/// # }) }
/// ```
///
/// # Errors
/// A run fails with [`ErrorKind::Input`] if no chain has the key.
pub fn router<I, O, K, N, M>(
    key: impl Fn(&I) -> K + Send + Sync + 'static,
    routes: impl IntoIterator<Item = (N, impl IntoChain<I, O, M>)>,
) -> Chain<I, O>
where
    I: Send + 'static,
    O: Send + 'static,
    K: AsRef<str>,
    N: Into<String>,
{
    routed(Arc::new(move |input: &I| key(input).as_ref().to_owned()), routes)
}

/// Like [`router`], with a key that is borrowed from the input.
///
/// ```
/// use fanweave::{Vars, compose::route_by, prompt, testing::Fake, text, vars};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let answer = |template: &str| prompt(template) | Fake::echo() | text();
/// let routed = route_by(
///     |vars: &Vars| vars.get("kind").and_then(|kind| kind.as_str()).unwrap_or("talk"),
///     [("math", answer("Calculate.")), ("talk", answer("Chat."))],
/// );
/// assert_eq!(routed.invoke(vars! { kind: "math" }).await?, "Calculate.");
/// assert_eq!(routed.invoke(vars! {}).await?, "Chat.");
/// # Ok(())
/// # }) }
/// ```
///
/// # Errors
/// A run fails with [`ErrorKind::Input`] if no chain has the key.
pub fn route_by<I, O, N, M>(
    key: impl Fn(&I) -> &str + Send + Sync + 'static,
    routes: impl IntoIterator<Item = (N, impl IntoChain<I, O, M>)>,
) -> Chain<I, O>
where
    I: Send + 'static,
    O: Send + 'static,
    N: Into<String>,
{
    routed(Arc::new(move |input: &I| key(input).to_owned()), routes)
}

fn routed<I, O, N, M>(
    key: Arc<dyn Fn(&I) -> String + Send + Sync>,
    routes: impl IntoIterator<Item = (N, impl IntoChain<I, O, M>)>,
) -> Chain<I, O>
where
    I: Send + 'static,
    O: Send + 'static,
    N: Into<String>,
{
    let routes = routes.into_iter().map(|(name, route)| (name.into(), route.into_chain())).collect();
    chain(Router { key, routes })
}

struct Router<I, O> {
    key: Arc<dyn Fn(&I) -> String + Send + Sync>,
    routes: Vec<(String, Chain<I, O>)>,
}

impl<I: Send + 'static, O: Send + 'static> Runnable for Router<I, O> {
    const DRIVES_CALLS: bool = true;

    type Input = I;
    type Output = O;

    async fn run(&self, input: I, cx: &Context) -> Result<O> {
        let key = (self.key)(&input);
        match self.routes.iter().find(|(name, _)| *name == key) {
            Some((_, chain)) => run_streamed(chain, input, cx).await,
            None => Err(Error::new(ErrorKind::Input, self.unknown(&key))),
        }
    }

    fn streaming(&self) -> Streaming {
        Streaming::Deltas
    }

    fn describe(&self) -> Node {
        Node::one_of("router", self.routes.iter().map(|(name, chain)| (name.clone(), chain.describe())))
    }
}

impl<I, O> Router<I, O> {
    fn unknown(&self, key: &str) -> String {
        let names: Vec<_> = self.routes.iter().map(|(name, _)| name.as_str()).collect();
        let hint = closest(key, names.iter()).map(|near| format!("did you mean `{near}`? "));
        format!("no route `{key}`: {}The routes are {}", hint.unwrap_or_default(), names.join(", "))
    }
}

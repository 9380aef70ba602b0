//! Names a step.

use std::sync::Arc;

use crate::chain::{Chain, chain};
use crate::runnable::run_within;
use crate::{Context, Node, Result, Runnable, Streaming};

/// Runs a step under a name, which its events and the path of its errors contain.
///
/// Made by [`Chain::named`].
///
/// ```
/// use fanweave::{Error, ErrorKind, step};
///
/// # fn main() { fanweave::blocking::wait(async {
/// let broken = step(|_: u32, _| async { Err::<u32, _>(Error::new(ErrorKind::Step, "no paper left")) });
/// let error = broken.named("print").invoke(1u32).await.unwrap_err();
/// assert_eq!(error.to_string(), "step print: no paper left");
/// # }) }
/// ```
pub struct Named<R> {
    inner: R,
    name: Arc<str>,
}

impl<R> Named<R> {
    pub(crate) fn new(inner: R, name: Arc<str>) -> Self {
        Self { inner, name }
    }
}

impl<R: Runnable> Runnable for Named<R> {
    const DRIVES_CALLS: bool = true;

    type Input = R::Input;
    type Output = R::Output;

    async fn run(&self, input: R::Input, cx: &Context) -> Result<R::Output> {
        let cx = cx.begin(&self.name).await;
        let result = run_within(&self.inner, input, &cx).await;
        cx.end(&self.name, result, |_| None).await
    }

    fn streaming(&self) -> Streaming {
        self.inner.streaming()
    }

    fn describe(&self) -> Node {
        self.inner.describe().named(&self.name)
    }
}

impl<I: Send + 'static, O: Send + 'static> Chain<I, O> {
    /// Names the chain, for events and the path of errors.
    pub fn named(self, name: impl Into<Arc<str>>) -> Self {
        chain(Named::new(self, name.into()))
    }
}

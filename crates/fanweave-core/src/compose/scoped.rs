//! Settings for a part of a chain.

use std::sync::Arc;

use crate::chain::{Chain, chain};
use crate::context::PartLimits;
use crate::{Context, Node, Result, Runnable, Streaming};

/// Runs a chain in its own context. Made by [`Chain::scoped`].
pub struct Scoped<I, O> {
    inner: Chain<I, O>,
    change: Arc<dyn Fn(Context) -> Context + Send + Sync>,
    limits: PartLimits,
}

impl<I: Send + 'static, O: Send + 'static> Runnable for Scoped<I, O> {
    const DRIVES_CALLS: bool = true;

    type Input = I;
    type Output = O;

    async fn run(&self, input: I, cx: &Context) -> Result<O> {
        let is_driven = cx.is_driven();
        let cx = (self.change)(cx.clone().undriven()).sharing_limits(&self.limits, cx);
        let cx = if is_driven { cx.driven() } else { cx };
        cx.guard(self.inner.run(input, &cx)).await
    }

    fn streaming(&self) -> Streaming {
        self.inner.streaming()
    }

    fn describe(&self) -> Node {
        self.inner.describe()
    }
}

impl<I: Send + 'static, O: Send + 'static> Chain<I, O> {
    /// Changes the context of the runs of this chain: tags, metadata, concurrency, a deadline, alternatives.
    ///
    /// The settings apply to this chain and everything within it, never to other chains, the thread or the
    /// process. The innermost setting wins, tags add up, and outer limits stay in force.
    ///
    /// A limit of concurrency is one for the part: all its runs within the same enclosing limit share it,
    /// such as all rows of a batch.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use fanweave::{Context, Event, chain, prompt, testing::Fake, text, vars};
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let draft = (prompt("Draft {{ x }}") | Fake::echo() | text())
    ///     .scoped(|cx| cx.with_tag("draft").with_concurrency(4));
    ///
    /// let tags = Arc::new(Mutex::new(Vec::new()));
    /// let seen = tags.clone();
    /// let note = move |event: &Event| seen.lock().unwrap().extend(event.tags().map(str::to_owned));
    /// let cx = Context::new().with_tag("night").with_observer(Arc::new(note));
    /// draft.invoke_in(vars! { x: 1 }, &cx).await?;
    /// assert_eq!(tags.lock().unwrap()[..2], ["night", "draft"]);
    /// # Ok(())
    /// # }) }
    /// ```
    #[must_use]
    pub fn scoped(self, change: impl Fn(Context) -> Context + Send + Sync + 'static) -> Self {
        chain(Scoped { inner: self, change: Arc::new(change), limits: PartLimits::default() })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::model::fake::{Fake, Load};
    use crate::{Event, EventKind, parallel, step, text};

    #[tokio::test]
    async fn tags_and_metadata_reach_children_and_names_do_not() {
        let model = chain(Fake::echo()).named("inner");
        let outer =
            (model | text()).scoped(|cx| cx.with_tag("b").with_metadata("team", "docs")).named("outer");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let recorded = seen.clone();
        let note = move |event: &Event| {
            if let EventKind::StepStarted = event.kind {
                let tags = event.tags().collect::<Vec<_>>().join(",");
                let team = event.metadata("team").map(ToString::to_string).unwrap_or_default();
                let name = event.path.name().unwrap_or_default();
                recorded.lock().unwrap().push(format!("{name} [{tags}] {team}"));
            }
        };
        let cx = Context::new().with_tag("a").with_metadata("team", "ops").with_observer(Arc::new(note));
        outer.invoke_in("x", &cx).await.unwrap();
        let seen = seen.lock().unwrap();
        assert_eq!(*seen, ["outer [a] \"ops\"", "inner [a,b] \"docs\"", "fake/echo [a,b] \"docs\""]);
        // A setting of an inner chain does not apply outside of it.
        assert_eq!(cx.tags().collect::<Vec<_>>(), ["a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_of_a_part_is_one_for_all_runs_within_a_limit() {
        for concurrency in [10, 3] {
            let load = Load::default();
            let slow = Fake::echo().latency(Duration::from_millis(10)).count_in(&load);
            let other = Load::default();
            let free = Fake::echo().latency(Duration::from_millis(10)).count_in(&other);
            let part = (chain(slow) | text()).scoped(|cx| cx.with_concurrency(2));
            let both = parallel((part.clone(), chain(free) | text()));
            let rows = both.batch((0..10).map(|n| n.to_string())).concurrency(concurrency).collect().await;
            assert!(rows.iter().all(Result::is_ok));
            assert_eq!((load.max_in_flight(), load.calls(), other.calls()), (2, 10, 10));
            // The rest of the chain keeps the limit of the batch.
            assert!(other.max_in_flight() > 2 || concurrency == 3, "{}", other.max_in_flight());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_within_a_limit_loosens_nothing() {
        let (now, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (n, p) = (now, peak.clone());
        let call = step(move |_: u32, cx: Context| {
            let (n, p) = (n.clone(), p.clone());
            async move {
                let _permit = cx.acquire().await?;
                p.fetch_max(n.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(10)).await;
                n.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            }
        });
        let wide = call.clone().scoped(|cx| cx.with_concurrency(100));
        let fan = parallel((wide.clone(), wide.clone(), wide.clone(), wide));
        fan.batch(0..20u32).concurrency(3).collect().await;
        assert_eq!(peak.swap(0, Ordering::SeqCst), 3);
        let narrow = call.scoped(|cx| cx.with_concurrency(1));
        let fan = parallel((narrow.clone(), narrow)).scoped(|cx| cx.with_concurrency(9));
        fan.invoke(1u32).await.unwrap();
        // Both are the same part, which has one limit.
        assert_eq!(peak.load(Ordering::SeqCst), 1);
    }
}

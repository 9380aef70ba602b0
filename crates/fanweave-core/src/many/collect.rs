//! Combines the items of a stream: `collect` and `join`.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};

use crate::chain::{Chain, chain};
use crate::many::Many;
use crate::runnable::{Runnable, Streaming};
use crate::{Context, Delta, Node, Result};

impl<I: Send + 'static, T: Send + 'static> Many<I, T> {
    /// A chain that returns all items, in order.
    ///
    /// # Errors
    /// A run fails with the first item that fails.
    pub fn collect(self) -> Chain<I, Vec<T>> {
        chain(Collect(self))
    }
}

impl<I: Send + 'static> Many<I, String> {
    /// A chain that joins the items to one text with `separator` between them. It streams: every item is
    /// emitted as soon as it and all previous ones are complete.
    ///
    /// # Errors
    /// A run fails with the first item that fails.
    pub fn join(self, separator: impl Into<Arc<str>>) -> Chain<I, String> {
        chain(Join { items: self, separator: separator.into() })
    }
}

struct Collect<I, T>(Many<I, T>);

impl<I: Send + 'static, T: Send + 'static> Runnable for Collect<I, T> {
    const DRIVES_CALLS: bool = true;

    type Input = I;
    type Output = Vec<T>;

    async fn run(&self, input: I, cx: &Context) -> Result<Vec<T>> {
        self.0.stream_in(input, &cx.without_deltas()).try_collect().await
    }

    fn describe(&self) -> Node {
        Node::sequence([self.0.node.clone(), Node::step("collect")])
    }
}

struct Join<I> {
    items: Many<I, String>,
    separator: Arc<str>,
}

impl<I: Send + 'static> Runnable for Join<I> {
    const DRIVES_CALLS: bool = true;

    type Input = I;
    type Output = String;

    async fn run(&self, input: I, cx: &Context) -> Result<String> {
        let mut items = self.items.stream_in(input, &cx.without_deltas());
        let mut whole = String::new();
        let mut first = true;
        while let Some(item) = items.next().await {
            let item = item?;
            if !std::mem::take(&mut first) {
                whole.push_str(&self.separator);
                cx.delta(Delta::text(&*self.separator)).await;
            }
            whole.push_str(&item);
            cx.delta(Delta::text(item)).await;
        }
        Ok(whole)
    }

    fn describe(&self) -> Node {
        Node::sequence([self.items.node.clone(), Node::step("join")])
    }

    fn streaming(&self) -> Streaming {
        Streaming::Deltas
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures::{StreamExt, stream};
    use tokio::time::Instant;

    use crate::model::fake::Fake;
    use crate::{
        ChatModel, Context, Delta, Error, ErrorKind, Message, Model, Prompt, Result, RetryPolicy, generator,
        step,
    };

    /// Writes five lines, one every 100 ms.
    pub(in crate::many) struct Outline;

    impl ChatModel for Outline {
        fn name(&self) -> &str {
            "test/outline"
        }

        async fn generate(&self, _: Prompt, cx: &Context) -> Result<Message> {
            let mut all = String::new();
            for i in 0..5 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let line = format!("{i}. title {i}\n");
                all.push_str(&line);
                cx.delta(Delta::text(line)).await;
            }
            Ok(Message::assistant(all))
        }
    }

    /// Writes two lines and fails in the third.
    pub(in crate::many) struct BreaksOff;

    impl ChatModel for BreaksOff {
        fn name(&self) -> &str {
            "test/breaks-off"
        }

        async fn generate(&self, _: Prompt, cx: &Context) -> Result<Message> {
            for i in 0..2 {
                cx.delta(Delta::text(format!("{i}. title {i}\n"))).await;
            }
            cx.delta(Delta::text("2. ti")).await;
            Err(Error::new(ErrorKind::Server, "gone"))
        }
    }

    fn article() -> crate::Chain<Prompt, String> {
        let section = step(|title: String, cx: Context| async move {
            cx.permit(|_| async move {
                tokio::time::sleep(Duration::from_millis(300)).await;
                Ok(title.to_uppercase())
            })
            .await
        });
        crate::chain(Model::new(Outline)).lines().each(section).join("|")
    }

    const WHOLE: &str = "TITLE 0|TITLE 1|TITLE 2|TITLE 3|TITLE 4";

    #[tokio::test(start_paused = true)]
    async fn sections_start_while_the_outline_is_still_written() {
        let started = Instant::now();
        assert_eq!(article().invoke("x").await.unwrap(), WHOLE);
        // 500 ms of outline and 300 ms of the last section; with a barrier nothing would overlap.
        assert_eq!(started.elapsed().as_millis(), 800);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_section_is_emitted_before_the_outline_has_ended() {
        let started = Instant::now();
        let mut run = article().stream("x");
        let first = run.next().await.expect("a delta").unwrap();
        assert_eq!((first.to_string().as_str(), started.elapsed().as_millis()), ("TITLE 0", 400));
        assert_eq!(run.output().await.unwrap(), WHOLE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fan_out_obeys_the_concurrency_of_its_run() {
        let cx = Context::new().with_concurrency(1);
        let started = Instant::now();
        article().invoke_in("x", &cx).await.unwrap();
        // The first section starts at 100 ms, and the others follow.
        assert_eq!(started.elapsed().as_millis(), 100 + 5 * 300);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fan_out_wider_than_its_window_ends_while_its_source_holds_the_only_permit() {
        let model = Fake::echo().model();
        let titles: String = (0..200).map(|n| format!("title {n} \n")).collect();
        let wide = || crate::chain(model.clone()).lines();
        let sections = wide().each(crate::chain(model.clone())).each(crate::chain(model.clone())).collect();
        let both = wide().each_and_all(
            crate::chain(model.clone()),
            step(|all: Vec<String>, _| async move { Ok(all.len()) }),
        );
        let cx = Context::new().with_concurrency(1).with_timeout(Duration::from_secs(60));
        assert_eq!(sections.invoke_in(titles.as_str(), &cx).await.unwrap().len(), 200);
        assert_eq!(both.invoke_in(titles.as_str(), &cx).await.unwrap().1, 200);
    }

    #[tokio::test]
    async fn the_first_item_that_fails_is_the_error_of_the_run() {
        let fail = step(|title: String, _| async move {
            if title == "title 3" { Err(Error::new(ErrorKind::Step, "no")) } else { Ok(title) }
        });
        tokio::time::pause();
        let all = crate::chain(Model::new(Outline)).lines().each(fail).collect();
        assert_eq!(all.invoke("x").await.unwrap_err().kind(), ErrorKind::Step);
    }

    #[tokio::test(start_paused = true)]
    async fn an_item_that_fails_is_the_last_one_and_ends_the_others() {
        let alive = Arc::new(());
        let held = alive.clone();
        let fail = step(move |title: String, _| {
            let held = held.clone();
            async move {
                if title == "title 1" {
                    return Err(Error::new(ErrorKind::Step, "no"));
                }
                tokio::time::sleep(Duration::from_millis(300)).await;
                drop(held);
                Ok(title)
            }
        });
        let mut items = crate::chain(Model::new(Outline)).lines().each(fail).stream("x");
        assert_eq!(items.next().await.expect("an item").unwrap(), "title 0");
        assert!(items.next().await.expect("an item").is_err());
        assert!(Arc::strong_count(&alive) <= 2, "the work on the others has ended");
        assert!(items.next().await.is_none());
    }

    #[tokio::test]
    async fn a_fan_out_whose_source_fails_before_its_first_delta_falls_back_and_is_retried() {
        let section = || {
            step(|title: String, _| async move {
                tokio::task::yield_now().await;
                Ok(title)
            })
        };
        let broken = crate::chain(Model::new(BreaksOff)).lines().each(section()).collect();
        let broken = broken.map(|all| all.join("|")) | generator(|all: String, _| stream::iter([Ok(all)]));
        let other = step(|_: Prompt, _| async move { Ok("another".to_owned()) });
        assert_eq!(broken.clone().fallback([other]).stream("x").output().await.unwrap(), "another");

        let policy = RetryPolicy { initial_backoff: Duration::ZERO, ..RetryPolicy::default() };
        let attempts = Arc::new(AtomicUsize::new(0));
        let seen = attempts.clone();
        let counted = step(move |prompt: Prompt, _| {
            seen.fetch_add(1, Ordering::SeqCst);
            async move { Ok(prompt) }
        });
        assert!((counted | broken).retry(policy).stream("x").output().await.is_err());
        assert_eq!(attempts.load(Ordering::SeqCst), 6);
    }
}

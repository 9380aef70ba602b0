//! Runs a step for every item, and another one for all of them together, concurrently.

use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::oneshot;

use crate::chain::{Chain, chain};
use crate::many::read_ahead::read_ahead;
use crate::many::{CONCURRENCY, Many};
use crate::{Context, Node, Result, Runnable};

impl<I: Send + 'static, T: Clone + Send + 'static> Many<I, T> {
    /// Runs `each` for every item as soon as it is complete, and `all` for the list of items as soon as the
    /// last one is complete, concurrently with the items that are still running.
    ///
    /// ```
    /// use fanweave::{prompt, step, testing::Fake, text, vars};
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let model = Fake::echo().model();
    /// let titles = (prompt("1. Tides\n2. Turbines") | &model).lines();
    /// let section = prompt("About {{ input }}.") | &model | text();
    /// let intro = step(|titles: Vec<String>, _| async move { Ok(titles.join(" and ")) });
    /// let (sections, intro) = titles.each_and_all(section, intro).invoke(vars! {}).await?;
    /// assert_eq!(sections, ["About Tides.", "About Turbines."]);
    /// assert_eq!(intro, "Tides and Turbines");
    /// # Ok(())
    /// # }) }
    /// ```
    ///
    /// # Errors
    /// A run fails with the first failure of either, which cancels the other.
    pub fn each_and_all<R, A>(self, each: R, all: A) -> Chain<I, (Vec<R::Output>, A::Output)>
    where
        R: Runnable,
        R::Input: From<T>,
        A: Runnable<Input = Vec<T>>,
    {
        chain(Both { items: self, each, all })
    }
}

/// Number of the part that has all items: the numbers of the items are below it.
const ALL: u64 = u64::MAX;

struct Both<I, T, R, A> {
    items: Many<I, T>,
    each: R,
    all: A,
}

impl<I, T, R, A> Runnable for Both<I, T, R, A>
where
    I: Send + 'static,
    T: Clone + Send + 'static,
    R: Runnable,
    R::Input: From<T>,
    A: Runnable<Input = Vec<T>>,
{
    const DRIVES_CALLS: bool = true;

    type Input = I;
    type Output = (Vec<R::Output>, A::Output);

    async fn run(&self, input: I, cx: &Context) -> Result<Self::Output> {
        let cx = &cx.without_deltas().undriven();
        let seen = Arc::new(Mutex::new(Some(Vec::new())));
        let (complete, list) = oneshot::channel();

        let recorded = seen.clone();
        let items = self.items.stream_in(input, cx).inspect(move |item| {
            let mut recorded = recorded.lock().unwrap_or_else(PoisonError::into_inner);
            match (item, &mut *recorded) {
                (Ok(item), Some(list)) => list.push(item.clone()),
                // The items so far are not all of them.
                _ => *recorded = None,
            }
        });
        // Polled after the last item: passes the list on if no item failed.
        let end = stream::once(async move {
            if let Some(items) = seen.lock().unwrap_or_else(PoisonError::into_inner).take() {
                let _ = complete.send(items);
            }
        })
        .filter_map(|()| async { None });
        let mut index = 0;
        let each = read_ahead(items.chain(end), CONCURRENCY, |item: Result<T>| {
            let cx = cx.fork(index);
            index += 1;
            async move { self.each.run(item?.into(), &cx).await }
        })
        .try_collect();
        let cx = cx.fork(ALL);
        let all = async {
            match list.await {
                Ok(list) => self.all.run(list, &cx).await,
                // An item has failed, which ends the run.
                Err(_) => std::future::pending().await,
            }
        };
        futures::try_join!(each, all)
    }

    fn describe(&self) -> Node {
        let each = self.each.describe();
        let models = each.models();
        let both = [("each".to_owned(), each), ("all".to_owned(), self.all.describe())];
        Node::sequence([self.items.node.clone(), Node::all_of("each and all", both).with_models(models)])
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use crate::many::collect::tests::{BreaksOff, Outline};
    use crate::{Error, ErrorKind, Model, chain, step};

    #[tokio::test(start_paused = true)]
    async fn the_step_for_all_items_runs_concurrently_with_the_last_items() {
        let section = step(|title: String, _| async move {
            sleep(Duration::from_millis(300)).await;
            Ok(title)
        });
        let intro = step(|titles: Vec<String>, _| async move {
            sleep(Duration::from_millis(300)).await;
            Ok(titles.len())
        });
        let article = chain(Model::new(Outline)).lines().each_and_all(section, intro);
        let started = Instant::now();
        let (sections, titles) = article.invoke("x").await.unwrap();
        assert_eq!((sections.len(), titles), (5, 5));
        // 500 ms of outline, then the last section and the introduction concurrently; sequentially it is
        // 1,100.
        assert_eq!(started.elapsed().as_millis(), 800);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_item_ends_the_run() {
        let section = step(|title: String, _| async move {
            if title == "title 1" { Err(Error::new(ErrorKind::Step, "no")) } else { Ok(title) }
        });
        let intro = step(|_: Vec<String>, _| async move { Ok(()) });
        let article = chain(Model::new(Outline)).lines().each_and_all(section, intro);
        assert_eq!(article.invoke("x").await.unwrap_err().kind(), ErrorKind::Step);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_fails_half_way_has_no_list_of_all_items() {
        let lists = Arc::new(AtomicUsize::new(0));
        let seen = lists.clone();
        let section = step(|title: String, _| async move {
            sleep(Duration::from_millis(300)).await;
            Ok(title)
        });
        let intro = step(move |_: Vec<String>, _| {
            seen.fetch_add(1, Ordering::SeqCst);
            async move { Ok(()) }
        });
        let article = chain(Model::new(BreaksOff)).lines().each_and_all(section, intro);
        assert_eq!(article.invoke("x").await.unwrap_err().kind(), ErrorKind::Server);
        assert_eq!(lists.load(Ordering::SeqCst), 0, "it would have been a part of the list");
    }
}

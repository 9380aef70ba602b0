//! The bridge to blocking code: chains called from blocking threads, and blocking code as steps of chains.
//!
//! There are two directions. [`Chain::blocking`] and [`wait`] run async work from blocking code, with or
//! without a runtime around it. [`blocking_step`] and [`Model::blocking`](crate::Model::blocking) run
//! blocking code as part of a chain, on a separate [`Pool`] of threads.

mod model;
mod pool;
mod step;
#[cfg(test)]
mod tests;
pub(crate) mod wait;

use futures::StreamExt;

pub use model::{BlockingChatModel, DeltaSender};
pub(crate) use pool::Threads;
pub use pool::{DEFAULT_THREADS, Pool};
pub use step::{blocking_step, blocking_step_on};
pub use wait::wait;

use crate::{
    Chain, Completed, Concurrency, Context, Delta, Event, EventRun, IntoInput, Result, Row, Rows, Run,
};

/// A chain for blocking code. Made by [`Chain::blocking`].
#[derive(Debug)]
pub struct Blocking<'a, I, O>(&'a Chain<I, O>);

impl<I: Send + 'static, O: Send + 'static> Chain<I, O> {
    /// The methods of the chain for blocking code: each blocks the thread until it is done.
    ///
    /// They work on any thread, with or without a runtime around it; see [`wait`].
    ///
    /// ```
    /// use fanweave::{prompt, testing::Fake, text, vars};
    ///
    /// let joke = prompt("A joke about {{ topic }}.") | Fake::echo() | text();
    /// assert_eq!(joke.blocking().invoke(vars! { topic: "bears" })?, "A joke about bears.");
    ///
    /// let topics = ["bears", "cats"].map(|topic| vars! { topic: topic });
    /// for row in joke.blocking().batch(topics).concurrency(8).run() {
    ///     println!("{}: {}", row.index, row.result?);
    /// }
    ///
    /// for delta in joke.blocking().stream(vars! { topic: "rain" }) {
    ///     print!("{}", delta?);
    /// }
    /// # Ok::<_, fanweave::Error>(())
    /// ```
    pub fn blocking(&self) -> Blocking<'_, I, O> {
        Blocking(self)
    }
}

impl<I: Send + 'static, O: Send + 'static> Blocking<'_, I, O> {
    /// Like [`Chain::invoke`].
    ///
    /// # Errors
    /// The errors of [`Chain::invoke`].
    pub fn invoke(&self, input: impl IntoInput<I> + Send) -> Result<O> {
        wait(self.0.invoke(input))
    }

    /// Like [`Chain::invoke_in`].
    ///
    /// # Errors
    /// The errors of [`Chain::invoke_in`].
    pub fn invoke_in(&self, input: impl IntoInput<I> + Send, cx: &Context) -> Result<O> {
        wait(self.0.invoke_in(input, cx))
    }

    /// Like [`Chain::batch`].
    pub fn batch<T: Into<I> + 'static, R>(&self, inputs: R) -> Batch<I, O>
    where
        R: IntoIterator<Item = T>,
        R::IntoIter: Send + 'static,
    {
        Batch(self.0.batch(inputs))
    }

    /// Like [`Chain::stream`]: an iterator of deltas.
    pub fn stream(&self, input: impl IntoInput<I>) -> DeltaIter<O> {
        Iter(self.0.stream(input))
    }

    /// Like [`Chain::events`]: an iterator of events.
    pub fn events(&self, input: impl IntoInput<I>) -> Events<O> {
        Iter(self.0.events(input))
    }
}

/// Many inputs for one chain, for blocking code. Like [`crate::Batch`].
#[derive(Debug)]
pub struct Batch<I, O>(crate::Batch<I, O>);

impl<I: Send + 'static, O: Send + 'static> Batch<I, O> {
    /// Like [`crate::Batch::concurrency`].
    #[must_use]
    pub fn concurrency(self, n: impl Into<Concurrency>) -> Self {
        Self(self.0.concurrency(n))
    }

    /// Like [`crate::Batch::within`].
    #[must_use]
    pub fn within(self, cx: Context) -> Self {
        Self(self.0.within(cx))
    }

    /// The results in input order.
    pub fn run(self) -> Iter<Rows<O>> {
        Iter(self.0.run())
    }

    /// The results as they finish.
    pub fn as_completed(self) -> Iter<Completed<O>> {
        Iter(self.0.as_completed())
    }

    /// All results, in input order.
    pub fn collect(self) -> Vec<Result<O>> {
        wait(self.0.collect())
    }

    /// All outputs in input order, or the first error. Like [`crate::Batch::fail_fast`].
    ///
    /// # Errors
    /// The errors of [`crate::Batch::fail_fast`].
    pub fn fail_fast(self) -> Result<Vec<O>> {
        wait(self.0.fail_fast())
    }
}

/// A stream as an iterator: each call of `next` blocks until there is an item.
///
/// # Cancellation
/// Dropping it ends the work.
#[derive(Debug)]
pub struct Iter<S>(S);

/// The deltas of an answer.
pub type DeltaIter<O> = Iter<Run<O>>;

/// The events of a run.
pub type Events<O> = Iter<EventRun<O>>;

impl<S: futures::Stream + Unpin> Iterator for Iter<S> {
    type Item = S::Item;

    fn next(&mut self) -> Option<S::Item> {
        wait(self.0.next())
    }
}

impl<O: Send + 'static> Iter<Run<O>> {
    /// Reads the remaining deltas and returns the whole output.
    ///
    /// # Errors
    /// The error that the stream ended with.
    pub fn output(self) -> Result<O> {
        wait(self.0.output())
    }
}

impl<O: Send + 'static> Iter<EventRun<O>> {
    /// Reads the remaining deltas and returns the output.
    ///
    /// # Errors
    /// The error that the run ended with.
    pub fn output(self) -> Result<O> {
        wait(self.0.output())
    }
}

const _: () = {
    const fn iterates<T: Iterator<Item = I>, I>() {}
    iterates::<DeltaIter<String>, Result<Delta>>();
    iterates::<Events<String>, Event>();
    iterates::<Iter<Rows<String>>, Row<String>>();
};

//! A sum of money that the calls of several models share.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanweave_core::{
    ChatModel, Context, Error, ErrorKind, Event, EventKind, Message, Model, Observer, Prompt, Result, Usage,
};
use tokio::sync::Notify;

use crate::{Price, Prices};

/// Most US dollars for the calls of all models that it [wraps](Self::wrap), together. Cheap to clone; clones share the sum.
///
/// A call holds what it is expected to cost while it is in flight: its prompt at four bytes a token, and `max_tokens` of
/// answer, or as many as the longest answer so far had, and at least 500. A call for which too little is left waits while
/// others hold some of it, and fails with [`ErrorKind::QuotaExhausted`] where none does. So the sum is passed by no more
/// than answers are longer than they were expected to be. An answer whose use is not told costs as much as its prompt and
/// its text have at four bytes a token. No request is sent a second time because it is late. A
/// request whose answer did not arrive whole costs the price of its input: the provider may bill it.
///
/// ```
/// use fanweave_core::{ErrorKind, Usage, model::fake::Fake};
/// use fanweave_models::{Budget, Prices};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> fanweave_core::Result<()> {
/// let prices = Prices::parse("date = '2026-01-31'\n[models.'fake/echo']\ninput = 2.0\noutput = 10.0\n")?;
/// let budget = Budget::new(0.0055, prices);
/// let model = budget.wrap(Fake::echo().model())?;
///
/// model.invoke("hello").await?;
/// println!("${:.4} of ${}", budget.spent(), budget.limit());
///
/// // A long answer for which too little is left: nothing is sent.
/// let mut essay = fanweave_core::Prompt::from("Write an essay.");
/// essay.parameters.max_tokens = Some(10_000);
/// let error = model.invoke(essay).await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::QuotaExhausted);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Budget(Arc<Purse>);

struct Purse {
    limit: f64,
    prices: Prices,
    sums: Mutex<Spending>,
    /// Told whenever a call has ended.
    ended: Notify,
}

/// US dollars.
#[derive(Debug, Clone, Copy, Default)]
struct Spending {
    spent: f64,
    /// What the calls in flight are expected to cost.
    held: f64,
    /// How many they are.
    flights: usize,
}

impl Budget {
    /// A budget of `usd` US dollars, at these prices.
    pub fn new(usd: f64, prices: Prices) -> Self {
        Self(Arc::new(Purse { limit: usd, prices, sums: Mutex::default(), ended: Notify::new() }))
    }

    /// Takes `usd` dollars out, for what is spent elsewhere or was before.
    pub fn spend(&self, usd: f64) {
        self.0.sums().spent += usd;
    }

    /// The whole sum, in US dollars.
    pub fn limit(&self) -> f64 {
        self.0.limit
    }

    /// What the calls that have ended cost, in US dollars.
    pub fn spent(&self) -> f64 {
        self.0.sums().spent
    }

    /// A model whose calls are paid for out of this budget.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a model that the prices do not name.
    pub fn wrap(&self, model: Model) -> Result<Model> {
        let Some(price) = self.0.prices.of(model.name()).cloned() else {
            let (name, date) = (model.name(), self.0.prices.date());
            let message =
                format!("a budget needs the price of {name}, which is unknown (prices as of {date})");
            return Err(Error::new(ErrorKind::Config, message));
        };
        Ok(Model::new(BudgetedModel { model, price, purse: self.0.clone(), longest: AtomicU64::default() }))
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spending { spent, held, .. } = *self.0.sums();
        let mut shown = f.debug_struct("Budget");
        shown.field("most", &self.0.limit).field("spent", &spent).field("held", &held).finish_non_exhaustive()
    }
}

impl Purse {
    fn sums(&self) -> MutexGuard<'_, Spending> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds `usd` back for a call.
    async fn hold(&self, usd: f64) -> Result<Reservation<'_>> {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            // Before looking: what ends from now on is heard of.
            ended.as_mut().enable();
            {
                let mut sums = self.sums();
                if sums.spent + sums.held + usd <= self.limit {
                    sums.held += usd;
                    sums.flights += 1;
                    return Ok(Reservation { purse: self, usd });
                }
                if sums.flights == 0 || sums.held <= 0.0 {
                    let left = (self.limit - sums.spent).max(0.0);
                    let message = format!(
                        "the budget of ${:.4} allows no further call: ${left:.4} are left, and this one may cost ${usd:.4}",
                        self.limit
                    );
                    return Err(Error::new(ErrorKind::QuotaExhausted, message));
                }
            }
            ended.await;
        }
    }
}

/// What is held back for a call in flight.
struct Reservation<'a> {
    purse: &'a Purse,
    usd: f64,
}

impl Reservation<'_> {
    /// Pays for the call.
    fn pay(self, usd: f64) {
        self.purse.sums().spent += usd;
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut sums = self.purse.sums();
        sums.flights -= 1;
        // Sums of fractions leave crumbs.
        sums.held = if sums.flights == 0 { 0.0 } else { (sums.held - self.usd).max(0.0) };
        drop(sums);
        self.purse.ended.notify_waiters();
    }
}

/// A model with a budget.
struct BudgetedModel {
    model: Model,
    price: Price,
    purse: Arc<Purse>,
    /// Tokens of the longest answer so far.
    longest: AtomicU64,
}

/// Pays for requests whose answers did not arrive whole.
struct Unanswered {
    purse: Arc<Purse>,
    price: Price,
}

impl Observer for Unanswered {
    fn on_event(&self, event: &Event) {
        if let EventKind::Unanswered(usage) = &event.kind {
            self.purse.sums().spent += self.price.cost(usage);
        }
    }
}

impl ChatModel for BudgetedModel {
    const DRIVES_CALLS: bool = true;

    fn name(&self) -> &str {
        self.model.name()
    }

    fn identity(&self) -> String {
        self.model.identity()
    }

    async fn generate(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
        let mut expected = Usage::expected_of(&prompt);
        match prompt.parameters.max_tokens.or(self.model.parameters().max_tokens) {
            Some(limit) => expected.output_tokens = limit.into(),
            None => expected.output_tokens = expected.output_tokens.max(self.longest.load(Relaxed)),
        }
        let held = self.purse.hold(self.price.cost(&expected)).await?;
        // What is held pays for one request.
        let unanswered = Unanswered { purse: self.purse.clone(), price: self.price.clone() };
        let cx = cx.clone().with_hedging(false).with_observer(Arc::new(unanswered));
        let answer = self.model.generate_in(prompt, &cx).await?;
        if answer.reply.as_ref().is_some_and(|reply| reply.cached) {
            return Ok(answer);
        }
        let mut usage = answer.usage();
        if usage.total_tokens() == 0 {
            // Some servers do not tell. That is no reason to take their answers for free ones.
            usage = Usage { output_tokens: (answer.text().len() as u64).div_ceil(4), ..expected };
        }
        self.longest.fetch_max(usage.output_tokens, Relaxed);
        held.pay(self.price.cost(&usage));
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fanweave_core::model::fake::Fake;
    use fanweave_core::{Parameters, chain};
    use tokio::time::Instant;

    use super::*;

    /// A dollar for each token of an answer: an echo has as many as its prompt has words.
    fn prices() -> Prices {
        Prices::parse("date = '2026-01-31'\n[models.'fake/echo']\ninput = 0.0\noutput = 1000000.0\n").unwrap()
    }

    fn echo(limit: u32) -> Model {
        let parameters = Parameters { max_tokens: Some(limit), ..Parameters::default() };
        Fake::echo().latency(Duration::from_secs(1)).with(parameters)
    }

    #[tokio::test(start_paused = true)]
    async fn calls_wait_for_those_that_hold_the_money_and_fail_when_it_is_gone() {
        let began = Instant::now();
        let budget = Budget::new(7.0, prices());
        let model = budget.wrap(echo(3)).unwrap();
        // Two at a time, for each may take three; each then takes one. Of nothing but one, none more begins.
        let said = chain(model).batch(["a"; 8].map(Prompt::from)).concurrency(8).collect().await;
        let (ok, failed): (Vec<_>, Vec<_>) = said.into_iter().partition(Result::is_ok);
        assert_eq!((ok.len(), failed.len()), (5, 3));
        assert_eq!(budget.spent(), 5.0);
        assert_eq!(began.elapsed().as_secs(), 4);
        let error = failed[0].as_ref().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::QuotaExhausted);
        assert!(error.to_string().contains("$2.0000 are left, and this one may cost $3.0000"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_dropped_gives_back_what_it_held() {
        let budget = Budget::new(3.0, prices());
        let model = budget.wrap(echo(3)).unwrap();
        let call = model.invoke("a");
        assert!(tokio::time::timeout(Duration::from_millis(10), call).await.is_err());
        assert_eq!(model.invoke("a").await.unwrap().text(), "a");
        assert_eq!(budget.spent(), 1.0);
    }

    #[tokio::test]
    async fn what_was_spent_before_counts_and_a_price_must_be_known() {
        let budget = Budget::new(3.0, prices());
        budget.spend(1.0);
        assert!(budget.wrap(echo(3)).unwrap().invoke("a").await.is_err());
        let error = budget.wrap(Fake::script(["x"].map(Ok)).model()).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Config);
    }

    #[tokio::test]
    async fn the_longest_answer_is_what_the_next_one_may_cost() {
        let budget = Budget::new(1_300.0, prices());
        let model = budget.wrap(Fake::echo().model()).unwrap();
        model.invoke("word ".repeat(700)).await.unwrap();
        // 600 are left: enough for the 500 of a first answer, and not for another such one.
        assert!(model.invoke("a").await.is_err());
    }

    /// Answers with eight bytes, and says nothing of what it used.
    struct Silent;

    impl ChatModel for Silent {
        fn name(&self) -> &str {
            "fake/echo"
        }

        async fn generate(&self, _: Prompt, _: &Context) -> Result<Message> {
            Ok(Message::assistant("two word"))
        }
    }

    #[tokio::test]
    async fn an_answer_whose_use_is_not_told_costs_what_its_length_tells() {
        let budget = Budget::new(1_003.0, prices());
        let model = budget.wrap(Model::new(Silent)).unwrap();
        model.invoke("a").await.unwrap();
        assert_eq!(budget.spent(), 2.0, "a token for every four bytes");
        model.invoke("a").await.unwrap();
        assert_eq!(budget.spent(), 4.0);
    }

    /// Sends its request three times before the answer arrives whole.
    struct Flaky;

    impl ChatModel for Flaky {
        fn name(&self) -> &str {
            "fake/echo"
        }

        async fn generate(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
            for _ in 0..2 {
                cx.emit(EventKind::Unanswered(Usage { input_tokens: 7, ..Usage::default() })).await;
            }
            Fake::echo().model().generate_in(prompt, cx).await
        }
    }

    #[tokio::test]
    async fn requests_that_may_be_billed_cost_the_price_of_their_input() {
        let table = "date = '2026-01-31'\n[models.'fake/echo']\ninput = 1000000.0\noutput = 1000000.0\n";
        let budget = Budget::new(1_000.0, Prices::parse(table).unwrap());
        let plain = budget.wrap(Fake::echo().model()).unwrap();
        plain.invoke("a").await.unwrap();
        let once = budget.spent();
        budget.wrap(Model::new(Flaky)).unwrap().invoke("a").await.unwrap();
        assert_eq!(budget.spent(), 2.0 * once + 14.0);
    }

    /// A model that says whether it may send a request twice.
    struct Hedges;

    impl ChatModel for Hedges {
        fn name(&self) -> &str {
            "fake/echo"
        }

        async fn generate(&self, _: Prompt, cx: &Context) -> Result<Message> {
            Ok(Message::assistant(cx.hedges().to_string()))
        }
    }

    #[tokio::test]
    async fn what_is_held_for_one_request_pays_for_no_second_one() {
        let model = Budget::new(502.0, prices()).wrap(Model::new(Hedges)).unwrap();
        let cx = Context::new().with_hedging(true);
        assert_eq!(model.generate_in("a".into(), &cx).await.unwrap().text(), "false");
    }

    #[tokio::test]
    async fn no_call_waits_for_what_nobody_holds() {
        let budget = Budget::new(1e9, prices());
        let purse = &budget.0;
        // Their sum is no longer zero when each is taken from it again.
        let mut all = Vec::new();
        for usd in [0.1, 123_456_789.3, 0.7, 9_876_543.21, 1e-3] {
            all.push(purse.hold(usd).await.unwrap());
        }
        drop(all);
        let refused = tokio::time::timeout(Duration::from_secs(5), purse.hold(2e9)).await;
        let error = refused.expect("nobody is waited for").err().expect("it is too much");
        assert_eq!(error.kind(), ErrorKind::QuotaExhausted);
    }
}

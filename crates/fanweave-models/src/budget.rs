//! A budget in US dollars shared by the calls of several models.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanweave_core::{
    ChatModel, Context, Error, ErrorKind, Event, EventKind, Message, Model, Observer, Prompt, Result, Usage,
};
use tokio::sync::Notify;

use crate::{Price, Prices};

/// Spending limit in US dollars, shared by all models that it [wraps](Self::wrap). Clones are cheap and share
/// the budget.
///
/// Each call in flight reserves its estimated cost: one token per four bytes of prompt, plus `max_tokens` of
/// output. Without `max_tokens` the output is estimated as the longest answer so far, at least 500 tokens. If
/// too little is left, a call waits while other calls hold reservations, and fails with
/// [`ErrorKind::QuotaExhausted`] if none do. The limit can therefore be exceeded only by answers that are
/// longer than estimated.
///
/// If the server reports no usage, the cost is estimated from the bytes of the prompt and the answer. Hedging
/// is disabled. A request without a complete answer costs the price of its input, because the provider may
/// bill it.
///
/// ```
/// use fanweave::{ErrorKind, Usage, testing::Fake};
/// use fanweave::models::{Budget, Prices};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let prices = Prices::parse("date = '2026-01-31'\n[models.'fake/echo']\ninput = 2.0\noutput = 10.0\n")?;
/// let budget = Budget::new(0.0055, prices);
/// let model = budget.wrap(Fake::echo().model())?;
///
/// model.invoke("hello").await?;
/// println!("${:.4} of ${}", budget.spent(), budget.limit());
///
/// // A long answer exceeds the budget: nothing is sent.
/// let mut essay = fanweave::Prompt::from("Write an essay.");
/// essay.parameters.max_tokens = Some(10_000);
/// let error = model.invoke(essay).await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::QuotaExhausted);
/// # Ok(())
/// # }) }
/// ```
#[derive(Clone)]
pub struct Budget(Arc<BudgetState>);

struct BudgetState {
    limit: f64,
    prices: Prices,
    spending: Mutex<Spending>,
    /// Notified whenever a call ends.
    ended: Notify,
}

/// US dollars.
#[derive(Debug, Clone, Copy, Default)]
struct Spending {
    spent: f64,
    /// Reserved by the calls in flight.
    held: f64,
    /// Number of calls in flight.
    flights: usize,
}

impl Budget {
    /// A budget of `usd` US dollars, at these prices.
    pub fn new(usd: f64, prices: Prices) -> Self {
        Self(Arc::new(BudgetState { limit: usd, prices, spending: Mutex::default(), ended: Notify::new() }))
    }

    /// Deducts `usd` dollars, for costs from elsewhere or from a previous run.
    pub fn spend(&self, usd: f64) {
        self.0.spending().spent += usd;
    }

    /// The limit, in US dollars.
    pub fn limit(&self) -> f64 {
        self.0.limit
    }

    /// Cost of the calls that have ended, in US dollars.
    pub fn spent(&self) -> f64 {
        self.0.spending().spent
    }

    /// A model whose calls are charged to this budget.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the price of the model is unknown.
    pub fn wrap(&self, model: Model) -> Result<Model> {
        let Some(price) = self.0.prices.of(model.name()).cloned() else {
            let (name, date) = (model.name(), self.0.prices.date());
            let message =
                format!("a budget needs the price of {name}, which is unknown (prices as of {date})");
            return Err(Error::new(ErrorKind::Config, message));
        };
        Ok(Model::new(BudgetedModel {
            model,
            price,
            state: self.0.clone(),
            max_output_tokens: AtomicU64::default(),
        }))
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spending { spent, held, .. } = *self.0.spending();
        let mut shown = f.debug_struct("Budget");
        shown
            .field("limit", &self.0.limit)
            .field("spent", &spent)
            .field("held", &held)
            .finish_non_exhaustive()
    }
}

impl BudgetState {
    fn spending(&self) -> MutexGuard<'_, Spending> {
        self.spending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves `usd` for a call, or waits for other calls to end.
    async fn hold(&self, usd: f64) -> Result<Reservation<'_>> {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            // Subscribe before checking, so that no call ends unnoticed.
            ended.as_mut().enable();
            {
                let mut spending = self.spending();
                if spending.spent + spending.held + usd <= self.limit {
                    spending.held += usd;
                    spending.flights += 1;
                    return Ok(Reservation { state: self, usd });
                }
                if spending.flights == 0 || spending.held <= 0.0 {
                    let remaining = (self.limit - spending.spent).max(0.0);
                    let message = format!(
                        "the budget of ${:.4} allows no further call: ${remaining:.4} remaining, but this call may cost ${usd:.4}",
                        self.limit
                    );
                    return Err(Error::new(ErrorKind::QuotaExhausted, message));
                }
            }
            ended.await;
        }
    }
}

/// Reserved cost of a call in flight.
struct Reservation<'a> {
    state: &'a BudgetState,
    usd: f64,
}

impl Reservation<'_> {
    /// Charges the actual cost of the call.
    fn pay(self, usd: f64) {
        self.state.spending().spent += usd;
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut spending = self.state.spending();
        spending.flights -= 1;
        // Floating-point rounding leaves a remainder.
        spending.held = if spending.flights == 0 { 0.0 } else { (spending.held - self.usd).max(0.0) };
        drop(spending);
        self.state.ended.notify_waiters();
    }
}

/// A model with a budget.
struct BudgetedModel {
    model: Model,
    price: Price,
    state: Arc<BudgetState>,
    /// Output tokens of the longest answer so far.
    max_output_tokens: AtomicU64,
}

/// Charges requests without a complete answer.
struct Unanswered {
    state: Arc<BudgetState>,
    price: Price,
}

impl Observer for Unanswered {
    fn on_event(&self, event: &Event) {
        if let EventKind::Unanswered(usage) = &event.kind {
            self.state.spending().spent += self.price.cost(usage);
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
            None => expected.output_tokens = expected.output_tokens.max(self.max_output_tokens.load(Relaxed)),
        }
        let held = self.state.hold(self.price.cost(&expected)).await?;
        // The reservation covers one request.
        let unanswered = Unanswered { state: self.state.clone(), price: self.price.clone() };
        let cx = cx.clone().with_hedging(false).with_observer(Arc::new(unanswered));
        let answer = self.model.generate_in(prompt, &cx).await?;
        if answer.reply.as_ref().is_some_and(|reply| reply.cached) {
            return Ok(answer);
        }
        let mut usage = answer.usage();
        if usage.total_tokens() == 0 {
            // Some servers report no usage; their answers are not free.
            usage = expected.output_tokens((answer.text().len() as u64).div_ceil(4));
        }
        self.max_output_tokens.fetch_max(usage.output_tokens, Relaxed);
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

    /// One dollar per output token; an echo has one token per word of its prompt.
    fn prices() -> Prices {
        Prices::parse("date = '2026-01-31'\n[models.'fake/echo']\ninput = 0.0\noutput = 1000000.0\n").unwrap()
    }

    fn echo(limit: u32) -> Model {
        let parameters = Parameters::new().max_tokens(limit);
        Fake::echo().latency(Duration::from_secs(1)).with(parameters)
    }

    #[tokio::test(start_paused = true)]
    async fn calls_wait_for_those_that_hold_the_money_and_fail_when_it_is_gone() {
        let began = Instant::now();
        let budget = Budget::new(7.0, prices());
        let model = budget.wrap(echo(3)).unwrap();
        // Two calls at a time: each reserves three dollars and spends one. With one dollar left no call
        // starts.
        let results = chain(model).batch(["a"; 8].map(Prompt::from)).concurrency(8).collect().await;
        let (ok, failed): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!((ok.len(), failed.len()), (5, 3));
        assert_eq!(budget.spent(), 5.0);
        assert_eq!(began.elapsed().as_secs(), 4);
        let error = failed[0].as_ref().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::QuotaExhausted);
        assert!(error.to_string().contains("$2.0000 remaining, but this call may cost $3.0000"), "{error}");
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
    async fn a_call_reserves_the_cost_of_the_longest_answer() {
        let budget = Budget::new(1_300.0, prices());
        let model = budget.wrap(Fake::echo().model()).unwrap();
        model.invoke("word ".repeat(700)).await.unwrap();
        // 600 remain: enough for one estimate of 500, not for two.
        assert!(model.invoke("a").await.is_err());
    }

    /// Answers with eight bytes and reports no usage.
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
    async fn an_answer_without_usage_is_charged_by_its_length() {
        let budget = Budget::new(1_003.0, prices());
        let model = budget.wrap(Model::new(Silent)).unwrap();
        model.invoke("a").await.unwrap();
        assert_eq!(budget.spent(), 2.0, "a token for every four bytes");
        model.invoke("a").await.unwrap();
        assert_eq!(budget.spent(), 4.0);
    }

    /// Sends its request three times before the answer arrives complete.
    struct Flaky;

    impl ChatModel for Flaky {
        fn name(&self) -> &str {
            "fake/echo"
        }

        async fn generate(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
            for _ in 0..2 {
                cx.emit(EventKind::Unanswered(Usage::new(7, 0))).await;
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

    /// Answers with the hedging setting of its context.
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
        let state = &budget.0;
        // Rounding keeps their total from returning to zero.
        let mut all = Vec::new();
        for usd in [0.1, 123_456_789.3, 0.7, 9_876_543.21, 1e-3] {
            all.push(state.hold(usd).await.unwrap());
        }
        drop(all);
        let refused = tokio::time::timeout(Duration::from_secs(5), state.hold(2e9)).await;
        let error = refused.expect("the call does not wait").err().expect("the cost exceeds the budget");
        assert_eq!(error.kind(), ErrorKind::QuotaExhausted);
    }
}

use std::sync::atomic::AtomicUsize;

use super::*;

fn of_five() -> Arc<DescriptorBudget> {
    // 3 open already, 16 in reserve.
    with_three_open(|| Some(24))
}

fn with_three_open(soft: fn() -> Option<usize>) -> Arc<DescriptorBudget> {
    let budget = DescriptorBudget::new(soft);
    budget.taken.set(3).unwrap();
    Arc::new(budget)
}

/// Polls work once that may have to wait.
async fn now<T>(work: impl Future<Output = T> + Unpin) -> Option<T> {
    timeout(Duration::ZERO, work).await.ok()
}

#[test]
fn the_budget_leaves_descriptors_for_files() {
    assert_eq!(sockets(Some(64), 12), 36);
    assert_eq!(sockets(Some(20_000), 12), 20_000 - 12 - 2_000);
    assert_eq!((sockets(Some(8), 12), sockets(None, 12)), (1, usize::MAX));
}

#[tokio::test(start_paused = true)]
async fn a_caller_beyond_the_budget_waits_for_a_permit() {
    let (budget, share) = (of_five(), Arc::<Share>::default());
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(budget.acquire(&share).await);
    }
    assert_eq!(budget.notice(), None);
    let mut sixth = Box::pin(budget.acquire(&share));
    assert!(now(&mut sixth).await.is_none());
    let says = "open connections are limited to 5 by the limit of open files (ulimit -n 24)";
    assert_eq!(budget.notice().as_deref(), Some(says));
    held.pop();
    sixth.await;
}

#[tokio::test(start_paused = true)]
async fn a_permit_goes_to_the_host_with_the_fewest_connections() {
    let budget = of_five();
    let [busy, new] = [Arc::<Share>::default(), Arc::default()];
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(budget.acquire(&busy).await);
    }
    let mut first = Box::pin(budget.acquire(&busy));
    assert!(now(&mut first).await.is_none());
    assert!(!budget.wants_back(&busy, false), "no other caller waits");
    let mut second = Box::pin(budget.acquire(&new));
    assert!(now(&mut second).await.is_none());
    assert!(budget.wants_back(&busy, false));
    held.pop();
    let second = second.await;
    assert!(now(&mut first).await.is_none());
    drop(second);
    first.await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_is_gone_takes_no_permit() {
    let (budget, share) = (of_five(), Arc::<Share>::default());
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(budget.acquire(&share).await);
    }
    let mut gone = Box::pin(budget.acquire(&share));
    let mut next = Box::pin(budget.acquire(&share));
    assert!(now(&mut gone).await.is_none() && now(&mut next).await.is_none());
    drop(gone);
    held.pop();
    next.await;
    assert_eq!(budget.state().open, 4);
}

struct Idle {
    share: Arc<Share>,
    permit: Mutex<Option<Permit>>,
}

impl Host for Idle {
    fn share(&self) -> &Arc<Share> {
        &self.share
    }

    fn idle_since(&self) -> Option<Instant> {
        self.permit.lock().unwrap().as_ref().map(|_| Instant::now())
    }

    fn close_idle(&self) {
        *self.permit.lock().unwrap() = None;
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_of_another_host_is_closed_for_a_caller() {
    let (budget, share) = (of_five(), Arc::<Share>::default());
    let permit = Mutex::new(Some(budget.acquire(&share).await));
    let idle: Arc<dyn Host> = Arc::new(Idle { share, permit });
    budget.register(Arc::downgrade(&idle));
    let other = Arc::<Share>::default();
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(budget.acquire(&other).await);
    }
    assert_eq!(idle.idle_since(), None);
}

#[tokio::test(start_paused = true)]
async fn without_descriptors_the_budget_is_what_is_open_and_is_raised_after_a_pause() {
    let (budget, share) = (of_five(), Arc::<Share>::default());
    let mut first = budget.acquire(&share).await;
    first.connected();
    let second = budget.acquire(&share).await;
    assert!(budget.ran_out(second));
    assert_eq!(budget.limit(), 1);

    let began = Instant::now();
    let third = budget.acquire(&share).await;
    assert!((PAUSE.0..PAUSE.0 * 2).contains(&began.elapsed()), "{:?}", began.elapsed());
    // The pauses grow while it does not help.
    assert!(budget.ran_out(third));
    let began = Instant::now();
    budget.acquire(&share).await.connected();
    assert!((PAUSE.0..PAUSE.0 * 3).contains(&began.elapsed()), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_closed_connection_frees_its_permit_immediately() {
    let (budget, share) = (of_five(), Arc::<Share>::default());
    let mut first = budget.acquire(&share).await;
    first.connected();
    assert!(budget.ran_out(budget.acquire(&share).await));
    let began = Instant::now();
    drop(first);
    budget.acquire(&share).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn calls_give_up_only_if_no_connection_was_open_for_30_seconds() {
    let (budget, share) = (of_five(), Arc::<Share>::default());
    let began = Instant::now();
    while budget.ran_out(budget.acquire(&share).await) {}
    assert_eq!(began.elapsed().as_secs(), MAX_QUEUE_WAIT.as_secs());

    let mut open = budget.acquire(&share).await;
    open.connected();
    let began = Instant::now();
    while began.elapsed() < MAX_QUEUE_WAIT * 4 {
        assert!(budget.ran_out(budget.acquire(&share).await));
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_the_process_raises_is_used() {
    static SOFT: AtomicUsize = AtomicUsize::new(20);
    let budget = with_three_open(|| Some(SOFT.load(Ordering::Relaxed)));
    let share = Arc::<Share>::default();
    let _first = budget.acquire(&share).await;
    SOFT.store(21, Ordering::Relaxed);
    budget.acquire(&share).await;
}

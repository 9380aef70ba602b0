//! Limits of accounts that processes share through a broker: at workers, and in programs that submit no rows.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use fanweave_core::__private::PerProcess;
use fanweave_models::{LimitedRequest, Limiter, LimiterPermit, RequestOutcome, account_states};
use fanweave_workers::{Access, Broker, ErrorKind as BrokerErrorKind, Nats, Rates, SharedLimit, worker_name};
use tokio::time::{Instant, sleep};

use crate::{Error, ErrorKind, Result, Usage};

/// Prefix of the names at the broker, which is that of the program.
const SPACE: &str = "fw";

/// Time between two looks at the limits that providers name.
const LOOK_PERIOD: Duration = Duration::from_secs(5);

/// An account: a provider's URL, a model, and the hash of a key.
type Account = (String, String, Option<u64>);

/// The limits of the user, as the bits of their numbers.
type RatesKey = [Option<u64>; 2];

/// The limits that processes share through a broker, for all accounts that this process calls.
///
/// ```
/// use std::sync::Arc;
/// use fanweave::models::ModelBuilder;
/// use fanweave::workers::{Memory, Rates, SharedLimits};
///
/// let limits = Arc::new(SharedLimits::new(Arc::new(Memory::default()), "worker-1"));
/// let limiter = limits.limiter(Rates::new().requests(3_000.0));
/// let model = ModelBuilder::new("openai/gpt-5-mini").api_key("sk-..").limiter(limiter).build()?;
/// # Ok::<_, fanweave::Error>(())
/// ```
pub struct SharedLimits {
    broker: Arc<dyn Broker>,
    name: String,
    limits: Mutex<HashMap<(Account, RatesKey), SharedLimit>>,
}

impl SharedLimits {
    /// The limits at `broker`, for a process with this name. No other process may have it.
    pub fn new(broker: Arc<dyn Broker>, name: impl Into<String>) -> Self {
        Self { broker, name: name.into(), limits: Mutex::default() }
    }

    /// A limiter of models. `rates` are the limits of each account that is called; those that its provider
    /// names are [reported](Self::report).
    pub fn limiter(self: &Arc<Self>, rates: Rates) -> Arc<dyn Limiter> {
        Arc::new(Limited { limits: self.clone(), rates })
    }

    /// Reports the limits that providers name in their answers, which hold for all processes. Never ends.
    pub async fn report(&self) {
        loop {
            sleep(LOOK_PERIOD).await;
            self.report_once();
        }
    }

    fn report_once(&self) {
        for state in account_states() {
            let (mut named, own) = (Rates::new(), state.limits);
            // A limit of the user is not one of the provider.
            if let (Some(limit), None) = (state.request_limit, own.requests_per_minute) {
                named = named.requests(limit);
            }
            if let (Some(limit), None) = (state.token_limit, own.tokens_per_minute) {
                named = named.tokens(limit);
            }
            if named == Rates::new() {
                continue;
            }
            let account = (state.base_url, state.model, state.key);
            let limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
            let known = limits.iter().find(|((known, _), _)| *known == account);
            known.into_iter().for_each(|(_, limit)| limit.report(named));
        }
    }

    /// The limit of the account of a request.
    fn of(&self, request: &LimitedRequest, rates: Rates) -> SharedLimit {
        let bits = [rates.requests_per_minute, rates.tokens_per_minute].map(|rate| rate.map(f64::to_bits));
        let key = ((request.base_url.clone(), request.model.clone(), request.key), bits);
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(limit) = limits.get(&key) {
            return limit.clone();
        }
        let (base_url, model, api_key) = &key.0;
        let account = match api_key {
            Some(api_key) => format!("{base_url} {model} {api_key:016x}"),
            None => format!("{base_url} {model}"),
        };
        let limit = SharedLimit::start(self.broker.clone(), &account, &self.name, rates);
        limits.entry(key).or_insert(limit).clone()
    }

    async fn ready(&self, request: &LimitedRequest, rates: Rates) {
        let limit = self.of(request, rates);
        limit.ready().await;
    }

    fn try_admit(&self, request: &LimitedRequest, rates: Rates) -> Option<LimiterPermit> {
        let limit = self.of(request, rates);
        let output = request.max_tokens.unwrap_or(Usage::EXPECTED_OUTPUT);
        let tokens = request.input_tokens.saturating_add(output);
        limit.try_take(tokens).then(|| {
            LimiterPermit::new(move |outcome| match outcome {
                RequestOutcome::Succeeded(Some(usage)) => {
                    limit.give_back(tokens.cast_signed().saturating_sub(usage.total_tokens().cast_signed()));
                }
                RequestOutcome::NotSent => limit.give_back_request(tokens),
                _ => {}
            })
        })
    }
}

impl fmt::Debug for SharedLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedLimits").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The limiter of models with the same rates.
struct Limited {
    limits: Arc<SharedLimits>,
    rates: Rates,
}

impl Limiter for Limited {
    fn try_admit(&self, request: &LimitedRequest) -> Option<LimiterPermit> {
        self.limits.try_admit(request, self.rates)
    }

    fn ready<'a>(
        &'a self,
        request: &'a LimitedRequest,
    ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
        Box::pin(async move {
            self.limits.ready(request, self.rates).await;
            Ok(())
        })
    }
}

/// A broker at which processes share the limits of their accounts, without submitting rows to it. Clones
/// share its connection, which the first request makes. A forked child has its own.
///
/// The connection belongs to the runtime of that request.
///
/// ```no_run
/// use fanweave::models::ModelBuilder;
/// use fanweave::workers::{Access, Rates, Share};
///
/// let share = Share::new("nats://127.0.0.1:4222", Access::new())?;
/// let limiter = share.limiter(Rates::new().requests(3_000.0));
/// let model = ModelBuilder::new("openai/gpt-5-mini").limiter(limiter).build()?;
/// # Ok::<_, fanweave::Error>(())
/// ```
#[derive(Clone)]
pub struct Share(Arc<Shared>);

struct Shared {
    broker: At,
    note: OnceLock<Note>,
    process: PerProcess<Connection>,
}

type Note = Box<dyn Fn(&str) + Send + Sync>;

/// The place of a broker.
enum At {
    Servers(String, Box<Access>),
    #[cfg(test)]
    Here(Arc<dyn Broker>),
}

/// The connection of a process.
#[derive(Default)]
struct Connection {
    limits: OnceLock<Arc<SharedLimits>>,
    /// Held while a request connects: the end of the last attempt, and its error.
    failed: tokio::sync::Mutex<Option<(Instant, Error)>>,
}

impl Share {
    /// The broker at `urls`, separated by commas, which `fanweave broker init` has prepared. Nothing is
    /// connected yet.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if a URL is not valid, or a connection to another machine would not be
    /// encrypted.
    pub fn new(urls: impl Into<String>, access: Access) -> Result<Self> {
        let urls = urls.into();
        access.check(&urls).map_err(|error| failed(&error))?;
        Ok(Self::at(At::Servers(urls, Box::new(access))))
    }

    fn at(broker: At) -> Self {
        Self(Arc::new(Shared { broker, note: OnceLock::new(), process: PerProcess::new() }))
    }

    /// Calls `note` when the broker has not answered for 10 s, and when it answers again, unless a function
    /// is set already. Requests continue meanwhile, with less than an equal share of the limits for each
    /// process.
    #[must_use]
    pub fn on_note(self, note: impl Fn(&str) + Send + Sync + 'static) -> Self {
        let _ = self.0.note.set(Box::new(note));
        self
    }

    /// A limiter of models. `rates` are the limits of each account that is called, for all processes
    /// together; those that its provider names in answers hold for all of them as well.
    ///
    /// The first request fails if the broker cannot be reached, is not prepared or does not permit it, and so
    /// does each one after it until one has succeeded.
    pub fn limiter(&self, rates: Rates) -> Arc<dyn Limiter> {
        Arc::new(Connecting { share: self.0.clone(), rates })
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may have a password.
        f.debug_struct("Share").finish_non_exhaustive()
    }
}

/// The error of a request that needs the broker. It is not retried: the broker may be
/// unreachable because its URL is wrong.
fn failed(error: &fanweave_workers::Error) -> Error {
    let kind = match error.kind() {
        BrokerErrorKind::Denied => ErrorKind::Permission,
        _ => ErrorKind::Config,
    };
    Error::new(kind, format!("shared limits: {error}"))
}

impl Shared {
    /// The limits, if this process is connected.
    fn connected(&self) -> Option<Arc<SharedLimits>> {
        self.process.current()?.limits.get().cloned()
    }

    /// The limits. Connects once, however many requests wait for it.
    async fn connect(self: &Arc<Self>) -> Result<Arc<SharedLimits>> {
        let asked = Instant::now();
        let process = self.process.get(Connection::default);
        let mut last = process.failed.lock().await;
        if let Some(limits) = process.limits.get() {
            return Ok(limits.clone());
        }
        // Requests that waited for an attempt have its result.
        if let Some((_, error)) = last.as_ref().filter(|(at, _)| *at >= asked) {
            return Err(error.clone());
        }
        match self.attempt().await {
            Ok(broker) => {
                let limits = Arc::new(SharedLimits::new(broker, worker_name()));
                tokio::spawn(report(Arc::downgrade(self), Arc::downgrade(&limits)));
                Ok(process.limits.get_or_init(|| limits).clone())
            }
            Err(error) => {
                let error = failed(&error);
                *last = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    async fn attempt(self: &Arc<Self>) -> fanweave_workers::Result<Arc<dyn Broker>> {
        match &self.broker {
            At::Servers(urls, access) => {
                let broker = Nats::connect(urls, SPACE, access).await?;
                broker.check_limits().await?;
                let share = Arc::downgrade(self);
                broker.on_trouble(move |text| {
                    let share = share.upgrade();
                    if let Some(note) = share.as_ref().and_then(|share| share.note.get()) {
                        note(text);
                    }
                });
                Ok(Arc::new(broker))
            }
            #[cfg(test)]
            At::Here(broker) => Ok(broker.clone()),
        }
    }
}

/// Reports the limits that providers name, until the last handle is gone.
async fn report(share: Weak<Shared>, limits: Weak<SharedLimits>) {
    loop {
        sleep(LOOK_PERIOD).await;
        let (Some(_), Some(limits)) = (share.upgrade(), limits.upgrade()) else { return };
        limits.report_once();
    }
}

/// A limiter that connects when the first request waits for it.
struct Connecting {
    share: Arc<Shared>,
    rates: Rates,
}

impl Limiter for Connecting {
    fn try_admit(&self, request: &LimitedRequest) -> Option<LimiterPermit> {
        self.share.connected()?.try_admit(request, self.rates)
    }

    fn ready<'a>(
        &'a self,
        request: &'a LimitedRequest,
    ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
        Box::pin(async move {
            match self.share.connected() {
                Some(limits) => limits.ready(request, self.rates).await,
                None => _ = self.share.connect().await?,
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use fanweave_models::{Accounts, Body, Client, HttpTransport, ModelBuilder};
    use fanweave_workers::Memory;
    use futures::future::join_all;
    use http::{Request, Response};
    use http_body_util::Full;

    use super::*;

    const ANSWER: &str =
        r#"{"choices":[{"message":{"content":"ok"}}],"usage":{"prompt_tokens":70,"completion_tokens":30}}"#;

    /// A provider in memory that records when requests arrive.
    #[derive(Clone, Default)]
    struct Provider(Arc<Mutex<Vec<Instant>>>);

    impl HttpTransport for Provider {
        async fn send(&self, _: Request<Bytes>) -> Result<Response<Body>> {
            self.0.lock().unwrap().push(Instant::now());
            sleep(Duration::from_millis(20)).await;
            let body = Body::new(Full::new(Bytes::from_static(ANSWER.as_bytes())));
            Ok(Response::builder().header("content-type", "application/json").body(body).unwrap())
        }
    }

    impl Provider {
        /// A model of a process: its accounts, and with them its own limits, are apart from those of others.
        fn model(&self, share: &Share, rates: Rates) -> crate::Model {
            let client = Client::builder().transport(self.clone()).build().unwrap();
            ModelBuilder::new("vllm/writer")
                .base_url("http://share.test/v1")
                .client(client)
                .accounts(Accounts::new())
                .limiter(share.limiter(rates))
                .build()
                .unwrap()
        }

        /// The most requests in a window of `window`.
        fn max_in(&self, window: Duration) -> usize {
            let mut times = self.0.lock().unwrap().clone();
            times.sort();
            let in_window = |(i, from): (usize, &Instant)| {
                times[i..].iter().take_while(|at| **at - *from < window).count()
            };
            times.iter().enumerate().map(in_window).max().unwrap_or_default()
        }
    }

    async fn calls(model: &crate::Model, count: usize) {
        let answers = join_all((0..count).map(|i| model.invoke(format!("{i}")))).await;
        assert!(answers.iter().all(Result::is_ok), "{:?}", answers.iter().find(|answer| answer.is_err()));
    }

    /// 100 calls each of two processes, which connect by themselves. Returns the seconds that they take.
    async fn calls_of_two(provider: &Provider, rates: Rates) -> u64 {
        let broker: Arc<dyn Broker> = Arc::new(Memory::default());
        let [one, two] = [(); 2].map(|()| Share::at(At::Here(broker.clone())));
        let models = [provider.model(&one, rates), provider.model(&two, rates)];
        let began = Instant::now();
        futures::join!(calls(&models[0], 100), calls(&models[1], 100));
        began.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn two_clients_of_an_account_never_exceed_its_limit_together() {
        let provider = Provider::default();
        let took = calls_of_two(&provider, Rates::new().requests(600.0)).await;
        // 10 a second, and half a second that may be saved up.
        for seconds in [1, 2, 5] {
            let max = provider.max_in(Duration::from_secs(seconds));
            assert!(max <= usize::try_from(seconds).unwrap() * 10 + 8, "{max} requests in {seconds} s");
        }
        assert!((18..=26).contains(&took), "{took} s for 200 requests at 10 a second");
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_are_shared_and_those_that_were_not_used_are_given_back() {
        // An answer has 100 tokens: 10 requests a second.
        let took = calls_of_two(&Provider::default(), Rates::new().tokens(60_000.0)).await;
        assert!((14..=40).contains(&took), "{took} s for 20,000 tokens at 1,000 a second");
    }

    #[tokio::test(start_paused = true)]
    async fn models_of_a_process_share_its_connection_and_its_lease() {
        let provider = Provider::default();
        let share = Share::at(At::Here(Arc::new(Memory::default())));
        let rates = Rates::new().requests(6_000.0);
        for _ in 0..3 {
            calls(&provider.model(&share, rates), 2).await;
        }
        let limits = share.0.connected().unwrap();
        assert_eq!(limits.limits.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn an_unreachable_broker_fails_the_calls_and_says_where() {
        // A port that nothing listens on: the listener is dropped.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let share = Share::new(format!("nats://a:secret@127.0.0.1:{port}"), Access::new()).unwrap();
        let provider = Provider::default();
        let model = provider.model(&share, Rates::new().requests(60.0));
        let answers = join_all((0..3).map(|_| model.invoke("x"))).await;
        for answer in answers {
            let error = answer.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            let text = format!("{error}");
            assert!(text.contains("cannot connect to the broker") && !text.contains("secret"), "{text}");
        }
        assert!(provider.0.lock().unwrap().is_empty());
    }

    #[test]
    fn a_url_is_checked_before_anything_is_sent() {
        let refused = |url: &str| Share::new(url, Access::new()).unwrap_err().to_string();
        let text = refused("nats://10.0.0.1:4222");
        assert!(text.contains("would not be encrypted") && text.contains("with `plaintext`"), "{text}");
        assert!(refused("nats://[").contains("not a valid URL"));
    }
}

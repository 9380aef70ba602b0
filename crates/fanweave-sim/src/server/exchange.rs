//! One request, from its first byte to its answer.
//!
//! The steps are: body, outage, key, route, model, capacity, limits, the answer itself, latency, fault. An
//! outage does not inspect the request. Invalid requests are rejected immediately; only valid requests wait
//! for the latency and can meet a fault.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::http::request::Parts;
use hyper::{Method, Response, Version};

use super::body::{AWS_EVENT_STREAM, EVENT_STREAM, JSON, LINES, Payload};
use super::dialect::Dialect;
use super::endpoint::{Endpoint, PreparedResponse, Request, ResponseContext};
use super::hold::Hold;
use super::outage::{self, Aborted};
use super::problem::Problem;
use super::provider::{InFlightRequest, Provider};
use super::refusal::refusal;
use super::route::Route;
use super::stats::count;
use super::wire::Breaker;
use super::{anthropic, bedrock, gemini, headers, ollama, openai, own, signature, tokens};
use crate::draw::{self, Purpose};
use crate::faults::Fault;
use crate::limits;
use crate::settings::Settings;
use crate::trouble::OutageKind;

/// Maximum size of a request body: 64 MiB.
const MAX_BODY_BYTES: usize = 64 << 20;

/// Answers one request.
pub(super) async fn handle(
    provider: Arc<Provider>,
    breaker: Breaker,
    request: hyper::Request<Incoming>,
) -> Result<Response<Payload>, Aborted> {
    let route = Route::find(request.method(), request.uri());
    if Route::is_own(request.uri()) {
        return Ok(own::answer(&provider, route, Dialect::of(request.uri(), request.headers())));
    }
    let outage = provider.trouble.request_arrives();
    let exchange = Exchange {
        arrived: Instant::now(),
        dialect: Dialect::of(request.uri(), request.headers()),
        ticket: InFlightRequest::new(Arc::clone(&provider)),
        provider,
        is_http2: request.version() == Version::HTTP_2,
        limits: limits::State::default(),
    };
    exchange.run(route, request, outage, &breaker).await
}

/// A request that the simulated provider is processing.
struct Exchange {
    arrived: Instant,
    dialect: Dialect,
    provider: Arc<Provider>,
    ticket: InFlightRequest,
    /// Set if the connection carries concurrent requests.
    is_http2: bool,
    /// State of the account's limits after this request, for the headers.
    limits: limits::State,
}

impl Exchange {
    async fn run(
        mut self,
        route: Result<Route, Problem>,
        request: hyper::Request<Incoming>,
        outage: Option<OutageKind>,
        breaker: &Breaker,
    ) -> Result<Response<Payload>, Aborted> {
        let (head, body) = request.into_parts();
        // Read the body even if it is not needed: a connection with an unread body is closed, and its next
        // request fails.
        let body = read(body).await;
        if let Some(outage) = outage
            && let Some(response) = self.fail(outage, breaker).await
        {
            return response;
        }
        let is_poisoned = body.as_ref().is_ok_and(|body| self.provider.trouble.is_poisoned(body));
        let made = match self.make(route, &head, body) {
            Ok(made) => made,
            Err(problem) => return Ok(self.refuse(&problem)),
        };
        let Provider { settings, faults, counters, .. } = &*self.provider;
        let seq = self.ticket.seq;
        let fault = if is_poisoned {
            count(&counters.poisoned);
            Some(Fault::Error(500))
        } else {
            faults.draw(settings.seed, seq)
        };
        if fault == Some(Fault::Hang) {
            count(&counters.hangs);
            std::future::pending::<()>().await;
        }
        let latency = settings.latency.sample(settings.seed, seq);
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        self.provider.wait_while_hanging().await;
        match fault {
            Some(Fault::Error(status)) => {
                self.ticket.use_tokens(made.input_tokens, 0);
                Ok(self.refuse(&Problem::Fault(status)))
            }
            Some(Fault::Abort) => {
                count(&counters.resets);
                Err(self.abort(breaker))
            }
            _ => {
                self.ticket.use_tokens(made.input_tokens, made.output_tokens);
                Ok(self.send(made, fault, breaker))
            }
        }
    }

    /// The response to a request that arrives during an outage; `None` if it is to be answered normally.
    async fn fail(
        &mut self,
        kind: OutageKind,
        breaker: &Breaker,
    ) -> Option<Result<Response<Payload>, Aborted>> {
        let counters = &self.provider.counters;
        Some(match kind {
            OutageKind::Status(status) => {
                count(&counters.outage_status);
                self.ticket.complete();
                Ok(outage::proxy_page(status).unwrap_or_else(|| {
                    let mut response = refusal(&Problem::Fault(status), self.dialect, &self.request_id());
                    self.sign(response.headers_mut());
                    response
                }))
            }
            OutageKind::Garbage => {
                count(&counters.outage_garbage);
                self.ticket.complete();
                Ok(outage::garbage(self.provider.settings.seed, self.ticket.seq))
            }
            // The listener is about to reset all connections.
            OutageKind::Refuse => {
                count(&counters.outage_cut);
                Err(self.abort(breaker))
            }
            OutageKind::Reset => {
                count(&counters.outage_reset);
                Err(self.abort(breaker))
            }
            OutageKind::Silence => {
                count(&counters.outage_silence);
                std::future::pending().await
            }
            OutageKind::Hang => {
                count(&counters.outage_hang);
                self.provider.wait_while_hanging().await;
                return None;
            }
        })
    }

    /// Makes the connection end with a reset.
    fn abort(&mut self, breaker: &Breaker) -> Aborted {
        breaker.pull();
        self.ticket.complete();
        Aborted
    }

    /// Creates the answer of a valid request.
    fn make(
        &mut self,
        route: Result<Route, Problem>,
        head: &Parts,
        body: Result<Bytes, Problem>,
    ) -> Result<PreparedResponse, Problem> {
        self.check_key(head, body.as_deref().unwrap_or_default())?;
        let (route, body) = (route?, body?);
        match route {
            Route::Chat => self.call::<openai::Chat<'_>>(&head.headers, &body),
            Route::Completions => self.call::<openai::Completions<'_>>(&head.headers, &body),
            Route::Embeddings => self.call::<openai::Embeddings<'_>>(&head.headers, &body),
            Route::Responses => self.call::<openai::Responses>(&head.headers, &body),
            Route::OllamaChat => self.call::<ollama::Chat>(&head.headers, &body),
            Route::OllamaEmbed => self.call::<ollama::Embed>(&head.headers, &body),
            Route::Generate { model, is_stream } => self.serve(&gemini::generate(model, is_stream, &body)?),
            Route::Converse { model, is_stream } => self.serve(&bedrock::converse(model, is_stream, &body)?),
            Route::BatchEmbed { model } => self.serve(&gemini::embeddings(model, &body)?),
            Route::Messages => self.call::<anthropic::Messages<'_>>(&head.headers, &body),
            Route::Models => Ok(PreparedResponse::free(match self.dialect {
                Dialect::Anthropic => anthropic::models(&self.provider.settings.models),
                _ => openai::models(&self.provider.settings.models),
            })),
            Route::Model(name) if !self.provider.knows_model(&name) => Err(Problem::UnknownModel(name)),
            Route::Model(name) => Ok(PreparedResponse::free(match self.dialect {
                Dialect::Anthropic => anthropic::model(&name),
                _ => openai::model(&name),
            })),
            Route::Upload => self.provider.batches.upload(&head.headers, &body).map(PreparedResponse::free),
            Route::File(id) => self.provider.batches.file(&id).map(PreparedResponse::free),
            Route::Content(id) => self.provider.batches.content(&id).map(PreparedResponse::free),
            Route::Batches if head.method == Method::GET => {
                self.provider.batches.list(&head.uri, &self.provider.settings).map(PreparedResponse::free)
            }
            Route::Batches => {
                let created = self.provider.batches.create(&body, &self.provider.settings)?;
                count(&self.provider.counters.batches);
                Ok(PreparedResponse::free(created))
            }
            Route::Batch(id) => {
                self.provider.batches.batch(&id, &self.provider.settings).map(PreparedResponse::free)
            }
            Route::CancelBatch(id) => {
                self.provider.batches.cancel(&id, &self.provider.settings).map(PreparedResponse::free)
            }
            Route::MessageBatches if head.method == Method::GET => self
                .provider
                .message_batches
                .list(&head.uri, &self.provider.settings)
                .map(PreparedResponse::free),
            Route::MessageBatches => {
                let created = self.provider.message_batches.create(&body, &self.provider.settings)?;
                count(&self.provider.counters.batches);
                Ok(PreparedResponse::free(created))
            }
            Route::MessageBatch(id) => {
                self.provider.message_batches.batch(&id, &self.provider.settings).map(PreparedResponse::free)
            }
            Route::MessageResults(id) => self
                .provider
                .message_batches
                .results(&id, &self.provider.settings)
                .map(PreparedResponse::free),
            Route::CancelMessageBatch(id) => {
                self.provider.message_batches.cancel(&id, &self.provider.settings).map(PreparedResponse::free)
            }
            Route::Home | Route::Stats | Route::Reset | Route::Token => {
                unreachable!("the simulator's own routes were answered before")
            }
        }
    }

    /// Reads, admits and answers a request that costs tokens.
    fn call<'a, E: Endpoint<'a>>(
        &mut self,
        headers: &HeaderMap,
        body: &'a [u8],
    ) -> Result<PreparedResponse, Problem> {
        self.serve(&E::read(headers, body)?)
    }

    fn serve(&mut self, request: &impl Request) -> Result<PreparedResponse, Problem> {
        if !self.provider.knows_model(request.model()) {
            return Err(Problem::UnknownModel(request.model().to_owned()));
        }
        let (input_tokens, max_tokens) = request.estimate();
        self.limits = self.ticket.admit(input_tokens, max_tokens)?;
        let settings = &self.provider.settings;
        Ok(request.answer(&ResponseContext {
            id: draw::bits(settings.seed, self.ticket.seq, Purpose::RequestId),
            created: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            chunks: settings.chunks,
            interleaved_calls: settings.interleaved_calls,
        }))
    }

    /// The key is the secret of a signature of AWS, and that of the account whose tokens Vertex AI takes.
    fn check_key(&self, head: &Parts, body: &[u8]) -> Result<(), Problem> {
        let Some(expected) = &self.provider.settings.api_key else { return Ok(()) };
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = header("authorization").and_then(|value| value.strip_prefix("Bearer ")).map(str::trim);
        if self.dialect == Dialect::Bedrock && bearer.is_none() {
            let verified = signature::verify(head, body, expected, SystemTime::now());
            return verified.map_err(Problem::Signature);
        }
        if head.uri.path().starts_with("/v1/projects/")
            && bearer.is_some_and(|token| tokens::is_valid(token, expected, SystemTime::now()))
        {
            return Ok(());
        }
        match bearer.or(header("x-api-key")).or(header("x-goog-api-key")) {
            Some(key) if key == expected => Ok(()),
            key => Err(Problem::Unauthorized { masked_key: key.filter(|key| !key.is_empty()).map(mask) }),
        }
    }

    /// Sends the answer, or the part of it that the fault allows.
    fn send(self, made: PreparedResponse, fault: Option<Fault>, breaker: &Breaker) -> Response<Payload> {
        let counters = &self.provider.counters;
        let (body, content_type) = match made.events {
            Some(events) => {
                count(&counters.streams);
                let content_type = match self.dialect {
                    Dialect::Ollama => LINES,
                    Dialect::Bedrock => AWS_EVENT_STREAM,
                    _ => EVENT_STREAM,
                };
                (Payload::stream(made.bytes, events, self.provider.settings.chunk_delay), content_type)
            }
            None if fault.is_none() && self.draws_surplus() => {
                count(&counters.surplus);
                let surplus = outage::surplus(&made.bytes);
                (Payload::whole(made.bytes).followed_by(surplus, breaker), JSON)
            }
            None => (Payload::whole(made.bytes), JSON),
        };
        let body = match fault {
            Some(Fault::Reset) => {
                count(&counters.resets);
                body.reset_halfway(breaker)
            }
            Some(Fault::Truncate) => {
                count(&counters.truncated);
                body.truncate_halfway()
            }
            _ => {
                count(&counters.ok);
                body
            }
        };
        let mut response = Response::new(body);
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        self.sign(response.headers_mut());
        let Self { ticket, provider, .. } = self;
        let hold = Hold::new(&provider);
        response.map(|body| body.hold(ticket).held_by(hold))
    }

    /// Returns true if this answer is duplicated.
    fn draws_surplus(&self) -> bool {
        let Settings { surplus_rate, seed, .. } = &self.provider.settings;
        *surplus_rate > 0.0
            && !self.is_http2
            && draw::unit(*seed, self.ticket.seq, Purpose::Surplus) < *surplus_rate
    }

    /// Sends the problem.
    fn refuse(mut self, problem: &Problem) -> Response<Payload> {
        let counters = &self.provider.counters;
        count(match problem {
            Problem::RateLimited { .. } | Problem::Overloaded => &counters.rejected_429,
            Problem::Fault(_) => &counters.errors,
            _ => &counters.invalid,
        });
        let mut response = refusal(problem, self.dialect, &self.request_id());
        if let Problem::RateLimited { retry_after, state, .. } = problem {
            self.limits = *state;
            headers::add_retry_after(response.headers_mut(), self.dialect, *retry_after);
        }
        self.sign(response.headers_mut());
        self.ticket.complete();
        response
    }

    /// Adds the headers common to all answers.
    fn sign(&self, headers: &mut HeaderMap) {
        headers::add_request_id(headers, self.dialect, &self.request_id());
        headers::add_processing_time(headers, self.dialect, self.arrived.elapsed());
        headers::add_limits(headers, self.dialect, &self.limits);
    }

    fn request_id(&self) -> String {
        format!("req_{:016x}", draw::bits(self.provider.settings.seed, self.ticket.seq, Purpose::RequestId))
    }
}

/// The whole body of a request.
async fn read(body: Incoming) -> Result<Bytes, Problem> {
    if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
        return Err(Problem::TooLarge);
    }
    match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(Problem::TooLarge),
        Err(_) => Err(Problem::invalid("The body of the request ended too early.", None)),
    }
}

/// Masks a key: `sk-ab****yz`.
fn mask(key: &str) -> String {
    match (key.get(..5), key.get(key.len().saturating_sub(2)..)) {
        (Some(start), Some(end)) if key.len() >= 12 => format!("{start}****{end}"),
        _ => "****".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn a_key_is_shown_masked_and_a_short_one_not_at_all() {
        assert_eq!(mask("sk-abcdefghijklmn"), "sk-ab****mn");
        assert_eq!(mask("secret"), "****");
        assert_eq!(mask("ключ-очень-секретный"), "****");
    }
}

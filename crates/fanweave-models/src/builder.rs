//! Builds models from their name, the vendor table, the environment and the caller's settings.

use std::fmt;
use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use fanweave_core::{Embedder, Error, ErrorKind, Model, Result, RetryPolicy};
use http::header::{ACCEPT_ENCODING, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use serde_json::Value;

use crate::aliases::alias;
use crate::batch_api::BatchClient;
use crate::completer::Completer;
use crate::embedder::HttpEmbedder;
use crate::limiter::Limiter;
use crate::protocol::Protocol;
use crate::providers::dialect::Dialect;
use crate::providers::embeddings::VectorParameters;
use crate::providers::think::ThinkTags;
use crate::raw::RawModel;
use crate::transport::adapt::Adapt;
#[cfg(feature = "vertex")]
use crate::transport::adc::Adc;
use crate::transport::call::{HttpModel, SharedModel};
use crate::transport::client::{Client, header};
use crate::transport::endpoint::Endpoint;
use crate::transport::keys::{KeyHeader, KeySource};
use crate::transport::limits::{AccountKey, Accounts, RateLimits};
use crate::transport::redact::register;
use crate::transport::secret::Secret;
#[cfg(feature = "bedrock")]
use crate::transport::sign::SigV4;
use crate::variable::set;
use crate::vendor::Vendor;

/// Creates a model by name, with key and base URL from the environment.
///
/// ```no_run
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let model = fanweave::models::model("openai/gpt-5-mini")?;
/// println!("{}", model.invoke("Name a bear.").await?.text());
/// # Ok(())
/// # }) }
/// ```
///
/// # Errors
/// Those of [`ModelBuilder::build`].
pub fn model(name: &str) -> Result<Model> {
    ModelBuilder::new(name).build()
}

/// Creates an embedder by name, with key and base URL from the environment.
///
/// ```no_run
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let embedder = fanweave::models::embedder("openai/text-embedding-3-small")?;
/// println!("{:?}", embedder.embed(["bears"]).await?.vectors[0]);
/// # Ok(())
/// # }) }
/// ```
///
/// # Errors
/// Those of [`ModelBuilder::build_embedder`].
pub fn embedder(name: &str) -> Result<Embedder> {
    ModelBuilder::new(name).build_embedder()
}

/// Settings for a model.
///
/// ```
/// use std::time::Duration;
/// use fanweave::models::ModelBuilder;
///
/// let model = ModelBuilder::new("openai/gpt-5-mini")
///     .base_url("http://localhost:8000/v1")
///     .timeout(Duration::from_secs(30))
///     .build()?;
/// # Ok::<_, fanweave::Error>(())
/// ```
#[must_use]
pub struct ModelBuilder {
    name: String,
    vendor: Option<Vendor>,
    protocol: Option<Arc<dyn Protocol>>,
    base_url: Option<String>,
    api_key: Option<String>,
    key_source: Option<KeySource>,
    key_header: Option<KeyHeader>,
    api_version: Option<String>,
    vectors: VectorParameters,
    max_inputs: Option<NonZeroUsize>,
    client: Option<Client>,
    timeout: Option<Duration>,
    retry: RetryPolicy,
    limits: Option<RateLimits>,
    accounts: Accounts,
    limiter: Option<Arc<dyn Limiter>>,
    headers: Vec<(String, String)>,
    /// Values of headers that are secrets.
    secrets: Vec<String>,
    keep_raw: bool,
    think_tags: Option<bool>,
    adapt: Adapt,
}

impl ModelBuilder {
    /// A model by name: a provider listed in [`vendors`](crate::vendors), `/`, and the provider's name of the
    /// model, which may contain more slashes.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            vendor: None,
            protocol: None,
            base_url: None,
            api_key: None,
            key_source: None,
            key_header: None,
            api_version: None,
            vectors: VectorParameters::default(),
            max_inputs: None,
            client: None,
            timeout: None,
            retry: RetryPolicy::default(),
            limits: None,
            accounts: Accounts::default(),
            limiter: None,
            headers: Vec::new(),
            secrets: Vec::new(),
            keep_raw: false,
            think_tags: None,
            adapt: Adapt::default(),
        }
    }

    /// Vendor of the model, in place of the one that its name finds. The name of the model begins with that
    /// of the vendor and `/`.
    ///
    /// ```
    /// use fanweave::models::{Dialect, ModelBuilder, Vendor};
    ///
    /// let local = Vendor::new("local", "http://localhost:9000").dialect(Dialect::Ollama);
    /// let model = ModelBuilder::new("local/qwen3").vendor(local).build()?;
    /// # Ok::<_, fanweave::Error>(())
    /// ```
    pub fn vendor(mut self, vendor: Vendor) -> Self {
        self.vendor = Some(vendor);
        self
    }

    /// Dialect of the model, in place of the vendor's. The vendor may then be unknown, if a
    /// [`base_url`](Self::base_url) is set. [`protocol`](crate::protocol) has an example.
    pub fn protocol(mut self, protocol: impl Protocol) -> Self {
        self.protocol = Some(Arc::new(protocol));
        self
    }

    /// Base URL of the API, such as `http://localhost:8000/v1`. Default: from the environment, or the
    /// vendor's.
    ///
    /// The URL may end in a path of the API, such as `/v1/chat/completions`, which is removed. Its query,
    /// such as `?api-version=2024-10-21`, is sent with every request and is never shown: it may hold a key.
    ///
    /// With an explicit URL the key may be missing.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = Some(url.into());
        self
    }

    /// The API key. Default: from the environment, such as `OPENAI_API_KEY`.
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(key.into());
        self
    }

    /// A function that returns the key, called before every request, for tokens that expire. Takes precedence
    /// over [`api_key`](Self::api_key). The function should cache the token while it is valid. Its time
    /// counts against the deadline of the run only, and its error becomes the error of the call.
    ///
    /// Each function is a separate account, whatever keys it returns: to share limits between calls, share a
    /// [`Model`].
    ///
    /// ```
    /// use fanweave::models::ModelBuilder;
    ///
    /// async fn token() -> fanweave::Result<String> {
    ///     Ok("a token that is valid for an hour".to_owned())
    /// }
    ///
    /// let model = ModelBuilder::new("openai/gpt-5-mini").api_key_fn(token).build()?;
    /// # Ok::<_, fanweave::Error>(())
    /// ```
    pub fn api_key_fn<F>(mut self, key: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<String>> + Send + 'static,
    {
        self.key_source = Some(KeySource::new(key));
        self
    }

    /// Header that carries the key. Default: the vendor's, such as [`KeyHeader::Bearer`] for OpenAI and
    /// `x-api-key` for Anthropic.
    pub fn key_header(mut self, header: KeyHeader) -> Self {
        self.key_header = Some(header);
        self
    }

    /// API version, for dialects that have one: `anthropic-version`, a date. Default `2023-06-01`.
    pub fn api_version(mut self, version: impl Into<String>) -> Self {
        self.api_version = Some(version.into());
        self
    }

    /// Dimensions of each vector, if the model supports fewer than its default. Only for an
    /// [`embedder`](Self::build_embedder). Default: the model's.
    pub fn dimensions(mut self, dimensions: u32) -> Self {
        self.vectors.dimensions = Some(dimensions);
        self
    }

    /// Sets a further field of each request of an [`embedder`](Self::build_embedder), such as `input_type` of
    /// Voyage and Cohere, `taskType` of Gemini, `user` of OpenAI or `keep_alive` of Ollama.
    ///
    /// ```no_run
    /// use fanweave::models::ModelBuilder;
    ///
    /// let questions = ModelBuilder::new("voyage/voyage-3.5").vector_parameter("input_type", "query");
    /// # questions.build_embedder()?;
    /// # Ok::<_, fanweave::Error>(())
    /// ```
    pub fn vector_parameter(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.vectors.extra.insert(name.into(), value.into());
        self
    }

    /// Maximum texts per request of an [`embedder`](Self::build_embedder). Default: the provider's documented
    /// maximum, or the number that the server names when it refuses a request.
    ///
    /// ```no_run
    /// use std::num::NonZeroUsize;
    /// use fanweave::models::ModelBuilder;
    ///
    /// let texts = NonZeroUsize::new(10).unwrap();
    /// let embedder = ModelBuilder::new("openai/text-embedding-v4").max_inputs(texts).build_embedder()?;
    /// # Ok::<_, fanweave::Error>(())
    /// ```
    pub fn max_inputs(mut self, texts: NonZeroUsize) -> Self {
        self.max_inputs = Some(texts);
        self
    }

    /// The client to send requests with. Default: shared by the whole process.
    pub fn client(mut self, client: Client) -> Self {
        self.client = Some(client);
        self
    }

    /// Timeout for one request and its answer; each retry is a separate request. Default: the client's, 600
    /// s.
    ///
    /// To limit a whole run with its retries, use
    /// [`Context::with_timeout`](fanweave_core::Context::with_timeout).
    pub fn timeout(mut self, total: Duration) -> Self {
        self.timeout = Some(total);
        self
    }

    /// Policy for retrying failed requests. Default [`RetryPolicy::default`].
    ///
    /// Requests are never retried after the first delta was emitted or after the deadline of the run. All
    /// retries of an account share a budget of about a tenth of its calls.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Limits of the account. Default: those set on another handle of the account, or none.
    pub fn limits(mut self, limits: RateLimits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// The set of accounts that has the model's. Default: the set of the process.
    pub fn accounts(mut self, accounts: Accounts) -> Self {
        self.accounts = accounts;
        self
    }

    /// An additional limit on the requests, such as one that several machines share. Default: none.
    pub fn limiter(mut self, limiter: Arc<dyn Limiter>) -> Self {
        self.limiter = Some(limiter);
        self
    }

    /// Sends this header with every request, replacing the default one of the same name.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Like [`header`](Self::header), and the value is a secret: it is replaced by `[redacted]` in answers,
    /// errors and logs, as the API key is.
    ///
    /// ```
    /// use fanweave::models::ModelBuilder;
    ///
    /// let model = ModelBuilder::new("openai/gpt-5-mini")
    ///     .api_key("sk-test")
    ///     .secret_header("x-gateway", "gw-0123456789abcdef")
    ///     .build()?;
    /// # Ok::<_, fanweave::Error>(())
    /// ```
    pub fn secret_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let value = value.into();
        self.secrets.push(value.clone());
        self.header(name, value)
    }

    /// Keeps the provider's body in [`Reply::raw`](fanweave_core::Reply::raw), byte for byte: that of a whole
    /// answer, or the events of a stream. Default false: only bodies of whole answers are kept, to requests
    /// that [ask for several choices or for `logprobs`](fanweave_core::Parameters::asks_for_choices).
    pub fn keep_raw(mut self, keep: bool) -> Self {
        self.keep_raw = keep;
        self
    }

    /// Reads thinking that the model writes at the beginning of its text, such as `<think>..</think>`, as
    /// [`Part::Reasoning`](fanweave_core::Part::Reasoning). Answers with reasoning of their own are not
    /// changed.
    ///
    /// Some templates write the opening tag into the prompt, so that the answer has only `</think>`, on a
    /// line of its own. The text before it is reasoning too, but only in a whole answer: the deltas of a
    /// stream are emitted before the tag arrives, and remain text. Parsers skip it in both.
    ///
    /// Default: true for servers of open models that do not separate it (`vllm`, `llamacpp`, `lmstudio`,
    /// `ollama`, `litellm`, `together`, `fireworks`), and for `openai/..` with the base URL of another host.
    ///
    /// ```
    /// use fanweave::models::ModelBuilder;
    ///
    /// let model = ModelBuilder::new("openai/r1").base_url("http://localhost:8000/v1").think_tags(false).build()?;
    /// # Ok::<_, fanweave::Error>(())
    /// ```
    pub fn think_tags(mut self, are_reasoning: bool) -> Self {
        self.think_tags = Some(are_reasoning);
        self
    }

    /// Sends requests exactly as they are written, even if the server refuses a field that this crate has
    /// added. Default false: `stream_options`, the spelling of `max_tokens`, streaming itself and a default
    /// maximum of output tokens change if the server refuses them. [`adaptations`](crate::adaptations) lists
    /// what has changed.
    ///
    /// The refused request does not count as an attempt, and later requests to the same server and model have
    /// the new shape from the start. Requests of rows are only ever changed in what streaming adds.
    ///
    /// ```
    /// use fanweave::models::ModelBuilder;
    ///
    /// let model = ModelBuilder::new("openai/m").base_url("http://localhost:8000/v1").strict_request(true).build()?;
    /// # Ok::<_, fanweave::Error>(())
    /// ```
    pub fn strict_request(mut self, strict: bool) -> Self {
        self.adapt = if strict { Adapt::Never } else { Adapt::Added };
        self
    }

    /// Drops parameters of the caller too if the server refuses them, such as `temperature`, and replaces a
    /// JSON schema by `json_object` with the schema in the prompt. Default false: the error names the
    /// parameter.
    ///
    /// The schema of a model is not replaced after an answer has followed it. Replaces
    /// [`strict_request`](Self::strict_request).
    ///
    /// ```
    /// use fanweave::models::ModelBuilder;
    ///
    /// let model = ModelBuilder::new("openai/o4-mini").api_key("sk-..").adapt(true).build()?;
    /// # Ok::<_, fanweave::Error>(())
    /// ```
    pub fn adapt(mut self, adapt: bool) -> Self {
        self.adapt = if adapt { Adapt::Parameters } else { Adapt::Added };
        self
    }

    /// Builds the model without sending a request.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for an unknown provider, or an invalid base URL or header;
    /// [`ErrorKind::Authentication`] for a missing or invalid key.
    pub fn build(self) -> Result<Model> {
        self.build_in(&|variable| std::env::var(variable).ok())
    }

    /// Builds an embedder, for vendors of chat completions, Gemini and Ollama, without sending a request.
    ///
    /// ```no_run
    /// use fanweave::models::ModelBuilder;
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let embedder = ModelBuilder::new("openai/text-embedding-3-small").dimensions(256).build_embedder()?;
    /// let answer = embedder.embed(["bears", "cats"]).await?;
    /// assert_eq!(answer.vectors.len(), 2);
    /// # Ok(())
    /// # }) }
    /// ```
    ///
    /// # Errors
    /// Those of [`build`](Self::build), and [`ErrorKind::Config`] for a vendor without embeddings and for a
    /// parameter that the request has already.
    pub fn build_embedder(mut self) -> Result<Embedder> {
        let (parameters, max_inputs) = (std::mem::take(&mut self.vectors), self.max_inputs);
        if let Some(own) = parameters.own_field() {
            let message = format!("`{own}` cannot be set as a parameter: the request has it already");
            return Err(Error::new(ErrorKind::Config, message));
        }
        let (http, vendor) = self.http(&|variable| std::env::var(variable).ok())?;
        let Some(dialect) = vendor.known_dialect().and_then(Dialect::embeddings) else {
            let message = format!("{} has no embeddings: choose another provider for them", vendor.name());
            return Err(Error::new(ErrorKind::Config, message));
        };
        Ok(Embedder::new(HttpEmbedder { http, dialect, parameters, max_inputs }))
    }

    /// Builds a completion model that takes several prompts per request, without sending a request. For
    /// `openai-completions/..`, with the base URL of any server of this dialect.
    ///
    /// # Errors
    /// Those of [`build`](Self::build), and [`ErrorKind::Config`] for a vendor of another dialect.
    pub fn build_completer(self) -> Result<Completer> {
        self.refuse_of_vectors()?;
        let (http, vendor) = self.http(&|variable| std::env::var(variable).ok())?;
        if vendor.known_dialect() != Some(Dialect::OpenAiCompletions) {
            let message =
                format!("{} takes one prompt per request: use openai-completions/model", vendor.name());
            return Err(Error::new(ErrorKind::Config, message));
        }
        Ok(Completer::new(http, vendor.known_quirks()))
    }

    /// Builds a model that sends requests as they are and returns answers as bytes, without sending a
    /// request. For every vendor.
    ///
    /// # Errors
    /// Those of [`build`](Self::build).
    pub fn build_raw(self) -> Result<RawModel> {
        self.refuse_of_vectors()?;
        self.http(&|variable| std::env::var(variable).ok()).map(|(http, _)| RawModel::new(http))
    }

    fn refuse_of_vectors(&self) -> Result<()> {
        let set = match (&self.vectors.dimensions, self.vectors.extra.keys().next()) {
            (None, None) => return Ok(()),
            (Some(_), _) => "dimensions",
            (None, Some(name)) => name,
        };
        let message = format!("`{set}` is only valid for an embedder: remove it");
        Err(Error::new(ErrorKind::Config, message))
    }

    /// Builds a client for the provider's batch API with this model, without sending a request.
    ///
    /// # Errors
    /// Those of [`build`](Self::build), and [`ErrorKind::Config`] for a vendor without a supported batch API.
    /// OpenAI and Anthropic are supported.
    pub fn batch_api(self) -> Result<BatchClient> {
        self.refuse_of_vectors()?;
        let (http, vendor) = self.http(&|variable| std::env::var(variable).ok())?;
        vendor.known_dialect().and_then(|dialect| BatchClient::new(http, dialect)).ok_or_else(|| {
            let message = format!(
                "the batch API of {} is not supported: use a model of openai or anthropic",
                vendor.name()
            );
            Error::new(ErrorKind::Config, message)
        })
    }

    /// Like [`build`](Self::build), with the environment `env`.
    fn build_in(self, env: &dyn Fn(&str) -> Option<String>) -> Result<Model> {
        self.refuse_of_vectors()?;
        self.http(env).map(|(http, _)| Model::new(SharedModel(Arc::new(http))))
    }

    /// The vendor of the model, and the vendor's name of it.
    fn vendor_and_model(&self) -> Result<(Vendor, &str)> {
        let (vendor, model) = match (&self.vendor, &self.protocol, &self.base_url) {
            (Some(vendor), ..) => (vendor.clone(), vendor.model(&self.name)?),
            (None, Some(_), Some(url)) => {
                let (name, model) = Vendor::split(&self.name)?;
                (Vendor::named(name).unwrap_or_else(|| Vendor::new(name, url)), model)
            }
            (None, ..) => Vendor::of(&self.name)?,
        };
        Ok(match &self.protocol {
            Some(protocol) => (vendor.with_protocol(protocol.clone()), model),
            None => (vendor, model),
        })
    }

    fn http(mut self, env: &dyn Fn(&str) -> Option<String>) -> Result<(HttpModel, Vendor)> {
        if self.vendor.is_none()
            && self.base_url.is_none()
            && let Some(model) = alias(&self.name)
        {
            self.name = model.to_owned();
        }
        let (vendor, model) = self.vendor_and_model()?;
        let model = model.to_owned();
        let (key, own_header) = match &self.key_source {
            Some(_) => (None, None),
            None => key(&vendor, self.api_key, self.base_url.is_some(), env)?.unzip(),
        };
        let key_header = self.key_header.or(own_header).unwrap_or_else(|| vendor.default_key_header());
        let client = self.client.unwrap_or_default();
        let keys = self.key_source.map(|source| source.with_header(key_header.clone()));
        #[cfg(feature = "vertex")]
        let adc = match vendor.name() {
            "vertex" if key.is_none() && keys.is_none() => {
                Some(Arc::new(Adc::from_env(env, client.clone())?))
            }
            _ => None,
        };
        #[cfg(feature = "vertex")]
        let keys = keys.or_else(|| adc.clone().map(of_credentials));
        let url = match self.base_url {
            Some(url) => url,
            #[cfg(feature = "vertex")]
            None if vendor.name() == "vertex" => {
                vertex_url(env, adc.as_ref().and_then(|adc| adc.project.as_deref()))?
            }
            None => vendor.url(env)?,
        };
        let endpoint = Endpoint::parse_with(&url, |bare| vendor.base(bare))?;
        // Servers of open models are often reached as `openai`.
        let is_foreign = {
            let host = endpoint.host();
            vendor.is_openai() && host != "openai.com" && !host.ends_with(".openai.com")
        };
        let vendor = if is_foreign { vendor.at_another_host() } else { vendor };
        let mut protocol = vendor.versioned_protocol(self.api_version.as_deref())?;
        if self.think_tags.unwrap_or_else(|| vendor.known_quirks().think_tags || is_foreign) {
            protocol = Arc::new(ThinkTags(protocol));
        }
        #[cfg(feature = "bedrock")]
        let signer = match vendor.known_dialect() {
            Some(Dialect::BedrockConverse) if key.is_none() && keys.is_none() => {
                Some(Arc::new(SigV4::from_env(env, endpoint.host(), &client)?))
            }
            _ => None,
        };

        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("fanweave/", env!("CARGO_PKG_VERSION"))));
        // A compressed answer can be a thousand times its transferred size.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(key) = &key {
            let (name, value) = key_header.write(key)?;
            headers.insert(name, value);
        }
        if vendor.is_openai() {
            for (variable, name) in ACCOUNT_HEADERS {
                if let Some(value) = set(env, variable) {
                    let (name, value) = header(name, &value)?;
                    headers.insert(name, value);
                }
            }
        }
        headers.extend(client.headers().clone());
        let fingerprint = key.as_ref().map(Secret::fingerprint);
        #[cfg(feature = "bedrock")]
        let fingerprint = fingerprint.or_else(|| signer.as_ref().map(|signer| signer.fingerprint()));
        let account = AccountKey {
            base_url: endpoint.to_string(),
            key: fingerprint
                .or(keys.as_ref().map(|keys| keys.id))
                .or_else(|| endpoint.secrets().next().map(|key| Secret::new(key.to_owned()).fingerprint())),
            model: model.clone(),
        };
        let mut secrets: Vec<_> = key.into_iter().collect();
        secrets.extend(endpoint.secrets().map(|value| Secret::new(value.to_owned())));
        secrets.extend(self.secrets.into_iter().map(Secret::new));
        for (name, value) in client.headers() {
            secrets.extend(Secret::of_header(name, value));
        }
        for (name, value) in &self.headers {
            let (name, value) = header(name, value)?;
            secrets.extend(Secret::of_header(&name, &value));
            headers.insert(name, value);
        }
        secrets.iter().for_each(register);
        let mut timeouts = client.timeouts();
        timeouts.total = self.timeout.unwrap_or(timeouts.total);
        let http = HttpModel {
            provider: Arc::from(vendor.name()),
            model,
            protocol,
            name: self.name,
            endpoint,
            headers,
            keys,
            secrets,
            #[cfg(feature = "bedrock")]
            signer,
            client,
            timeouts,
            retry: self.retry,
            accounts: self.accounts,
            account,
            limits: self.limits,
            limiter: self.limiter,
            in_use: Arc::default(),
            keep_raw: self.keep_raw,
            adapt: self.adapt,
        };
        // The account exists from now on, with its limits.
        http.in_use();
        Ok((http, vendor))
    }
}

/// The tokens of Google's credentials as keys.
#[cfg(feature = "vertex")]
fn of_credentials(adc: Arc<Adc>) -> KeySource {
    let account = Secret::new(adc.account().to_owned()).fingerprint();
    let source = KeySource::new(move || {
        let adc = adc.clone();
        async move { adc.token().await }
    });
    source.of_account(account)
}

/// The models of Google in a project on Vertex AI.
#[cfg(feature = "vertex")]
fn vertex_url(env: &dyn Fn(&str) -> Option<String>, project: Option<&str>) -> Result<String> {
    let named = ["GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT"].iter().find_map(|name| set(env, name));
    let project = named.or_else(|| project.map(str::to_owned)).ok_or_else(|| {
        Error::new(ErrorKind::Config, "GOOGLE_CLOUD_PROJECT is not set: export the id of the project")
    })?;
    let location = ["GOOGLE_CLOUD_LOCATION", "CLOUD_ML_REGION"].iter().find_map(|name| set(env, name));
    let location = location.unwrap_or_else(|| "global".to_owned());
    let is_name =
        |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | ':' | '.'));
    if !is_name(&project) || !is_name(&location) {
        let message = format!("`{project}` and `{location}` must be the names of a project and a location");
        return Err(Error::new(ErrorKind::Config, message));
    }
    let host = match &*location {
        "global" => "aiplatform.googleapis.com".to_owned(),
        location => format!("{location}-aiplatform.googleapis.com"),
    };
    Ok(format!("https://{host}/v1/projects/{project}/locations/{location}/publishers/google"))
}

/// Shows no key and no header.
impl fmt::Debug for ModelBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Headers for OpenAI's organisation and project, from the variables of its own SDKs.
const ACCOUNT_HEADERS: [(&str, &str); 2] =
    [("OPENAI_ORG_ID", "openai-organization"), ("OPENAI_PROJECT_ID", "openai-project")];

fn key(
    vendor: &Vendor,
    given: Option<String>,
    has_url: bool,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<(Secret, KeyHeader)>> {
    let refused = |message| Err(Error::new(ErrorKind::Authentication, message));
    let variable = vendor.first_key_variable();
    let header = vendor.default_key_header();
    let key = match given {
        Some(key) if key.trim().is_empty() => {
            let set = variable.map(|variable| format!("set {variable} or ")).unwrap_or_default();
            return refused(format!("the API key is empty: {set}remove `api_key`"));
        }
        Some(key) => Some((key.trim().to_owned(), header)),
        None => vendor.key(env),
    };
    if key.is_none() && vendor.requires_key() && !has_url {
        return refused(match variable {
            Some(variable) => format!(
                "{variable} is not set: export it, or use a model that needs no key such as sim/writer"
            ),
            None => format!("{} needs an API key: set it with `api_key`", vendor.name()),
        });
    }
    Ok(key.map(|(key, header)| (Secret::new(key), header)))
}

#[cfg(all(test, feature = "bedrock", feature = "vertex"))]
mod clouds;

#[cfg(test)]
mod tests {
    use super::*;

    fn built(builder: ModelBuilder, env: &[(&str, &str)]) -> Result<Model> {
        builder.build_in(&|name| {
            env.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_missing_key_names_the_variable_to_set() {
        for env in [&[][..], &[("OPENAI_API_KEY", " \n")]] {
            let error = built(ModelBuilder::new("openai/gpt-5-mini"), env).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Authentication);
            assert_eq!(
                error.to_string(),
                "OPENAI_API_KEY is not set: export it, or use a model that needs no key such as sim/writer"
            );
        }
    }

    #[test]
    fn a_key_is_not_missed_where_none_is_needed() {
        assert!(built(ModelBuilder::new("ollama/qwen3"), &[]).is_ok());
        assert!(built(ModelBuilder::new("openai/x").base_url("http://localhost:1/v1"), &[]).is_ok());
        assert!(built(ModelBuilder::new("openai/x"), &[("OPENAI_API_KEY", "sk-1\n")]).is_ok());
    }

    #[test]
    fn a_vendor_of_ones_own_needs_no_registration() {
        let acme = Vendor::new("acme", "https://acme.example/v1").key_variable("ACME_KEY");
        let error = built(ModelBuilder::new("acme/x").vendor(acme.clone()), &[]).unwrap_err();
        assert!(error.message().starts_with("ACME_KEY is not set"), "{error}");
        let model = built(ModelBuilder::new("acme/a/b").vendor(acme.clone()), &[("ACME_KEY", "k")]).unwrap();
        assert_eq!(model.identity(), "acme/a/b at https://acme.example/v1");
        for name in ["openai/x", "acme", "acme/", "acme-2/x"] {
            let error = built(ModelBuilder::new(name).vendor(acme.clone()), &[]).unwrap_err();
            assert_eq!(
                error.message(),
                format!("`{name}` is not a model of the vendor `acme`: write acme/model")
            );
        }
        let keyed = Vendor::new("acme", "https://acme.example").needs_key(true);
        let error = built(ModelBuilder::new("acme/x").vendor(keyed), &[]).unwrap_err();
        assert_eq!(error.message(), "acme needs an API key: set it with `api_key`");
    }

    #[test]
    fn a_protocol_of_ones_own_needs_a_base_url_or_a_known_vendor() {
        let own = || Own(Dialect::OpenAiChat.protocol(crate::Quirks::new()));
        let build = |builder: ModelBuilder| built(builder.protocol(own()), &[("OPENAI_API_KEY", "k")]);
        assert!(build(ModelBuilder::new("openai/x")).is_ok());
        let error = build(ModelBuilder::new("acme/x")).unwrap_err();
        assert!(error.message().starts_with("unknown provider `acme`"), "{error}");
        // The path of the dialect is not known: nothing is stripped from the URL.
        let model = build(ModelBuilder::new("ollama/x").base_url("http://localhost/api")).unwrap();
        assert_eq!(model.identity(), "ollama/x at http://localhost/api");
        assert!(build(ModelBuilder::new("acme/x").base_url("http://localhost:1")).is_ok());
        let error = build(ModelBuilder::new("anthropic/x").api_key("k").api_version("2")).unwrap_err();
        assert!(error.message().contains("has no API version to choose"), "{error}");
        let url = ModelBuilder::new("acme/x").base_url("http://localhost:1").protocol(own());
        assert_eq!(url.build_embedder().unwrap_err().kind(), ErrorKind::Config);
    }

    /// A dialect of another crate.
    struct Own(Arc<dyn Protocol>);

    impl Protocol for Own {
        fn request(&self, call: &crate::protocol::Call<'_>) -> Result<crate::protocol::HttpRequest> {
            self.0.request(call)
        }

        fn response(&self, body: &[u8]) -> Result<fanweave_core::Message> {
            self.0.response(body)
        }

        fn decoder(&self) -> Box<dyn crate::protocol::StreamDecoder> {
            self.0.decoder()
        }
    }

    #[test]
    fn an_empty_key_is_refused_rather_than_sent() {
        let error = built(ModelBuilder::new("openai/x").api_key(" "), &[]).unwrap_err();
        assert_eq!(error.to_string(), "the API key is empty: set OPENAI_API_KEY or remove `api_key`");
    }

    #[test]
    fn a_key_that_no_header_can_hold_is_refused_without_showing_it() {
        let error = built(ModelBuilder::new("openai/x").api_key("sk-canary\nx"), &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication);
        assert!(!format!("{error} {error:?}").contains("canary"));
    }

    #[test]
    fn a_header_that_cannot_be_sent_is_refused_without_its_value() {
        for (name, value) in [("x-team", "canary\n"), ("x team", "canary")] {
            let error = built(ModelBuilder::new("ollama/x").header(name, value), &[]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(!format!("{error} {error:?}").contains("canary"));
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let builder = ModelBuilder::new("openai/x").api_key("sk-canary").header("api-key", "canary");
        assert!(!format!("{builder:?}").contains("canary"));
        assert!(!format!("{:?}", builder.build().unwrap()).contains("canary"));
    }
}

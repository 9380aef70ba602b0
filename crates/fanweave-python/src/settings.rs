//! Settings of models, embedders and raw models, and parameters of calls.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use fanweave::Parameters;
use fanweave::compose::RetryPolicy;
use fanweave::crates::serde_json::Value;
use fanweave::models::{self, ModelBuilder, RateLimits};
use fanweave::tools::ToolChoice;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::client::Client;
use crate::errors::config;
use crate::function::Functions;
use crate::item::json_from_python;
use crate::keys::KeyFunction;
use crate::options::{each_setting, seconds};
use crate::share::Share;

/// The settings of a connection.
#[derive(Default)]
pub(crate) struct Settings {
    base_url: Option<String>,
    api_key: Option<String>,
    key_function: Option<KeyFunction>,
    client: Option<models::Client>,
    timeout: Option<Duration>,
    retries: Option<u32>,
    limits: RateLimits,
    headers: Vec<(String, String)>,
    dimensions: Option<u32>,
    max_inputs: Option<NonZeroUsize>,
    share: Option<Share>,
}

impl Settings {
    /// Set if nothing concerns a connection.
    pub(crate) fn is_default(&self) -> bool {
        self.base_url.is_none()
            && self.api_key.is_none()
            && self.key_function.is_none()
            && self.client.is_none()
            && self.timeout.is_none()
            && self.retries.is_none()
            && self.limits == RateLimits::default()
            && self.headers.is_empty()
            && self.dimensions.is_none()
            && self.max_inputs.is_none()
            && self.share.is_none()
    }

    /// The functions that the model calls, for its owner.
    pub(crate) fn functions(&self, py: Python<'_>) -> Functions {
        let mut functions = Functions::default();
        if let Some(key) = &self.key_function {
            functions.add(key.owned.clone_ref(py));
        }
        functions
    }

    fn set(&mut self, parameters: &mut Parameters, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
        match name {
            "base_url" => self.base_url = Some(value.extract()?),
            "api_key" if value.is_callable() => self.key_function = Some(KeyFunction::new(value)?),
            "api_key" => self.api_key = Some(value.extract()?),
            "client" => self.client = Some(value.cast::<Client>()?.get().inner().clone()),
            "timeout" => self.timeout = Some(seconds(value, "timeout")?),
            "retries" => self.retries = Some(value.extract()?),
            "rpm" => self.limits.requests_per_minute = Some(positive(value, "rpm")?),
            "tpm" => self.limits.tokens_per_minute = Some(positive(value, "tpm")?),
            "concurrency" => {
                let concurrency = positive(value, "concurrency")?.get() as usize;
                self.limits.concurrency = NonZeroUsize::new(concurrency);
            }
            "share" => self.share = Some(value.cast::<Share>()?.get().clone()),
            "headers" => {
                for (name, value) in value.cast::<PyDict>()?.iter() {
                    self.headers.push((name.extract()?, value.extract()?));
                }
            }
            "dimensions" => self.dimensions = Some(positive(value, "dimensions")?.get()),
            "max_inputs" => {
                self.max_inputs = NonZeroUsize::new(positive(value, "max_inputs")?.get() as usize);
            }
            _ => return set_parameter(parameters, name, value),
        }
        Ok(())
    }

    pub(crate) fn builder(self, name: &str) -> ModelBuilder {
        let mut limits = self.limits;
        let mut builder = ModelBuilder::new(name);
        if let Some(share) = &self.share {
            builder = share.apply(builder, &mut limits);
        }
        if let Some(url) = self.base_url {
            builder = builder.base_url(url);
        }
        if let Some(key) = self.api_key {
            builder = builder.api_key(key);
        }
        if let Some(key) = &self.key_function {
            builder = key.apply(builder);
        }
        if let Some(client) = self.client {
            builder = builder.client(client);
        }
        if let Some(dimensions) = self.dimensions {
            builder = builder.dimensions(dimensions);
        }
        if let Some(texts) = self.max_inputs {
            builder = builder.max_inputs(texts);
        }
        if let Some(timeout) = self.timeout {
            builder = builder.timeout(timeout);
        }
        if let Some(retries) = self.retries {
            let attempts = NonZeroU32::MIN.saturating_add(retries);
            builder = builder.retry(RetryPolicy::default().max_attempts(attempts));
        }
        if limits != RateLimits::default() {
            builder = builder.limits(limits);
        }
        for (name, value) in self.headers {
            builder = builder.header(name, value);
        }
        builder
    }
}

pub(crate) fn settings_of(settings: &Bound<'_, PyDict>) -> PyResult<(Settings, Parameters)> {
    let (mut own, mut parameters) = (Settings::default(), Parameters::new());
    each_setting(settings, |name, value| own.set(&mut parameters, name, value))?;
    Ok((own, parameters))
}

/// Parameters of a call. Settings of connections are refused.
pub(crate) fn parameters_of(values: &Bound<'_, PyDict>) -> PyResult<Parameters> {
    let mut parameters = Parameters::new();
    each_setting(values, |name, value| set_parameter(&mut parameters, name, value))?;
    Ok(parameters)
}

fn positive(value: &Bound<'_, PyAny>, name: &str) -> PyResult<NonZeroU32> {
    let n: u32 = value.extract()?;
    NonZeroU32::new(n).ok_or_else(|| config(value.py(), format!("{name} must be at least 1 (got 0)")))
}

fn set_parameter(parameters: &mut Parameters, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
    match name {
        "temperature" => parameters.temperature = Some(value.extract()?),
        "top_p" => parameters.top_p = Some(value.extract()?),
        "max_tokens" => parameters.max_tokens = Some(value.extract()?),
        "seed" => parameters.seed = Some(value.extract()?),
        "reasoning_effort" => parameters.reasoning_effort = Some(value.extract()?),
        "reasoning_budget" => parameters.reasoning_budget = Some(value.extract()?),
        "reasoning_summary" => parameters.reasoning_summary = value.extract()?,
        "stop" => {
            parameters.stop = match value.extract::<String>() {
                Ok(one) => vec![one],
                Err(_) => value.extract()?,
            }
        }
        "tool_choice" => {
            parameters.tool_choice = Some(match value.extract::<String>()?.as_str() {
                "auto" => ToolChoice::Auto,
                "none" => ToolChoice::None,
                "required" => ToolChoice::Required,
                tool => ToolChoice::Tool(tool.to_owned()),
            });
        }
        "extra" => match json_from_python(value)? {
            Value::Object(extra) => parameters.extra = extra,
            _ => return Err(config(value.py(), "extra must be a dict")),
        },
        _ => {
            let known = [
                "base_url",
                "api_key",
                "timeout",
                "retries",
                "rpm",
                "tpm",
                "concurrency",
                "headers",
                "client",
                "share",
                "temperature",
                "top_p",
                "max_tokens",
                "seed",
                "stop",
                "reasoning_effort",
                "reasoning_budget",
                "reasoning_summary",
                "tool_choice",
                "extra",
            ];
            let hint = match fanweave::errors::closest(name, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "use `extra` for parameters of a provider".to_owned(),
            };
            return Err(config(value.py(), format!("`{name}` is not a parameter of a model: {hint}")));
        }
    }
    Ok(())
}

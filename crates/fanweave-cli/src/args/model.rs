//! Flags of the model.

use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use fanweave::Parameters;

use super::{HeaderFlag, Param, at_least_one, duration, duration_or_zero, temperature};

/// Options of the model. Shared by all commands that call one.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelArgs {
    /// Model as provider/model, such as openai/gpt-5-mini, or sim/writer, which needs no API key
    #[arg(short, long, env = "FANWEAVE_MODEL", value_name = "MODEL")]
    pub(crate) model: Option<String>,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,

    /// Sampling temperature
    #[arg(long, value_name = "0..2", value_parser = temperature, allow_negative_numbers = true)]
    pub(crate) temperature: Option<f64>,

    /// Maximum output tokens per request
    #[arg(long, value_name = "N", value_parser = at_least_one::<NonZeroU32>, allow_negative_numbers = true)]
    pub(crate) max_tokens: Option<NonZeroU32>,

    /// Reasoning effort, such as none, minimal, low, medium, high, xhigh or max: `fanweave models NAME` lists
    /// what a model takes. Sent in the form of each provider
    #[arg(long, value_name = "LEVEL", value_parser = effort)]
    pub(crate) reasoning_effort: Option<String>,

    /// Maximum tokens of reasoning, for providers that take a number. 0 turns reasoning off
    #[arg(long, value_name = "N", conflicts_with = "reasoning_effort")]
    pub(crate) reasoning_budget: Option<u32>,

    /// Ask for a summary of the reasoning, where the provider sends none by default
    #[arg(long)]
    pub(crate) reasoning_summary: bool,

    /// Set a parameter of the requests, such as top_p=0.9 or store=false. Dots name fields of objects. A
    /// value that is not JSON is text. Replaces --temperature and --max-tokens if it has their name. Can be
    /// repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = Param::parse)]
    pub(crate) param: Vec<Param>,
}

/// Options of the connection to a provider: those that belong to the machine that calls it, rather than to
/// the question.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ConnectionArgs {
    /// API base URL, such as http://127.0.0.1:8080/v1 for an OpenAI-compatible server
    #[arg(long, env = "FANWEAVE_BASE_URL", value_name = "URL")]
    pub(crate) base_url: Option<String>,

    /// Maximum requests per minute
    #[arg(long, value_name = "N", value_parser = at_least_one::<NonZeroU32>, allow_negative_numbers = true)]
    pub(crate) rpm: Option<NonZeroU32>,

    /// Maximum tokens per minute, input and output combined
    #[arg(long, value_name = "N", value_parser = at_least_one::<NonZeroU32>, allow_negative_numbers = true)]
    pub(crate) tpm: Option<NonZeroU32>,

    /// Maximum requests in flight, across all rows and steps
    #[arg(long, value_name = "N", value_parser = at_least_one::<NonZeroUsize>, allow_negative_numbers = true)]
    pub(crate) max_in_flight: Option<NonZeroUsize>,

    /// Request timeout, such as 30s or 2m [default: 10m]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,

    /// Maximum retries per request. Rejections with 429 do not count, and neither do failures during a
    /// provider outage, unless --outage-timeout is 0 [default: 5]
    #[arg(long, value_name = "N")]
    pub(crate) retries: Option<u32>,

    /// Maximum time to wait for a failing provider, such as 90s or 1h. With 0, a request fails after its
    /// retries [default: 10m for rows and 30s for a single prompt; 30s and 5s until the provider has answered
    /// once]
    #[arg(long, value_name = "DURATION", value_parser = duration_or_zero)]
    pub(crate) outage_timeout: Option<Duration>,

    /// Cache responses in this file and reuse them for identical requests
    #[arg(long, value_name = "FILE")]
    pub(crate) cache: Option<PathBuf>,

    /// Send this header with every request to the model, such as 'X-Team: search'. @FILE reads headers from a
    /// file, one per line, which keeps secrets out of the list of processes. Can be repeated
    #[arg(long, value_name = "NAME: VALUE|@FILE")]
    pub(crate) header: Vec<HeaderFlag>,

    /// Drop parameters that the server refuses, such as temperature, and send the request again. A refused
    /// JSON schema goes into the prompt
    #[arg(long, conflicts_with = "strict_request")]
    pub(crate) adapt: bool,

    /// Send requests exactly as written, even if the server refuses a field that fanweave adds, such as
    /// stream_options
    #[arg(long)]
    pub(crate) strict_request: bool,
}

/// A level of reasoning: a word, which providers know.
fn effort(text: &str) -> Result<String, String> {
    let level = text.trim().to_ascii_lowercase();
    let is_word = !level.is_empty() && level.chars().all(|c| c.is_ascii_alphabetic());
    is_word.then_some(level).ok_or_else(|| "must be a level, such as low, medium or high".to_owned())
}

impl Deref for ModelArgs {
    type Target = ConnectionArgs;

    fn deref(&self) -> &ConnectionArgs {
        &self.connection
    }
}

impl DerefMut for ModelArgs {
    fn deref_mut(&mut self) -> &mut ConnectionArgs {
        &mut self.connection
    }
}

/// Splits `a/b=3` into a model and its weight, if it has one. The name of a model may contain `=`.
pub(crate) fn split_share(share: &str) -> (&str, Option<&str>) {
    match share.rsplit_once('=') {
        Some((model, weight)) => (model.trim(), Some(weight.trim())),
        None => (share.trim(), None),
    }
}

impl ModelArgs {
    /// Parameters of the flags.
    pub(crate) fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::new();
        parameters.temperature = self.temperature;
        parameters.max_tokens = self.max_tokens.map(Into::into);
        parameters.reasoning_effort = self.reasoning_effort.clone();
        parameters.reasoning_budget = self.reasoning_budget;
        parameters.reasoning_summary = self.reasoning_summary;
        for param in &self.param {
            param.set(&mut parameters).expect("parsing the flag has checked it");
        }
        parameters
    }

    /// A message about parameters with the flags that set them. Those that `own` sets keep their names.
    pub(crate) fn with_flags(&self, message: &str, own: Option<&Parameters>) -> String {
        let none = Parameters::new();
        let own = own.unwrap_or(&none);
        let flags = [
            ("temperature", "--temperature", own.temperature.is_some()),
            ("reasoning_effort", "--reasoning-effort", own.reasoning_effort.is_some()),
            ("reasoning_budget", "--reasoning-budget", own.reasoning_budget.is_some()),
            ("reasoning_summary", "--reasoning-summary", own.reasoning_summary),
            ("max_tokens", "--max-tokens", own.max_tokens.is_some()),
        ];
        let flags = flags.into_iter().filter(|(.., is_own)| !is_own);
        flags.fold(message.to_owned(), |message, (name, flag, _)| {
            let param = self.param.iter().rev().find_map(|param| param.name_of(name));
            let flag = param.map_or_else(|| flag.to_owned(), |param| format!("--param {param}"));
            message.replace(&format!("`{name}`"), &flag)
        })
    }

    /// Maximum output tokens per request, by `--param` or `--max-tokens`.
    pub(crate) fn max_output(&self) -> Option<NonZeroU32> {
        self.parameters().max_tokens.and_then(NonZeroU32::new)
    }
}

//! The table of vendors, one row each, with the dialect of each. To add a vendor, add a row.

use std::sync::Arc;

use fanweave_core::{Error, ErrorKind, Result, closest};
use http::{HeaderName, HeaderValue};

use super::anthropic::{self, Messages};
use super::completions::Completions;
use super::embeddings;
use super::gemini::GenerateContent;
use super::ollama;
use super::openai::{ChatCompletions, Quirks};
use super::responses::Responses;
use crate::protocol::Protocol;
use crate::transport::keys::KeyHeader;

/// A vendor: its URL, the variables of its keys, and its deviations from the dialect.
#[derive(Debug)]
pub(crate) struct Vendor {
    /// The part of a model's name before the first `/`.
    pub(crate) name: &'static str,
    pub(crate) dialect: Dialect,
    pub(crate) base_url: BaseUrl,
    /// Environment variables for the key; the first one set is used. The names are those of the vendor's own
    /// SDK.
    pub(crate) key_variables: &'static [&'static str],
    /// Set if a call without a key would be rejected.
    pub(crate) needs_key: bool,
    pub(crate) key_header: Header,
    /// Environment variable for a key that is sent as a bearer token, regardless of `key_header`.
    pub(crate) token_variable: Option<&'static str>,
    /// Environment variable that replaces `base_url`.
    pub(crate) url_variable: Option<&'static str>,
    pub(crate) quirks: Quirks,
}

/// A dialect by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Chat,
    Responses,
    Completions,
    Anthropic,
    Gemini,
    Ollama,
}

impl Dialect {
    /// The protocol of the dialect for a vendor, in the requested version.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the dialect has no versions, or the version cannot be sent in a header.
    pub(crate) fn protocol(self, vendor: &Vendor, version: Option<&str>) -> Result<Arc<dyn Protocol>> {
        if version.is_some() && self != Self::Anthropic {
            let message = format!("{} has no API version to choose: remove `api_version`", vendor.name);
            return Err(Error::new(ErrorKind::Config, message));
        }
        let quirks = Quirks { vendor: vendor.name, ..vendor.quirks };
        Ok(match self {
            Self::Chat => Arc::new(ChatCompletions { quirks }),
            Self::Completions => Arc::new(Completions { quirks }),
            Self::Responses => Arc::new(Responses),
            Self::Gemini => Arc::new(GenerateContent),
            Self::Ollama => Arc::new(ollama::Chat),
            Self::Anthropic => {
                let version = version.unwrap_or(anthropic::VERSION);
                let version = HeaderValue::try_from(version).map_err(|_| {
                    Error::new(ErrorKind::Config, "the API version is not a valid header value")
                })?;
                Arc::new(Messages { version })
            }
        })
    }

    /// Embeddings dialect, if the dialect supports embeddings.
    pub(crate) fn embeddings(self) -> Option<embeddings::Dialect> {
        match self {
            Self::Chat | Self::Responses | Self::Completions => Some(embeddings::Dialect::OpenAi),
            Self::Gemini => Some(embeddings::Dialect::Gemini),
            Self::Ollama => Some(embeddings::Dialect::Ollama),
            Self::Anthropic => None,
        }
    }

    /// Strips the start of the dialect's paths from a base URL: some users include it.
    pub(crate) fn base(self, url: &str) -> String {
        let url = url.trim().trim_end_matches('/');
        let prefixes: &[&str] = match self {
            Self::Chat | Self::Responses | Self::Completions => &[],
            Self::Anthropic => &["/v1"],
            Self::Gemini => &["/v1beta"],
            // The second is the prefix of its OpenAI-compatible API.
            Self::Ollama => &["/api", "/v1"],
        };
        prefixes.iter().find_map(|prefix| url.strip_suffix(prefix)).unwrap_or(url).to_owned()
    }
}

/// Base URL of a vendor.
#[derive(Debug, Clone, Copy)]
pub(crate) enum BaseUrl {
    At(&'static str),
    /// Set by the caller: each customer has a separate URL.
    Own,
    /// One per region, which replaces `{}`.
    Region {
        url: &'static str,
        variables: &'static [&'static str],
    },
}

/// Header that carries the key.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Header {
    Bearer,
    Named(&'static str),
}

impl Header {
    pub(crate) fn header(self) -> KeyHeader {
        match self {
            Self::Bearer => KeyHeader::Bearer,
            Self::Named(name) => KeyHeader::Named(HeaderName::from_static(name)),
        }
    }
}

/// Behaviour common to compatible servers.
pub(crate) const COMMON: Quirks = Quirks {
    vendor: "",
    max_completion_tokens: false,
    random_seed: false,
    no_stream_options: false,
    no_done: false,
};

const fn hosted(name: &'static str, base_url: &'static str, key: &'static [&'static str]) -> Vendor {
    Vendor {
        name,
        dialect: Dialect::Chat,
        base_url: BaseUrl::At(base_url),
        key_variables: key,
        needs_key: true,
        key_header: Header::Bearer,
        token_variable: None,
        url_variable: None,
        quirks: COMMON,
    }
}

/// A self-hosted server at its default port, with a key only if its operator has set one.
const fn local(name: &'static str, base_url: &'static str, key: &'static [&'static str]) -> Vendor {
    Vendor { needs_key: false, ..hosted(name, base_url, key) }
}

const OPENAI: Vendor = Vendor {
    url_variable: Some("OPENAI_BASE_URL"),
    quirks: Quirks { max_completion_tokens: true, ..COMMON },
    ..hosted("openai", "https://api.openai.com/v1", &["OPENAI_API_KEY"])
};

static VENDORS: &[Vendor] = &[
    OPENAI,
    Vendor { name: "openai-responses", dialect: Dialect::Responses, ..OPENAI },
    Vendor { name: "openai-completions", dialect: Dialect::Completions, ..OPENAI },
    Vendor {
        dialect: Dialect::Anthropic,
        key_header: Header::Named("x-api-key"),
        token_variable: Some("ANTHROPIC_AUTH_TOKEN"),
        url_variable: Some("ANTHROPIC_BASE_URL"),
        ..hosted("anthropic", "https://api.anthropic.com", &["ANTHROPIC_API_KEY"])
    },
    Vendor {
        dialect: Dialect::Gemini,
        key_header: Header::Named("x-goog-api-key"),
        url_variable: Some("GOOGLE_GEMINI_BASE_URL"),
        ..hosted("gemini", "https://generativelanguage.googleapis.com", &["GEMINI_API_KEY", "GOOGLE_API_KEY"])
    },
    Vendor {
        base_url: BaseUrl::Own,
        key_header: Header::Named("api-key"),
        token_variable: Some("AZURE_OPENAI_AD_TOKEN"),
        url_variable: Some(AZURE_ENDPOINT),
        quirks: Quirks { max_completion_tokens: true, ..COMMON },
        ..hosted("azure", "", &["AZURE_OPENAI_API_KEY"])
    },
    Vendor {
        base_url: BaseUrl::Region {
            url: "https://bedrock-runtime.{}.amazonaws.com/openai/v1",
            variables: &["AWS_REGION", "AWS_DEFAULT_REGION"],
        },
        quirks: Quirks { max_completion_tokens: true, ..COMMON },
        ..hosted("bedrock", "", &["AWS_BEARER_TOKEN_BEDROCK"])
    },
    hosted("openrouter", "https://openrouter.ai/api/v1", &["OPENROUTER_API_KEY"]),
    hosted("groq", "https://api.groq.com/openai/v1", &["GROQ_API_KEY"]),
    hosted("deepseek", "https://api.deepseek.com/v1", &["DEEPSEEK_API_KEY"]),
    Vendor {
        quirks: Quirks { random_seed: true, no_stream_options: true, ..COMMON },
        ..hosted("mistral", "https://api.mistral.ai/v1", &["MISTRAL_API_KEY"])
    },
    Vendor {
        url_variable: Some("TOGETHER_BASE_URL"),
        ..hosted("together", "https://api.together.xyz/v1", &["TOGETHER_API_KEY"])
    },
    hosted("fireworks", "https://api.fireworks.ai/inference/v1", &["FIREWORKS_API_KEY"]),
    hosted("xai", "https://api.x.ai/v1", &["XAI_API_KEY"]),
    hosted("cerebras", "https://api.cerebras.ai/v1", &["CEREBRAS_API_KEY"]),
    Vendor {
        dialect: Dialect::Ollama,
        url_variable: Some(OLLAMA_HOST),
        ..local("ollama", "http://localhost:11434", &["OLLAMA_API_KEY"])
    },
    local("vllm", "http://localhost:8000/v1", &["VLLM_API_KEY"]),
    local("llamacpp", "http://localhost:8080/v1", &["LLAMA_API_KEY"]),
    local("lmstudio", "http://localhost:1234/v1", &[]),
    Vendor {
        // It relays the streams of all kinds of servers.
        quirks: Quirks { no_done: true, ..COMMON },
        ..local("litellm", "http://localhost:4000/v1", &["LITELLM_API_KEY"])
    },
];

/// Endpoint of a resource, to which the API's path is appended.
const AZURE_ENDPOINT: &str = "AZURE_OPENAI_ENDPOINT";

/// A host instead of a URL.
const OLLAMA_HOST: &str = "OLLAMA_HOST";

/// Names of all vendors that [`model`](crate::model) supports: the part of a model's name before the first
/// `/`.
///
/// A vendor with several dialects has a name for each: `openai/..` is chat completions, `openai-responses/..`
/// the responses API, and `openai-completions/..` the completions of models without chat. `anthropic/..`,
/// `gemini/..` and `ollama/..` use their own dialects, and all others chat completions.
///
/// ```
/// assert!(fanweave::models::vendors().any(|vendor| vendor == "openrouter"));
/// ```
pub fn vendors() -> impl Iterator<Item = &'static str> {
    VENDORS.iter().map(|vendor| vendor.name)
}

/// Environment variables for the key of a vendor; the first one set is used. `None` for an unknown vendor,
/// empty for a vendor without keys.
///
/// ```
/// assert_eq!(fanweave::models::key_variables("openai"), Some(&["OPENAI_API_KEY"][..]));
/// assert_eq!(fanweave::models::key_variables("nobody"), None);
/// ```
pub fn key_variables(vendor: &str) -> Option<&'static [&'static str]> {
    VENDORS.iter().find(|known| known.name == vendor).map(|vendor| vendor.key_variables)
}

impl Vendor {
    /// Splits a name such as `openrouter/meta-llama/llama-3` into vendor and model.
    pub(crate) fn of(name: &str) -> Result<(&'static Vendor, &str)> {
        let all = vendors().collect::<Vec<_>>().join(", ");
        let Some((vendor, model)) = name.split_once('/').filter(|(_, model)| !model.is_empty()) else {
            let message = format!(
                "`{name}` is not a valid model: use provider/model, such as openai/gpt-5-mini; known providers: {all}"
            );
            return Err(Error::new(ErrorKind::Config, message));
        };
        if let Some(found) = VENDORS.iter().find(|row| row.name == vendor) {
            return Ok((found, model));
        }
        let hint =
            closest(vendor, vendors()).map(|name| format!("did you mean `{name}`? ")).unwrap_or_default();
        Err(Error::new(
            ErrorKind::Config,
            format!("unknown provider `{vendor}`: {hint}known providers: {all}"),
        ))
    }

    /// The base URL, from the environment if it is set there.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the vendor has no default and the environment variable is unset.
    pub(crate) fn url(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<String> {
        let given = self.url_variable.and_then(|variable| Some((variable, set(env, variable)?)));
        match (given, self.base_url) {
            (Some((OLLAMA_HOST, host)), _) => Ok(ollama_url(&host)),
            (Some((AZURE_ENDPOINT, resource)), _) => Ok(azure_url(&resource)),
            (Some((_, url)), _) => Ok(url),
            (None, BaseUrl::At(url)) => Ok(url.to_owned()),
            (None, BaseUrl::Own) => Err(self.unset(self.url_variable.unwrap_or("the base URL"))),
            (None, BaseUrl::Region { url, variables }) => {
                let region = variables.iter().find_map(|variable| set(env, variable));
                Ok(url.replace("{}", &region.ok_or_else(|| self.unset(variables[0]))?))
            }
        }
    }

    fn unset(&self, variable: &str) -> Error {
        let message = format!("{variable} is not set: export it, or set the base URL of {}", self.name);
        Error::new(ErrorKind::Config, message)
    }

    /// The key from the environment, if set, and the header that carries it.
    pub(crate) fn key(&self, env: &dyn Fn(&str) -> Option<String>) -> Option<(String, KeyHeader)> {
        let key = self.key_variables.iter().find_map(|variable| set(env, variable));
        let token = || Some((set(env, self.token_variable?)?, KeyHeader::Bearer));
        key.map(|key| (key, self.key_header.header())).or_else(token)
    }
}

/// The value of a variable. An empty value counts as unset.
pub(crate) fn set(env: &dyn Fn(&str) -> Option<String>, variable: &str) -> Option<String> {
    env(variable).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// Interprets `OLLAMA_HOST` like Ollama's own programs: scheme and port are optional, and a server that
/// listens on all addresses is reached at `localhost`.
fn ollama_url(host: &str) -> String {
    let (scheme, rest) = host.split_once("://").unwrap_or(("http", host));
    let rest = rest.trim_end_matches('/');
    let (authority, path) = rest.split_once('/').map_or((rest, ""), |(authority, path)| (authority, path));
    let has_port = authority.rsplit(']').next().is_some_and(|end| end.contains(':'));
    let (name, port) = match authority.rsplit_once(':').filter(|_| has_port) {
        Some((name, port)) => (name, format!(":{port}")),
        None if scheme == "https" => (authority, String::new()),
        None => (authority, ":11434".to_owned()),
    };
    let name = if matches!(name, "" | "0.0.0.0" | "[::]") { "localhost" } else { name };
    let slash = if path.is_empty() { "" } else { "/" };
    format!("{scheme}://{name}{port}{slash}{path}")
}

/// The API of a resource, which has no version in its path.
fn azure_url(resource: &str) -> String {
    let resource = resource.trim_end_matches('/');
    match resource.ends_with("/v1") {
        true => resource.to_owned(),
        false => format!("{}/openai/v1", resource.trim_end_matches("/openai")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_name_may_hold_slashes() {
        let (vendor, model) = Vendor::of("openrouter/meta-llama/llama-3").unwrap();
        assert_eq!((vendor.name, model), ("openrouter", "meta-llama/llama-3"));
    }

    #[test]
    fn an_unknown_vendor_is_refused_with_the_one_that_was_meant() {
        let error = Vendor::of("opnai/gpt-5-mini").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(
            error
                .message()
                .starts_with("unknown provider `opnai`: did you mean `openai`? known providers: openai, ")
        );
        assert!(
            Vendor::of("nonsense/x").unwrap_err().message().starts_with("unknown provider `nonsense`: known")
        );
    }

    #[test]
    fn a_name_without_a_provider_says_how_to_write_one() {
        for name in ["gpt-5-mini", "openai/", ""] {
            let error = Vendor::of(name).unwrap_err();
            assert!(error.message().contains("use provider/model, such as openai/gpt-5-mini"), "{error}");
        }
    }

    #[test]
    fn the_environment_wins_over_the_table_unless_it_is_empty() {
        let (openai, _) = Vendor::of("openai/x").unwrap();
        let env = |name: &str| (name == "OPENAI_BASE_URL").then(|| " https://proxy.example/v1\n".to_owned());
        assert_eq!(openai.url(&env).unwrap(), "https://proxy.example/v1");
        assert_eq!(openai.url(&|_| Some(String::new())).unwrap(), "https://api.openai.com/v1");
        assert_eq!(openai.key(&|_| Some("  ".to_owned())), None);
    }

    #[test]
    fn the_host_of_ollama_may_be_written_as_ollama_takes_it() {
        for (host, url) in [
            ("0.0.0.0", "http://localhost:11434"),
            (":8080", "http://localhost:8080"),
            ("gpu-box:11500", "http://gpu-box:11500"),
            ("https://ollama.example/", "https://ollama.example"),
            ("http://box/proxy", "http://box:11434/proxy"),
            ("[::1]", "http://[::1]:11434"),
        ] {
            assert_eq!(ollama_url(host), url);
        }
    }

    #[test]
    fn a_missing_environment_variable_is_named() {
        let (azure, _) = Vendor::of("azure/gpt-5-mini").unwrap();
        let error = azure.url(&|_| None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(
            error.message(),
            "AZURE_OPENAI_ENDPOINT is not set: export it, or set the base URL of azure"
        );
        for endpoint in ["https://r.openai.azure.com/", "https://r.openai.azure.com/openai/v1/"] {
            let url = azure.url(&|_| Some(endpoint.to_owned())).unwrap();
            assert_eq!(url, "https://r.openai.azure.com/openai/v1");
        }
        let (bedrock, _) = Vendor::of("bedrock/openai.gpt-oss-20b-1:0").unwrap();
        assert!(bedrock.url(&|_| None).unwrap_err().message().starts_with("AWS_REGION is not set"));
        let env = |name: &str| (name == "AWS_DEFAULT_REGION").then(|| "eu-west-1".to_owned());
        assert_eq!(bedrock.url(&env).unwrap(), "https://bedrock-runtime.eu-west-1.amazonaws.com/openai/v1");
    }

    #[test]
    fn a_key_and_a_token_go_into_their_own_headers() {
        let (anthropic, _) = Vendor::of("anthropic/claude").unwrap();
        let named = KeyHeader::Named(HeaderName::from_static("x-api-key"));
        assert_eq!(anthropic.key(&|_| Some("k".to_owned())), Some(("k".to_owned(), named)));
        let token = |name: &str| (name == "ANTHROPIC_AUTH_TOKEN").then(|| "t".to_owned());
        assert_eq!(anthropic.key(&token), Some(("t".to_owned(), KeyHeader::Bearer)));
    }

    #[test]
    fn the_version_in_a_base_url_may_be_there_or_not() {
        for url in ["https://api.anthropic.com", "https://api.anthropic.com/v1/"] {
            assert_eq!(Dialect::Anthropic.base(url), "https://api.anthropic.com");
        }
        assert_eq!(Dialect::Chat.base("http://localhost:8000/v1/"), "http://localhost:8000/v1");
    }

    #[test]
    fn every_row_is_well_formed() {
        for vendor in VENDORS {
            let url = vendor.url(&|variable| variable.contains("REGION").then(|| "eu-west-1".to_owned()));
            let own = matches!(vendor.base_url, BaseUrl::Own);
            let url = url.map(|url| crate::transport::endpoint::Endpoint::parse(&url).expect("a URL"));
            assert_eq!(url.is_err(), own, "{vendor:?}");
            assert!(vendor.dialect.protocol(vendor, None).is_ok());
            // Panics on an invalid header name.
            vendor.key_header.header();
            assert!(!vendor.needs_key || !vendor.key_variables.is_empty(), "{vendor:?}");
        }
    }
}

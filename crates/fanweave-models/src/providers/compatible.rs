//! The vendors that speak chat completions: one row each. To add one, add a row.

use fanweave_core::{Error, ErrorKind, Result};

use super::openai::Quirks;

/// A vendor: where it is, what its keys are called and where it departs from the dialect.
#[derive(Debug)]
pub(crate) struct Vendor {
    /// What stands before the first `/` of a model's name.
    pub(crate) name: &'static str,
    pub(crate) base_url: &'static str,
    /// Environment variables that may hold the key, the first one set wins. The names of the vendor's own SDK.
    pub(crate) key_variables: &'static [&'static str],
    /// Whether a call without a key is refused anyway.
    pub(crate) needs_key: bool,
    /// Environment variable that replaces `base_url`.
    pub(crate) url_variable: Option<&'static str>,
    pub(crate) quirks: Quirks,
}

/// What compatible servers have in common.
pub(crate) const COMMON: Quirks =
    Quirks { max_completion_tokens: false, random_seed: false, no_stream_options: false, no_done: false };

const fn hosted(name: &'static str, base_url: &'static str, key: &'static [&'static str]) -> Vendor {
    Vendor { name, base_url, key_variables: key, needs_key: true, url_variable: None, quirks: COMMON }
}

/// A server that people run themselves, at its default port, with a key only where they have set one.
const fn local(name: &'static str, base_url: &'static str, key: &'static [&'static str]) -> Vendor {
    Vendor { needs_key: false, ..hosted(name, base_url, key) }
}

static VENDORS: &[Vendor] = &[
    Vendor {
        url_variable: Some("OPENAI_BASE_URL"),
        quirks: Quirks { max_completion_tokens: true, ..COMMON },
        ..hosted("openai", "https://api.openai.com/v1", &["OPENAI_API_KEY"])
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
        url_variable: Some(OLLAMA_HOST),
        ..local("ollama", "http://localhost:11434/v1", &["OLLAMA_API_KEY"])
    },
    local("vllm", "http://localhost:8000/v1", &["VLLM_API_KEY"]),
    local("llamacpp", "http://localhost:8080/v1", &["LLAMA_API_KEY"]),
    local("lmstudio", "http://localhost:1234/v1", &[]),
    Vendor {
        // It passes on the streams of servers of every kind.
        quirks: Quirks { no_done: true, ..COMMON },
        ..local("litellm", "http://localhost:4000/v1", &["LITELLM_API_KEY"])
    },
];

/// Holds a host where the others hold a URL.
const OLLAMA_HOST: &str = "OLLAMA_HOST";

/// The names of all vendors that [`model`](crate::model) knows.
///
/// ```
/// assert!(fanweave_models::vendors().any(|vendor| vendor == "openrouter"));
/// ```
pub fn vendors() -> impl Iterator<Item = &'static str> {
    VENDORS.iter().map(|vendor| vendor.name)
}

impl Vendor {
    /// The vendor and the model of a name such as `openrouter/meta-llama/llama-3`.
    pub(crate) fn of(name: &str) -> Result<(&'static Vendor, &str)> {
        let all = vendors().collect::<Vec<_>>().join(", ");
        let Some((vendor, model)) = name.split_once('/').filter(|(_, model)| !model.is_empty()) else {
            let message = format!(
                "`{name}` is no model: write provider/model, as in openai/gpt-5-mini; known are {all}"
            );
            return Err(Error::new(ErrorKind::Config, message));
        };
        if let Some(found) = VENDORS.iter().find(|row| row.name == vendor) {
            return Ok((found, model));
        }
        let hint = nearest(vendor).map(|name| format!("did you mean `{name}`? ")).unwrap_or_default();
        Err(Error::new(ErrorKind::Config, format!("no provider `{vendor}`: {hint}known are {all}")))
    }

    /// The base URL, from the environment where it says one.
    pub(crate) fn url(&self, env: &dyn Fn(&str) -> Option<String>) -> String {
        match self.url_variable.and_then(|variable| Some((variable, set(env, variable)?))) {
            Some((OLLAMA_HOST, host)) => ollama_url(&host),
            Some((_, url)) => url,
            None => self.base_url.to_owned(),
        }
    }

    /// The key, where the environment holds one.
    pub(crate) fn key(&self, env: &dyn Fn(&str) -> Option<String>) -> Option<String> {
        self.key_variables.iter().find_map(|variable| set(env, variable))
    }
}

/// The value of a variable. An empty one is as good as none.
pub(crate) fn set(env: &dyn Fn(&str) -> Option<String>, variable: &str) -> Option<String> {
    env(variable).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// The name that somebody may have meant: at most two letters off.
fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase();
    let distance = |vendor: &&str| strsim::osa_distance(vendor, &name);
    vendors().min_by_key(distance).filter(|vendor| distance(vendor) <= 2)
}

/// What Ollama's own programs make of `OLLAMA_HOST`: scheme and port may be missing, and a server that listens
/// everywhere is asked at home.
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
    let path = if path.is_empty() { "v1".to_owned() } else { format!("{path}/v1") };
    format!("{scheme}://{name}{port}/{path}")
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
            error.message().starts_with("no provider `opnai`: did you mean `openai`? known are openai, ")
        );
        assert!(Vendor::of("nonsense/x").unwrap_err().message().starts_with("no provider `nonsense`: known"));
    }

    #[test]
    fn a_name_without_a_provider_says_how_to_write_one() {
        for name in ["gpt-5-mini", "openai/", ""] {
            let error = Vendor::of(name).unwrap_err();
            assert!(error.message().contains("write provider/model, as in openai/gpt-5-mini"), "{error}");
        }
    }

    #[test]
    fn the_environment_wins_over_the_table_unless_it_is_empty() {
        let (openai, _) = Vendor::of("openai/x").unwrap();
        let env = |name: &str| (name == "OPENAI_BASE_URL").then(|| " https://proxy.example/v1\n".to_owned());
        assert_eq!(openai.url(&env), "https://proxy.example/v1");
        assert_eq!(openai.url(&|_| Some(String::new())), "https://api.openai.com/v1");
        assert_eq!(openai.key(&|_| Some("  ".to_owned())), None);
    }

    #[test]
    fn the_host_of_ollama_may_be_written_as_ollama_takes_it() {
        for (host, url) in [
            ("0.0.0.0", "http://localhost:11434/v1"),
            (":8080", "http://localhost:8080/v1"),
            ("gpu-box:11500", "http://gpu-box:11500/v1"),
            ("https://ollama.example/", "https://ollama.example/v1"),
            ("http://box/proxy", "http://box:11434/proxy/v1"),
            ("[::1]", "http://[::1]:11434/v1"),
        ] {
            assert_eq!(ollama_url(host), url);
        }
    }

    #[test]
    fn every_row_is_well_formed() {
        for vendor in VENDORS {
            assert!(crate::transport::endpoint::Endpoint::parse(vendor.base_url).is_ok(), "{vendor:?}");
            assert!(!vendor.needs_key || !vendor.key_variables.is_empty(), "{vendor:?}");
        }
    }
}

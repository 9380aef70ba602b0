//! The table of vendors, one row each, with the dialect of each. To add a vendor, add a row.

use http::HeaderName;

use super::dialect::Dialect;
use super::openai::{Quirks, SendBack};
use super::reasoning::ReasoningField;
use crate::transport::keys::KeyHeader;

/// A vendor of the table: its URL, the variables of its keys, and its deviations from the dialect. Its name
/// in a [`Vendor`](crate::Vendor) is that of a model before the first `/`.
#[derive(Debug)]
pub(crate) struct Row {
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

/// Base URL of a vendor of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) enum BaseUrl {
    At(&'static str),
    /// Set by the caller: each customer has a separate URL.
    Own,
    /// One per region or account, which replaces `{}`.
    Region {
        url: &'static str,
        variables: &'static [&'static str],
    },
}

/// Header that carries the key of a vendor of the table.
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
const COMMON: Quirks = Quirks::new();

/// Servers that refuse reasoning in messages.
const STRICT: Quirks = Quirks { max_completion_tokens: true, send_back: SendBack::Nothing, ..COMMON };

const fn hosted(name: &'static str, base_url: &'static str, key: &'static [&'static str]) -> Row {
    Row {
        name,
        dialect: Dialect::OpenAiChat,
        base_url: BaseUrl::At(base_url),
        key_variables: key,
        needs_key: true,
        key_header: Header::Bearer,
        token_variable: None,
        url_variable: None,
        quirks: COMMON,
    }
}

/// A self-hosted server of open models at its default port, with a key only if its operator has set one.
const fn local(name: &'static str, base_url: &'static str, key: &'static [&'static str]) -> Row {
    let quirks = COMMON.think_tags(true).send_back(SendBack::ReasoningContent);
    Row { needs_key: false, quirks, ..hosted(name, base_url, key) }
}

const OPENAI: Row = Row {
    url_variable: Some("OPENAI_BASE_URL"),
    quirks: STRICT,
    ..hosted("openai", "https://api.openai.com/v1", &["OPENAI_API_KEY"])
};

pub(crate) static ROWS: &[Row] = &[
    OPENAI,
    Row { name: "openai-responses", dialect: Dialect::OpenAiResponses, ..OPENAI },
    Row { name: "openai-completions", dialect: Dialect::OpenAiCompletions, ..OPENAI },
    Row {
        dialect: Dialect::Anthropic,
        key_header: Header::Named("x-api-key"),
        token_variable: Some("ANTHROPIC_AUTH_TOKEN"),
        url_variable: Some("ANTHROPIC_BASE_URL"),
        ..hosted("anthropic", "https://api.anthropic.com", &["ANTHROPIC_API_KEY"])
    },
    Row {
        dialect: Dialect::Gemini,
        key_header: Header::Named("x-goog-api-key"),
        url_variable: Some("GOOGLE_GEMINI_BASE_URL"),
        ..hosted("gemini", "https://generativelanguage.googleapis.com", &["GEMINI_API_KEY", "GOOGLE_API_KEY"])
    },
    Row {
        base_url: BaseUrl::Own,
        key_header: Header::Named("api-key"),
        token_variable: Some("AZURE_OPENAI_AD_TOKEN"),
        url_variable: Some(AZURE_ENDPOINT),
        quirks: STRICT,
        ..hosted("azure", "", &["AZURE_OPENAI_API_KEY"])
    },
    Row {
        base_url: BaseUrl::Region {
            url: "https://bedrock-runtime.{}.amazonaws.com/openai/v1",
            variables: &["AWS_REGION", "AWS_DEFAULT_REGION"],
        },
        quirks: STRICT,
        ..hosted("bedrock", "", &["AWS_BEARER_TOKEN_BEDROCK"])
    },
    // The base URL is that of a project, and the key a token of its credentials.
    #[cfg(feature = "vertex")]
    Row {
        dialect: Dialect::Gemini,
        base_url: BaseUrl::Own,
        needs_key: false,
        ..hosted("vertex", "", &["VERTEX_ACCESS_TOKEN"])
    },
    #[cfg(feature = "bedrock")]
    Row {
        dialect: Dialect::BedrockConverse,
        base_url: BaseUrl::Region {
            url: "https://bedrock-runtime.{}.amazonaws.com",
            variables: &["AWS_REGION", "AWS_DEFAULT_REGION"],
        },
        // Without a key, requests are signed with the credentials of AWS.
        needs_key: false,
        url_variable: Some("AWS_ENDPOINT_URL_BEDROCK_RUNTIME"),
        ..hosted("bedrock-converse", "", &["AWS_BEARER_TOKEN_BEDROCK"])
    },
    Row {
        quirks: COMMON.send_back(SendBack::Reasoning).reasoning(ReasoningField::Object),
        ..hosted("openrouter", "https://openrouter.ai/api/v1", &["OPENROUTER_API_KEY"])
    },
    // Source: console.groq.com, reasoning: the raw format has `<think>` in the text.
    Row {
        quirks: COMMON.think_tags(true),
        ..hosted("groq", "https://api.groq.com/openai/v1", &["GROQ_API_KEY"])
    },
    // Servers of its open models at other base URLs write `<think>`.
    Row {
        quirks: COMMON
            .think_tags(true)
            .send_back(SendBack::ReasoningContent)
            .reasoning(ReasoningField::ThinkingAndEffort),
        ..hosted("deepseek", "https://api.deepseek.com/v1", &["DEEPSEEK_API_KEY"])
    },
    Row {
        quirks: Quirks {
            random_seed: true,
            no_stream_options: true,
            send_back: SendBack::ThinkingPart,
            ..COMMON
        },
        ..hosted("mistral", "https://api.mistral.ai/v1", &["MISTRAL_API_KEY"])
    },
    Row {
        url_variable: Some("TOGETHER_BASE_URL"),
        quirks: COMMON.think_tags(true),
        ..hosted("together", "https://api.together.xyz/v1", &["TOGETHER_API_KEY"])
    },
    Row {
        quirks: COMMON.think_tags(true),
        ..hosted("fireworks", "https://api.fireworks.ai/inference/v1", &["FIREWORKS_API_KEY"])
    },
    hosted("xai", "https://api.x.ai/v1", &["XAI_API_KEY"]),
    hosted("cerebras", "https://api.cerebras.ai/v1", &["CEREBRAS_API_KEY"]),
    // Source: docs.cohere.com, Compatibility API; strandsagents.com, Cohere: it refuses `stream_options`.
    Row {
        quirks: COMMON.no_stream_options(true),
        ..hosted("cohere", "https://api.cohere.ai/compatibility/v1", &["COHERE_API_KEY", "CO_API_KEY"])
    },
    // Source: docs.perplexity.ai, OpenAI compatibility. Its reasoning models write `<think>`.
    Row {
        quirks: COMMON.think_tags(true),
        ..hosted("perplexity", "https://api.perplexity.ai", &["PERPLEXITY_API_KEY"])
    },
    // Source: platform.moonshot.ai: thinking models want `reasoning_content` back. China: set the base URL.
    Row {
        quirks: COMMON.send_back(SendBack::ReasoningContent).reasoning(ReasoningField::Kimi),
        ..hosted("moonshot", "https://api.moonshot.ai/v1", &["MOONSHOT_API_KEY"])
    },
    // Source: docs.bigmodel.cn, compatibility with OpenAI.
    Row {
        quirks: COMMON.send_back(SendBack::ReasoningContent).reasoning(ReasoningField::Glm),
        ..hosted("zhipu", "https://open.bigmodel.cn/api/paas/v4", &["ZHIPUAI_API_KEY", "ZAI_API_KEY"])
    },
    // Source: alibabacloud.com, Model Studio, OpenAI compatible mode. China: set the base URL.
    Row {
        quirks: COMMON.reasoning(ReasoningField::EnableThinking),
        ..hosted(
            "dashscope",
            "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
            &["DASHSCOPE_API_KEY"],
        )
    },
    // Source: platform.minimax.io, OpenAI compatible API: thinking is `<think>` in the text.
    Row {
        quirks: COMMON.think_tags(true),
        ..hosted("minimax", "https://api.minimax.io/v1", &["MINIMAX_API_KEY"])
    },
    // Source: huggingface.co, Inference Providers.
    Row {
        quirks: COMMON.think_tags(true),
        ..hosted("huggingface", "https://router.huggingface.co/v1", &["HF_TOKEN"])
    },
    // Source: docs.databricks.com, foundation model APIs. The host is that of the workspace.
    Row {
        base_url: BaseUrl::Own,
        url_variable: Some(DATABRICKS_HOST),
        quirks: COMMON.think_tags(true),
        ..hosted("databricks", "", &["DATABRICKS_TOKEN"])
    },
    // Source: docs.api.nvidia.com, NIM.
    Row {
        quirks: COMMON.think_tags(true),
        ..hosted("nvidia", "https://integrate.api.nvidia.com/v1", &["NVIDIA_API_KEY"])
    },
    // Source: docs.sambanova.ai, OpenAI compatible API.
    Row {
        quirks: COMMON.think_tags(true),
        ..hosted("sambanova", "https://api.sambanova.ai/v1", &["SAMBANOVA_API_KEY"])
    },
    // Source: docs.github.com, GitHub Models.
    hosted("github", "https://models.github.ai/inference", &["GITHUB_TOKEN"]),
    // Source: developers.cloudflare.com, Workers AI, OpenAI compatible endpoints.
    Row {
        base_url: BaseUrl::Region {
            url: "https://api.cloudflare.com/client/v4/accounts/{}/ai/v1",
            variables: &["CLOUDFLARE_ACCOUNT_ID"],
        },
        quirks: COMMON.think_tags(true),
        ..hosted("cloudflare", "", &["CLOUDFLARE_API_TOKEN", "CLOUDFLARE_API_KEY"])
    },
    Row {
        dialect: Dialect::Ollama,
        url_variable: Some(OLLAMA_HOST),
        ..local("ollama", "http://localhost:11434", &["OLLAMA_API_KEY"])
    },
    local("vllm", "http://localhost:8000/v1", &["VLLM_API_KEY"]),
    local("llamacpp", "http://localhost:8080/v1", &["LLAMA_API_KEY"]),
    local("lmstudio", "http://localhost:1234/v1", &[]),
    local("litellm", "http://localhost:4000/v1", &["LITELLM_API_KEY"]),
];

/// Endpoint of a resource, to which the API's path is appended.
pub(crate) const AZURE_ENDPOINT: &str = "AZURE_OPENAI_ENDPOINT";

/// A workspace, to which the API's path is appended.
pub(crate) const DATABRICKS_HOST: &str = "DATABRICKS_HOST";

/// A host instead of a URL.
pub(crate) const OLLAMA_HOST: &str = "OLLAMA_HOST";

//! Problems of requests, with the messages of each dialect.

use std::borrow::Cow;
use std::time::Duration;

use hyper::StatusCode;
use serde_json::json;

use super::dialect::Dialect;
use super::headers;
use crate::limits::{self, Exhausted};

/// Reason for which a request gets no answer.
#[derive(Debug)]
pub(super) enum Problem {
    /// The key is missing or wrong. The key is masked.
    Unauthorized {
        masked_key: Option<String>,
    },
    /// The signature of a request is wrong, for this reason.
    Signature(String),
    UnknownRoute {
        method: String,
        path: String,
    },
    WrongMethod {
        method: String,
    },
    TooLarge,
    /// A parameter is missing.
    Missing {
        param: &'static str,
    },
    /// The request is invalid in another way.
    Invalid {
        message: String,
        param: Option<&'static str>,
    },
    /// A parameter has a value that the model does not support.
    UnsupportedValue {
        message: String,
        param: &'static str,
    },
    UnknownModel(String),
    /// No file or batch has this id.
    UnknownResource(String),
    RateLimited {
        exhausted: Exhausted,
        retry_after: Duration,
        state: limits::State,
    },
    /// The hidden capacity is exhausted.
    Overloaded,
    /// An injected fault.
    Fault(u16),
}

impl Problem {
    pub(super) fn invalid(message: impl Into<String>, param: Option<&'static str>) -> Self {
        Self::Invalid { message: message.into(), param }
    }

    pub(super) fn status(&self, dialect: Dialect) -> StatusCode {
        match self {
            Self::Unauthorized { .. } if dialect == Dialect::Gemini => StatusCode::BAD_REQUEST,
            Self::Unauthorized { .. } if dialect == Dialect::Bedrock => StatusCode::FORBIDDEN,
            Self::Signature(_) => StatusCode::FORBIDDEN,
            Self::Unauthorized { .. } => StatusCode::UNAUTHORIZED,
            Self::UnknownRoute { .. } | Self::UnknownModel(_) | Self::UnknownResource(_) => {
                StatusCode::NOT_FOUND
            }
            Self::WrongMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Missing { .. } | Self::Invalid { .. } | Self::UnsupportedValue { .. } => {
                StatusCode::BAD_REQUEST
            }
            Self::Overloaded if dialect == Dialect::Anthropic => {
                StatusCode::from_u16(529).expect("529 has three digits")
            }
            Self::Overloaded if matches!(dialect, Dialect::Gemini | Dialect::Bedrock) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::RateLimited { .. } | Self::Overloaded => StatusCode::TOO_MANY_REQUESTS,
            Self::Fault(status) => StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    /// The body of the response.
    pub(super) fn body(&self, dialect: Dialect, request_id: &str) -> Vec<u8> {
        let body = match dialect {
            Dialect::OpenAi => json!({
                "error": { "message": self.openai_message(), "type": self.openai_type(), "param": self.param(), "code": self.openai_code() }
            }),
            Dialect::Gemini => {
                let details = match self {
                    Self::RateLimited { retry_after, .. } => json!([{
                        "@type": "type.googleapis.com/google.rpc.RetryInfo",
                        "retryDelay": format!("{}s", retry_after.as_secs_f64()),
                    }]),
                    Self::Unauthorized { .. } => json!([{
                        "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID",
                    }]),
                    _ => json!([]),
                };
                let (code, status) = (self.status(dialect).as_u16(), self.gemini_status());
                json!({ "error": {
                    "code": code, "message": self.openai_message(), "status": status, "details": details,
                } })
            }
            Dialect::Ollama => json!({ "error": self.openai_message() }),
            Dialect::Bedrock => json!({ "message": self.openai_message() }),
            Dialect::Anthropic => json!({
                "type": "error",
                "error": { "type": self.anthropic_type(), "message": self.anthropic_message() },
                "request_id": request_id,
            }),
        };
        body.to_string().into_bytes()
    }

    /// The exception in Bedrock's header.
    pub(super) fn exception(&self) -> &'static str {
        match self {
            Self::Unauthorized { .. } => "UnrecognizedClientException",
            Self::Signature(_) => "InvalidSignatureException",
            Self::UnknownRoute { .. } => "UnknownOperationException",
            Self::UnknownModel(_) | Self::UnknownResource(_) => "ResourceNotFoundException",
            Self::RateLimited { .. } | Self::Fault(429) => "ThrottlingException",
            Self::Overloaded | Self::Fault(503) => "ServiceUnavailableException",
            Self::Fault(500..) => "InternalServerException",
            _ => "ValidationException",
        }
    }

    fn param(&self) -> Option<&'static str> {
        match self {
            Self::Missing { param } | Self::UnsupportedValue { param, .. } => Some(param),
            Self::Invalid { param, .. } => *param,
            _ => None,
        }
    }

    fn openai_type(&self) -> &'static str {
        match self {
            Self::RateLimited { exhausted: Exhausted::Requests { .. } | Exhausted::Start, .. }
            | Self::Fault(429) => "requests",
            Self::RateLimited { exhausted: Exhausted::Tokens { .. }, .. } => "tokens",
            Self::Overloaded | Self::Fault(529) => "server_overloaded",
            Self::Fault(503) => "service_unavailable_error",
            Self::Fault(500..) => "server_error",
            _ => "invalid_request_error",
        }
    }

    fn openai_code(&self) -> Option<&'static str> {
        match self {
            Self::Unauthorized { masked_key: Some(_) } => Some("invalid_api_key"),
            Self::UnknownRoute { .. } => Some("unknown_url"),
            Self::WrongMethod { .. } => Some("method_not_supported"),
            Self::Missing { .. } => Some("missing_required_parameter"),
            Self::UnknownModel(_) => Some("model_not_found"),
            Self::UnsupportedValue { .. } => Some("unsupported_value"),
            Self::RateLimited { .. } | Self::Fault(429) => Some("rate_limit_exceeded"),
            Self::Overloaded => Some("server_busy"),
            _ => None,
        }
    }

    fn openai_message(&self) -> Cow<'_, str> {
        match self {
            Self::Unauthorized { masked_key: Some(key) } => {
                format!("Incorrect API key provided: {key}. The simulator was started with another key.")
                    .into()
            }
            Self::Unauthorized { masked_key: None } => {
                "You didn't provide an API key. Send it as a bearer token in the Authorization header.".into()
            }
            Self::Missing { param } => format!("Missing required parameter: '{param}'.").into(),
            Self::UnknownModel(name) => {
                format!("The model `{name}` does not exist or you do not have access to it.").into()
            }
            _ => self.message(),
        }
    }

    fn anthropic_type(&self) -> &'static str {
        match self {
            Self::Unauthorized { .. } | Self::Signature(_) => "authentication_error",
            Self::UnknownRoute { .. } | Self::UnknownModel(_) | Self::UnknownResource(_) => "not_found_error",
            Self::WrongMethod { .. }
            | Self::Missing { .. }
            | Self::Invalid { .. }
            | Self::UnsupportedValue { .. } => "invalid_request_error",
            Self::TooLarge => "request_too_large",
            Self::RateLimited { .. } | Self::Fault(429) => "rate_limit_error",
            Self::Overloaded | Self::Fault(529) => "overloaded_error",
            Self::Fault(500..) => "api_error",
            Self::Fault(_) => "invalid_request_error",
        }
    }

    fn gemini_status(&self) -> &'static str {
        match self {
            Self::UnknownRoute { .. } | Self::UnknownModel(_) => "NOT_FOUND",
            Self::RateLimited { .. } | Self::Fault(429) => "RESOURCE_EXHAUSTED",
            Self::Overloaded | Self::Fault(503) => "UNAVAILABLE",
            Self::Fault(504) => "DEADLINE_EXCEEDED",
            Self::Fault(500..) => "INTERNAL",
            _ => "INVALID_ARGUMENT",
        }
    }

    fn anthropic_message(&self) -> Cow<'_, str> {
        match self {
            Self::Unauthorized { masked_key: Some(_) } => "invalid x-api-key".into(),
            Self::Unauthorized { masked_key: None } => "x-api-key header is required".into(),
            Self::Missing { param } => format!("{param}: Field required").into(),
            Self::UnknownModel(name) => format!("model: {name}").into(),
            Self::Overloaded => "Overloaded".into(),
            _ => self.message(),
        }
    }

    /// Messages shared by both dialects.
    fn message(&self) -> Cow<'_, str> {
        match self {
            Self::UnknownRoute { method, path } => format!("Unknown request URL: {method} {path}.").into(),
            Self::WrongMethod { method } => format!("Not allowed to {method} on this URL.").into(),
            Self::UnknownResource(id) => format!("No such object: {id}.").into(),
            Self::Signature(reason) => reason.into(),
            Self::TooLarge => "The request is larger than 64 MiB.".into(),
            Self::Invalid { message, .. } | Self::UnsupportedValue { message, .. } => message.into(),
            Self::RateLimited { exhausted, retry_after, .. } => {
                let wait = headers::go_duration(*retry_after);
                let (what, limit, requested) = match exhausted {
                    Exhausted::Start => {
                        return format!("Rate limit reached. Please try again in {wait}.").into();
                    }
                    Exhausted::Requests { limit } => ("requests per min (RPM)", limit, &1),
                    Exhausted::Tokens { limit, requested } => ("tokens per min (TPM)", limit, requested),
                };
                format!(
                    "Rate limit reached for the simulated account on {what}: Limit {limit}, Requested {requested}. Please \
                     try again in {wait}."
                )
                .into()
            }
            Self::Overloaded => "The server is busy. Please try again later.".into(),
            Self::Fault(503) => "The service is temporarily unavailable (injected fault).".into(),
            Self::Fault(429) => "Too many requests (injected fault).".into(),
            Self::Fault(..500) => "The request was refused (injected fault).".into(),
            Self::Fault(_) => {
                "The server had an error while processing your request (injected fault).".into()
            }
            Self::Unauthorized { .. } | Self::Missing { .. } | Self::UnknownModel(_) => {
                "The request was refused.".into()
            }
        }
    }
}

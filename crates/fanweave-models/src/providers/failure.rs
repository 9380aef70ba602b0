//! Refusals: which kind of failure a server means, whatever its status says.

use fanweave_core::{Error, ErrorKind, excerpt};
use http::StatusCode;
use serde_json::Value;

/// Most bytes of what is no sentence but stands in for a message.
const PLAIN_MESSAGE_BYTES: usize = 300;

/// What servers say of a prompt that is too long, where no name says it: OpenAI and vLLM, Anthropic (both), Gemini.
const FULL: [&str; 4] = [
    "maximum context length",
    "prompt is too long",
    "exceed context limit",
    "exceeds the maximum number of tokens",
];

/// What a server says about a failure.
#[derive(Debug, Default)]
pub(super) struct ProviderError {
    message: String,
    /// The fine name, as in `insufficient_quota`.
    code: String,
    /// The coarse name, as in `invalid_request_error`.
    kind: String,
}

impl ProviderError {
    /// Reads a body, or the error object inside one. Whatever it is, it is never a second failure.
    pub(super) fn read(body: &str) -> Self {
        let Ok(json) = serde_json::from_str::<Value>(body) else {
            // A page of HTML says nothing that its status does not.
            let message = if body.trim_start().starts_with('<') { "" } else { body.trim() };
            return Self { message: excerpt(message, PLAIN_MESSAGE_BYTES), ..Self::default() };
        };
        Self::of(&json)
    }

    /// Reads a body that has been parsed.
    pub(super) fn of(json: &Value) -> Self {
        // Gemini wraps it into a list.
        let json = if json.is_array() { &json[0] } else { json };
        let error = json.get("error").filter(|error| !error.is_null()).unwrap_or(json);
        let field = |name: &str| text(&error[name]);
        let said = [error, &error["message"], &error["detail"], &error["msg"]];
        // Mistral and FastAPI list what was wrong with each field.
        let listed = said[1..].iter().find(|said| said.is_object() || said.is_array());
        let message = match (said.into_iter().find_map(Value::as_str), listed) {
            (Some(message), _) => message.to_owned(),
            (None, Some(listed)) => excerpt(&listed.to_string(), PLAIN_MESSAGE_BYTES),
            (None, None) => String::new(),
        };
        Self { message, code: field("code"), kind: field("type") }
    }

    /// The error. `status` is that of the answer, where it was no success.
    pub(super) fn into_error(self, status: Option<StatusCode>) -> Error {
        // Wrapped into a success or a stream, the real status may stand in the code.
        let in_code = || self.code.parse().ok().filter(|code| (400..600).contains(code));
        let status = status.map(|s| s.as_u16()).or_else(in_code).unwrap_or(500);
        let kind = self.kind(status);
        let reason = || StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason());
        let message = if self.message.is_empty() {
            reason().unwrap_or("the provider gives no reason").to_owned()
        } else {
            self.message
        };
        // Larger than the whole limit of a minute: no wait helps.
        let hopeless = kind == ErrorKind::RateLimited && message.starts_with("Request too large");
        let mut error = Error::new(kind, message);
        if let Some(code) = [self.code, self.kind].into_iter().find(|code| !code.is_empty()) {
            error = error.with_code(code);
        }
        match status {
            _ if hopeless => error.with_retryable(false),
            // A conflict, which the next try does not meet again.
            409 => error.with_retryable(true),
            _ => error,
        }
    }

    fn kind(&self, status: u16) -> ErrorKind {
        use ErrorKind::*;
        // The names first: vLLM sends 400 and Groq 413 for a full context, OpenAI 429 for an empty account, and
        // whatever comes inside a stream came with 200.
        for name in [&self.code, &self.kind] {
            match name.as_str() {
                "insufficient_quota"
                | "credit_balance_exhausted"
                | "insufficient_balance"
                | "billing_not_active"
                | "billing_hard_limit_reached"
                | "billing_error"
                | "exceeded_current_quota_error" => return QuotaExhausted,
                "request_too_large" => return BadRequest,
                "api_error" => return Server,
                "timeout_error" => return Timeout,
                "context_length_exceeded" | "exceed_context_size_error" | "model_context_window_exceeded" => {
                    return ContextLength;
                }
                "content_filter" | "content_policy_violation" | "ResponsibleAIPolicyViolation" => {
                    return ContentFilter;
                }
                "overloaded_error" | "overloaded" | "engine_overloaded" | "slow_down" => return Overloaded,
                "rate_limit_exceeded" | "rate_limit_error" => return RateLimited,
                "invalid_api_key" | "authentication_error" => return Authentication,
                "permission_error" => return Permission,
                "model_not_found" | "not_found_error" => return NotFound,
                _ => {}
            }
        }
        if matches!(status, 400 | 413 | 422) && FULL.iter().any(|words| self.message.contains(words)) {
            return ContextLength;
        }
        match status {
            401 => Authentication,
            402 => QuotaExhausted,
            403 => Permission,
            404 | 410 => NotFound,
            408 => Timeout,
            429 => RateLimited,
            503 | 529 => Overloaded,
            500.. => Server,
            _ => BadRequest,
        }
    }
}

/// A name, which some servers send as a number.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(n) => n.to_string(),
        _ => String::new(),
    }
}

//! Refusals: which kind of failure a status of Google's means, and how long it asks to wait.

use std::time::Duration;

use fanweave_core::{Error, ErrorKind};
use http::StatusCode;
use serde_json::Value;

use crate::providers::failure::ProviderError;
use crate::providers::json::{list, text};

/// The error of a body. `status` is that of the answer, where it was no success.
pub(super) fn error(status: Option<StatusCode>, body: &str) -> Error {
    match serde_json::from_str::<Value>(body) {
        Ok(body) => of(status, &body),
        Err(_) => ProviderError::read(body).into_error(status),
    }
}

/// The error of a body that has been parsed.
pub(super) fn of(status: Option<StatusCode>, body: &Value) -> Error {
    let body = if body.is_array() { &body[0] } else { body };
    let details = list(&body["error"]["details"]);
    let mut error = ProviderError::of(body).into_error(status);
    let name = text(&body["error"]["status"]);
    if let Some(kind) = kind(&name, details, error.kind()) {
        // The provider's own word on retrying is in none of its bodies.
        error = Error::new(kind, error.message());
    }
    if !name.is_empty() {
        error = error.with_code(name);
    }
    match details.iter().find_map(|detail| seconds(&text(&detail["retryDelay"]))) {
        Some(wait) if error.kind() != ErrorKind::QuotaExhausted => error.with_retry_after(wait),
        _ => error,
    }
}

fn kind(name: &str, details: &[Value], otherwise: ErrorKind) -> Option<ErrorKind> {
    let has_reason = |reason: &str| details.iter().any(|detail| detail["reason"] == reason);
    let for_the_day = details
        .iter()
        .flat_map(|detail| list(&detail["violations"]))
        .any(|violation| text(&violation["quotaId"]).contains("PerDay"));
    Some(match name {
        // No wait that anybody would sit through brings a new day.
        "RESOURCE_EXHAUSTED" if for_the_day => ErrorKind::QuotaExhausted,
        "RESOURCE_EXHAUSTED" => ErrorKind::RateLimited,
        "INVALID_ARGUMENT" if has_reason("API_KEY_INVALID") => ErrorKind::Authentication,
        "INVALID_ARGUMENT" if otherwise == ErrorKind::ContextLength => ErrorKind::ContextLength,
        "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE" => ErrorKind::BadRequest,
        "UNAUTHENTICATED" => ErrorKind::Authentication,
        "PERMISSION_DENIED" => ErrorKind::Permission,
        "NOT_FOUND" => ErrorKind::NotFound,
        "UNAVAILABLE" => ErrorKind::Overloaded,
        "DEADLINE_EXCEEDED" => ErrorKind::Timeout,
        "INTERNAL" | "UNKNOWN" => ErrorKind::Server,
        _ => return None,
    })
}

/// A duration as Google writes it: `45.8s`.
fn seconds(written: &str) -> Option<Duration> {
    let seconds = written.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

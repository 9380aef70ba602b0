//! Classification of provider errors: the kind of failure, whatever its status, and the requested wait.
//!
//! ```text
//! classify   the error of an answer: status, headers and body
//!  ├ read      message, names, status and waits in the body, under the field names of all vendors
//!  ├ table     rows of `errors.toml`, generated: names and messages of all vendors, and their meaning
//!  └ verdict   the first matching row, and the wait
//! ```
//!
//! To support a new error, add a row to `errors.toml` and a case to `failure/cases.toml`, and run the tests:
//! one of them generates the rows again.

mod read;
mod table;
mod verdict;

#[cfg(test)]
mod tests;

use std::time::SystemTime;

use fanweave_core::{Error, ErrorKind};
use http::{HeaderMap, StatusCode};
use serde_json::Value;

pub(crate) use self::read::ProviderError;
pub(crate) use self::table::REFUSALS;
use self::verdict::{Answer, verdict};

/// The error of a response whose status is not a success: its kind, its message, and the wait that the
/// provider asks for. The only reader of error responses, for all dialects and for requests without a message
/// as answer.
///
/// `body` is at most its first 64 KiB, with keys already redacted. `vendor` is one of the
/// [`vendors`](crate::vendors) whose names of errors are known, or empty: what the names mean differs between
/// vendors.
///
/// ```
/// use fanweave::ErrorKind;
/// use fanweave::models::protocol::{HeaderMap, StatusCode, classify};
///
/// let body = r#"{"error":{"message":"You exceeded your quota","code":"insufficient_quota"}}"#;
/// let error = classify(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), body, "openai");
/// assert_eq!(error.kind(), ErrorKind::QuotaExhausted);
/// assert_eq!(error.code(), Some("insufficient_quota"));
/// ```
pub fn classify(status: StatusCode, headers: &HeaderMap, body: &str, vendor: &str) -> Error {
    let now = crate::transport::hints::time_of(headers, SystemTime::now());
    ProviderError::read(body).error(&Answer { status: Some(status.as_u16()), headers, vendor, now })
}

impl ProviderError {
    /// The error of a body with a success status, or within a stream.
    pub(crate) fn into_error(self, vendor: &str) -> Error {
        let headers = HeaderMap::new();
        self.error(&Answer { status: None, headers: &headers, vendor, now: SystemTime::now() })
    }

    fn error(&self, answer: &Answer<'_>) -> Error {
        let verdict = verdict(self, answer);
        let mut error = Error::new(verdict.kind, self.sentence(answer.status.or(self.status)));
        if let Some(code) = self.code() {
            error = error.with_code(code);
        }
        if let Some(retryable) = verdict.retryable {
            error = error.with_retryable(retryable);
        }
        match verdict.wait {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        }
    }
}

/// The failure in a body with a success status. `None` for an answer, even if it has an empty `error`.
pub(crate) fn inside(body: &Value, vendor: &str) -> Option<Error> {
    read::is_failure(body).then(|| ProviderError::of(body).into_error(vendor))
}

/// Returns true if a body that is part of no answer looks like a failure, under any of the field names in
/// use.
pub(crate) fn resembles(body: &Value) -> bool {
    read::is_failure(body) || read::resembles_failure(body)
}

/// The error of a successful body without an answer: the failure in it, under any of the field names in use,
/// or else `otherwise`, with what the body says or how it begins. It is not retried if the body reports
/// usage: the model ran and would be billed again.
pub(crate) fn instead(body: &Value, vendor: &str, otherwise: &str) -> Error {
    if resembles(body) {
        return ProviderError::of(body).into_error(vendor);
    }
    let said = ProviderError::of(body).words();
    let message = if said.is_empty() { otherwise.to_owned() } else { format!("{otherwise}: {said}") };
    let error = Error::new(ErrorKind::Decode, message);
    let is_billed = ["usage", "usageMetadata", "eval_count"]
        .iter()
        .any(|name| body.get(*name).is_some_and(|v| !v.is_null()));
    if is_billed { error.with_retryable(false) } else { error }
}

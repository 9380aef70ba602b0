//! Refusals: the kind of failure that a server means, whatever its status says, and the wait that it asks for.
//!
//! ```text
//! classify   the error of an answer: status, headers and body
//!  ├ read      what the body says, under whichever names
//!  ├ table     rows of `errors.toml`: names and sentences of all vendors, and what they mean
//!  └ verdict   the first row that fits, and the wait
//! ```
//!
//! To teach it a new refusal, add a row to `errors.toml` and a case to `failure/cases.toml`.

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
use self::verdict::{Answer, verdict};

/// The error of an answer whose status is not a success: the only reader of refusals, for all dialects and for requests
/// whose answer is not a message.
///
/// `body` is at most its first 64 KiB, and holds no key any more. `vendor` is the name of a row of
/// [`compatible`](super::compatible), or empty.
pub(crate) fn classify(status: StatusCode, headers: &HeaderMap, body: &str, vendor: &str) -> Error {
    let now = crate::transport::hints::time_of(headers, SystemTime::now());
    ProviderError::read(body).error(&Answer { status: Some(status.as_u16()), headers, vendor, now })
}

impl ProviderError {
    /// The error of a body that came with a success, or within a stream.
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

/// The failure that a body of a success stands for. `None` for an answer, also one with an empty `error` beside it.
pub(crate) fn inside(body: &Value, vendor: &str) -> Option<Error> {
    read::is_failure(body).then(|| ProviderError::of(body).into_error(vendor))
}

/// The error of a body of a success that holds no answer: the failure that it stands for under any of the names that servers
/// use, or else `otherwise`.
pub(crate) fn instead(body: &Value, vendor: &str, otherwise: &str) -> Error {
    match read::is_failure(body) || read::resembles_failure(body) {
        true => ProviderError::of(body).into_error(vendor),
        false => Error::new(ErrorKind::Decode, otherwise),
    }
}

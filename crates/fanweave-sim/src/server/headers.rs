//! Response headers that control clients: limits, waits and request ids.

use std::time::{Duration, SystemTime};

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::dialect::Dialect;
use crate::limits::{Level, State};

/// Adds the current state of the account's limits. Unset limits have no headers.
pub(super) fn add_limits(headers: &mut HeaderMap, dialect: Dialect, state: &State) {
    if matches!(dialect, Dialect::Gemini | Dialect::Ollama | Dialect::Bedrock) {
        // These dialects report limits in no header.
        return;
    }
    for (level, names) in
        [(state.requests, names(dialect, "requests")), (state.tokens, names(dialect, "tokens"))]
    {
        let Some(Level { limit, remaining, reset }) = level else { continue };
        let reset = match dialect {
            Dialect::Anthropic => rfc3339_after(reset),
            _ => go_duration(reset),
        };
        let [limit_name, remaining_name, reset_name] = names;
        headers.insert(limit_name, HeaderValue::from(limit));
        headers.insert(remaining_name, HeaderValue::from(remaining));
        headers.insert(reset_name, text(reset));
    }
}

/// Adds when to retry: in whole seconds per the standard, and in milliseconds for the SDKs.
pub(super) fn add_retry_after(headers: &mut HeaderMap, dialect: Dialect, retry_after: Duration) {
    if matches!(dialect, Dialect::Gemini | Dialect::Bedrock) {
        // Gemini reports it in the body, Bedrock nowhere.
        return;
    }
    let milliseconds = whole_milliseconds(retry_after);
    headers.insert(hyper::header::RETRY_AFTER, HeaderValue::from(milliseconds.div_ceil(1000)));
    headers.insert(HeaderName::from_static("retry-after-ms"), HeaderValue::from(milliseconds));
}

/// Adds the request id, by which a provider's support finds the request.
pub(super) fn add_request_id(headers: &mut HeaderMap, dialect: Dialect, id: &str) {
    let name = match dialect {
        Dialect::Anthropic => HeaderName::from_static("request-id"),
        Dialect::Bedrock => HeaderName::from_static("x-amzn-requestid"),
        _ => HeaderName::from_static("x-request-id"),
    };
    headers.insert(name, text(id.to_owned()));
}

/// Adds the time that creating the answer took.
pub(super) fn add_processing_time(headers: &mut HeaderMap, dialect: Dialect, time: Duration) {
    if dialect == Dialect::OpenAi {
        headers.insert(
            HeaderName::from_static("openai-processing-ms"),
            HeaderValue::from(time.as_millis() as u64),
        );
    }
}

/// A duration in Go's format, used in OpenAI's headers: `120ms`, `1.5s`, `6m0s`.
pub(super) fn go_duration(time: Duration) -> String {
    let milliseconds = whole_milliseconds(time);
    let (hours, minutes) = (milliseconds / 3_600_000, milliseconds / 60_000 % 60);
    let seconds = (milliseconds % 60_000) as f64 / 1e3;
    match (hours, minutes) {
        (0, 0) if milliseconds < 1000 => format!("{milliseconds}ms"),
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// Rounded up, so that a client that waits this long has waited long enough.
fn whole_milliseconds(time: Duration) -> u64 {
    time.as_micros().div_ceil(1000) as u64
}

/// The names of limit, remaining and reset.
fn names(dialect: Dialect, what: &'static str) -> [HeaderName; 3] {
    let names = match (dialect, what) {
        (Dialect::OpenAi | Dialect::Gemini | Dialect::Ollama | Dialect::Bedrock, "requests") => {
            ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"]
        }
        (Dialect::OpenAi | Dialect::Gemini | Dialect::Ollama | Dialect::Bedrock, _) => {
            ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"]
        }
        (Dialect::Anthropic, "requests") => [
            "anthropic-ratelimit-requests-limit",
            "anthropic-ratelimit-requests-remaining",
            "anthropic-ratelimit-requests-reset",
        ],
        (Dialect::Anthropic, _) => [
            "anthropic-ratelimit-tokens-limit",
            "anthropic-ratelimit-tokens-remaining",
            "anthropic-ratelimit-tokens-reset",
        ],
    };
    names.map(HeaderName::from_static)
}

/// The wall-clock time after this duration, in whole seconds rounded up.
fn rfc3339_after(time: Duration) -> String {
    let at = SystemTime::now() + time + Duration::from_millis(999);
    humantime::format_rfc3339_seconds(at).to_string()
}

fn text(value: String) -> HeaderValue {
    HeaderValue::try_from(value).expect("digits and ASCII letters may be in a header")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_look_like_openais() {
        let shown = [0, 120, 1_000, 1_500, 360_000, 252_172, 82_999_144]
            .map(|ms| go_duration(Duration::from_millis(ms)));
        assert_eq!(shown, ["0ms", "120ms", "1s", "1.5s", "6m0s", "4m12.172s", "23h3m19.144s"]);
        assert_eq!(go_duration(Duration::from_micros(119_001)), "120ms");
    }

    #[test]
    fn a_wait_of_a_little_more_than_a_second_is_two_whole_ones() {
        let mut headers = HeaderMap::new();
        add_retry_after(&mut headers, Dialect::OpenAi, Duration::from_micros(1_000_001));
        assert_eq!(
            (&headers["retry-after"], &headers["retry-after-ms"]),
            (&HeaderValue::from(2), &HeaderValue::from(1001))
        );
    }
}

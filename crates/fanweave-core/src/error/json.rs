//! Errors as JSON.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Error, ErrorKind};
use crate::Message;
use crate::event::milliseconds;

/// The fields of an error, without its source and payload.
#[derive(Serialize, Deserialize)]
struct Fields<'a> {
    kind: ErrorKind,
    message: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provider: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request_id: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    /// Only if it differs from what the kind implies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retryable: Option<bool>,
    #[serde(default, skip_serializing_if = "is_zero")]
    attempts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<Cow<'a, str>>,
    /// Outermost step first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    path: Vec<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partial: Option<Cow<'a, Message>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let implied = self.kind().is_retryable();
        Fields {
            kind: self.kind(),
            message: self.message().into(),
            provider: self.provider().map(Cow::from),
            status: self.status(),
            code: self.code().map(Cow::from),
            request_id: self.request_id().map(Cow::from),
            retry_after_ms: self.retry_after().map(milliseconds::of),
            retryable: Some(self.is_retryable()).filter(|retryable| *retryable != implied),
            attempts: self.attempts(),
            body: self.body().map(Cow::from),
            path: self.path().map(Cow::from).collect(),
            headers: self.headers().map(|(name, value)| (name.into(), value.into())).collect(),
            partial: self.partial().map(Cow::Borrowed),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Error {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Fields::deserialize(deserializer)?;
        Ok(Error::new(fields.kind, fields.message).with_advice_of_message().with(|e| {
            e.provider = fields.provider.map(Arc::from);
            e.status = fields.status;
            e.code = fields.code.map(Cow::into_owned);
            e.request_id = fields.request_id.map(Cow::into_owned);
            e.retry_after = fields.retry_after_ms.map(Duration::from_millis);
            e.retryable = fields.retryable;
            e.attempts = fields.attempts;
            e.body = fields.body.map(Cow::into_owned);
            e.path = fields.path.into_iter().rev().map(Arc::from).collect();
            e.headers = fields.headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
            e.partial = fields.partial.map(|message| Box::new(message.into_owned()));
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn full() -> Error {
        Error::new(ErrorKind::RateLimited, "Rate limit reached")
            .with_provider("openai")
            .with_status(429)
            .with_code("rate_limit_exceeded")
            .with_request_id("req_7f")
            .with_retry_after(Duration::from_millis(1500))
            .with_retryable(false)
            .with_attempts(3)
            .with_body("{\"error\":{}}")
            .with_headers([("retry-after", "2"), ("x-ratelimit-limit-requests", "500")])
            .with_partial(Message::assistant("Once upon"))
            .with_step("openai/gpt-5-mini")
            .with_step("outline")
    }

    #[test]
    fn a_full_error_is_an_object_with_named_fields() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&full()).expect("it serialises"));
    }

    #[test]
    fn everything_but_source_and_payload_survives_json() {
        let error = full().with_source(std::io::Error::other("root"));
        let text = serde_json::to_string(&error).expect("an error serialises");
        let read: Error = serde_json::from_str(&text).expect("an error deserialises");
        assert_eq!(read.to_string(), error.to_string());
        assert_eq!(serde_json::to_string(&read).expect("it serialises once more"), text);
        assert!(!read.is_retryable());
        assert_eq!(read.partial().map(Message::text), Some("Once upon".into()));
        assert!(std::error::Error::source(&read).is_none() && read.payload().is_none());
    }

    proptest! {
        #[test]
        fn messages_of_any_text_survive_json(message in ".*", step in ".*", wait in any::<u32>()) {
            let error = Error::new(ErrorKind::Step, message)
                .with_step(step)
                .with_retry_after(Duration::from_millis(wait.into()));
            let text = serde_json::to_string(&error).expect("an error serialises");
            let read: Error = serde_json::from_str(&text).expect("an error deserialises");
            prop_assert_eq!(read.to_string(), error.to_string());
            prop_assert_eq!(read.is_retryable(), error.is_retryable());
        }
    }
}

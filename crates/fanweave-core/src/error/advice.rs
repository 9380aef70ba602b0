//! Advice about an error, by its kind.

use std::borrow::Cow;

use super::{Error, ErrorKind};

impl Error {
    /// Advice for the caller, as a sentence without a capital and a full stop. `None` if the message says it,
    /// as for an invalid setting. Names no flag and no argument: programs have their own.
    ///
    /// ```
    /// use std::time::Duration;
    /// use fanweave::{Error, ErrorKind};
    ///
    /// let limited = Error::new(ErrorKind::RateLimited, "slow down");
    /// let limited = limited.with_retry_after(Duration::from_secs(20));
    /// assert_eq!(limited.hint().unwrap(), "wait 20s, or send fewer requests at once");
    /// assert!(Error::new(ErrorKind::Config, "concurrency must not be 0").hint().is_none());
    /// ```
    pub fn hint(&self) -> Option<Cow<'static, str>> {
        use ErrorKind::*;
        let hint = match self.kind() {
            Authentication => "check that the API key is set, valid and one of this provider",
            Permission => "check that the API key may use this model",
            NotFound => "check the name of the model and the base URL",
            ContextLength => "shorten the prompt, or allow fewer output tokens",
            ContentFilter => {
                "change the prompt: the same prompt is likely to be rejected whenever it is sent"
            }
            RateLimited => {
                let wait =
                    self.retry_after().map(|wait| format!("wait {wait:?}, or send fewer requests at once"));
                return Some(wait.map_or("send fewer requests at once".into(), Cow::Owned));
            }
            QuotaExhausted => "add credit to the account, or wait until its quota is renewed",
            Overloaded | Server | Unavailable => "retry later: the failure is the provider's",
            Timeout => "allow more time, or ask for a shorter answer",
            Connection => "check the base URL, the proxy and the network",
            Decode => {
                "check that the base URL is that of the API: a proxy or another service may have answered"
            }
            StreamIncomplete => "retry: the connection ended in the middle of the answer",
            RecursionLimit => "check that the steps end, or raise the limit",
            _ => return None,
        };
        Some(hint.into())
    }
}

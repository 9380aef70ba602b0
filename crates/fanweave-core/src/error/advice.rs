//! Advice about an error: as data, and by its kind.

use std::borrow::Cow;
use std::fmt;

use super::{Error, ErrorKind};

/// A step that helps with an [`Error`], as data: each interface spells it in its own way.
///
/// `Display` is that of a library: it names no flag.
///
/// ```
/// use fanweave::errors::Advice;
///
/// let advice = Advice::Adapt { parameter: "`temperature`".into() };
/// assert_eq!(advice.to_string(), "remove `temperature`, or let requests adapt (`adapt`)");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Advice {
    /// Remove a parameter that the server refuses, or let requests adapt.
    Adapt {
        /// The parameter, as a phrase.
        parameter: Cow<'static, str>,
    },
    /// Raise the memory of runs.
    RaiseRunMemory,
}

/// End of the text of [`Advice::Adapt`].
const OR_ADAPT: &str = ", or let requests adapt (`adapt`)";

impl Advice {
    /// The advice at the end of a message that was written down, and the length of the message before it.
    pub(super) fn at_end(message: &str) -> Option<(usize, Self)> {
        let memory = Self::RaiseRunMemory;
        if let Some(before) = message.strip_suffix(&memory.to_string()) {
            return Some((before.strip_suffix(": ")?.len(), memory));
        }
        let (before, parameter) = message.strip_suffix(OR_ADAPT)?.rsplit_once(": remove ")?;
        Some((before.len(), Self::Adapt { parameter: parameter.to_owned().into() }))
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adapt { parameter } => {
                write!(f, "remove {parameter}{OR_ADAPT}")
            }
            Self::RaiseRunMemory => f.write_str(
                "raise `run_memory_mib` of the chain file, Dag::max_memory_bytes or Context::with_max_memory",
            ),
        }
    }
}

impl Error {
    /// Appends advice to the message.
    ///
    /// ```
    /// use fanweave::errors::Advice;
    /// use fanweave::{Error, ErrorKind};
    ///
    /// let error = Error::new(ErrorKind::Input, "out of memory").with_advice(Advice::RaiseRunMemory);
    /// assert!(error.message().starts_with("out of memory: raise `run_memory_mib`"));
    /// assert_eq!(error.advice(), Some(&Advice::RaiseRunMemory));
    /// let spelled = error.spelling_advice(|_| "raise --memory".into());
    /// assert_eq!(spelled.message(), "out of memory: raise --memory");
    /// ```
    #[must_use]
    pub fn with_advice(self, advice: Advice) -> Self {
        self.with(|e| {
            let text = e.message.trim_end_matches('.');
            (e.message, e.advice) = (format!("{text}: {advice}"), Some((text.len(), advice)));
        })
    }

    /// The same error with the advice that its message ends with, if the message was written down: in a
    /// journal, or in JSON.
    #[must_use]
    pub fn with_advice_of_message(self) -> Self {
        let advice = Advice::at_end(self.message());
        self.with(|e| e.advice = advice)
    }

    /// The advice at the end of the message, if it has one.
    pub fn advice(&self) -> Option<&Advice> {
        self.0.advice.as_ref().map(|(_, advice)| advice)
    }

    /// The same error with its [advice](Self::advice) spelled by `spell`, for an interface with names of its
    /// own, such as flags.
    #[must_use]
    pub fn spelling_advice(self, spell: impl FnOnce(&Advice) -> String) -> Self {
        let Some((length, advice)) = &self.0.advice else { return self };
        let message = format!("{}: {}", &self.0.message[..*length], spell(advice));
        self.with(|e| e.message = message)
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_found_in_a_message_that_was_written_down() {
        for advice in [Advice::Adapt { parameter: "`temperature`".into() }, Advice::RaiseRunMemory] {
            let error = Error::new(ErrorKind::Input, "no: remove nothing").with_advice(advice.clone());
            let json = serde_json::to_string(&error).unwrap();
            let read: Error = serde_json::from_str(&json).unwrap();
            assert_eq!((read.message(), read.advice()), (error.message(), Some(&advice)));
            let spelled = |error: Error| error.spelling_advice(|_| "help".into()).message().to_owned();
            assert_eq!(
                (spelled(read), spelled(error)),
                ("no: remove nothing: help".into(), "no: remove nothing: help".into())
            );
        }
        let other = Error::new(ErrorKind::Input, "no: remove `x`").with_advice_of_message();
        assert!(other.advice().is_none() && other.with_message("x").advice().is_none());
    }
}

//! Failures before a request was sent.

use std::error::Error as StdError;
use std::fmt;

use fanweave_core::{Error, ErrorKind};

/// Reason why no request was sent. The source of the error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unsent {
    /// The host, or the proxy in front of it, could not be reached: name lookup, TCP, tunnel, TLS handshake.
    Unreachable,
    /// The host was reached, but a setting or an untrusted certificate forbids the request.
    Forbidden,
    /// This process has run out of descriptors.
    Descriptors,
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no request was sent")
    }
}

impl StdError for Unsent {}

fn why(error: &Error) -> Option<Unsent> {
    StdError::source(error)?.downcast_ref().copied()
}

/// Marks an error from before a request was sent.
pub(crate) fn unsent(error: Error) -> Error {
    if never_sent(&error) {
        return error;
    }
    let is_forbidden = !error.is_retryable() || error.kind() == ErrorKind::Config;
    error.with_source(if is_forbidden { Unsent::Forbidden } else { Unsent::Unreachable })
}

/// Marks an error caused by a lack of descriptors.
pub(crate) fn without_descriptor(error: Error) -> Error {
    error.with_source(Unsent::Descriptors)
}

/// Returns true if nothing of the request was sent, so that it cannot have been processed or billed.
pub(crate) fn never_sent(error: &Error) -> bool {
    why(error).is_some()
}

/// Returns true if the host or its proxy could not be reached, which is evidence of an outage. An untrusted
/// certificate, an invalid setting and a process without descriptors are not.
pub(crate) fn is_unreachable(error: &Error) -> bool {
    why(error) == Some(Unsent::Unreachable)
}

/// Returns true if this process has run out of descriptors, which is not a failure of the host.
pub(crate) fn is_out_of_descriptors(error: &Error) -> bool {
    why(error) == Some(Unsent::Descriptors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_request_does_not_indicate_an_outage() {
        let refused = unsent(Error::new(ErrorKind::Connection, "refused").with_provider("openai"));
        assert!(never_sent(&refused) && is_unreachable(&refused));
        for error in [
            Error::new(ErrorKind::Connection, "untrusted certificate").with_retryable(false),
            Error::new(ErrorKind::Config, "the proxy asks for a password"),
        ] {
            let error = unsent(error);
            assert!(never_sent(&error) && !is_unreachable(&error), "{error}");
        }
        let none_left = unsent(without_descriptor(Error::new(ErrorKind::Connection, "none left")));
        assert!(never_sent(&none_left) && !is_unreachable(&none_left) && is_out_of_descriptors(&none_left));
        assert!(!never_sent(&Error::new(ErrorKind::Connection, "reset")));
    }
}

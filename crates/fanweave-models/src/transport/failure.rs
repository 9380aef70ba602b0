//! Network failures as errors, and their causes.

use std::error::Error as StdError;

use fanweave_core::{Error, ErrorKind};

/// Maximum headers of a response over HTTP/1.1. Gateways that repeat the headers of a provider beside their
/// own send more than 100.
pub(super) const MAX_HEADERS: usize = 512;

/// A network failure, described by its innermost cause.
pub(crate) fn broken(what: &str, error: &(dyn StdError + 'static)) -> Error {
    let is_too_large = |cause: &(dyn StdError + 'static)| {
        // hyper has a method for it only in servers.
        let says =
            |error: &hyper::Error| error.is_parse() && error.to_string() == "message head is too large";
        cause.downcast_ref::<hyper::Error>().is_some_and(says)
    };
    if causes(error).any(is_too_large) {
        let message = format!("{what}: the response has more than {MAX_HEADERS} headers, or too long ones");
        // The same request would be billed again and meet the same end.
        return Error::new(ErrorKind::Decode, message).with_retryable(false);
    }
    let innermost = causes(error).last().unwrap_or(error);
    let message = format!("{what}: {innermost}");
    let broken = Error::new(ErrorKind::Connection, message);
    match causes(error).find_map(|cause| cause.downcast_ref()) {
        // Retrying cannot fix a bad certificate.
        Some(rustls::Error::InvalidCertificate(_)) => broken.with_retryable(false),
        _ => broken,
    }
}

/// An error and its causes, outermost first.
pub(crate) fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| {
        // `source` of an I/O error skips the error that it wraps.
        match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(wrapped) => Some(wrapped as &(dyn StdError + 'static)),
            None => error.source(),
        }
    })
}

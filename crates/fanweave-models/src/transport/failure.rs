//! Network failures as errors, and their causes.

use std::error::Error as StdError;

use fanweave_core::{Error, ErrorKind};

/// A network failure, described by its innermost cause.
pub(crate) fn broken(what: &str, error: &(dyn StdError + 'static)) -> Error {
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

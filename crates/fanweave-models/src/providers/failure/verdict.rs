//! Meaning of an error: the first matching row of the table, and the wait.

use std::time::{Duration, SystemTime};

use fanweave_core::ErrorKind;
use http::HeaderMap;

use super::read::{Field, ProviderError};
use super::table::{Daily, Row, Scope, Text, rows};
use crate::transport::hints::{is_day_spent, prose, reset, retry_after};
use crate::transport::limits::Report;

/// Maximum wait for which a daily quota is treated as a rate limit. The same as for
/// [`Error::is_account_level`](fanweave_core::Error), and the default time that a call waits for others.
const SOON: Duration = Duration::from_secs(120);

/// Maximum bytes of a message that are matched against rows: an echo of the prompt may follow.
const COMPARED_BYTES: usize = 4096;

/// The response around a body.
pub(super) struct Answer<'a> {
    /// `None` inside a success.
    pub(super) status: Option<u16>,
    pub(super) headers: &'a HeaderMap,
    pub(super) vendor: &'a str,
    /// Current time by the clock of the server.
    pub(super) now: SystemTime,
}

/// Classification of an error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ErrorClass {
    pub(super) kind: ErrorKind,
    /// `None` if the kind decides.
    pub(super) retryable: Option<bool>,
    pub(super) scope: Scope,
    pub(super) wait: Option<Duration>,
}

pub(super) fn verdict(said: &ProviderError, answer: &Answer<'_>) -> ErrorClass {
    let row = Facts::new(said, answer).row();
    let (mut kind, retryable, mut scope, mut daily) = match row {
        Some(row) => (row.kind, row.retryable, row.scope, row.daily),
        None => (ErrorKind::Server, None, Scope::Row, None),
    };
    if kind == ErrorKind::RateLimited && retryable.is_none() && is_day_spent(answer.headers) {
        daily = daily.or(Some(Daily::UnlessSoon));
    }
    let ends = || reset(answer.headers, answer.now).or_else(|| reset(&said.headers, answer.now));
    let asked = || {
        let quoted = || retry_after(&said.headers, answer.now);
        let in_sentence = || prose(&said.message, answer.now).or_else(|| prose(&said.upstream, answer.now));
        retry_after(answer.headers, answer.now).or(said.wait).or_else(quoted).or_else(in_sentence)
    };
    let wait = match (daily, kind) {
        (Some(Daily::Always), _) => ends(),
        (Some(Daily::UnlessSoon), _) => asked().or_else(ends),
        (None, ErrorKind::RateLimited) => {
            let wait = asked().or_else(ends);
            // Some servers request a wait of a day, although the limits in the same response refill within
            // seconds.
            let limits = || Report::read(answer.headers, answer.now);
            wait.filter(|wait| !limits().contradicts(*wait))
        }
        (None, kind) if kind.is_retryable() => asked(),
        (None, _) => None,
    };
    match daily {
        Some(Daily::UnlessSoon) if wait.is_some_and(|wait| wait <= SOON) => {
            (kind, scope) = (ErrorKind::RateLimited, Scope::Row);
        }
        Some(_) => (kind, scope) = (ErrorKind::QuotaExhausted, Scope::Account),
        None => {}
    }
    ErrorClass { kind, retryable, scope, wait }
}

/// The values that rows are compared with, in lower case.
struct Facts<'a> {
    vendor: &'a str,
    /// Status of the response or of the body.
    status: Option<u16>,
    names: Vec<(Field, String)>,
    message: Text,
    /// The message with the router's upstream message and with quotes of the request, if present. Neither is
    /// about the account.
    all: Option<Text>,
}

impl<'a> Facts<'a> {
    fn new(said: &ProviderError, answer: &'a Answer<'_>) -> Self {
        let lower = |text: &str| {
            let end = (0..=COMPARED_BYTES.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
            text[..end.unwrap_or_default()].to_lowercase()
        };
        let mut names: Vec<_> = said.names.iter().map(|(origin, name)| (*origin, lower(name))).collect();
        // Bedrock and Azure also name the error in a header, Bedrock only there.
        for header in ["x-amzn-errortype", "x-ms-error-code"] {
            let value = answer.headers.get(header).and_then(|value| value.to_str().ok());
            names.extend(value.and_then(|name| Some((Field::Type, lower(name.split(':').next()?.trim())))));
        }
        let own = lower(&said.message);
        let all = (said.is_listed || !said.upstream.is_empty())
            .then(|| Text::new(format!("{own}\n{}", lower(&said.upstream))));
        // A quoted request must not stop a run because of its content.
        let own = if said.is_listed { String::new() } else { own };
        let status = answer.status.or(said.status);
        Self { vendor: answer.vendor, status, names, message: Text::new(own), all }
    }

    fn row(&self) -> Option<&'static Row> {
        rows().iter().find(|row| self.fits(row))
    }

    fn fits(&self, row: &Row) -> bool {
        let says_more = !row.name.is_empty() || !row.message.is_empty();
        let status = match self.status {
            Some(status) => row.status.is_empty() || row.status.iter().any(|range| range.contain(status)),
            None => row.status.is_empty() || says_more,
        };
        let named = || {
            let stands = |origin: Field| row.origin.is_none_or(|wanted| wanted == origin);
            let is_one = |name: &str| row.name.iter().any(|pattern| pattern.names(name));
            row.name.is_empty() || self.names.iter().any(|(origin, name)| stands(*origin) && is_one(name))
        };
        let all = self.all.as_ref().filter(|_| row.scope != Scope::Account && row.daily.is_none());
        let text = all.unwrap_or(&self.message);
        let said = || row.message.is_empty() || row.message.iter().any(|pattern| pattern.is_in(text));
        let vendor = || row.vendor.is_empty() || row.vendor.contains(&self.vendor);
        status && vendor() && named() && said()
    }
}

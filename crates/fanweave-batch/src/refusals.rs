//! Stops a run whose rows are all rejected for the same reason.
//!
//! A server that rejects the first rows with 400 "invalid model name" rejects all rows. One that answered
//! before and now rejects every request with 403, 404 or a redirect rejects all that follow. Until the next
//! answer, such results are withheld from the recorder. If the run stops, they are dropped, and their rows
//! have no result.

use fanweave_core::{Error, ErrorKind};
use tokio::time::Instant;

use crate::dedupe::Dedupe;
use crate::recorder::Finished;

/// Minimum number of distinct rows that must be rejected before the run stops, if no row has been answered,
/// and after an answer.
const MIN_ROWS: usize = 8;
const MIN_LATER_ROWS: usize = 16;

/// Watches the results since the last answer.
pub(crate) struct Refusals {
    is_enabled: bool,
    /// Set if a row has been answered: the requests of the run can be valid.
    is_answered: bool,
    /// Unset by a rejection for another reason, until the next answer.
    is_watching: bool,
    /// The error that all withheld rows got, and its comparable form.
    first: Option<(Error, Refusal)>,
    /// Each with the time of its rejection.
    withheld: Vec<(Instant, Finished)>,
}

/// The parts of an error by which two rejections are compared.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    status: Option<u16>,
    code: Option<String>,
    message: String,
}

impl Refusals {
    /// Withholds nothing unless `is_enabled`. `is_answered` is set if a previous run got an answer.
    pub(crate) fn new(is_enabled: bool, is_answered: bool) -> Self {
        Self { is_enabled, is_answered, is_watching: is_enabled, first: None, withheld: Vec::new() }
    }

    /// Minimum number of withheld rows that stops the run.
    pub(crate) fn min_rows(&self) -> usize {
        if self.is_answered { MIN_LATER_ROWS } else { MIN_ROWS }
    }

    /// Withholds a failed row. Returns it if it is to be recorded: its error says nothing about other rows,
    /// or it is a rejection for another reason, which ends the watch.
    pub(crate) fn withhold(&mut self, row: Finished, error: &Error) -> Option<Finished> {
        let counts = if self.is_answered { bars_everything(error) } else { rejects_request(error) };
        if !self.is_watching || !counts {
            return Some(row);
        }
        let refusal = Refusal::of(error);
        match &self.first {
            Some((_, first)) if *first != refusal => {
                self.is_watching = false;
                return Some(row);
            }
            Some(_) => {}
            None => self.first = Some((error.clone(), refusal)),
        }
        self.withheld.push((Instant::now(), row));
        None
    }

    /// Restarts the watch, because a row was answered that had started at `start`. Returns the withheld rows
    /// that were rejected before then: the cause is theirs. Others may have been rejected since the server
    /// answers no more.
    pub(crate) fn answered(&mut self, start: Instant) -> Vec<Finished> {
        self.is_watching = self.is_enabled;
        if !self.is_answered {
            // Some requests of the run are valid, and errors that depend on the request count no more.
            self.is_answered = true;
            let counts = self.first.as_ref().is_some_and(|(error, _)| bars_everything(error));
            if !counts {
                return self.take();
            }
        }
        let cut = self.withheld.partition_point(|(rejected, _)| *rejected <= start);
        let flushed = self.withheld.drain(..cut).map(|(_, row)| row).collect();
        if self.withheld.is_empty() {
            self.first = None;
        }
        flushed
    }

    pub(crate) fn is_watching(&self) -> bool {
        self.is_watching
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.withheld.is_empty()
    }

    /// Number of rejected rows, including followers that wait for an equal request.
    pub(crate) fn rows(&self, dedupe: Option<&Dedupe>) -> usize {
        let followers = |row: &Finished| Some(dedupe?.followers(row.request.as_ref()?));
        self.withheld.iter().map(|(_, row)| 1 + followers(row).unwrap_or_default()).sum()
    }

    /// Number of row permits that they hold.
    pub(crate) fn permits(&self, dedupe: Option<&Dedupe>) -> usize {
        let followers = |row: &Finished| Some(dedupe?.permits(row.request.as_ref()?));
        let held = |row: &Finished| usize::from(row.permit.0.is_some()) + followers(row).unwrap_or_default();
        self.withheld.iter().map(|(_, row)| held(row)).sum()
    }

    /// Releases up to `max` row permits, so that other rows can run.
    pub(crate) fn release(&mut self, max: usize, dedupe: Option<&Dedupe>) {
        let mut remaining = max;
        for (_, row) in &mut self.withheld {
            if remaining > 0 && row.permit.0.take().is_some() {
                remaining -= 1;
            }
            if let (Some(dedupe), Some(request)) = (dedupe, &row.request) {
                remaining -= dedupe.release(request, remaining);
            }
        }
    }

    /// Takes the withheld rows.
    pub(crate) fn take(&mut self) -> Vec<Finished> {
        self.first = None;
        std::mem::take(&mut self.withheld).into_iter().map(|(_, row)| row).collect()
    }

    /// The error of the withheld rows.
    pub(crate) fn error(&self) -> Option<&Error> {
        self.first.as_ref().map(|(error, _)| error)
    }
}

impl Refusal {
    fn of(error: &Error) -> Self {
        let message = masked(error.message());
        Self { status: error.status(), code: error.code().map(str::to_owned), message }
    }
}

/// Returns true if an error may apply to every row: the provider or the configuration rejects the request,
/// rather than failing, and the cause is not the row's text.
fn rejects_request(error: &Error) -> bool {
    use ErrorKind::*;
    let kind = matches!(
        error.kind(),
        Authentication
            | Permission
            | NotFound
            | BadRequest
            | RateLimited
            | QuotaExhausted
            | Config
            | Server
            | Connection
    );
    kind && !error.is_retryable()
}

/// Returns true if an error applies to every row even though others were answered before: access was
/// withdrawn, or another server answers in place of the provider.
fn bars_everything(error: &Error) -> bool {
    use ErrorKind::*;
    let kind = matches!(error.kind(), Authentication | Permission | NotFound | QuotaExhausted | Config);
    let status = matches!(error.status(), Some(300..=399 | 401..=405 | 410 | 451));
    !error.is_retryable() && (kind || (status && error.kind() == BadRequest))
}

/// Removes everything that differs between requests from a message: quoted text, and words with digits.
fn masked(message: &str) -> String {
    let mut masked = String::with_capacity(message.len());
    let mut rest = message;
    let mut before = None;
    while let Some(c) = rest.chars().next() {
        // An apostrophe within a word is not an opening quote.
        let opens = matches!(c, '"' | '`' | '\'' | '“') && !before.is_some_and(char::is_alphanumeric);
        let close = if c == '“' { '”' } else { c };
        let end = rest[c.len_utf8()..].find(close).filter(|_| opens);
        let taken = if let Some(end) = end {
            masked.push_str("'_'");
            c.len_utf8() + end + close.len_utf8()
        } else if is_word(c) {
            let word = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
            masked.push_str(if word.contains(|c: char| c.is_ascii_digit()) { "_" } else { word });
            word.len()
        } else {
            masked.push(c);
            c.len_utf8()
        };
        before = rest[..taken].chars().next_back();
        rest = &rest[taken..];
    }
    masked
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_compared_without_quoted_text_and_numbers() {
        for (message, expected) in [
            ("Invalid model name passed in model=gpt-4o", "Invalid model name passed in model=_"),
            ("row \"a \\ b\" isn't 'valid', it can't be", "row '_' isn't '_', it can't be"),
            ("request req_7fa9 asked for 4096 tokens", "request _ asked for _ tokens"),
            ("model `x` or “y” is not open", "model '_' or '_' is not open"),
            ("it's an unclosed \"quote", "it's an unclosed \"quote"),
        ] {
            assert_eq!(masked(message), expected);
        }
    }

    #[test]
    fn errors_about_a_rows_text_do_not_count() {
        use ErrorKind::*;
        for kind in [ContextLength, ContentFilter, Input, Decode, Parse, Step, Panic, Timeout, Cancelled] {
            assert!(!rejects_request(&Error::new(kind, "no")), "{kind}");
        }
        assert!(rejects_request(&Error::new(BadRequest, "no")));
        assert!(
            !rejects_request(&Error::new(Server, "no")) && !rejects_request(&Error::new(RateLimited, "no"))
        );
        assert!(rejects_request(&Error::new(Server, "not implemented").with_retryable(false)));
    }
}

//! Stops a run whose first rows are all rejected for the same reason.
//!
//! A server that rejects one row with 400 "invalid model name" rejects all rows. Until a row is answered,
//! such results are withheld from the recorder. If the run stops, they are dropped, and their rows have no
//! result.

use fanweave_core::{Error, ErrorKind};

use crate::dedupe::Dedupe;
use crate::recorder::Finished;

/// Minimum number of distinct rows that must be rejected before the run stops.
pub(crate) const MIN_ROWS: usize = 8;

/// Watches the first results of a run.
pub(crate) struct Refusals {
    is_watching: bool,
    /// The error that all withheld rows got, and its comparable form.
    first: Option<(Error, Refusal)>,
    withheld: Vec<Finished>,
}

/// The parts of an error by which two rejections are compared.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    status: Option<u16>,
    code: Option<String>,
    message: String,
}

impl Refusals {
    /// Withholds nothing unless `is_watching`.
    pub(crate) fn new(is_watching: bool) -> Self {
        Self { is_watching, first: None, withheld: Vec::new() }
    }

    /// Withholds a failed row. Returns it if it is to be recorded: its error says nothing about other rows,
    /// or it is a rejection for another reason, which ends the watch.
    pub(crate) fn withhold(&mut self, row: Finished, error: &Error) -> Option<Finished> {
        if !self.is_watching || !counts(error) {
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
        self.withheld.push(row);
        None
    }

    /// Ends the watch, because a row was answered.
    pub(crate) fn end(&mut self) {
        self.is_watching = false;
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
        self.withheld.iter().map(|row| 1 + followers(row).unwrap_or_default()).sum()
    }

    /// Number of row permits that they hold.
    pub(crate) fn permits(&self, dedupe: Option<&Dedupe>) -> usize {
        let followers = |row: &Finished| Some(dedupe?.permits(row.request.as_ref()?));
        let held = |row: &Finished| usize::from(row.permit.is_some()) + followers(row).unwrap_or_default();
        self.withheld.iter().map(held).sum()
    }

    /// Releases up to `max` row permits, so that other rows can run.
    pub(crate) fn release(&mut self, max: usize, dedupe: Option<&Dedupe>) {
        let mut remaining = max;
        for row in &mut self.withheld {
            if remaining > 0 && row.permit.take().is_some() {
                remaining -= 1;
            }
            if let (Some(dedupe), Some(request)) = (dedupe, &row.request) {
                remaining -= dedupe.release(request, remaining);
            }
        }
    }

    /// Takes the withheld rows.
    pub(crate) fn take(&mut self) -> Vec<Finished> {
        std::mem::take(&mut self.withheld)
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
fn counts(error: &Error) -> bool {
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
            assert!(!counts(&Error::new(kind, "no")), "{kind}");
        }
        assert!(counts(&Error::new(BadRequest, "no")));
        assert!(!counts(&Error::new(Server, "no")) && !counts(&Error::new(RateLimited, "no")));
        assert!(counts(&Error::new(Server, "not implemented").with_retryable(false)));
    }
}

//! Estimates the tokens of a request before the provider counts them.

use fanweave_core::Usage;

/// Estimated size of a request, before it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct RequestSize {
    /// Bytes of its text.
    pub(crate) bytes: usize,
    /// Maximum output tokens, if the request sets them.
    pub(crate) max_tokens: Option<u64>,
}

impl RequestSize {
    /// Estimates the input tokens, for prices.
    pub(crate) fn usage(self) -> Usage {
        Usage::new((self.bytes as f64 / BYTES).ceil() as u64, 0)
    }
}

/// Tokens of one request: estimated, or counted by the provider.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct TokenCount {
    pub(super) input: f64,
    pub(super) output: f64,
}

/// Bytes per token until the model has shown its own ratio. Typical of English text in most vocabularies.
const BYTES: f64 = 4.0;

/// Output tokens, if neither the request nor an earlier response gives a number.
const OUTPUT: f64 = 256.0;

/// Maximum output tokens reserved for a request: a larger `max_tokens` means that the caller wants no limit.
const MAX_RESERVED_OUTPUT: u64 = 1 << 20;

/// Maximum plausible tokens of one request: no model reads or writes so many, and the account would be in
/// debt for days.
pub(super) const MAX_PLAUSIBLE_TOKENS: u64 = 1 << 24;

/// Weight of the latest response in the means, once there are some.
const WEIGHT: f64 = 0.05;

/// Statistics learned from the responses of one model.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    answers: u32,
    /// Means over the responses.
    bytes_per_token: f64,
    output: f64,
}

impl Tokens {
    pub(super) fn estimate(&self, ask: RequestSize) -> TokenCount {
        let max =
            ask.max_tokens.filter(|max| *max <= MAX_RESERVED_OUTPUT).map_or(f64::INFINITY, |max| max as f64);
        let (bytes, output) = if self.answers == 0 {
            (BYTES, if max.is_finite() { max } else { OUTPUT })
        } else {
            (self.bytes_per_token, self.output.min(max))
        };
        TokenCount { input: (ask.bytes as f64 / bytes).ceil(), output }
    }

    /// Minimum input tokens of a request, as far as known before they are counted. The ratio learned from
    /// images and other media does not apply to text.
    pub(super) fn least_input(&self, ask: RequestSize) -> f64 {
        (ask.bytes as f64 / self.bytes_per_token.max(BYTES)).ceil()
    }

    /// Learns from the counted tokens of a request.
    pub(super) fn learn(&mut self, ask: RequestSize, counted: TokenCount) {
        self.answers = self.answers.saturating_add(1);
        let weight = WEIGHT.max(1.0 / f64::from(self.answers));
        self.output += weight * (counted.output - self.output);
        // Counts that are impossible for text are not used for the next request.
        let ratio = (ask.bytes as f64 / counted.input.max(1.0)).clamp(0.25, 64.0);
        self.bytes_per_token += weight * (ratio - self.bytes_per_token);
    }
}

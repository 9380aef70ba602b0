//! What a request will cost in tokens, before anybody has counted.

use fanweave_core::Usage;

/// What a request asks for, as far as it is known before it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct RequestSize {
    /// Bytes of its text.
    pub(crate) bytes: usize,
    /// Most tokens of its answer, where it says so.
    pub(crate) max_tokens: Option<u64>,
}

impl RequestSize {
    /// The estimate of its input tokens, for prices.
    pub(crate) fn usage(self) -> Usage {
        Usage { input_tokens: (self.bytes as f64 / BYTES).ceil() as u64, ..Usage::default() }
    }
}

/// Tokens of one request: estimated, or counted by the provider.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct TokenCount {
    pub(super) input: f64,
    pub(super) output: f64,
}

/// Bytes of a token, until the model has shown its own. What English text comes to in most vocabularies.
const BYTES: f64 = 4.0;

/// Tokens of an answer, where neither the request nor an earlier answer says anything.
const OUTPUT: f64 = 256.0;

/// Longest answer that a request is held for: beyond it, its `max_tokens` says that it wants no limit.
const MAX_RESERVED_OUTPUT: u64 = 1 << 20;

/// Most tokens of one request that are believed: no model reads or writes so many, and an account would be in
/// debt for days.
pub(super) const MAX_PLAUSIBLE_TOKENS: u64 = 1 << 24;

/// Weight of the latest answer in what is learned, once there are some.
const WEIGHT: f64 = 0.05;

/// What the answers of one model have taught.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    answers: u32,
    /// Means over the answers.
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

    /// The input that a request has at least, as far as anybody can tell before it is counted: what was
    /// learned from images and the like counts for no text.
    pub(super) fn least_input(&self, ask: RequestSize) -> f64 {
        (ask.bytes as f64 / self.bytes_per_token.max(BYTES)).ceil()
    }

    /// Learns from what a request came to.
    pub(super) fn learn(&mut self, ask: RequestSize, counted: TokenCount) {
        self.answers = self.answers.saturating_add(1);
        let weight = WEIGHT.max(1.0 / f64::from(self.answers));
        self.output += weight * (counted.output - self.output);
        // Counts that no text can have say nothing of the next one.
        let ratio = (ask.bytes as f64 / counted.input.max(1.0)).clamp(0.25, 64.0);
        self.bytes_per_token += weight * (ratio - self.bytes_per_token);
    }
}

//! The metrics of calls.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter};

use crate::Usage;

/// Buckets of durations, in seconds. Source: the conventions.
const SECONDS: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];

/// Buckets of times to a first chunk, in seconds. Source: the conventions.
const FIRST: [f64; 16] =
    [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// The instruments.
pub(super) struct Meters {
    duration: Histogram<f64>,
    first_chunk: Histogram<f64>,
    tokens: Histogram<u64>,
}

impl Meters {
    pub(super) fn new(meter: &Meter) -> Self {
        let seconds = |name: &'static str, description: &'static str, buckets: &[f64]| {
            let histogram = meter.f64_histogram(name).with_description(description).with_unit("s");
            histogram.with_boundaries(buckets.to_vec()).build()
        };
        // 14 powers of four, from 1.
        let counts = (0..14).map(|n| f64::from(1_u32 << (2 * n))).collect();
        Self {
            duration: seconds("gen_ai.client.operation.duration", "Time of a call.", &SECONDS),
            first_chunk: seconds(
                "gen_ai.client.operation.time_to_first_chunk",
                "Time to the first chunk of a streamed answer.",
                &FIRST,
            ),
            tokens: meter
                .u64_histogram("gen_ai.client.token.usage")
                .with_description("Tokens of a call.")
                .with_unit("{token}")
                .with_boundaries(counts)
                .build(),
        }
    }

    /// Records the duration of a call with the attributes `about`.
    pub(super) fn ended(&self, took: Duration, first_chunk: Option<Duration>, about: &[KeyValue]) {
        self.duration.record(took.as_secs_f64(), about);
        if let Some(time) = first_chunk {
            self.first_chunk.record(time.as_secs_f64(), about);
        }
    }

    /// Records the token usage of a call.
    pub(super) fn used(&self, usage: &Usage, about: &[KeyValue]) {
        for (kind, tokens) in [("input", usage.input_tokens), ("output", usage.output_tokens)] {
            let mut about = about.to_vec();
            about.push(KeyValue::new("gen_ai.token.type", kind));
            self.tokens.record(tokens, &about);
        }
    }
}

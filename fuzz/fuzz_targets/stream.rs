//! Streamed answers, in every dialect.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fanweave_models::fuzz::stream(bytes));

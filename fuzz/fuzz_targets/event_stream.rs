//! Bedrock's event streams, with valid checksums.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fanweave_models::fuzz::event_stream(bytes));

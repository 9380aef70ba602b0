//! Response headers, and the redaction of keys.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fanweave_models::fuzz::headers(bytes));

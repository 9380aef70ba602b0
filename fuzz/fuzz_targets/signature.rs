//! Requests that are signed for AWS.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fanweave_models::fuzz::signature(bytes));

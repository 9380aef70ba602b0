//! Compressed bodies, announced or not.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fanweave_models::fuzz::compressed(bytes));

//! Complete answers and errors, in every dialect.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fanweave_models::fuzz::response(bytes));

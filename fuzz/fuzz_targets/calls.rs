//! Tool calls, assembled from fragments.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fanweave_models::fuzz::calls(bytes));

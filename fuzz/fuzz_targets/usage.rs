//! Usage, in whole answers and in streams.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fanweave_models::fuzz::usage(bytes));

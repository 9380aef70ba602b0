//! The events of a stream, in the framing that its first bytes have.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fanweave_models::fuzz::framing(bytes));

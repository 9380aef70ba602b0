//! Arithmetic that a model wrote.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| _ = fanweave::chains::math::evaluate(text));

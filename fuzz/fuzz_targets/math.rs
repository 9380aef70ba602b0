//! Arithmetic written by a model.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = fanweave::chains::math::evaluate(text);
});

//! Compiler messages for invalid prompts, tools and calls.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

#[path = "../../fanweave-core/tests/compile_errors/rustc/mod.rs"]
mod rustc;

#[test]
fn invalid_prompts_tools_and_calls_do_not_compile_and_the_message_names_the_error() {
    assert!(fanweave::chains::math::evaluate("1 + 1").is_ok());
    let facade = rustc::Library { name: "fanweave", function: "fanweave::chains::math::evaluate" };
    rustc::messages_are_those_recorded(&facade, env!("CARGO_MANIFEST_DIR").as_ref(), "tests/compile_errors");
}

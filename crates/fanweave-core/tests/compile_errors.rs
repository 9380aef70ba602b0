//! Compiler errors of chains that do not type-check: people read these messages.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

#[path = "compile_errors/rustc/mod.rs"]
mod rustc;

#[test]
fn wrong_chains_do_not_compile_and_the_message_names_the_step() {
    drop(fanweave_core::chat());
    let core = rustc::Library { name: "fanweave_core", function: "fanweave_core::prompt::chat::chat" };
    rustc::messages_are_those_recorded(&core, env!("CARGO_MANIFEST_DIR").as_ref(), "tests/compile_errors");
}

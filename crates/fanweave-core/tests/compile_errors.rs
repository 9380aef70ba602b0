//! Compiler errors of chains that do not type-check: people read these messages.

#[test]
fn wrong_chains_do_not_compile_and_the_message_names_the_step() {
    trybuild::TestCases::new().compile_fail("tests/compile_errors/*.rs");
}

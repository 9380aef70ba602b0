//! What the compiler says where a chain is put together wrongly: people read these messages.

#[test]
fn wrong_chains_do_not_compile_and_the_message_names_the_step() {
    trybuild::TestCases::new().compile_fail("tests/compile_errors/*.rs");
}

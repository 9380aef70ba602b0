//! What the compiler says about prompts whose variables do not fit.

#[test]
fn prompts_that_do_not_fit_do_not_compile_and_the_message_names_what_is_wrong() {
    trybuild::TestCases::new().compile_fail("tests/compile_errors/*.rs");
}

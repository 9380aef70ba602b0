//! What the compiler says about prompts, tools and calls that do not fit.

#[test]
fn what_does_not_fit_does_not_compile_and_the_message_names_what_is_wrong() {
    trybuild::TestCases::new().compile_fail("tests/compile_errors/*.rs");
}

//! Compiler messages for invalid prompts, tools and calls.

#[test]
fn invalid_prompts_tools_and_calls_do_not_compile_and_the_message_names_the_error() {
    trybuild::TestCases::new().compile_fail("tests/compile_errors/*.rs");
}

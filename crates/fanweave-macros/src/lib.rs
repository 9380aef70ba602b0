//! The macros of fanweave. Use them through the crate `fanweave`, which they name in what they expand to.

mod call;
mod prompt;
mod tool;
mod types;

use proc_macro::TokenStream;

/// A prompt whose variables are checked when the program is compiled: see `fanweave::prompt!`.
#[proc_macro]
pub fn prompt(input: TokenStream) -> TokenStream {
    prompt::expand(input.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a tool of a function or of a struct: see `fanweave::tool`.
#[proc_macro_attribute]
pub fn tool(options: TokenStream, item: TokenStream) -> TokenStream {
    tool::expand(options.into(), item.into()).into()
}

/// Makes a call of a function that returns its prompt: see `fanweave::call`.
#[proc_macro_attribute]
pub fn call(options: TokenStream, item: TokenStream) -> TokenStream {
    call::expand(options.into(), item.into()).into()
}

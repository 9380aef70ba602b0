//! The macros of fanweave. Use them through the crate `fanweave`, which their expansion refers to.

mod call;
mod krate;
mod prompt;
mod schema;
mod tool;
mod types;

use proc_macro::TokenStream;

/// A prompt whose variables are checked at compile time: see `fanweave::prompt!`, which prepends its own path
/// to the input.
#[proc_macro]
pub fn prompt(input: TokenStream) -> TokenStream {
    prompt::expand(input.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a tool from a function or a struct: see `fanweave::tool`.
#[proc_macro_attribute]
pub fn tool(options: TokenStream, item: TokenStream) -> TokenStream {
    tool::expand(options.into(), item.into()).into()
}

/// Derives serde's traits and the JSON schema of a type: see `fanweave::schema`.
#[proc_macro_attribute]
pub fn schema(options: TokenStream, item: TokenStream) -> TokenStream {
    schema::expand(options.into(), &item.into()).into()
}

/// Turns a function that returns its prompt into an LLM call: see `fanweave::call`.
#[proc_macro_attribute]
pub fn call(options: TokenStream, item: TokenStream) -> TokenStream {
    call::expand(options.into(), item.into()).into()
}

#[cfg(test)]
mod tests {
    use proc_macro2::TokenStream;
    use quote::quote;

    /// Returns true if the input names fanweave itself.
    fn rooted(tokens: &TokenStream) -> bool {
        tokens.to_string().contains("fanweave")
    }

    #[test]
    fn what_is_written_names_fanweave_by_the_path_that_it_is_given() {
        let every = quote! {
            crate = "crate::ai", model = "writer", provider = "openai", client = c(), temperature = 0.5, stop = ["x"],
            parameters = p(), tools(A), run_tools = 3, response = B, retry = r(), fallback = ["sim/echo"], timeout = t()
        };
        let call =
            crate::call::expand(every, quote! { async fn ask(cx: &Context, a: &str, b: u8) -> String {} });
        let value = crate::call::expand(
            quote! { crate = "crate::ai", model = m() },
            quote! { fn ask() -> String {} },
        );
        let options = quote! { crate = "crate::ai", name = "a", timeout = t() };
        let function = crate::tool::expand(options, quote! { fn add(cx: &Context, a: u8) -> u8 {} });
        let options = quote! { crate = "crate::ai", blocking, context };
        let structure = crate::tool::expand(options, quote! { struct Add { a: u8 } });
        let schema = crate::schema::expand(quote! { crate = "crate::ai" }, &quote! { struct Add { a: u8 } });
        let with_crate = |given| quote! { ai #given };
        let values = crate::prompt::expand(with_crate(quote! { "{{ a }}", a })).unwrap();
        let fields = crate::prompt::expand(with_crate(quote! { A => "{{ a }}" })).unwrap();
        for tokens in [call, value, function, structure, schema, values, fields] {
            assert!(!rooted(&tokens) && tokens.to_string().contains("ai :: "), "{tokens}");
        }
        assert!(rooted(&crate::tool::expand(quote! {}, quote! { fn add(a: u8) -> u8 {} })));
    }
}

//! `#[tool]`.

mod docs;
mod function;
mod options;
mod structure;

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::spanned::Spanned;
use syn::{Error, FnArg, Ident, Item, ItemFn, Result};

use options::Options;

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    tool(options, item.clone()).unwrap_or_else(|error| {
        // Keeps the function, so that its callers get no follow-up errors.
        let mut function = syn::parse2::<ItemFn>(item).ok();
        if let Some(function) = &mut function {
            for parameter in &mut function.sig.inputs {
                match parameter {
                    FnArg::Typed(parameter) => parameter.attrs.clear(),
                    FnArg::Receiver(_) => return error.into_compile_error(),
                }
            }
        }
        let error = error.into_compile_error();
        quote! { #error #function }
    })
}

fn tool(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let options: Options = syn::parse2(options)?;
    match syn::parse2(item)? {
        Item::Fn(item) => {
            options.takes(&item.sig.ident)?;
            function::expand(options, item)
        }
        Item::Struct(item) => {
            options.takes(&item.ident)?;
            structure::expand(options, &item)
        }
        item => Err(Error::new(
            item.span(),
            "`#[tool]` needs a function, or a struct whose fields are the arguments",
        )),
    }
}

/// `impl TypedTool`.
struct Implementation {
    /// The type of the arguments.
    of: Ident,
    options: Options,
    /// The text of the doc comments.
    docs: String,
    /// An expression of type `Result<String>`, in terms of `self` and `__context`.
    run: TokenStream,
}

impl ToTokens for Implementation {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self { of, options, docs, run } = self;
        let krate = &options.krate;
        let name = options.name.as_ref().map_or_else(|| of.to_string(), syn::LitStr::value);
        let name = name.trim_start_matches("r#");
        let description = options.description.as_ref().map_or_else(|| docs.clone(), syn::LitStr::value);
        let timeout = options.timeout.as_ref().map(|timeout| {
            quote! {
                const TIMEOUT: ::core::option::Option<::core::time::Duration> = ::core::option::Option::Some(#timeout);
            }
        });
        let return_direct = options.return_direct.as_ref().map(|_| {
            quote!(
                const RETURN_DIRECT: bool = true;
            )
        });
        tokens.extend(quote! {
            #[allow(deprecated, reason = "deprecated tools still work")]
            impl #krate::tools::TypedTool for #of {
                const NAME: &'static str = #name;
                const DESCRIPTION: &'static str = #description;
                #timeout
                #return_direct

                fn parameters() -> #krate::__private::Value {
                    #krate::__private::tool::parameters::<Self>()
                }

                async fn run_tool(self, __context: &#krate::Context) -> #krate::Result<::std::string::String> {
                    #[allow(unused_imports, reason = "the conversion depends on the return type of the tool")]
                    use #krate::__private::tool::{Fallible as _, Plain as _};
                    let _ = __context;
                    #run
                }
            }
        });
    }
}

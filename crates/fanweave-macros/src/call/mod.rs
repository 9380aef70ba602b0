//! `#[call]`.

mod function;
mod options;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Item, ItemFn, Result};

use options::Options;

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    call(options, item).unwrap_or_else(syn::Error::into_compile_error)
}

fn call(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let function: ItemFn = match syn::parse2(item)? {
        Item::Fn(function) => function,
        other => {
            let message =
                "`#[call]` needs a function that returns its prompt: `async fn ask(topic: &str) -> String`";
            return Err(syn::Error::new_spanned(other, message));
        }
    };
    // Reports the errors of both at the same time.
    let options = syn::parse2::<Options>(options);
    match (options, function::Function::read(&function)) {
        (Ok(options), Ok(read)) => Ok(read.expand(&options)),
        (Err(mut error), Err(other)) => {
            error.combine(other);
            Err(error)
        }
        (Err(error), Ok(read)) => {
            let error = error.into_compile_error();
            // Keeps the callers of the function free of follow-up errors.
            let stub = read.stub();
            Ok(quote! { #error #stub })
        }
        (Ok(_), Err(error)) => Err(error),
    }
}

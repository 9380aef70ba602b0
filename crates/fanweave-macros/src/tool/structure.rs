//! A struct as a tool: its fields are the arguments, and its method `call` does the work.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Fields, ItemStruct, Path, Result, Token};

use super::{Implementation, Options, docs, function};

pub(super) fn expand(options: Options, item: &ItemStruct) -> Result<TokenStream> {
    let name = &item.ident;
    if !item.generics.params.is_empty() {
        let message = "tools cannot have type or lifetime parameters: a tool has one schema";
        return Err(Error::new(item.generics.span(), message));
    }
    if !matches!(item.fields, Fields::Named(_)) {
        let message = format!("a tool needs named fields: write `struct {name} {{ .. }}`");
        return Err(Error::new(name.span(), message));
    }
    let krate = &options.krate;
    let serde = (!derives(item, "Deserialize")).then(|| {
        let path = function::private(krate, "serde");
        quote! {
            #[derive(#krate::__private::serde::Deserialize)]
            #[serde(crate = #path)]
        }
    });
    let schemars = (!derives(item, "JsonSchema")).then(|| {
        let path = function::private(krate, "schemars");
        quote! {
            #[derive(#krate::__private::schemars::JsonSchema)]
            #[schemars(crate = #path)]
        }
    });
    let context = options.context.as_ref().map(|_| quote! { __context });
    // Spanned at the name, so that a missing method is reported there.
    let call = quote_spanned! {name.span()=> self.call(#context) };
    let run = if options.blocking.is_some() {
        function::blocking(krate, &call, name.span())
    } else {
        let future = quote_spanned! {name.span()=> #krate::__private::tool::work(#call).await };
        function::tool_result(krate, &future, name.span())
    };
    let run = quote! {
        #[allow(unused_imports, reason = "only for structs without a method of that name")]
        use #krate::__private::tool::NoCall as _;
        #run
    };
    let implementation = Implementation { of: name.clone(), options, docs: docs::text(&item.attrs), run };
    Ok(quote! {
        #serde
        #schemars
        #item

        #implementation
    })
}

/// Returns true if the struct already derives a trait of that name.
fn derives(item: &ItemStruct, name: &str) -> bool {
    let derives = item.attrs.iter().filter(|attribute| attribute.path().is_ident("derive"));
    let traits = derives
        .filter_map(|derive| derive.parse_args_with(Punctuated::<Path, Token![,]>::parse_terminated).ok());
    traits.flatten().any(|path| path.segments.last().is_some_and(|segment| segment.ident == name))
}

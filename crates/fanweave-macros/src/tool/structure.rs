//! A struct as a tool: its fields are the arguments, and its method `call` does the work.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, Fields, ItemStruct, Result};

use super::{Implementation, Options, docs, function};
use crate::schema;

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
    let derives = schema::derives(krate, &item.attrs, &["Deserialize"]);
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
        #derives
        #item

        #implementation
    })
}

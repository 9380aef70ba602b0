//! A function as a tool: a struct with the name of the function and its arguments as fields.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, Error, FnArg, Ident, ItemFn, Pat, Path, Result, ReturnType, Safety, Type};

use super::{Implementation, Options, docs};
use crate::schema::private;
use crate::types::{conditional, find, hides, is_context, owned};

/// An argument that the model fills in.
struct Argument {
    /// Doc comments, and attributes of serde and schemars.
    attributes: Vec<Attribute>,
    name: Ident,
    of: TokenStream,
}

pub(super) fn expand(options: Options, mut function: ItemFn) -> Result<TokenStream> {
    let mut wrong: Option<Error> = None;
    let mut add = |error: Error| match &mut wrong {
        Some(all) => all.combine(error),
        None => wrong = Some(error),
    };
    if let Some(option) = options.blocking.as_ref().or(options.context.as_ref()) {
        let message = format!(
            "`{option}` is only for structs: a function that is not async runs on a blocking thread, and a function \
             whose first parameter is `&Context` receives the context"
        );
        add(Error::new(option.span(), message));
    }
    if let Safety::Unsafe(word) = &function.sig.safety {
        let message = "tools cannot be `unsafe`: write an `unsafe` block in the body";
        add(Error::new(word.span(), message));
    }
    function.sig.inputs.iter().filter_map(conditional).for_each(&mut add);
    let generics = &function.sig.generics;
    if !generics.params.is_empty() {
        add(Error::new(
            generics.span(),
            "tools cannot have type or lifetime parameters: a tool has one schema",
        ));
    }
    let takes_context =
        matches!(function.sig.inputs.first(), Some(FnArg::Typed(first)) if is_context(&first.ty));
    let mut arguments = Vec::new();
    for parameter in function.sig.inputs.iter_mut().skip(usize::from(takes_context)) {
        match argument(parameter) {
            Ok(argument) => arguments.push(argument),
            Err(error) => add(error),
        }
    }
    if let Some(error) = wrong {
        return Err(error);
    }

    let name = &function.sig.ident;
    let visibility = &function.vis;
    let fields = arguments.iter().map(|Argument { attributes, name, of }| {
        quote! { #(#attributes)* #visibility #name: #of }
    });
    let hidden = function.attrs.iter().find(hides);
    let about = format!("Arguments of the tool function `{name}`.");
    let context = takes_context.then(|| quote! { __context, });
    let names = arguments.iter().map(|argument| &argument.name);
    let call = quote! { #name(#context #(self.#names),*) };
    // Spanned at the type, so that an unsupported return type is reported there.
    let answer = match &function.sig.output {
        ReturnType::Default => name.span(),
        ReturnType::Type(_, of) => of.span(),
    };
    let run = match function.sig.asyncness {
        Some(_) => tool_result(&options.krate, &quote! { #call.await }, answer),
        None => blocking(&options.krate, &call, answer),
    };
    let krate = options.krate.to_token_stream();
    let (serde, schemars) = (private(&options.krate, "serde"), private(&options.krate, "schemars"));
    let implementation = Implementation { of: name.clone(), options, docs: docs::text(&function.attrs), run };
    Ok(quote! {
        #[allow(clippy::needless_pass_by_value, reason = "the arguments of a tool are owned")]
        #function

        #[doc = #about]
        #hidden
        #[allow(non_camel_case_types, missing_docs, unreachable_pub, reason = "it has the name of the function")]
        #[derive(#krate::__private::serde::Deserialize, #krate::__private::schemars::JsonSchema)]
        #[serde(crate = #serde)]
        #[schemars(crate = #schemars)]
        #visibility struct #name {
            #(#fields,)*
        }

        #implementation
    })
}

/// The code that converts a value to text for the model. A type error in it is reported at `span`.
pub(super) fn tool_result(krate: &Path, value: &TokenStream, span: Span) -> TokenStream {
    let returned = quote_spanned! {span=> returned.to_text() };
    quote! {{
        let returned = #krate::__private::tool::Returned(#value);
        #returned
    }}
}

/// A call of `self` and `__context` on a blocking thread.
pub(super) fn blocking(krate: &Path, call: &TokenStream, span: Span) -> TokenStream {
    let result = tool_result(krate, call, span);
    quote! {
        let __context = ::core::clone::Clone::clone(__context);
        let call = move || {
            let __context = &__context;
            let _ = __context;
            #result
        };
        #krate::blocking::Pool::shared().run(call).await?
    }
}

/// Moves the attributes that belong to the field out of the parameter.
fn argument(parameter: &mut FnArg) -> Result<Argument> {
    let parameter = match parameter {
        FnArg::Typed(parameter) => parameter,
        FnArg::Receiver(receiver) => {
            let message =
                "methods cannot be tools: write a free function, or implement `fanweave::Tool` for the type";
            return Err(Error::new(receiver.span(), message));
        }
    };
    if is_context(&parameter.ty) {
        let message = "the context must be the first parameter: the model does not fill it in";
        return Err(Error::new(parameter.ty.span(), message));
    }
    let Pat::Ident(pattern) = &*parameter.pat else {
        let message = "give the argument a name: the model fills it in by name";
        return Err(Error::new(parameter.pat.span(), message));
    };
    let wrong = find(&parameter.ty, &|of| match of {
        Type::Reference(reference) if reference.lifetime.as_ref().is_none_or(|of| of.ident != "static") => {
            let owned = owned(&reference.elem);
            let message = format!("the arguments of a tool must be owned: write {owned}");
            Some(Error::new(reference.span(), message))
        }
        Type::ImplTrait(of) => Some(Error::new(
            of.span(),
            "name a concrete type for the argument: the schema is derived from it",
        )),
        _ => None,
    });
    if let Some(error) = wrong {
        return Err(error);
    }
    let for_field = |attribute: &Attribute| {
        ["doc", "serde", "schemars"].iter().any(|name| attribute.path().is_ident(name))
    };
    let (attributes, rest) = std::mem::take(&mut parameter.attrs).into_iter().partition(for_field);
    parameter.attrs = rest;
    Ok(Argument { attributes, name: pattern.ident.clone(), of: parameter.ty.to_token_stream() })
}

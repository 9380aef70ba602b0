//! The annotated function, which returns the prompt.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, FnArg, GenericArgument, GenericParam, Ident, ItemFn, Meta, Pat, PathArguments, Result,
    ReturnType, Safety, Signature, Type,
};

use super::options::{Model, Options};
use crate::krate;
use crate::types::{bare, conditional, find, hides, is_context, owned};

/// The parsed parts of the function.
pub(super) struct Function<'a> {
    item: &'a ItemFn,
    takes_context: bool,
    arguments: Vec<Argument<'a>>,
    /// The type of the prompt.
    prompt_type: &'a Type,
}

struct Argument<'a> {
    name: &'a Ident,
    of: &'a Type,
    /// The borrowed type, if the argument is a reference.
    borrowed: Option<&'a Type>,
}

impl<'a> Function<'a> {
    pub(super) fn read(item: &'a ItemFn) -> Result<Self> {
        let mut wrong: Option<Error> = None;
        let mut add = |error: Error| match &mut wrong {
            Some(all) => all.combine(error),
            None => wrong = Some(error),
        };
        qualified(&item.sig).into_iter().for_each(&mut add);
        item.sig.inputs.iter().filter_map(conditional).for_each(&mut add);
        for parameter in &item.sig.generics.params {
            add(match parameter {
                GenericParam::Lifetime(_) => Error::new(
                    parameter.span(),
                    "`#[call]` functions need no lifetime parameters: write `&str`, which is copied",
                ),
                _ => Error::new(
                    parameter.span(),
                    "`#[call]` functions cannot be generic: name a concrete type",
                ),
            });
        }
        let takes_context =
            matches!(item.sig.inputs.first(), Some(FnArg::Typed(first)) if is_context(&first.ty));
        let mut arguments = Vec::new();
        for parameter in item.sig.inputs.iter().skip(usize::from(takes_context)) {
            match argument(parameter) {
                Ok(argument) => arguments.push(argument),
                Err(error) => add(error),
            }
        }
        let prompt_type = match &item.sig.output {
            ReturnType::Type(_, prompt_type) => Some(&**prompt_type),
            ReturnType::Default => {
                let message =
                    "a `#[call]` function returns its prompt: write `-> String` or `-> Vec<Message>`";
                add(Error::new(item.sig.ident.span(), message));
                None
            }
        };
        match (wrong, prompt_type) {
            (None, Some(prompt_type)) => Ok(Self { item, takes_context, arguments, prompt_type }),
            (Some(error), _) => Err(error),
            (None, None) => unreachable!("a missing type is an error"),
        }
    }

    /// The function with an empty placeholder body.
    pub(super) fn stub(&self) -> TokenStream {
        let (visibility, name) = (&self.item.vis, &self.item.sig.ident);
        let inputs = self.inputs();
        let krate = krate::plain();
        quote! {
            #[allow(unused_variables, missing_docs, clippy::all, reason = "a placeholder for a call that does not compile")]
            #visibility fn #name(#inputs) -> #krate::call::Call<#krate::call::Response> {
                ::core::unimplemented!()
            }
        }
    }

    fn inputs(&self) -> TokenStream {
        let inputs = self.arguments.iter().map(|Argument { name, of, .. }| quote! { #name: #of });
        quote! { #(#inputs),* }
    }

    pub(super) fn expand(&self, options: &Options) -> TokenStream {
        let Self { item, arguments, prompt_type, .. } = self;
        let krate = &options.krate;
        let (visibility, name) = (&item.vis, &item.sig.ident);
        // Each of the two generated items may trigger a lint that the function expects.
        let attributes: Vec<_> = item.attrs.iter().map(allowed).collect();
        let inputs = self.inputs();
        let names: Vec<_> = arguments.iter().map(|argument| argument.name).collect();
        let owned: Vec<_> = arguments.iter().map(Argument::owned_type).collect();
        let input = match &*owned {
            [one] => one.clone(),
            all => quote! { (#(#all,)*) },
        };
        let binding = match &*names {
            [one] => quote! { #one },
            all => quote! { (#(#all,)*) },
        };
        let given = arguments.iter().map(|Argument { name, borrowed, .. }| match borrowed {
            Some(from) => quote! { <#from as ::std::borrow::ToOwned>::to_owned(#name) },
            None => quote! { #name },
        });
        let given: Vec<_> = given.collect();
        let given = match &*given {
            [one] => quote! { #one },
            all => quote! { (#(#all,)*) },
        };

        // The original function, nested so that only generated code can call it. Its names cannot clash with
        // an argument.
        let asks = Ident::new("__asks", name.span());
        let cx = Ident::new("cx", Span::mixed_site());
        let asked_for = Ident::new("__asked", prompt_type.span());
        let (is_async, written, output, block) =
            (&item.sig.asyncness, &item.sig.inputs, &item.sig.output, &item.block);
        let is_lint = |attribute: &&Attribute| {
            ["allow", "expect", "warn", "deny", "forbid"].iter().any(|name| attribute.path().is_ident(name))
        };
        let lints = item.attrs.iter().filter(is_lint).map(allowed);
        let body = quote! { #(#lints)* #is_async fn #asks(#written) #output #block };
        let context = self.takes_context.then(|| quote! { &#cx, });
        let passed = arguments.iter().map(|Argument { name, borrowed, .. }| match borrowed {
            Some(from) => quote! { #krate::__private::call::Borrow::<#from>::borrow(&#name) },
            None => quote! { #name },
        });
        let wait = item.sig.asyncness.as_ref().map(|_| quote! { .await });
        // Spanned at the return type, so that a type that is not a prompt is reported there.
        let there = krate::at(krate, prompt_type.span());
        let config = quote_spanned! {prompt_type.span()=> #there::call::IntoConfig::into_config(#asked_for) };

        let plain = name.to_string();
        let plain = plain.trim_start_matches("r#");
        let hidden = item.attrs.iter().find(hides);
        let about = format!("The call `{plain}` as a step: its chain and its parts.");
        let settings = settings(options);
        let answer = match &options.response {
            Some(response) => response.to_token_stream(),
            None => quote! { #krate::call::Response },
        };
        quote! {
            #(#attributes)*
            #[allow(clippy::used_underscore_binding, reason = "the annotated function does not use it")]
            #visibility fn #name(#inputs) -> #krate::call::Call<#answer> {
                #krate::__private::call::of::<#name>(#given)
            }

            #[doc = #about]
            #hidden
            #[allow(non_camel_case_types, missing_docs, unreachable_pub, reason = "it has the name of the function")]
            #visibility struct #name {}

            #[allow(dead_code, reason = "not every call is a step of a chain")]
            impl #name {
                /// The call as a chain from its argument, or from a tuple of its arguments.
                #visibility fn chain() -> #krate::Chain<#input, #answer> {
                    #krate::__private::call::chain_of::<Self>()
                }
            }

            impl #krate::call::Function for #name {
                type Input = #input;
                type Output = #answer;

                const NAME: &'static str = #plain;
                #settings

                #[allow(clippy::used_underscore_binding, reason = "the annotated function does not use it")]
                async fn config(
                    #binding: Self::Input,
                    #cx: #krate::Context,
                ) -> #krate::Result<#krate::call::Config> {
                    #[allow(clippy::unused_async, clippy::needless_pass_by_value, reason = "it keeps the signature of the call")]
                    #body
                    let _ = &#cx;
                    let #asked_for = #asks(#context #(#passed),*) #wait;
                    #config
                }
            }
        }
    }
}

impl Argument<'_> {
    fn owned_type(&self) -> TokenStream {
        match self.borrowed {
            Some(from) => quote! { <#from as ::std::borrow::ToOwned>::Owned },
            None => self.of.to_token_stream(),
        }
    }
}

/// Turns `expect` of a lint into `allow`, and keeps any other attribute.
fn allowed(attribute: &Attribute) -> TokenStream {
    match &attribute.meta {
        Meta::List(list) if list.path.is_ident("expect") => {
            let lints = &list.tokens;
            quote! { #[allow(#lints)] }
        }
        _ => attribute.to_token_stream(),
    }
}

/// The options as items of the implementation.
fn settings(options: &Options) -> TokenStream {
    let krate = &options.krate;
    let shared_model = |build: TokenStream| {
        quote! {
            fn model() -> #krate::Result<#krate::Model> {
                static MODEL: #krate::__private::call::OnceLock<#krate::Model> =
                    #krate::__private::call::OnceLock::new();
                #krate::__private::call::shared_model(&MODEL, || #build)
            }
        }
    };
    let model = match (&options.model, &options.client) {
        (Model::Name(name), client) => {
            let build = match client {
                Some(client) => {
                    let krate = krate::at(krate, client.span());
                    quote_spanned! {client.span()=> #krate::__private::call::model_through(#name, #client) }
                }
                None => quote! { #krate::model(#name) },
            };
            let shared_model = shared_model(build);
            quote! {
                const MODEL: ::core::option::Option<&'static str> = ::core::option::Option::Some(#name);
                #shared_model
            }
        }
        (Model::Expression(model), _) => {
            let there = krate::at(krate, model.span());
            shared_model(quote_spanned! {model.span()=> #there::call::IntoModel::into_model(#model) })
        }
    };
    let parameters = (!options.fields.is_empty() || options.parameters.is_some()).then(|| {
        // Hygienic: expressions of the attribute may call a function of that name.
        let parameters = Ident::new("parameters", Span::mixed_site());
        let setters = options.fields.iter().map(|(field, value)| match field.to_string().as_str() {
            "stop" => {
                let krate = krate::at(krate, value.span());
                quote_spanned! {value.span()=> #parameters.stop = #krate::__private::call::texts(#value); }
            }
            "reasoning_effort" => quote_spanned! {value.span()=>
                #parameters.reasoning_effort = ::core::option::Option::Some(::core::convert::Into::into(#value));
            },
            "reasoning_summary" => quote_spanned! {value.span()=> #parameters.reasoning_summary = #value; },
            _ => quote_spanned! {value.span()=> #parameters.#field = ::core::option::Option::Some(#value); },
        });
        let rest = options.parameters.as_ref().map(|rest| quote! { .or(&#rest) });
        quote! {
            fn parameters() -> #krate::Parameters {
                let #parameters = #krate::Parameters::new();
                #(
                    let mut #parameters = #parameters;
                    #setters
                )*
                #parameters #rest
            }
        }
    });
    let tools = (!options.tools.is_empty()).then(|| {
        let tools = options.tools.iter().map(|tool| quote_spanned! {tool.span()=> .with::<#tool>() });
        quote! {
            fn tools() -> ::core::option::Option<#krate::Tools> {
                ::core::option::Option::Some(#krate::Tools::new() #(#tools)*)
            }
        }
    });
    let rounds = options.run_tools.as_ref().map(|rounds| {
        quote! {
            fn rounds() -> ::core::option::Option<u32> {
                ::core::option::Option::Some(#rounds)
            }
        }
    });
    let retry = options.retry.as_ref().map(|policy| quote_spanned! {policy.span()=> .retry(#policy) });
    let fallback = options.fallback.as_ref().map(|others| {
        let krate = krate::at(krate, others.span());
        quote_spanned! {others.span()=>
            .fallback(#krate::__private::call::models(#others)?)
        }
    });
    let timeout = options.timeout.as_ref().map(|limit| {
        quote_spanned! {limit.span()=>
            fn timeout() -> ::core::option::Option<::core::time::Duration> {
                ::core::option::Option::Some(#limit)
            }
        }
    });
    let around = (retry.is_some() || fallback.is_some()).then(|| {
        quote! {
            fn around(
                model: #krate::Chain<#krate::Prompt, #krate::Message>,
            ) -> #krate::Result<#krate::Chain<#krate::Prompt, #krate::Message>> {
                ::core::result::Result::Ok(model #retry #fallback)
            }
        }
    });
    let answer = match &options.response {
        Some(response) => {
            let krate = krate::at(krate, response.span());
            quote_spanned! {response.span()=> #krate::__private::call::structured::<#response>(model, name) }
        }
        None => quote! { #krate::__private::call::respond(model, name) },
    };
    quote! {
        #model
        #parameters
        #tools
        #rounds
        #timeout
        #around

        fn answer(
            model: #krate::Chain<#krate::Prompt, #krate::Message>,
            name: &str,
        ) -> #krate::Chain<#krate::Prompt, Self::Output> {
            #answer
        }
    }
}

/// The error of a type that contains a reference, or that is not named.
fn refused(of: &Type) -> Option<Error> {
    let is_elided = |lifetime: &syn::Lifetime| lifetime.ident == "_";
    find(of, &|of| match of {
        Type::Reference(reference) if reference.lifetime.as_ref().is_none_or(is_elided) => {
            let message = format!(
                "references are supported only as the type of an argument, not inside it: write {}",
                owned(&reference.elem)
            );
            Some(Error::new(reference.span(), message))
        }
        Type::ImplTrait(of) => {
            Some(Error::new(of.span(), "`#[call]` functions cannot be generic: name a concrete type"))
        }
        Type::Path(path) => path.path.segments.iter().find_map(|segment| {
            let PathArguments::AngleBracketed(of) = &segment.arguments else { return None };
            of.args.iter().find_map(|of| match of {
                GenericArgument::Lifetime(lifetime) if is_elided(lifetime) => {
                    let message = "the arguments of a call must be owned: write `'static`, or another type";
                    Some(Error::new(lifetime.span(), message))
                }
                _ => None,
            })
        }),
        _ => None,
    })
}

/// Rejects modifiers that functions support and calls do not.
fn qualified(signature: &Signature) -> Option<Error> {
    let (span, message) = if let Safety::Unsafe(word) = &signature.safety {
        (word.span(), "`#[call]` functions cannot be `unsafe`: write an `unsafe` block in the body")
    } else if let Some(word) = &signature.constness {
        (word.span(), "`#[call]` functions cannot be `const`: remove it")
    } else if let Some(abi) = &signature.abi {
        (abi.span(), "`#[call]` functions cannot be `extern`: remove it")
    } else {
        return None;
    };
    Some(Error::new(span, message))
}

fn argument(parameter: &FnArg) -> Result<Argument<'_>> {
    let parameter = match parameter {
        FnArg::Typed(parameter) => parameter,
        FnArg::Receiver(receiver) => {
            let message =
                "methods cannot be `#[call]` functions: write a free function and pass what it needs";
            return Err(Error::new(receiver.span(), message));
        }
    };
    if is_context(&parameter.ty) {
        return Err(Error::new(parameter.ty.span(), "the context must be the first parameter"));
    }
    let Pat::Ident(pattern) = &*parameter.pat else {
        return Err(Error::new(parameter.pat.span(), "give the argument a name"));
    };
    let of = bare(&parameter.ty);
    let borrowed = match of {
        Type::Reference(reference) if reference.mutability.is_some() => {
            let message = "`&mut` arguments are not supported: take the value (the call runs later)";
            return Err(Error::new(reference.span(), message));
        }
        // A `'static` reference needs no copy.
        Type::Reference(reference) if reference.lifetime.as_ref().is_none_or(|of| of.ident == "_") => {
            Some(&*reference.elem)
        }
        _ => None,
    };
    if let Some(Type::TraitObject(of)) = borrowed.map(bare) {
        return Err(Error::new(
            of.span(),
            "the arguments of a call must be owned: name a concrete type, or box it",
        ));
    }
    if let Some(error) = refused(borrowed.unwrap_or(of)) {
        return Err(error);
    }
    Ok(Argument { name: &pattern.ident, of, borrowed })
}

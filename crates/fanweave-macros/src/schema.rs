//! `#[schema]`: serde's traits and the JSON schema of a type, through fanweave's versions of the crates.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, Error, Item, Path, Result, Token};

use crate::krate;

/// Options in the parentheses of `#[schema(..)]`.
struct Options {
    krate: Path,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if input.is_empty() {
            return Ok(Self { krate: krate::plain() });
        }
        if !input.peek(Token![crate]) {
            return Err(input.error("unknown option: the only option is `crate = \"..\"`"));
        }
        let krate = krate::parse(input)?;
        input.parse::<Option<Token![,]>>()?;
        Ok(Self { krate })
    }
}

pub(crate) fn expand(options: TokenStream, item: &TokenStream) -> TokenStream {
    // The type stays if something is wrong, so that its users get no follow-up errors.
    let derives = derives_of(options, item.clone()).unwrap_or_else(Error::into_compile_error);
    quote! { #derives #item }
}

fn derives_of(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let Options { krate } = syn::parse2(options)?;
    let attributes = match syn::parse2(item)? {
        Item::Struct(item) => item.attrs,
        Item::Enum(item) => item.attrs,
        item => return Err(Error::new(item.span(), "`#[schema]` needs a struct or an enum")),
    };
    Ok(derives(&krate, &attributes, &["Serialize", "Deserialize"]))
}

/// Derives those of serde's traits `wanted`, and `JsonSchema`, that the type does not derive itself.
pub(crate) fn derives(krate: &Path, attributes: &[Attribute], wanted: &[&str]) -> TokenStream {
    let missing = |name: &&&str| !derives_itself(attributes, name);
    let serde: Vec<_> = wanted
        .iter()
        .filter(missing)
        .map(|name| {
            let name = format_ident!("{name}");
            quote! { #krate::__private::serde::#name }
        })
        .collect();
    let serde = (!serde.is_empty()).then(|| {
        let path = private(krate, "serde");
        quote! {
            #[derive(#(#serde),*)]
            #[serde(crate = #path)]
        }
    });
    let schemars = (!derives_itself(attributes, "JsonSchema")).then(|| {
        let path = private(krate, "schemars");
        quote! {
            #[derive(#krate::__private::schemars::JsonSchema)]
            #[schemars(crate = #path)]
        }
    });
    quote! { #serde #schemars }
}

/// Tells derives the path of a crate that fanweave re-exports.
pub(crate) fn private(krate: &Path, name: &str) -> String {
    quote!(#krate::__private).to_string().replace(' ', "") + "::" + name
}

/// Returns true if the type already derives a trait of that name.
fn derives_itself(attributes: &[Attribute], name: &str) -> bool {
    let derives = attributes.iter().filter(|attribute| attribute.path().is_ident("derive"));
    let traits = derives
        .filter_map(|derive| derive.parse_args_with(Punctuated::<Path, Token![,]>::parse_terminated).ok());
    traits.flatten().any(|path| path.segments.last().is_some_and(|segment| segment.ident == name))
}

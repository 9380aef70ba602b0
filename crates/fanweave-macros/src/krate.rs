//! By which path what is written names fanweave.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::parse::ParseStream;
use syn::{Error, LitStr, Path, Result, Token, parse_quote};

/// The path where nobody gives another one.
pub(crate) fn plain() -> Path {
    parse_quote!(::fanweave)
}

/// The path of `crate = ".."`, whose first word is next.
pub(crate) fn parse(input: ParseStream<'_>) -> Result<Path> {
    let option = input.parse::<Token![crate]>()?;
    let wanted = |span| Error::new(span, "expected `crate = \"..\"`, with the path of the fanweave crate");
    input.parse::<Token![=]>().map_err(|_| wanted(option.span))?;
    let path: LitStr = input.parse().map_err(|error| wanted(error.span()))?;
    path.parse().map_err(|_| wanted(path.span()))
}

/// The path as it is written at `span`, where errors of what is called by it then are.
pub(crate) fn at(krate: &Path, span: Span) -> TokenStream {
    let moved = |mut token: TokenTree| {
        token.set_span(span);
        token
    };
    krate.to_token_stream().into_iter().map(moved).collect()
}

//! The path under which the generated code names fanweave.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::parse::ParseStream;
use syn::{Error, LitStr, Path, Result, Token, parse_quote};

/// The default path.
pub(crate) fn plain() -> Path {
    parse_quote!(::fanweave)
}

/// Parses the path of `crate = ".."`. The keyword `crate` is next in the input.
pub(crate) fn parse(input: ParseStream<'_>) -> Result<Path> {
    let option = input.parse::<Token![crate]>()?;
    let wanted = |span| Error::new(span, "expected `crate = \"..\"`, with the path of the fanweave crate");
    input.parse::<Token![=]>().map_err(|_| wanted(option.span))?;
    let path: LitStr = input.parse().map_err(|error| wanted(error.span()))?;
    path.parse().map_err(|_| wanted(path.span()))
}

/// The path spanned at `span`, so that errors of the code that uses it are reported there.
pub(crate) fn at(krate: &Path, span: Span) -> TokenStream {
    let moved = |mut token: TokenTree| {
        token.set_span(span);
        token
    };
    krate.to_token_stream().into_iter().map(moved).collect()
}

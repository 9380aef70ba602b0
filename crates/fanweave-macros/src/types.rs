//! What types are, as they are written.

use syn::spanned::Spanned;
use syn::{Attribute, Error, FnArg, GenericArgument, Meta, PathArguments, Type};

/// A type without what a macro that wrote it has put around it.
pub(crate) fn bare(of: &Type) -> &Type {
    match of {
        Type::Group(group) => bare(&group.elem),
        Type::Paren(paren) => bare(&paren.elem),
        of => of,
    }
}

/// Whether a type is `&Context`.
pub(crate) fn is_context(of: &Type) -> bool {
    let Type::Reference(reference) = bare(of) else { return false };
    let Type::Path(path) = bare(&reference.elem) else { return false };
    path.path.segments.last().is_some_and(|segment| segment.ident == "Context")
}

/// What to write in the place of a reference to `of`.
pub(crate) fn owned(of: &Type) -> &'static str {
    match bare(of) {
        Type::Path(path) if path.path.is_ident("str") => "`String`",
        Type::Slice(_) => "`Vec<..>`",
        _ => "the type without `&`",
    }
}

/// The first that `wrong` says of a type and of those within it.
pub(crate) fn find(of: &Type, wrong: &impl Fn(&Type) -> Option<Error>) -> Option<Error> {
    wrong(of).or_else(|| match of {
        Type::Reference(of) => find(&of.elem, wrong),
        Type::Array(of) => find(&of.elem, wrong),
        Type::Slice(of) => find(&of.elem, wrong),
        Type::Group(of) => find(&of.elem, wrong),
        Type::Paren(of) => find(&of.elem, wrong),
        Type::Tuple(of) => of.elems.iter().find_map(|of| find(of, wrong)),
        Type::Path(of) => of.path.segments.iter().find_map(|segment| {
            // Those of functions are within parentheses, and are no part of a value.
            let PathArguments::AngleBracketed(of) = &segment.arguments else { return None };
            of.args.iter().find_map(|of| match of {
                GenericArgument::Type(of) => find(of, wrong),
                _ => None,
            })
        }),
        _ => None,
    })
}

/// The error of an argument that is there under a condition alone: what is written beside the function has it in any case.
pub(crate) fn conditional(parameter: &FnArg) -> Option<Error> {
    let (FnArg::Typed(syn::PatType { attrs, .. }) | FnArg::Receiver(syn::Receiver { attrs, .. })) = parameter;
    let cfg = attrs
        .iter()
        .find(|attribute| ["cfg", "cfg_attr"].iter().any(|name| attribute.path().is_ident(name)))?;
    Some(Error::new(
        cfg.span(),
        "arguments cannot have `cfg` attributes: write two functions with `cfg` instead",
    ))
}

/// Whether an attribute keeps an item out of the documentation.
pub(crate) fn hides(attribute: &&Attribute) -> bool {
    matches!(&attribute.meta, Meta::List(list) if list.path.is_ident("doc") && list.tokens.to_string() == "hidden")
}

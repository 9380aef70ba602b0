//! Helpers for types in source code.

use syn::spanned::Spanned;
use syn::{Attribute, Error, FnArg, GenericArgument, Meta, PathArguments, Type};

/// The type without the invisible group that a macro may have wrapped around it.
pub(crate) fn bare(of: &Type) -> &Type {
    match of {
        Type::Group(group) => bare(&group.elem),
        Type::Paren(paren) => bare(&paren.elem),
        of => of,
    }
}

/// Returns true if the type is `&Context`.
pub(crate) fn is_context(of: &Type) -> bool {
    let Type::Reference(reference) = bare(of) else { return false };
    let Type::Path(path) = bare(&reference.elem) else { return false };
    path.path.segments.last().is_some_and(|segment| segment.ident == "Context")
}

/// The owned type to write instead of a reference to `of`.
pub(crate) fn owned(of: &Type) -> &'static str {
    match bare(of) {
        Type::Path(path) if path.path.is_ident("str") => "`String`",
        Type::Slice(_) => "`Vec<..>`",
        _ => "the type without `&`",
    }
}

/// The first error that `wrong` returns for a type or the types within it.
pub(crate) fn find(of: &Type, wrong: &impl Fn(&Type) -> Option<Error>) -> Option<Error> {
    wrong(of).or_else(|| match of {
        Type::Reference(of) => find(&of.elem, wrong),
        Type::Array(of) => find(&of.elem, wrong),
        Type::Slice(of) => find(&of.elem, wrong),
        Type::Group(of) => find(&of.elem, wrong),
        Type::Paren(of) => find(&of.elem, wrong),
        Type::Tuple(of) => of.elems.iter().find_map(|of| find(of, wrong)),
        Type::Path(of) => of.path.segments.iter().find_map(|segment| {
            // Function types are written in parentheses and hold no values.
            let PathArguments::AngleBracketed(of) = &segment.arguments else { return None };
            of.args.iter().find_map(|of| match of {
                GenericArgument::Type(of) => find(of, wrong),
                _ => None,
            })
        }),
        _ => None,
    })
}

/// The error of an argument with a `cfg` attribute: the generated code uses the argument in any case.
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

/// Returns true if the attribute hides an item from the documentation.
pub(crate) fn hides(attribute: &&Attribute) -> bool {
    matches!(&attribute.meta, Meta::List(list) if list.path.is_ident("doc") && list.tokens.to_string() == "hidden")
}

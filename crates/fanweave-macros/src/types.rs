//! What types are, as they are written.

use syn::Type;

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

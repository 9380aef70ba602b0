//! `prompt!`.

use std::collections::BTreeSet;

use minijinja::Environment;
use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Expr, LitStr, Result, Token, Type};

pub(crate) fn expand(input: TokenStream) -> Result<TokenStream> {
    // The path that the wrapping macro prepended.
    let mut input = input.into_iter();
    let krate: TokenStream = input.next().into_iter().collect();
    let input: TokenStream = input.collect();
    let form = (|input: ParseStream<'_>| {
        if input.peek(LitStr) {
            input.parse().map(Form::Values)
        } else {
            input.parse().map(|fields| Form::Fields(Box::new(fields)))
        }
    })
    .parse2(input)?;
    match form {
        Form::Values(values) => values.expand(&krate),
        Form::Fields(fields) => fields.expand(&krate),
    }
}

enum Form {
    Values(Values),
    Fields(Box<Fields>),
}

/// `"template", name, name = expression`.
struct Values {
    template: LitStr,
    given: Vec<Given>,
}

struct Given {
    name: Ident,
    value: Expr,
}

impl Parse for Values {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let template = input.parse()?;
        if input.is_empty() {
            return Ok(Self { template, given: Vec::new() });
        }
        input.parse::<Token![,]>()?;
        let given = Punctuated::<Given, Token![,]>::parse_terminated(input)?;
        Ok(Self { template, given: given.into_iter().collect() })
    }
}

impl Parse for Given {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let name: Ident = input
            .parse()
            .map_err(|error| Error::new(error.span(), "expected a variable `name` or `name = expression`"))?;
        if input.peek(Token![=]) {
            input.parse::<Token![=]>()?;
            return Ok(Self { name, value: input.parse()? });
        }
        let value = syn::parse_quote!(#name);
        Ok(Self { name, value })
    }
}

impl Values {
    fn expand(self, krate: &TokenStream) -> Result<TokenStream> {
        let Self { template, given } = self;
        let variables = variables(&template)?;
        let mut wrong: Option<Error> = None;
        let mut add = |error: Error| match &mut wrong {
            Some(all) => all.combine(error),
            None => wrong = Some(error),
        };
        for (i, Given { name, .. }) in given.iter().enumerate() {
            if !variables.contains(&name.unraw().to_string()) {
                let message = match variables.is_empty() {
                    true => format!("the template has no variable `{name}`: it has no variables"),
                    false => format!("the template has no variable `{name}`: it has {}", list(&variables)),
                };
                add(Error::new(name.span(), message));
            }
            if given[..i].iter().any(|other| other.name == *name) {
                add(Error::new(name.span(), format!("`{name}` is given twice")));
            }
        }
        let missing: BTreeSet<_> = variables
            .iter()
            .filter(|variable| !given.iter().any(|g| g.name.unraw() == **variable))
            .cloned()
            .collect();
        if let Some(first) = missing.first() {
            let names = list(&missing);
            let raw = if syn::parse_str::<Ident>(first).is_ok() { "" } else { "r#" };
            let message =
                format!("the template needs {names}: add `, {raw}{first}` or `, {raw}{first} = ..`");
            add(Error::new(template.span(), message));
        }
        if let Some(error) = wrong {
            return Err(error);
        }
        let names = given.iter().map(|g| g.name.unraw().to_string());
        let values = given.iter().map(|g| &g.value);
        Ok(quote! {
            #krate::__private::filled(#template, [#((#names, #krate::__private::value(&(#values)))),*])
        })
    }
}

/// `Type => "template"`.
struct Fields {
    of: Type,
    template: LitStr,
}

impl Parse for Fields {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let of = input.parse().map_err(|error| {
            Error::new(
                error.span(),
                "expected a template, or a type and a template: `prompt!(Joke => \"..\")`",
            )
        })?;
        input.parse::<Token![=>]>()?;
        Ok(Self { of, template: input.parse()? })
    }
}

impl Fields {
    fn expand(self, krate: &TokenStream) -> Result<TokenStream> {
        let Self { of, template } = self;
        let fields = variables(&template)?;
        // Spanned at the template, so that a missing field is reported there.
        let fields =
            fields.iter().map(|field| field_name(field, template.span())).collect::<Result<Vec<_>>>()?;
        let check = quote::quote_spanned! {of.span()=>
            const _: fn(&#of) = |fields| { #(let _ = &fields.#fields;)* };
        };
        Ok(quote! {{
            #check
            #krate::__private::typed::<#of>(#template)
        }})
    }
}

fn field_name(name: &str, span: Span) -> Result<Ident> {
    let mut ident: Ident = syn::parse_str(name)
        .or_else(|_| syn::parse_str(&format!("r#{name}")))
        .map_err(|_| Error::new(span, format!("`{name}` is not a valid field name")))?;
    ident.set_span(span);
    Ok(ident)
}

/// The variables of a template.
fn variables(template: &LitStr) -> Result<BTreeSet<String>> {
    let mut env = Environment::new();
    let text = template.value();
    env.add_template("prompt", &text).map_err(|error| {
        let line = error.line().unwrap_or(1);
        let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
        Error::new(template.span(), format!("the template is not valid: line {line}: {detail}"))
    })?;
    let parsed = env.get_template("prompt").map_err(|error| Error::new(template.span(), error))?;
    let is_function = |name: &String| env.globals().any(|(global, _)| global == name);
    let all = parsed.undeclared_variables(false);
    Ok(all.into_iter().filter(|name| !is_function(name)).collect())
}

fn list(names: &BTreeSet<String>) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

//! Options in the parentheses of `#[tool(..)]`.

use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::{Error, Expr, Ident, LitStr, Path, Result, Token};

use crate::krate;

/// Maximum length of a tool name. `Tools` checks the same limit at run time.
const MAX_NAME_LEN: usize = 64;

pub(super) struct Options {
    /// The path of the fanweave crate.
    pub(super) krate: Path,
    pub(super) name: Option<LitStr>,
    pub(super) description: Option<LitStr>,
    pub(super) timeout: Option<Expr>,
    /// Set if the result is the answer of the tool loop.
    pub(super) return_direct: Option<Ident>,
    /// Set if `call` blocks, and if it takes the context. Only for structs.
    pub(super) blocking: Option<Ident>,
    pub(super) context: Option<Ident>,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut options = Self {
            krate: krate::plain(),
            name: None,
            description: None,
            timeout: None,
            return_direct: None,
            blocking: None,
            context: None,
        };
        let mut krate = None;
        while !input.is_empty() {
            if input.peek(Token![crate]) {
                let span = input.span();
                if !set(&mut krate, krate::parse(input)?) {
                    return Err(Error::new(span, "`crate` is given twice"));
                }
                if !input.is_empty() {
                    input.parse::<Token![,]>()?;
                }
                continue;
            }
            let option: Ident = input.parse()?;
            let is_new = match option.to_string().as_str() {
                "name" => set(&mut options.name, name(value(input, &option, "a string")?)?),
                "description" => set(&mut options.description, value(input, &option, "a string")?),
                "timeout" => set(&mut options.timeout, value(input, &option, "a Duration")?),
                "return_direct" => set(&mut options.return_direct, option.clone()),
                "blocking" => set(&mut options.blocking, option.clone()),
                "context" => set(&mut options.context, option.clone()),
                _ => {
                    let message = format!(
                        "unknown option `{option}`: the options are `name = \"..\"`, `description = \"..\"`, \
                         `timeout = Duration::from_secs(..)`, `return_direct` and `crate = \"..\"`, and on structs `blocking` and `context`"
                    );
                    return Err(Error::new(option.span(), message));
                }
            };
            if !is_new {
                return Err(Error::new(option.span(), format!("`{option}` is given twice")));
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(Self { krate: krate.unwrap_or(options.krate), ..options })
    }
}

/// Sets an option that is not yet set.
fn set<T>(option: &mut Option<T>, value: T) -> bool {
    option.replace(value).is_none()
}

fn value<T: Parse>(input: ParseStream<'_>, option: &Ident, kind: &str) -> Result<T> {
    let wanted = |span| Error::new(span, format!("write `{option} = ..`, with {kind}"));
    input.parse::<Token![=]>().map_err(|_| wanted(option.span()))?;
    input.parse().map_err(|error| wanted(error.span()))
}

fn name(name: LitStr) -> Result<LitStr> {
    match is_name(&name.value()) {
        true => Ok(name),
        false => Err(Error::new(name.span(), rule())),
    }
}

fn is_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    !text.is_empty() && text.len() <= MAX_NAME_LEN && text.chars().all(is_plain)
}

fn rule() -> String {
    format!("a tool name must be 1 to {MAX_NAME_LEN} ASCII letters, digits, `_` or `-`")
}

impl Options {
    /// Returns an error if the tool has no explicit name and the name of its item is not a valid tool name.
    pub(super) fn takes(&self, item: &Ident) -> Result<()> {
        if self.name.is_some() || is_name(&item.unraw().to_string()) {
            return Ok(());
        }
        Err(Error::new(item.span(), format!("{}: name the tool with `#[tool(name = \"..\")]`", rule())))
    }
}

//! Options in the parentheses of `#[call(..)]`.

use proc_macro2::Span;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Error, Expr, ExprLit, Ident, Lit, Path, Result, Token, Type, parenthesized};

use crate::krate;

/// The valid options, in the order in which an error lists them.
const ALL: [&str; 19] = [
    "model",
    "provider",
    "client",
    "temperature",
    "top_p",
    "max_tokens",
    "seed",
    "stop",
    "reasoning_effort",
    "reasoning_budget",
    "reasoning_summary",
    "parameters",
    "tools",
    "run_tools",
    "response",
    "retry",
    "fallback",
    "timeout",
    "crate",
];

pub(super) struct Options {
    /// The path of the fanweave crate.
    pub(super) krate: Path,
    pub(super) model: Model,
    pub(super) client: Option<Expr>,
    /// Fields of `Parameters` and their values.
    pub(super) fields: Vec<(Ident, Expr)>,
    pub(super) parameters: Option<Expr>,
    pub(super) tools: Vec<Path>,
    pub(super) run_tools: Option<Expr>,
    pub(super) response: Option<Type>,
    pub(super) retry: Option<Expr>,
    pub(super) fallback: Option<Expr>,
    pub(super) timeout: Option<Expr>,
}

pub(super) enum Model {
    /// `provider/model`.
    Name(String),
    Expression(Box<Expr>),
}

/// One option and its value.
enum Given {
    Value(Expr),
    Tools(Vec<Path>),
    Type(Box<Type>),
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut given: Vec<(Ident, Given)> = Vec::new();
        let mut krate: Option<Path> = None;
        while !input.is_empty() {
            if input.peek(Token![crate]) {
                let span = input.span();
                if krate.replace(krate::parse(input)?).is_some() {
                    return Err(Error::new(span, "`crate` is given twice"));
                }
                if !input.is_empty() {
                    input.parse::<Token![,]>()?;
                }
                continue;
            }
            let option: Ident = input.parse().map_err(|error| {
                Error::new(
                    error.span(),
                    "expected options, such as `model = \"openai/gpt-5-mini\", max_tokens = 200`",
                )
            })?;
            let name = option.to_string();
            if !ALL.contains(&name.as_str()) {
                return Err(unknown(&option, &name));
            }
            if given.iter().any(|(other, _)| *other == option) {
                return Err(Error::new(option.span(), format!("`{option}` is given twice")));
            }
            let value = match name.as_str() {
                "tools" => Given::Tools(tools(input, &option)?),
                "response" => {
                    equals(input, &option, "a type, such as `response = Book`")?;
                    Given::Type(Box::new(input.parse()?))
                }
                _ => {
                    equals(input, &option, "a value")?;
                    Given::Value(input.parse()?)
                }
            };
            given.push((option, value));
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(Self { krate: krate.unwrap_or_else(krate::plain), ..Self::of(given)? })
    }
}

impl Options {
    fn of(given: Vec<(Ident, Given)>) -> Result<Self> {
        let (mut model, mut provider, mut options) = (None, None, Self::empty());
        for (option, value) in given {
            match (option.to_string().as_str(), value) {
                (_, Given::Tools(tools)) => options.tools = tools,
                (_, Given::Type(response)) => options.response = Some(*response),
                ("model", Given::Value(value)) => model = Some(value),
                ("provider", Given::Value(value)) => provider = Some((option, value)),
                ("client", Given::Value(value)) => options.client = Some(value),
                ("parameters", Given::Value(value)) => options.parameters = Some(value),
                ("run_tools", Given::Value(value)) => options.run_tools = Some(value),
                ("retry", Given::Value(value)) => options.retry = Some(value),
                ("fallback", Given::Value(value)) => options.fallback = Some(value),
                ("timeout", Given::Value(value)) => options.timeout = Some(value),
                (_, Given::Value(value)) => options.fields.push((option, value)),
            }
        }
        let Some(model) = model else {
            let message = "no model given: write `model = \"openai/gpt-5-mini\"`, or `model = \"sim/writer\"` to try it \
                           without a key";
            return Err(Error::new(Span::call_site(), message));
        };
        options.model = match (text(&model), provider) {
            (Some(name), None) => Model::Name(name),
            (Some(name), Some((_, provider))) => match text(&provider) {
                Some(provider) => Model::Name(format!("{provider}/{name}")),
                None => {
                    return Err(Error::new_spanned(
                        provider,
                        "`provider` must be a string literal: `provider = \"openai\"`",
                    ));
                }
            },
            (None, None) => Model::Expression(Box::new(model)),
            (None, Some((option, _))) => {
                let message =
                    "`provider` needs a model name, but `model` is an expression: remove `provider`";
                return Err(Error::new(option.span(), message));
            }
        };
        if let (Some(client), Model::Expression(_)) = (&options.client, &options.model) {
            let message =
                "`client` needs a model name, but `model` is an expression: build the model with that client";
            return Err(Error::new_spanned(client, message));
        }
        if let (Some(response), Some(_), None) =
            (&options.response, options.tools.first(), &options.run_tools)
        {
            let message = "`response` with `tools` needs `run_tools = ..`: without it, tool calls of the model are lost";
            return Err(Error::new_spanned(response, message));
        }
        if let (Some(rounds), true) = (&options.run_tools, options.tools.is_empty()) {
            return Err(Error::new_spanned(rounds, "`run_tools` needs tools: add `tools(..)`"));
        }
        Ok(options)
    }

    fn empty() -> Self {
        Self {
            krate: krate::plain(),
            model: Model::Name(String::new()),
            client: None,
            fields: Vec::new(),
            parameters: None,
            tools: Vec::new(),
            run_tools: None,
            response: None,
            retry: None,
            fallback: None,
            timeout: None,
        }
    }
}

fn equals(input: ParseStream<'_>, option: &Ident, what: &str) -> Result<()> {
    let wanted = || Error::new(option.span(), format!("write `{option} = ..`, with {what}"));
    input.parse::<Token![=]>().map_err(|_| wanted())?;
    if input.is_empty() { Err(wanted()) } else { Ok(()) }
}

fn tools(input: ParseStream<'_>, option: &Ident) -> Result<Vec<Path>> {
    let wanted =
        || Error::new(option.span(), "expected tool types, such as `tools(FormatBook, get_weather)`");
    if !input.peek(syn::token::Paren) {
        return Err(wanted());
    }
    let inside;
    parenthesized!(inside in input);
    let tools = Punctuated::<Path, Token![,]>::parse_terminated(&inside)?;
    if tools.is_empty() { Err(wanted()) } else { Ok(tools.into_iter().collect()) }
}

fn text(value: &Expr) -> Option<String> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
        // A macro that wrote the literal has wrapped it in an invisible group.
        Expr::Group(group) => self::text(&group.expr),
        _ => None,
    }
}

fn unknown(option: &Ident, name: &str) -> Error {
    let message = if name == "stream" {
        "unknown option `stream`: stream the call itself, `recommend_book(..).stream()`".to_owned()
    } else {
        let near = ALL.iter().map(|known| (strsim::jaro_winkler(name, known), known));
        let near = near.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(likeness, _)| *likeness > 0.8);
        match near {
            Some((_, near)) => format!("unknown option `{name}`: did you mean `{near}`?"),
            None => format!("unknown option `{name}`: the options are `{}`", ALL.join("`, `")),
        }
    };
    Error::new(option.span(), message)
}

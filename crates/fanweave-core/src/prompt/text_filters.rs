//! Filters that check the rest of the work before they make long texts, or lists of many texts.
//!
//! The template language counts what a filter has made. These can make several times their input at once, so
//! that the memory would be gone before it is counted.

use minijinja::filters;
use minijinja::value::{ObjectRepr, Rest, ValueOrKwargs};
use minijinja::{Environment, Error, State, Value};

use super::weight::{afford, pay, weigh};
use super::written::written;

/// Bytes for a byte of a text that is escaped, such as `&quot;` or `\u003c`.
pub(super) const ESCAPED: u64 = 6;

/// Bytes for a byte of a text in capitals: one letter may have three as its capital.
pub(super) const CASED: u64 = 3;

/// Work of a byte that is serialised. Source: the template language pays this for these filters.
const SERIALISED_BYTE: u64 = 16;

/// Work of a text of a list, beside what the template language pays: the size of the value.
const PIECE: u64 = 24;

type Args = Rest<ValueOrKwargs>;
type Check = fn(&State<'_, '_>, &[Value]) -> Result<(), Error>;

/// Replaces the filters of the template language.
pub(super) fn register(env: &mut Environment<'_>) {
    env.add_filter("text:upper", filters::upper);
    env.add_filter("text:lower", filters::lower);
    env.add_filter("text:title", filters::title);
    env.add_filter("text:capitalize", filters::capitalize);
    env.add_filter("text:escape", filters::escape);
    env.add_filter("text:tojson", filters::tojson);
    env.add_filter("text:pprint", filters::pprint);
    env.add_filter("text:split", filters::split);
    env.add_filter("text:lines", filters::lines);
    env.add_filter("text:sum", filters::sum);
    env.add_filter("text:format", filters::format);
    env.add_filter("text:join", filters::join);
    env.add_filter("text:string", filters::string);
    env.add_filter("string", |state: &mut State<'_, '_>, value: Value| match value.as_object() {
        Some(_) => {
            let text = written(state, &value)?;
            pay(state, SERIALISED_BYTE * text.len() as u64)?;
            Ok(Value::from(text))
        }
        None => state.apply_filter("text:string", &[value]),
    });
    env.add_filter("join", |state: &mut State<'_, '_>, args: Args| {
        let mut args = args.into_values();
        // Of attributes, the items are not written out.
        let has_attribute = args.len() > 2 || args.last().is_some_and(Value::is_kwargs);
        if let Some(items) = args.first()
            && !has_attribute
            && has_objects(items)
        {
            args[0] = items_as_text(state, items)?;
        }
        state.apply_filter("text:join", &args)
    });
    let replaced: [(&str, &str, Check); 12] = [
        ("upper", "text:upper", cased),
        ("lower", "text:lower", cased),
        ("title", "text:title", cased),
        ("capitalize", "text:capitalize", cased),
        ("escape", "text:escape", escaped),
        ("e", "text:escape", escaped),
        ("tojson", "text:tojson", escaped),
        ("pprint", "text:pprint", escaped),
        ("split", "text:split", split),
        ("lines", "text:lines", lines),
        ("sum", "text:sum", sum),
        ("format", "text:format", format),
    ];
    for (name, inner, check) in replaced {
        let is_serialised = matches!(name, "tojson" | "pprint");
        env.add_filter(name.to_owned(), move |state: &mut State<'_, '_>, args: Args| {
            let args = args.into_values();
            check(state, &args)?;
            let result = state.apply_filter(inner, &args)?;
            if is_serialised {
                pay(state, SERIALISED_BYTE * text(&result).len() as u64)?;
            }
            Ok::<_, Error>(result)
        });
    }
}

/// Returns true for a list that has lists or objects in it.
fn has_objects(items: &Value) -> bool {
    items.as_object().is_some_and(|list| list.repr() == ObjectRepr::Seq)
        && items.try_iter().is_ok_and(|mut items| items.any(|item| item.as_object().is_some()))
}

/// The items with lists and objects as JSON.
fn items_as_text(state: &State<'_, '_>, items: &Value) -> Result<Value, Error> {
    let mut texts = Vec::new();
    for item in items.try_iter()? {
        if item.as_object().is_some() {
            let text = written(state, &item)?;
            pay(state, SERIALISED_BYTE * text.len() as u64)?;
            texts.push(Value::from(text));
        } else {
            texts.push(item);
        }
    }
    Ok(Value::from(texts))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The text that a filter is applied to.
fn input(args: &[Value]) -> &str {
    args.first().map(text).unwrap_or_default()
}

fn cased(state: &State<'_, '_>, args: &[Value]) -> Result<(), Error> {
    afford(state, CASED * input(args).len() as u64)
}

/// Lists are checked by the guard of this step.
fn escaped(state: &State<'_, '_>, args: &[Value]) -> Result<(), Error> {
    afford(state, ESCAPED * input(args).len() as u64)
}

fn split(state: &State<'_, '_>, args: &[Value]) -> Result<(), Error> {
    let pieces = match args.get(1).and_then(Value::as_str) {
        Some(separator) => input(args).matches(separator).count() + 1,
        None => input(args).split_whitespace().count(),
    };
    let max = args.get(2).and_then(|max| usize::try_from(max.clone()).ok()).unwrap_or(usize::MAX);
    pay(state, PIECE * pieces.min(max.saturating_add(1)) as u64)
}

fn lines(state: &State<'_, '_>, args: &[Value]) -> Result<(), Error> {
    pay(state, PIECE * (input(args).matches('\n').count() + 1) as u64)
}

/// The sum of texts copies what it has so far for each of them.
fn sum(state: &State<'_, '_>, args: &[Value]) -> Result<(), Error> {
    let is_text = |value: &Value| value.as_str().is_some();
    let named = args.last().filter(|arg| arg.is_kwargs()).and_then(|arg| arg.get_attr("start").ok());
    let [items, rest @ ..] = args else { return Ok(()) };
    if !rest.iter().skip(1).chain(&named).any(is_text) {
        return Ok(());
    }
    let copies = (items.len().unwrap_or_default() as u64).div_ceil(2);
    pay(state, weigh(state, items)?.bytes.saturating_mul(copies))
}

/// Values with a name may be written as often as the format has signs.
fn format(state: &State<'_, '_>, args: &[Value]) -> Result<(), Error> {
    let Some((format, values)) = args.split_first() else { return Ok(()) };
    let mut max_len = 0;
    let mut total = 0;
    let mut add = |value: &Value| {
        let len = text(value).len() as u64;
        max_len = len.max(max_len);
        total += len;
    };
    let mut is_named = false;
    for value in values {
        match value.try_iter() {
            Ok(names) if value.is_kwargs() || value.kind() == minijinja::value::ValueKind::Map => {
                is_named = true;
                names.for_each(|name| add(&value.get_item(&name).unwrap_or_default()));
            }
            _ => add(value),
        }
    }
    let signs = text(format).matches('%').count() as u64;
    let values = if is_named { max_len.saturating_mul(signs) } else { total };
    let growth = if format.is_safe() { ESCAPED } else { 1 };
    afford(state, values.saturating_mul(growth).saturating_add(text(format).len() as u64))
}

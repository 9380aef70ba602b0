//! Filters that guard the steps of a template: see [`guard`](super::guard), which inserts them.
//!
//! Their names cannot be written in a template.

use minijinja::value::{ObjectRepr, Rest, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::text_filters::{self, ESCAPED};
use super::weight::{ITEM, admit, afford, collect, pay, remember, settle, weigh};

/// Admits the value that the step before made.
pub(super) const MADE: &str = "guard:made";
/// Turns the result of the step before into a list, whose items are those of its input.
pub(super) const SETTLED: &str = "guard:settled";
/// Admits the result of a call.
pub(super) const CALLED: &str = "guard:called";
/// Pays for lists that the next step writes out.
pub(super) const WEIGH: Priced = Priced { some: "guard:weigh", all: "guard:weigh-all" };
/// Pays for all values that the next step reads.
pub(super) const READ: Priced = Priced { some: "guard:read", all: "guard:read-all" };
/// Pays for sorting the first argument.
pub(super) const SORT: Priced = Priced { some: "guard:sort", all: "guard:sort-all" };
/// Pays for a filter or test that is applied to each item of the first argument.
pub(super) const EACH: Priced = Priced { some: "guard:each", all: "guard:each-all" };
/// The same for a test of a field of each item.
pub(super) const EACH_FIELD: Priced = Priced { some: "guard:field", all: "guard:field-all" };
/// Pays for JSON with indented lines.
pub(super) const JSON: Priced = Priced { some: "guard:json", all: "guard:json-all" };
/// Checks that a text can be cut.
pub(super) const SLICE: Priced = Priced { some: "guard:slice", all: "guard:slice-all" };
/// Refuses a cycle of nothing, at which the language panics.
pub(super) const CYCLE: Priced = Priced { some: "guard:cycle", all: "guard:cycle-all" };
/// Pays for a comparison.
pub(super) const COMPARE: &str = "guard:compare";
/// Pays for a search in a list.
pub(super) const IN: &str = "guard:in";
/// Adds two lists. Its result is followed by whether the step is still to be done.
pub(super) const ADD: &str = "guard:add";
/// Refuses values that a namespace must not hold.
pub(super) const SET: &str = "guard:set";

/// The names of a guard of arguments.
pub(super) struct Priced {
    /// For a number of them that the step knows.
    pub(super) some: &'static str,
    /// For a number of them that is found at run time.
    pub(super) all: &'static str,
}

type Price = fn(&State<'_, '_>, &[Value]) -> Result<u64, Error>;

/// Adds the filters of all guards.
pub(super) fn register(env: &mut Environment<'_>) {
    env.add_filter(MADE, made);
    env.add_filter(SETTLED, |state: &State<'_, '_>, value: Value| settle(state, value));
    env.add_filter(CALLED, called);
    env.add_filter(COMPARE, compare);
    env.add_filter(IN, contains);
    env.add_filter(ADD, add);
    env.add_filter(SET, set);
    text_filters::register(env);
    let prices: [(Priced, Price); 8] = [
        (SLICE, price_of_a_slice),
        (WEIGH, price_of_writing),
        (READ, price_of_reading),
        (SORT, price_of_a_sort),
        (EACH, price_of_each),
        (EACH_FIELD, price_of_each_field),
        (JSON, price_of_indented_json),
        (CYCLE, price_of_a_cycle),
    ];
    for (guard, price) in prices {
        env.add_filter(guard.some, move |state: &State<'_, '_>, args: Args| priced(state, args, price, true));
        env.add_filter(guard.all, move |state: &State<'_, '_>, args: Args| priced(state, args, price, false));
    }
}

type Args = Rest<ValueOrKwargs>;

/// Values for `UnpackList`, which pushes the last one first.
fn back<const N: usize>(mut values: [Value; N]) -> Value {
    values.reverse();
    Value::from(values.to_vec())
}

fn made(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    let value = settle(state, value)?;
    if value.as_object().is_some() {
        admit(state, &value)?;
    }
    Ok(value)
}

fn called(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    // Functions make maps, namespaces and ranges, and a range is a list of numbers.
    if value.kind() == ValueKind::Map {
        admit(state, &value)?;
    }
    Ok(value)
}

fn priced(state: &State<'_, '_>, args: Args, price: Price, is_reversed: bool) -> Result<Value, Error> {
    let mut args = args.into_values();
    pay(state, price(state, &args)?)?;
    if is_reversed {
        args.reverse();
    }
    Ok(Value::from(args))
}

/// The weight of lists and maps. The template language pays for texts.
fn price_of_lists(state: &State<'_, '_>, args: &[Value]) -> Result<u64, Error> {
    sum(args.iter().filter(|arg| arg.as_object().is_some()).map(|arg| Ok(weigh(state, arg)?.bytes)))
}

/// The same before they are written out, with quotes and escapes.
fn price_of_writing(state: &State<'_, '_>, args: &[Value]) -> Result<u64, Error> {
    let price = price_of_lists(state, args)?;
    afford(state, price.saturating_mul(ESCAPED))?;
    Ok(price)
}

/// A text that is cut with steps becomes a list of letters first.
fn price_of_a_slice(state: &State<'_, '_>, args: &[Value]) -> Result<u64, Error> {
    let len = args.first().and_then(Value::as_str).map_or(0, str::len) as u64;
    let has_steps = args.get(3).is_some_and(|step| !step.is_none() && step.as_i64() != Some(1));
    afford(state, if has_steps { len.saturating_mul(LETTER) } else { len })?;
    Ok(0)
}

/// Bytes of a letter in a list, in a text, and in a copy of this.
const LETTER: u64 = 6;

fn price_of_reading(state: &State<'_, '_>, args: &[Value]) -> Result<u64, Error> {
    sum(args.iter().map(|arg| readable(state, arg)))
}

fn price_of_a_sort(state: &State<'_, '_>, args: &[Value]) -> Result<u64, Error> {
    let comparisons = args.first().and_then(Value::len).unwrap_or_default().max(2).ilog2();
    Ok(price_of_lists(state, args)?.saturating_mul(comparisons.into()))
}

fn price_of_each(state: &State<'_, '_>, args: &[Value]) -> Result<u64, Error> {
    let Some((items, rest)) = args.split_first() else { return Ok(0) };
    // Attributes are found without a look at the rest of an item.
    if rest.iter().all(Value::is_kwargs) {
        return Ok(0);
    }
    let others = price_of_lists(state, rest)?.saturating_mul(items.len().unwrap_or_default() as u64);
    let lists = items.try_iter().into_iter().flatten().filter(|item| item.as_object().is_some());
    Ok(sum(lists.map(|item| Ok(weigh(state, &item)?.bytes)))?.saturating_add(others))
}

fn price_of_each_field(state: &State<'_, '_>, args: &[Value]) -> Result<u64, Error> {
    let [items, field, rest @ ..] = args else { return Ok(0) };
    if rest.is_empty() {
        return Ok(0);
    }
    let others = price_of_lists(state, rest)?.saturating_mul(items.len().unwrap_or_default() as u64);
    let name = field.as_str().unwrap_or_default();
    let fields = items.try_iter().into_iter().flatten().map(|item| {
        // A path leads to a part of the first field.
        let value = item.get_attr(name.split('.').next().unwrap_or_default());
        value.map_or(Ok(0), |value| readable(state, &value))
    });
    Ok(sum(fields)?.saturating_add(others))
}

fn price_of_indented_json(state: &State<'_, '_>, args: &[Value]) -> Result<u64, Error> {
    let Some((value, rest)) = args.split_first() else { return Ok(0) };
    let weight = weigh(state, value)?;
    let indents = rest.iter().map(|arg| {
        let indent = if arg.is_kwargs() { arg.get_attr("indent").unwrap_or_default() } else { arg.clone() };
        indent.as_usize().unwrap_or_default() as u64
    });
    let indent = indents.max().unwrap_or_default().saturating_mul(weight.depth.into());
    afford(state, weight.bytes.saturating_mul(ESCAPED))?;
    // Each item of a list begins a line.
    Ok(weight.bytes.saturating_add((weight.bytes / ITEM).saturating_mul(indent)))
}

fn price_of_a_cycle(_: &State<'_, '_>, args: &[Value]) -> Result<u64, Error> {
    // The first one is the loop.
    if args.len() < 2 {
        return Err(Error::new(ErrorKind::MissingArgument, "`cycle` needs at least one value"));
    }
    Ok(0)
}

fn sum(prices: impl Iterator<Item = Result<u64, Error>>) -> Result<u64, Error> {
    let mut total = 0_u64;
    for price in prices {
        total = total.saturating_add(price?);
    }
    Ok(total)
}

/// Bytes that a comparison with the value reads at most.
fn readable(state: &State<'_, '_>, value: &Value) -> Result<u64, Error> {
    match value.as_str() {
        Some(text) => Ok(text.len() as u64),
        None if value.as_object().is_some() => Ok(weigh(state, value)?.bytes),
        None => Ok(0),
    }
}

fn compare(state: &State<'_, '_>, a: Value, b: Value) -> Result<Value, Error> {
    if a.kind() == b.kind() || (a.as_object().is_some() && b.as_object().is_some()) {
        pay(state, readable(state, &a)?.min(readable(state, &b)?))?;
    }
    Ok(back([a, b]))
}

fn contains(state: &State<'_, '_>, value: Value, list: Value) -> Result<Value, Error> {
    if let Some(object) = list.as_object() {
        let bytes = match object.repr() {
            // A few of its keys are compared.
            ObjectRepr::Map => readable(state, &value)?.saturating_mul(32),
            _ => weigh(state, &list)?.bytes,
        };
        pay(state, bytes)?;
    }
    Ok(back([value, list]))
}

fn add(state: &State<'_, '_>, a: Value, b: Value) -> Result<Value, Error> {
    let is_list =
        |value: &Value| matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) && !value.is_tuple();
    if !is_list(&a) || !is_list(&b) {
        return Ok(back([a, b, true.into()]));
    }
    let weight = weigh(state, &a)?.plus(weigh(state, &b)?);
    afford(state, weight.bytes)?;
    let mut list =
        Vec::with_capacity(a.len().unwrap_or_default().saturating_add(b.len().unwrap_or_default()));
    for part in [a, b] {
        list = collect(state, part.try_iter()?, list)?;
    }
    let list = Value::from(list);
    remember(&list, weight);
    Ok(back([list, Value::UNDEFINED, false.into()]))
}

fn set(state: &State<'_, '_>, value: Value, namespace: Value) -> Result<Value, Error> {
    let value = settle(state, value)?;
    if value.as_object().is_some() && admit(state, &value)?.is_bound {
        let message = "a namespace cannot hold a namespace, a loop or a function";
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    Ok(back([value, namespace]))
}

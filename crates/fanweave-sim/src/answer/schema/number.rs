//! Numbers within bounds.

use serde_json::{Map, Value};

use crate::draw::Rng;

/// Size of a range with one open end.
const DEFAULT_RANGE: i128 = 99;

/// A number within the bounds of `keywords`, and true if it is `hint`, a number of the prompt within the
/// bounds.
pub(super) fn instance(
    keywords: &Map<String, Value>,
    is_integer: bool,
    key: &str,
    hint: Option<f64>,
    rng: &mut Rng,
) -> Option<(Value, bool)> {
    if let Some(step) = keywords.get("multipleOf").and_then(Value::as_f64).filter(|step| *step > 0.0) {
        return multiple(keywords, step, is_integer, rng).map(|number| (number, false));
    }
    if let Some(hint) = hint.filter(|hint| allows(keywords, *hint) && (!is_integer || hint.fract() == 0.0)) {
        let value = if hint.fract() == 0.0 { Value::from(hint as i64) } else { Value::from(hint) };
        return Some((value, true));
    }
    let value = if is_integer { integer(keywords, key, rng) } else { real(keywords, key, rng) };
    value.map(|value| (value, false))
}

/// Default range of numbers with this name.
fn default_range(key: &str) -> (i128, i128) {
    match key.to_ascii_lowercase() {
        key if key.contains("year") => (1950, 2025),
        key if key.contains("age") => (18, 80),
        key if ["rating", "score", "stars"].iter().any(|name| key.contains(name)) => (1, 5),
        key if key.contains("confidence") || key.contains("probability") => (0, 1),
        _ => (1, 1 + DEFAULT_RANGE),
    }
}

fn integer(keywords: &Map<String, Value>, key: &str, rng: &mut Rng) -> Option<Value> {
    let whole = |name: &str, round: fn(f64) -> f64| {
        let value = keywords.get(name)?;
        value
            .as_i64()
            .map(i128::from)
            .or(value.as_u64().map(i128::from))
            .or_else(|| Some(round(value.as_f64()?) as i128))
    };
    let min = whole("minimum", f64::ceil).max(whole("exclusiveMinimum", f64::floor).map(|bound| bound + 1));
    let upper = [whole("maximum", f64::floor), whole("exclusiveMaximum", f64::ceil).map(|bound| bound - 1)];
    let max = upper.into_iter().flatten().min();
    let (default_min, default_max) = default_range(key);
    let (min, max) = match (min, max) {
        (None, None) => (default_min, default_max),
        (Some(min), None) => (min.max(default_min), min.max(default_min) + DEFAULT_RANGE),
        (None, Some(max)) => (max.min(default_min), max),
        // Prefer the default range if the bounds contain it.
        (Some(min), Some(max)) if min <= default_min && default_max <= max => (default_min, default_max),
        (Some(min), Some(max)) => (min, max),
    };
    (min <= max).then(|| {
        let number = min + rng.below(usize::try_from(max - min + 1).unwrap_or(usize::MAX)) as i128;
        i64::try_from(number).map_or_else(|_| Value::from(number as u64), Value::from)
    })
}

fn real(keywords: &Map<String, Value>, key: &str, rng: &mut Rng) -> Option<Value> {
    let bound = |name: &str| keywords.get(name).and_then(Value::as_f64);
    let min = bound("minimum").into_iter().chain(bound("exclusiveMinimum")).reduce(f64::max);
    let max = bound("maximum").into_iter().chain(bound("exclusiveMaximum")).reduce(f64::min);
    let (default_min, default_max) = default_range(key);
    let (min, max) = match (min, max) {
        (None, None) => (default_min as f64, default_max as f64),
        (Some(min), None) => (min, min + DEFAULT_RANGE as f64),
        (None, Some(max)) => (max - DEFAULT_RANGE as f64, max),
        (Some(min), Some(max)) => (min, max),
    };
    let number = min + (max - min) * (0.05 + 0.9 * rng.below(1000) as f64 / 1000.0);
    let rounded = [10.0, 1e4].map(|scale| (number * scale).round() / scale);
    rounded.into_iter().chain([number]).find(|number| allows(keywords, *number)).map(Value::from)
}

/// A multiple of `step` within the bounds.
fn multiple(keywords: &Map<String, Value>, step: f64, is_integer: bool, rng: &mut Rng) -> Option<Value> {
    let bound = |name: &str| keywords.get(name).and_then(Value::as_f64);
    let start = bound("minimum").or(bound("exclusiveMinimum")).map(|min| (min / step).ceil());
    let start = start
        .or_else(|| bound("maximum").or(bound("exclusiveMaximum")).map(|max| (max / step).floor() - 9.0));
    let start = start.unwrap_or(1.0);
    let skip = rng.below(10) as f64;
    // First a random multiple in the range, then any allowed one from its start.
    let candidates = std::iter::once(start + skip).chain((0..1000).map(|more| start + f64::from(more)));
    let numbers = candidates.map(|factor| (factor * step * 1e10).round() / 1e10);
    let fits = |number: &f64| allows(keywords, *number) && (!is_integer || number.fract() == 0.0);
    numbers.into_iter().find(fits).map(|number| {
        if number.fract() == 0.0 && number.abs() < 9e15 {
            Value::from(number as i64)
        } else {
            Value::from(number)
        }
    })
}

/// Returns true if the four bounds allow `number`.
fn allows(keywords: &Map<String, Value>, number: f64) -> bool {
    let holds = |name: &str, compare: fn(&f64, &f64) -> bool| {
        keywords.get(name).and_then(Value::as_f64).is_none_or(|bound| compare(&number, &bound))
    };
    holds("minimum", f64::ge)
        && holds("maximum", f64::le)
        && holds("exclusiveMinimum", f64::gt)
        && holds("exclusiveMaximum", f64::lt)
}

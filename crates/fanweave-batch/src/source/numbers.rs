//! Numbers of JSON that a value does not hold as they are written: those beyond a double, integers of more
//! than 64 bits, and fractions with other digits.

use memchr::memchr2;
use serde_json::{Number, Value};

/// Returns true for the error of a number that is too large.
pub(super) fn is_out_of_range(error: &serde_json::Error) -> bool {
    error.to_string().starts_with("number out of range")
}

/// Reads the JSON of a row. Integers of more than 64 bits, and numbers beyond a double, become texts. Also
/// returns whether the value has all numbers as they are written.
///
/// # Errors
/// If the JSON is invalid.
pub(crate) fn read(json: &str) -> serde_json::Result<(Value, bool)> {
    match serde_json::from_str(json) {
        Ok(value) => match largest_double(&value) {
            None => Ok((value, true)),
            Some(size) if size < TWO_POW_63 => Ok((value, are_exact(json))),
            Some(_) => Ok((serde_json::from_str(&as_texts(json))?, are_exact(json))),
        },
        Err(error) if is_out_of_range(&error) => Ok((serde_json::from_str(&as_texts(json))?, false)),
        Err(error) => Err(error),
    }
}

const TWO_POW_63: f64 = 9_223_372_036_854_775_808.0;

/// Size of the largest number in a value that is not an integer of at most 64 bits.
fn largest_double(value: &Value) -> Option<f64> {
    let largest =
        |values: &mut dyn Iterator<Item = &Value>| values.filter_map(largest_double).reduce(f64::max);
    match value {
        Value::Number(number) if number.is_f64() => number.as_f64().map(f64::abs),
        Value::Array(items) => largest(&mut items.iter()),
        Value::Object(fields) => largest(&mut fields.values()),
        _ => None,
    }
}

/// The JSON with the largest double in place of numbers that are beyond it.
pub(super) fn in_range(json: &str) -> String {
    replaced(json, |token| match token.parse::<f64>() {
        Ok(number) if number.is_infinite() => {
            let max = "1.7976931348623157e308";
            Some(if number > 0.0 { max.to_owned() } else { format!("-{max}") })
        }
        _ => None,
    })
}

/// The JSON with texts in place of integers of more than 64 bits and numbers beyond a double.
fn as_texts(json: &str) -> String {
    replaced(json, |token| {
        let is_integer = !token.contains(['.', 'e', 'E']);
        let is_large = is_integer && token.parse::<i64>().is_err() && token.parse::<u64>().is_err();
        let is_infinite = || token.parse::<f64>().is_ok_and(f64::is_infinite);
        (is_large || is_infinite()).then(|| format!("\"{token}\""))
    })
}

/// Returns true if a value has the text of each number of the JSON.
fn are_exact(json: &str) -> bool {
    tokens(json).all(|(start, end)| is_exact(&json[start..end]))
}

fn is_exact(token: &str) -> bool {
    serde_json::from_str::<Number>(token).is_ok_and(|number| number.to_string() == token)
}

/// The JSON with other texts in place of some numbers.
fn replaced(json: &str, other: impl Fn(&str) -> Option<String>) -> String {
    let (mut text, mut copied) = (String::with_capacity(json.len()), 0);
    for (start, end) in tokens(json) {
        if let Some(other) = other(&json[start..end]) {
            text.push_str(&json[copied..start]);
            text.push_str(&other);
            copied = end;
        }
    }
    text.push_str(&json[copied..]);
    text
}

/// Positions of the numbers in a JSON.
fn tokens(json: &str) -> impl Iterator<Item = (usize, usize)> {
    let bytes = json.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            match bytes.get(at)? {
                b'"' => at = end_of_text(bytes, at + 1),
                b'-' | b'0'..=b'9' => {
                    let is_part = |b: &u8| b.is_ascii_digit() || b"+-.eE".contains(b);
                    let end = bytes[at..].iter().position(|b| !is_part(b)).map_or(bytes.len(), |n| at + n);
                    let start = std::mem::replace(&mut at, end);
                    return Some((start, end));
                }
                _ => at += 1,
            }
        }
    })
}

/// Position after the text that begins before this one.
fn end_of_text(bytes: &[u8], mut at: usize) -> usize {
    while let Some(found) = memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
        let is_end = bytes[at + found] == b'"';
        at += found + if is_end { 1 } else { 2 };
        if is_end {
            return at;
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_beyond_a_double_are_replaced() {
        let max = "1.7976931348623157e308";
        let json = r#"{"a 1e999":"1e400 \\\" -1e999","é":[1e400,-1E+999,1e-999,12345678901234567890123,-0]}"#;
        let expected = format!(
            r#"{{"a 1e999":"1e400 \\\" -1e999","é":[{max},-{max},1e-999,12345678901234567890123,-0]}}"#
        );
        assert_eq!(in_range(json), expected);
        assert!(serde_json::from_str::<serde_json::Value>(&expected).is_ok());
        assert!(is_out_of_range(&serde_json::from_str::<serde_json::Value>("1e400").unwrap_err()));
    }
    #[test]
    fn numbers_that_no_value_holds_are_texts_and_others_stay_numbers() {
        let json = |json: &str| {
            let (value, is_exact) = read(json).unwrap();
            (value.to_string(), is_exact)
        };
        let big = "123456789012345678901234567890";
        assert_eq!(
            json(&format!(r#"{{"a":{big},"b":[-{big}]}}"#)),
            (format!(r#"{{"a":"{big}","b":["-{big}"]}}"#), false)
        );
        assert_eq!(json(r#"{"a":1e400,"t":"1e400"}"#), (r#"{"a":"1e400","t":"1e400"}"#.to_owned(), false));
        assert_eq!(json(r#"{"a":0.1000000000000000055}"#), (r#"{"a":0.1}"#.to_owned(), false));
        for exact in
            [r#"{"a":18446744073709551615}"#, r#"{"a":-9223372036854775808,"b":"\"9\""}"#, r#"{"a":0.1}"#]
        {
            assert_eq!(json(exact), (exact.to_owned(), true));
        }
        for exact in ["1.5", "100.0", "-0.0", "7", "18446744073709551615", "-9223372036854775808"] {
            assert!(is_exact(exact), "{exact}");
        }
        for other in ["1.50", "1e2", "1e-400", "9007199254740993.0", "1e309", "36893488147419103233", "1E-7"]
        {
            assert!(!is_exact(other), "{other}");
        }
        assert!(read(r#"{"a":01}"#).is_err() && read(r#"{"a":1e999"#).is_err());
    }
}

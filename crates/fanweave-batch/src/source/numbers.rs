//! Numbers of JSON that no double can hold.

/// Returns true for the error of a number that is too large.
pub(super) fn is_out_of_range(error: &serde_json::Error) -> bool {
    error.to_string().starts_with("number out of range")
}

/// The JSON with the largest double in place of numbers that are beyond it.
pub(super) fn in_range(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    let (mut rest, mut in_string) = (json, false);
    while let Some(next) = rest.chars().next() {
        let taken = match next {
            '\\' if in_string => rest.chars().take(2).map(char::len_utf8).sum::<usize>(),
            '-' | '0'..='9' if !in_string => {
                let is_part = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
                rest.find(|c| !is_part(c)).unwrap_or(rest.len())
            }
            _ => next.len_utf8(),
        };
        let (token, after) = rest.split_at(taken);
        in_string ^= next == '"';
        match token.parse::<f64>() {
            Ok(number) if number.is_infinite() && !in_string => {
                text.push_str(if number > 0.0 {
                    "1.7976931348623157e308"
                } else {
                    "-1.7976931348623157e308"
                });
            }
            _ => text.push_str(token),
        }
        rest = after;
    }
    text
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
}

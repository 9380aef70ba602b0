//! Rows of many small values, which take far more memory than their bytes.

use memchr::memchr2;

/// Maximum number of values of a row. Source: a value takes up to about 100 bytes of memory in each form of
/// a row.
pub(super) const MAX_VALUES: usize = 1 << 20;

/// Returns true if a row of JSON has more values than [`MAX_VALUES`].
#[inline]
pub(super) fn has_too_many_values(json: &[u8]) -> bool {
    // Each value but the first follows a comma.
    json.len() > MAX_VALUES && commas(json) > MAX_VALUES
}

/// Commas outside of texts.
fn commas(mut json: &[u8]) -> usize {
    let mut commas = 0;
    while let Some(at) = memchr2(b',', b'"', json) {
        let is_comma = json[at] == b',';
        json = &json[at + 1..];
        if is_comma {
            commas += 1;
            continue;
        }
        while let Some(at) = memchr2(b'"', b'\\', json) {
            let is_end = json[at] == b'"';
            json = &json[(at + if is_end { 1 } else { 2 }).min(json.len())..];
            if is_end {
                break;
            }
        }
    }
    commas
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_commas_outside_of_texts_are_counted() {
        for (json, count) in [
            ("[]", 0),
            (r#"{"a": [1, 2], "b": "x, \", y", "c,": "\\"}"#, 3),
            (r#"["a", "unclosed, text \"#, 1),
        ] {
            assert_eq!(commas(json.as_bytes()), count, "{json}");
        }
    }

    #[test]
    fn a_long_text_is_one_value() {
        let text = format!("{{\"text\": \"{}\"}}", "a, ".repeat(2 << 20));
        assert!(!has_too_many_values(text.as_bytes()));
        let zeros = format!("{{\"x\": [{}0]}}", "0,".repeat(MAX_VALUES + 1));
        assert!(has_too_many_values(zeros.as_bytes()));
    }
}

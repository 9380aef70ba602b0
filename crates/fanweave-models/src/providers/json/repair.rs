//! Repair of JSON that servers write wrongly, without completing what was truncated.

/// Repairs what is wrong in `json`. `None` if there is nothing to repair.
///
/// | where | wrong | becomes |
/// |---|---|---|
/// | outside of strings | `NaN`, `Infinity`, `undefined`, `None` | `null` |
/// | | a number that is too large for a double, such as `1e999` | `null` |
/// | | `True`, `False` | `true`, `false` |
/// | | a comma before `}` or `]` | removed |
/// | inside strings | control characters | `\u00xx` |
/// | | unpaired surrogate escapes, bytes that are not UTF-8 | U+FFFD |
///
/// Servers that split text by UTF-16 units or by bytes send the halves of a character in separate chunks.
///
/// No quote, bracket or brace is ever added: a truncated value stays invalid.
pub(super) fn repair(json: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(json);
    let mut repaired = Repair { text: &text, written: String::new(), copied: 0 };
    let (bytes, mut at) = (text.as_bytes(), 0);
    while let Some(byte) = bytes.get(at) {
        at = match byte {
            b'"' => repaired.string(at + 1),
            b',' => repaired.comma(at),
            b'+' | b'-' | b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => repaired.word(at),
            _ => at + 1,
        };
    }
    let Repair { mut written, copied, .. } = repaired;
    if copied == 0 && matches!(text, std::borrow::Cow::Borrowed(_)) {
        return None;
    }
    written.push_str(&text[copied..]);
    Some(written)
}

struct Repair<'a> {
    text: &'a str,
    written: String,
    /// End of the part of `text` that is in `written`.
    copied: usize,
}

impl Repair<'_> {
    fn replace(&mut self, from: usize, to: usize, with: &str) {
        self.written.extend([&self.text[self.copied..from], with]);
        self.copied = to;
    }

    /// Repairs a string that starts at `at`, after its quote. Returns its end.
    fn string(&mut self, mut at: usize) -> usize {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(at) {
            at = match byte {
                b'"' => return at + 1,
                b'\\' => self.escape(at),
                0..0x20 => {
                    self.replace(at, at + 1, &format!("\\u{byte:04x}"));
                    at + 1
                }
                _ => at + 1,
            };
        }
        at
    }

    /// Repairs the escape at `at`. Returns its end.
    fn escape(&mut self, at: usize) -> usize {
        let unit = |at: usize| {
            let digits = self.text.get(at..)?.strip_prefix("\\u")?.get(..4)?;
            u32::from_str_radix(digits, 16).ok()
        };
        match unit(at) {
            Some(0xD800..=0xDBFF) if matches!(unit(at + 6), Some(0xDC00..=0xDFFF)) => at + 12,
            Some(0xD800..=0xDFFF) => {
                self.replace(at, at + 6, "\\ufffd");
                at + 6
            }
            // Skip the character after the backslash, which may be a backslash itself. A control character
            // is repaired by the caller.
            _ => match self.text[at + 1..].chars().next() {
                Some(next) if !next.is_ascii_control() => at + 1 + next.len_utf8(),
                _ => at + 1,
            },
        }
    }

    /// Repairs a number or a literal. Returns its end.
    fn word(&mut self, at: usize) -> usize {
        let rest = &self.text[at..];
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_');
        let end = at + rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        // At the end of the text, a longer word may have been truncated.
        let with = match self.text[at..end].trim_start_matches(['+', '-']) {
            _ if end == self.text.len() => return end,
            "NaN" | "nan" | "Infinity" | "infinity" | "Inf" | "inf" | "undefined" | "None" => "null",
            "True" => "true",
            "False" => "false",
            number if number.parse::<f64>().is_ok_and(f64::is_infinite) => "null",
            _ => return end,
        };
        self.replace(at, end, with);
        end
    }

    /// Removes the comma at `at` if the list or object ends after it. Returns its end.
    fn comma(&mut self, at: usize) -> usize {
        if self.text[at + 1..].trim_ascii_start().starts_with(['}', ']']) {
            self.replace(at, at + 1, "");
        }
        at + 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn repaired(json: &[u8]) -> Option<Value> {
        serde_json::from_str(&repair(json)?).ok()
    }

    #[test]
    fn odd_literals_are_null_and_strings_keep_their_text() {
        let odd =
            br#"{"a":NaN,"b":[-Infinity,+inf,undefined,],"c":"NaN, True,}","d":None,"e":True,"f":1e5,"g":[-1e999,1e-999],}"#;
        let want =
            json!({"a":null,"b":[null,null,null],"c":"NaN, True,}","d":null,"e":true,"f":1e5,"g":[null,0.0]});
        assert_eq!(repaired(odd), Some(want));
    }

    #[test]
    fn control_characters_and_bad_bytes_in_strings_are_kept_or_marked() {
        assert_eq!(repaired(b"[\"a\tb\x01\n\\\\\"]"), Some(json!(["a\tb\u{1}\n\\"])));
        assert_eq!(repaired(b"[\"Hel\xFF lo\"]"), Some(json!(["Hel\u{FFFD} lo"])));
        assert_eq!(repaired(br#"["\uDE00\uD83D\u0041\ud83d\ude00"]"#), Some(json!(["\u{FFFD}\u{FFFD}A😀"])));
        assert_eq!(repaired(b"[1, \xFF]"), None, "bad bytes outside of strings are not JSON");
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-z\\\\\"\n\u{1}é😀,}\\]]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[a-z]{0,2}", inner), 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn repairing_changes_no_valid_json(json in any_json()) {
            prop_assert_eq!(repair(json.to_string().as_bytes()), None);
        }

        #[test]
        fn repairing_completes_no_prefix(json in any_json(), at in any::<prop::sample::Index>()) {
            let whole = format!("[{json},NaN]").into_bytes();
            let prefix = &whole[..at.index(whole.len())];
            prop_assert_eq!(repaired(prefix), None);
        }
    }
}

//! Parts of requests that have several forms.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor, value::SeqAccessDeserializer};

use crate::answer::{ChatMessage, Role};

/// Text: a string, a list of parts of which some have text, or null. Borrowed if possible.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

/// A part of a message. A part without text counts as empty.
#[derive(serde::Deserialize)]
struct Part<'a> {
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of content parts")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
                Ok(Text::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, parts: A) -> Result<Self::Value, A::Error> {
                let parts: Vec<Part<'de>> = Deserialize::deserialize(SeqAccessDeserializer::new(parts))?;
                let mut texts = parts.into_iter().filter_map(|part| part.text);
                let first = texts.next().unwrap_or_default();
                Ok(texts.fold(first, |text, more| Text(text.0 + more.0)))
            }
        }

        deserializer.deserialize_any(TextVisitor)
    }
}

/// One string or a list of strings, such as `stop`; or the token ids that old clients send instead of
/// strings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Texts<'a>(pub(super) Vec<Cow<'a, str>>);

/// An element of such a list.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Element<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Token(u64),
    Tokens(Vec<u64>),
}

impl<'de: 'a, 'a> Deserialize<'de> for Texts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextsVisitor;

        impl<'de> Visitor<'de> for TextsVisitor {
            type Value = Texts<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, an array of strings, or arrays of tokens")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Texts(vec![Cow::Borrowed(text)]))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Texts(vec![Cow::Owned(text.to_owned())]))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
                Ok(Texts::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<Self::Value, A::Error> {
                let elements: Vec<Element<'de>> =
                    Deserialize::deserialize(SeqAccessDeserializer::new(elements))?;
                let mut texts = Vec::with_capacity(elements.len());
                let mut tokens = Vec::new();
                for element in elements {
                    match element {
                        Element::Text(text) => texts.push(text),
                        Element::Token(token) => tokens.push(token),
                        Element::Tokens(tokens) => texts.push(Cow::Owned(token_text(&tokens))),
                    }
                }
                // A flat list of numbers is one text.
                texts.extend((!tokens.is_empty()).then(|| Cow::Owned(token_text(&tokens))));
                Ok(Texts(texts))
            }
        }

        deserializer.deserialize_any(TextsVisitor)
    }
}

/// Text for tokens of an unknown vocabulary: `#9906 #1917`.
fn token_text(tokens: &[u64]) -> String {
    tokens.iter().map(|token| format!("#{token}")).collect::<Vec<_>>().join(" ")
}

/// Adds the results of tools as messages of their own, and the text of their message unless it
/// has only results.
pub(super) fn push_with_results(
    role: Role,
    results: impl Iterator<Item = String>,
    text: String,
    messages: &mut Vec<ChatMessage<'static>>,
) {
    let before = messages.len();
    messages.extend(results.map(|result| ChatMessage { role: Role::Tool, text: result.into() }));
    if messages.len() == before || !text.is_empty() {
        messages.push(ChatMessage { role, text: text.into() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_as_a_string_as_parts_or_as_null() {
        let texts: Vec<Text<'_>> = serde_json::from_str(
            r#"["plain", "esc\"aped", [{"type":"text","text":"a"},{"type":"image_url"},{"text":"b"}], null, []]"#,
        )
        .unwrap();
        let texts: Vec<&str> = texts.iter().map(|text| &*text.0).collect();
        assert_eq!(texts, ["plain", "esc\"aped", "ab", "", ""]);
    }

    #[test]
    fn texts_come_alone_in_a_list_or_as_tokens() {
        let read = |json| serde_json::from_str::<Texts<'_>>(json).unwrap().0;
        assert_eq!(read(r#""one""#), ["one"]);
        assert_eq!(read(r#"["one","two"]"#), ["one", "two"]);
        assert_eq!(read("[1,2]"), ["#1 #2"]);
        assert_eq!(read("[[1],[2,3]]"), ["#1", "#2 #3"]);
    }
}

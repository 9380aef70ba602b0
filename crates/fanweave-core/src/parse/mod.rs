//! Parsers: steps that read a model's answer.

mod candidates;
pub mod choice;
pub mod json;
pub(crate) mod lenient;
pub mod lines;
pub mod list;
#[cfg(feature = "regex")]
pub mod matches;
pub(crate) mod nulls;
pub(crate) mod partial;
pub mod repair;
mod scan;
pub(crate) mod schema;
pub mod structured;
pub mod text;
pub mod tool_calls;
pub(crate) mod value_stream;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Error, ErrorKind, excerpt};

/// Maximum bytes of an answer that an error message shows. 200: three lines.
const MAX_EXCERPT_BYTES: usize = 200;

/// The error of an answer that does not have the expected form.
fn unreadable(expected: &str, found: &str) -> Error {
    let shown = excerpt(found.trim(), MAX_EXCERPT_BYTES);
    Error::new(ErrorKind::Parse, format!("expected {expected}, found {shown:?}")).with_body(found)
}

/// The message of a value that is not a `T`, with the path of the part that does not fit and the beginning of
/// that part: `tags[1].name: invalid type: string "5", expected u32`.
pub(crate) fn path_message<T: DeserializeOwned>(value: &Value, error: &serde_json::Error) -> String {
    let why = parse_message(error);
    // Only the second attempt looks for the path, so that valid values do not pay for it.
    let Err(error) = serde_path_to_error::deserialize::<_, T>(value) else { return why };
    let path = error.path().to_string();
    let why = parse_message(error.inner());
    if path == "." { why } else { format!("{path}: {why}") }
}

/// Shortens a parser's message, which may quote the whole value, to its beginning and its end, which names
/// the expected type.
pub(crate) fn parse_message(error: &serde_json::Error) -> String {
    let why = error.to_string();
    if why.len() <= 2 * MAX_EXCERPT_BYTES {
        return why;
    }
    let mut from = why.len() - MAX_EXCERPT_BYTES;
    while !why.is_char_boundary(from) {
        from += 1;
    }
    excerpt(&why, MAX_EXCERPT_BYTES) + &why[from..]
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use crate::model::fake::Fake;
    use crate::{
        ChatModel, Context, Delta, Message, Model, Prompt, Result, chain, choice, json, lines, list,
    };

    /// A model that sends its answer in chunks of so many characters.
    struct Splits(&'static str, usize);

    impl ChatModel for Splits {
        fn name(&self) -> &str {
            "test/splits"
        }

        async fn generate(&self, _: Prompt, cx: &Context) -> Result<Message> {
            let chars: Vec<char> = self.0.chars().collect();
            for chunk in chars.chunks(self.1) {
                cx.delta(Delta::text(chunk.iter().collect::<String>())).await;
            }
            Ok(Message::assistant(self.0))
        }
    }

    #[tokio::test]
    async fn thinking_never_becomes_the_value() {
        let answer = |text: &str| Message::assistant(format!("<think>No, 1. [\"x\"]\nyes</think>\n{text}"));
        assert_eq!(chain(json()).invoke(answer("[2]")).await.unwrap(), serde_json::json!([2]));
        assert_eq!(chain(json()).invoke(answer("2")).await.unwrap(), serde_json::json!(2));
        assert_eq!(chain(list()).invoke(answer("a, b")).await.unwrap(), ["a", "b"]);
        assert_eq!(chain(lines()).invoke(answer("a\nb")).await.unwrap(), ["a", "b"]);
        assert_eq!(chain(choice(["yes", "no"])).invoke(answer("No.")).await.unwrap(), "no");
        #[cfg(feature = "regex")]
        assert_eq!(
            chain(super::matches::matches(r"\d").unwrap()).invoke(answer("2")).await.unwrap(),
            crate::vars! { match: "2" }
        );
        let error = chain(json()).invoke(Message::assistant("<think>[1]")).await.unwrap_err();
        assert!(error.message().contains("only thinking"), "{error}");
    }

    #[tokio::test]
    async fn thinking_and_prose_are_skipped_at_every_split() {
        for text in [
            "<think>Maybe [7]? Or {\"n\": 7}.</think>The items [as asked], see {name} and [1]:\n```json\n[1, 2]\n```",
            "[THINK]```json\n[7]\n```[/THINK]\n\n{\"n\": [1, 2]}",
        ] {
            for width in 1..text.len() {
                let model = || chain(Model::new(Splits(text, width)));
                let items = model().items::<u8>().stream("?").try_collect::<Vec<_>>().await;
                assert_eq!(items.unwrap(), [1, 2], "{text} in chunks of {width}");
                let mut run = (model() | json()).stream("?");
                let mut last = None;
                while let Some(delta) = run.next().await {
                    last = Some(delta.unwrap());
                }
                let output = run.output().await.unwrap();
                assert_eq!(last, Some(Delta::Value(output)), "{text} in chunks of {width}");
                let lines = chain(Model::new(Splits("<think>a\nb</think>\nc\nd", width))).lines();
                assert_eq!(lines.stream("?").try_collect::<Vec<_>>().await.unwrap(), ["c", "d"]);
            }
        }
    }

    #[tokio::test]
    async fn the_items_of_an_array_like_a_footnote_are_emitted() {
        let items = chain(Fake::echo()).items::<u8>().stream("The list: [7]").try_collect::<Vec<_>>().await;
        assert_eq!(items.unwrap(), [7]);
    }
}

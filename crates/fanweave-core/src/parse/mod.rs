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

/// Maximum nesting depth of a value, for all parsers. Source: the limit of `serde_json`.
const MAX_DEPTH: usize = 127;

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
    use futures::{StreamExt, TryStreamExt};

    use crate::model::fake::Fake;
    use crate::{
        ChatModel, Context, Delta, Error, ErrorKind, Message, Model, Prompt, Result, chain, choice, json,
        lines, list,
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

    /// A model that sends these parts of its answer, and then fails if that is set.
    struct Parts(&'static [(u32, &'static str)], bool);

    impl ChatModel for Parts {
        fn name(&self) -> &str {
            "test/parts"
        }

        async fn generate(&self, _: Prompt, cx: &Context) -> Result<Message> {
            for (part, text) in self.0 {
                cx.delta(Delta::Text { part: *part, text: (*text).into() }).await;
            }
            if self.1 {
                return Err(Error::new(ErrorKind::Server, "lost"));
            }
            Ok(Message::assistant(self.0.iter().map(|(_, text)| *text).collect::<String>()))
        }
    }

    #[tokio::test]
    async fn text_that_may_begin_thinking_is_kept_at_the_end_of_its_part() {
        let model = |parts, fails| chain(Model::new(Parts(parts, fails)));
        let lines = |parts, fails| {
            let lines = model(parts, fails).lines().stream("?").map(|line| line.unwrap_or("failed".into()));
            lines.collect::<Vec<_>>()
        };
        assert_eq!(lines(&[(0, "["), (1, "b]\nc")], false).await, ["[b]", "c"]);
        assert_eq!(lines(&[(0, "a\n<th"), (1, "<th"), (2, "e>\nc")], false).await, ["a", "<th<the>", "c"]);
        assert_eq!(lines(&[(0, "a\nb"), (1, "\n")], true).await, ["a", "b", "failed"]);
        assert_eq!(lines(&[(0, "a\nb"), (1, "\n")], false).await, ["a", "b"]);
        for parts in [&[(0, "["), (1, "1,"), (2, "2]")][..], &[(0, "<think>[7]</think>["), (1, "1, 2]")]] {
            let items = model(parts, false).items::<u8>().stream("?").try_collect::<Vec<_>>().await;
            assert_eq!(items.unwrap(), [1, 2], "{parts:?}");
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

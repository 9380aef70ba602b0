//! Deltas of a streamed answer, the fold that builds a message from them, and maps of deltas.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Citation, FinishReason, Message, Part, Reply, Role, ToolCall, Usage};

/// One delta of a streamed answer. `Display` writes its text, and nothing for the other kinds.
///
/// `part` is the provider's index of the part that the delta belongs to: deltas of several parts may be
/// interleaved, and each kind has its own indices.
///
/// ```
/// use fanweave::crates::serde_json;
/// use fanweave::Delta;
///
/// let json = serde_json::to_string(&Delta::text("Hel")).unwrap();
/// assert_eq!(json, r#"{"text":{"part":0,"text":"Hel"}}"#);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Delta {
    /// More text.
    Text {
        /// Index of the text part.
        part: u32,
        /// Text to append.
        text: String,
    },
    /// Continuation of the model's reasoning.
    Reasoning {
        /// Index of the reasoning block.
        part: u32,
        /// Text to append.
        text: String,
        /// The provider's opaque token, complete.
        signature: Option<String>,
    },
    /// Continuation of a tool call. Id and name arrive once; arguments are appended.
    ToolCall {
        /// Index of the call.
        part: u32,
        /// The provider's id of the call.
        id: Option<String>,
        /// The tool.
        name: Option<String>,
        /// Text to append to the arguments.
        arguments: String,
    },
    /// A complete part that fanweave does not know, for [`Part::Other`].
    Other {
        /// Index of the part.
        part: u32,
        /// The part, verbatim as the provider sent it.
        value: Value,
    },
    /// A complete part of any kind, such as an image or audio.
    Part {
        /// Index of the part.
        part: u32,
        /// The part. Boxed, to keep the deltas of text small.
        content: Box<Part>,
    },
    /// A source that the answer cites, for [`Reply::citations`].
    Citation(Box<Citation>),
    /// The id and model of the answer; once, at the beginning.
    Started {
        /// The provider's id of the answer.
        id: Option<String>,
        /// The model that answers.
        model: Option<String>,
    },
    /// The finish reason.
    Finished(FinishReason),
    /// Usage so far. Replaces earlier values.
    Usage(Usage),
    /// The whole value so far, for steps whose answer is data rather than text. Replaces earlier values.
    Value(Value),
    /// A delta of one branch of a [`parallel`](crate::parallel) step.
    Branch {
        /// Name of the branch.
        branch: Arc<str>,
        /// The delta.
        delta: Box<Delta>,
    },
}

impl Delta {
    /// A delta of the first text part.
    pub fn text(text: impl Into<String>) -> Self {
        Delta::Text { part: 0, text: text.into() }
    }

    /// The text of a text delta, of any branch.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Delta::Text { text, .. } => Some(text),
            Delta::Branch { delta, .. } => delta.as_text(),
            _ => None,
        }
    }
}

/// The parts of a whole message as deltas, for models that do not stream.
pub(crate) fn of_message(message: &Message) -> impl Iterator<Item = Delta> {
    of_parts(&message.parts)
}

/// Parts of a message as deltas, one for each.
pub(crate) fn of_parts(parts: &[Part]) -> impl Iterator<Item = Delta> {
    (0u32..).zip(parts).map(|(part, content)| match content {
        Part::Text(text) => Delta::Text { part, text: text.clone() },
        Part::Reasoning { text, signature } => {
            Delta::Reasoning { part, text: text.clone(), signature: signature.clone() }
        }
        Part::ToolCall(call) => Delta::ToolCall {
            part,
            id: Some(call.id.clone()),
            name: Some(call.name.clone()),
            arguments: call.arguments.clone(),
        },
        Part::Other(value) => Delta::Other { part, value: value.clone() },
        content => Delta::Part { part, content: Box::new(content.clone()) },
    })
}

impl fmt::Display for Delta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_text().unwrap_or_default())
    }
}

/// Folds deltas into a [`Message`], in linear time. Any split of the same stream gives the same message.
///
/// ```
/// use fanweave::{Delta, events::Fold};
///
/// let mut fold = Fold::default();
/// fold.push(&Delta::text("Hel"));
/// fold.push(&Delta::text("lo"));
/// assert_eq!(fold.into_message().text(), "Hello");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Fold {
    parts: Vec<(Key, Part)>,
    /// Index of each part, once there are more than [`FEW`].
    indices: BTreeMap<Key, usize>,
    reply: Reply,
}

/// Up to this many parts, a linear search is faster than the index.
const FEW: usize = 8;

/// The part that a delta belongs to: each kind has its own indices.
type Key = (Kind, u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Text,
    Reasoning,
    ToolCall,
    Other,
    Part,
    Value,
}

impl Fold {
    /// Adds one delta.
    pub fn push(&mut self, delta: &Delta) {
        match delta {
            Delta::Text { part, text } => {
                if let Part::Text(all) = self.part((Kind::Text, *part), || Part::Text(String::new())) {
                    all.push_str(text);
                }
            }
            Delta::Reasoning { part, text, signature } => {
                let empty = || Part::Reasoning { text: String::new(), signature: None };
                if let Part::Reasoning { text: all, signature: sign } =
                    self.part((Kind::Reasoning, *part), empty)
                {
                    all.push_str(text);
                    if signature.is_some() {
                        sign.clone_from(signature);
                    }
                }
            }
            Delta::ToolCall { part, id, name, arguments } => {
                let empty = || {
                    Part::ToolCall(ToolCall {
                        id: String::new(),
                        name: String::new(),
                        arguments: String::new(),
                    })
                };
                if let Part::ToolCall(call) = self.part((Kind::ToolCall, *part), empty) {
                    // Some providers repeat id and name with every delta: set, never append.
                    set(&mut call.id, id.as_deref());
                    set(&mut call.name, name.as_deref());
                    call.arguments.push_str(arguments);
                }
            }
            Delta::Other { part, value } => {
                let whole = self.part((Kind::Other, *part), || Part::Other(Value::Null));
                *whole = Part::Other(value.clone());
            }
            Delta::Part { part, content } => {
                *self.part((Kind::Part, *part), || Part::Other(Value::Null)) = Part::clone(content);
            }
            Delta::Citation(citation) => {
                if !self.reply.citations.contains(citation) {
                    self.reply.citations.push(Citation::clone(citation));
                }
            }
            Delta::Started { id, model } => {
                self.reply.id = id.clone().or(self.reply.id.take());
                self.reply.model = model.clone().or(self.reply.model.take());
            }
            Delta::Finished(reason) => self.reply.finish_reason = Some(reason.clone()),
            Delta::Usage(usage) => self.reply.usage = *usage,
            Delta::Value(value) => {
                let text = self.part((Kind::Value, 0), || Part::Text(String::new()));
                *text = Part::Text(value.to_string());
            }
            // Branches are separate answers: to read one of them, fold its deltas.
            Delta::Branch { .. } => {}
        }
    }

    /// The message so far.
    pub fn into_message(self) -> Message {
        let parts = self
            .parts
            .into_iter()
            .map(|(_, part)| part)
            .filter(|part| !matches!(part, Part::Text(text) if text.is_empty()))
            .collect();
        Message::from_parts(Role::Assistant, parts).with_reply(self.reply)
    }

    /// Number of parts so far.
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Returns true once a finish reason has arrived.
    pub fn is_finished(&self) -> bool {
        self.reply.finish_reason.is_some()
    }

    fn index_of(&self, key: Key) -> Option<usize> {
        if self.parts.len() > FEW {
            return self.indices.get(&key).copied();
        }
        // Searched from the end: a delta nearly always belongs to the same part as the previous one.
        self.parts.iter().rposition(|(k, _)| *k == key)
    }

    fn part(&mut self, key: Key, empty: impl FnOnce() -> Part) -> &mut Part {
        let at = self.index_of(key).unwrap_or_else(|| {
            self.parts.push((key, empty()));
            let at = self.parts.len() - 1;
            if at == FEW {
                // The search becomes slow: build the index.
                self.indices = self.parts.iter().zip(0..).map(|((key, _), at)| (*key, at)).collect();
            } else if at > FEW {
                self.indices.insert(key, at);
            }
            at
        });
        &mut self.parts[at].1
    }
}

fn set(field: &mut String, value: Option<&str>) {
    if let Some(value) = value
        && !value.is_empty()
    {
        field.clear();
        field.push_str(value);
    }
}

/// Maps deltas of one step's answer to deltas of the next one's.
pub trait DeltaMap: Send + 'static {
    /// The delta that `delta` completes, if it completes one.
    fn map(&mut self, delta: Delta) -> Option<Delta>;
}

impl<F: FnMut(Delta) -> Option<Delta> + Send + 'static> DeltaMap for F {
    fn map(&mut self, delta: Delta) -> Option<Delta> {
        self(delta)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fold(deltas: &[Delta]) -> Message {
        let mut fold = Fold::default();
        deltas.iter().for_each(|delta| fold.push(delta));
        fold.into_message()
    }

    fn call(part: u32, id: Option<&str>, arguments: &str) -> Delta {
        let name = id.map(|_| "book".to_owned());
        Delta::ToolCall { part, id: id.map(Into::into), name, arguments: arguments.into() }
    }

    #[test]
    fn interleaved_tool_calls_stay_apart() {
        let message = fold(&[
            call(0, Some("a"), ""),
            call(1, Some("b"), ""),
            call(0, None, r#"{"x":"#),
            call(1, None, r#"{"y":2}"#),
            call(0, None, "1}"),
        ]);
        let calls: Vec<_> = message.tool_calls().map(|c| (c.id.as_str(), c.arguments.as_str())).collect();
        assert_eq!(calls, [("a", r#"{"x":1}"#), ("b", r#"{"y":2}"#)]);
    }

    #[test]
    fn repeated_ids_and_names_are_not_concatenated() {
        let message = fold(&[call(0, Some("m"), "{"), call(0, Some("m"), "}")]);
        let call = message.tool_calls().next().expect("one call");
        assert_eq!((call.id.as_str(), call.name.as_str(), call.arguments.as_str()), ("m", "book", "{}"));
    }

    #[test]
    fn the_last_usage_counts() {
        let usage = |output_tokens| Usage::new(5, output_tokens);
        let message = fold(&[Delta::Usage(usage(1)), Delta::text("x"), Delta::Usage(usage(7))]);
        assert_eq!(message.usage(), usage(7));
    }

    #[test]
    fn a_whole_message_as_deltas_folds_to_itself() {
        let mut message = Message::assistant("let me see");
        message.parts.push(Part::ToolCall(ToolCall {
            id: "1".into(),
            name: "book".into(),
            arguments: "{}".into(),
        }));
        message.reply = Some(Box::default());
        let deltas: Vec<_> = of_message(&message).collect();
        assert_eq!(fold(&deltas), message);
    }

    #[test]
    fn parts_stay_apart_and_in_order_however_many_there_are() {
        let (rounds, max) = (3, 1000u32);
        for parts in [1, 8, 9, max] {
            let deltas = (0..rounds).flat_map(|round| {
                (0..parts).flat_map(move |n| {
                    // Each kind has its own indices.
                    [Delta::Text { part: n, text: format!("{round}") }, call(n, None, &format!("{n} "))]
                })
            });
            let message = fold(&deltas.collect::<Vec<_>>());
            assert_eq!(message.text(), "012".repeat(parts as usize));
            let written: Vec<_> = message.tool_calls().map(|call| call.arguments.clone()).collect();
            let wanted: Vec<_> = (0..parts).map(|n| format!("{n} ").repeat(rounds)).collect();
            assert_eq!(written, wanted);
        }
    }

    proptest! {
        #[test]
        fn any_split_of_a_stream_folds_to_the_same_message(
            inputs in prop::collection::vec((0u32..9, "[a-zé ]{0,6}", any::<bool>()), 0..40),
            cuts in prop::collection::vec(0usize..7, 0..40),
        ) {
            let delta = |part: u32, text: &str, tool: bool| if tool {
                Delta::ToolCall { part, id: None, name: None, arguments: text.into() }
            } else {
                Delta::Text { part, text: text.into() }
            };
            let whole: Vec<_> = inputs.iter().map(|(p, t, k)| delta(*p, t, *k)).collect();
            let mut split = Vec::new();
            for (i, (part, text, tool)) in inputs.iter().enumerate() {
                let mut at = cuts.get(i).copied().unwrap_or(0).min(text.len());
                while !text.is_char_boundary(at) { at -= 1; }
                split.push(delta(*part, &text[..at], *tool));
                split.push(delta(*part, &text[at..], *tool));
            }
            prop_assert_eq!(fold(&whole), fold(&split));
        }
    }
}

//! Assembly of tool calls from the fragments of a stream.
//!
//! A fragment belongs to the call with its id, or else to the last call at its index. Servers that repeat one
//! id and index for all calls are recognised by the shape of their arguments: a fragment with a name that
//! begins an object, after arguments that are a complete object, starts another call.

use fanweave_core::Delta;
use serde::de::IgnoredAny;

/// The tool calls of one answer. The position in the list is the part index of their deltas.
#[derive(Default)]
pub(super) struct Calls(Vec<Call>);

/// A tool call that has started.
#[derive(Default)]
struct Call {
    /// The provider's index, if it sends one.
    index: Option<u32>,
    id: String,
    /// Set while the provider has sent no id.
    is_generated: bool,
    name: String,
    arguments: String,
    /// Set if the arguments are `{}` and have not been emitted: an object may follow and replace them.
    is_held: bool,
}

/// The next part of a tool call. Fields that the server omits are empty.
#[derive(Default, Clone, Copy)]
pub(super) struct Fragment<'a> {
    pub(super) index: Option<u32>,
    pub(super) id: &'a str,
    pub(super) name: &'a str,
    pub(super) arguments: &'a str,
}

impl Call {
    /// Returns true if a fragment with this id and name, at the same index, belongs to this call.
    ///
    /// An index repeated with another name, or with a name and another id, starts a second call: some servers
    /// send 0 for all of them. Another id alone does not: some servers give every chunk a new id.
    fn continues(&self, id: &str, name: &str) -> bool {
        match (id, name) {
            (_, "") => true,
            ("", name) => self.name.is_empty() || self.name == name || self.arguments.is_empty(),
            _ => self.is_generated && self.name.is_empty(),
        }
    }

    /// Returns true if the arguments are one complete object.
    fn is_complete(&self) -> bool {
        let arguments = self.arguments.trim();
        arguments.starts_with('{')
            && arguments.ends_with('}')
            && serde_json::from_str::<IgnoredAny>(arguments).is_ok()
    }
}

impl Calls {
    /// Adds a fragment. `None` if it repeats a call.
    pub(super) fn add(&mut self, fragment: Fragment<'_>) -> Option<Delta> {
        let Fragment { index, id, name, mut arguments } = fragment;
        let same_index = |call: &Call| index.is_none() || index == call.index;
        let by_id = || self.0.iter().rposition(|call| same_index(call) && call.id == id);
        let continued = || self.0.iter().rposition(|call| same_index(call) && call.continues(id, name));
        let mut found = by_id().or_else(continued);
        if let Some(at) = found
            && arguments.trim_start().starts_with('{')
            && self.0[at].is_complete()
        {
            let call = &mut self.0[at];
            if !id.is_empty() && call.id == id && call.arguments.trim() == arguments.trim() {
                return None;
            }
            let keeps_name = name.is_empty() || name == call.name;
            if call.is_held && keeps_name {
                call.arguments.clear();
                call.is_held = false;
            } else if !name.is_empty() {
                found = None;
            }
        }
        let at = found.unwrap_or_else(|| {
            self.0.push(Call { index, ..Call::default() });
            self.0.len() - 1
        });
        if self.0[at].arguments.is_empty() && matches!(arguments.trim(), "" | "null") {
            arguments = "";
        }
        let id = self.named(at, id);
        let call = &mut self.0[at];
        if call.name.is_empty() {
            call.name.push_str(name);
        }
        call.arguments.push_str(arguments);
        let arguments = match call.arguments.trim() {
            "{}" if arguments.trim() == "{}" => {
                call.is_held = true;
                String::new()
            }
            // The object that was held is followed by something else.
            _ if std::mem::take(&mut call.is_held) => call.arguments.clone(),
            _ => arguments.to_owned(),
        };
        let name = Some(name).filter(|name| !name.is_empty()).map(str::to_owned);
        Some(Delta::ToolCall { part: at as u32, id, name, arguments })
    }

    /// Sets the id of a call. Returns it if it is new.
    fn named(&mut self, at: usize, id: &str) -> Option<String> {
        let call = &self.0[at];
        let is_open = call.id.is_empty() || (call.is_generated && !id.is_empty());
        if !is_open {
            return None;
        }
        let is_used = |id: &str| self.0.iter().enumerate().any(|(other, call)| other != at && call.id == id);
        let is_generated = id.is_empty() || is_used(id);
        let id = if is_generated {
            (at..).map(generated_id).find(|id| !is_used(id)).expect("the numbers never end")
        } else {
            id.to_owned()
        };
        self.0[at].is_generated = is_generated;
        self.0[at].id.clone_from(&id);
        Some(id)
    }

    /// Emits the arguments that were held, once the answer is finished.
    pub(super) fn finish(&mut self) -> impl Iterator<Item = Delta> {
        let held = |(part, call): (u32, &mut Call)| {
            let arguments = std::mem::take(&mut call.is_held).then(|| call.arguments.clone())?;
            Some(Delta::ToolCall { part, id: None, name: None, arguments })
        };
        (0..).zip(&mut self.0).filter_map(held)
    }
}

/// An id for a call without one, so that its result can refer to it.
pub(super) fn generated_id(n: usize) -> String {
    format!("call_{n}")
}

#[cfg(test)]
mod tests {
    use fanweave_core::Fold;

    use super::*;

    /// Id, name and arguments of each call.
    fn assembled(fragments: &[(Option<u32>, &str, &str, &str)]) -> Vec<(String, String, String)> {
        let (mut calls, mut fold) = (Calls::default(), Fold::default());
        for (index, id, name, arguments) in fragments {
            let fragment = Fragment { index: *index, id, name, arguments };
            calls.add(fragment).iter().for_each(|delta| fold.push(delta));
        }
        calls.finish().for_each(|delta| fold.push(&delta));
        let message = fold.into_message();
        message.tool_calls().map(|c| (c.id.clone(), c.name.clone(), c.arguments.clone())).collect()
    }

    #[test]
    fn tool_calls_are_never_merged_lost_or_emptied() {
        type Case<'a> =
            (&'a str, &'a [(Option<u32>, &'a str, &'a str, &'a str)], &'a [(&'a str, &'a str, &'a str)]);
        let (paris, rome) = (r#"{"city":"Paris"}"#, r#"{"city":"Rome"}"#);
        let x = r#"{"x":1}"#;
        let cases: &[Case<'_>] = &[
            (
                "one index, no ids, one name",
                &[(Some(0), "", "w", paris), (Some(0), "", "w", rome), (Some(0), "", "w", x)],
                &[("call_0", "w", paris), ("call_1", "w", rome), ("call_2", "w", x)],
            ),
            (
                "no index, no ids, one name",
                &[(None, "", "w", paris), (None, "", "w", rome)],
                &[("call_0", "w", paris), ("call_1", "w", rome)],
            ),
            (
                "one index, different ids",
                &[(Some(0), "a", "w", paris), (Some(0), "b", "w", rome)],
                &[("a", "w", paris), ("b", "w", rome)],
            ),
            (
                "an id in every fragment",
                &[(Some(0), "a", "w", "{\"x\""), (Some(0), "a", "w", ":1}"), (Some(1), "b", "w", x)],
                &[("a", "w", x), ("b", "w", x)],
            ),
            (
                "another id in every fragment",
                &[(Some(0), "a", "w", "{\"x\""), (Some(0), "b", "", ":1}")],
                &[("a", "w", x)],
            ),
            (
                "equal ids at two indices",
                &[(Some(0), "a", "w", paris), (Some(1), "a", "w", rome)],
                &[("a", "w", paris), ("call_1", "w", rome)],
            ),
            ("a placeholder", &[(Some(0), "a", "w", "{}"), (Some(0), "", "", x)], &[("a", "w", x)]),
            ("a placeholder, named", &[(Some(0), "a", "w", "{}"), (Some(0), "", "w", x)], &[("a", "w", x)]),
            (
                "no arguments, and another call",
                &[(Some(0), "", "v", "{}"), (Some(0), "", "w", x)],
                &[("call_0", "v", "{}"), ("call_1", "w", x)],
            ),
            ("no arguments", &[(Some(0), "a", "w", "{}")], &[("a", "w", "{}")]),
            ("null is no value", &[(Some(0), "a", "w", "null"), (Some(0), "", "", x)], &[("a", "w", x)]),
            ("an exact repeat", &[(Some(0), "a", "w", x), (Some(0), "a", "w", x)], &[("a", "w", x)]),
            (
                "a repeat without an id",
                &[(Some(0), "", "w", x), (Some(0), "", "w", x)],
                &[("call_0", "w", x), ("call_1", "w", x)],
            ),
            (
                "braces in a text",
                &[(Some(0), "a", "w", "{\"x\":\"}"), (Some(0), "", "w", "{\"}")],
                &[("a", "w", "{\"x\":\"}{\"}")],
            ),
            (
                "interleaved",
                &[
                    (Some(0), "a", "w", "{\"x\""),
                    (Some(1), "b", "w", "{\"x\""),
                    (Some(0), "", "", ":1}"),
                    (Some(1), "", "", ":1}"),
                ],
                &[("a", "w", x), ("b", "w", x)],
            ),
            (
                "a held object that is followed by white space",
                &[(Some(0), "a", "w", "{}"), (Some(0), "", "", " ")],
                &[("a", "w", "{} ")],
            ),
        ];
        for (name, fragments, wanted) in cases {
            let wanted: Vec<_> = wanted
                .iter()
                .map(|(id, name, all)| (id.to_string(), name.to_string(), all.to_string()))
                .collect();
            assert_eq!(assembled(fragments), wanted, "{name}");
        }
    }
}

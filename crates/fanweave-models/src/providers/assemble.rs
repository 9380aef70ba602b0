//! Assembly of tool calls, for all dialects: from the fragments of a stream, from whole calls, and from
//! events that state a call once more.
//!
//! A fragment belongs to the call with its id, or else to the last call at its index. Servers that repeat one
//! id and index for all calls are recognised by the shape of their arguments: a fragment with a name that
//! begins an object, after arguments that are a complete object, starts another call.

use fanweave_core::{Delta, Part, Result, ToolCall};

use crate::transport::caps::CALLS;
use crate::transport::extent::Extent;

/// Maximum bytes of arguments that are an empty object, with white space.
const MAX_EMPTY_BYTES: usize = 16;

/// The tool calls of one answer. The position in the list is the part index of their deltas.
pub(super) struct Calls {
    calls: Vec<Call>,
    /// Beginning of the ids of calls without one.
    prefix: &'static str,
}

impl Default for Calls {
    fn default() -> Self {
        Self::with_prefix("call_")
    }
}

/// A tool call that has started.
#[derive(Default)]
struct Call {
    /// The provider's index, if it sends one.
    index: Option<u32>,
    id: String,
    /// Set while the provider has sent no id of its own.
    is_generated: bool,
    /// The id that the provider has sent, if another call has it already.
    repeated_id: String,
    name: String,
    arguments: String,
    /// The JSON value in the arguments.
    extent: Extent,
    /// Set if the arguments have not been emitted: an object may follow and replace them.
    is_held: bool,
    /// Set if the name came once more, without an id, after arguments that are a complete object: an object
    /// that follows is another call.
    is_renamed: bool,
    /// Set once a piece has repeated all arguments before it.
    is_cumulative: bool,
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

    fn has_id(&self, id: &str) -> bool {
        self.id == id || self.repeated_id == id
    }

    /// The new text in a piece of the arguments: some servers send all of them so far with each piece.
    ///
    /// No piece of an open object begins like the object, unless a value may begin there: two braces, or a
    /// quoted name in a string, are not JSON.
    fn unsaid<'a>(&mut self, arguments: &'a str) -> &'a str {
        let may_repeat = || {
            let so_far = self.arguments.trim_ascii_end();
            so_far.starts_with('{') && !self.extent.is_closed_object() && !so_far.ends_with([':', '[', ','])
        };
        let is_open = arguments.starts_with('{') && (self.is_cumulative || may_repeat());
        if !is_open {
            return arguments;
        }
        match arguments.strip_prefix(&*self.arguments) {
            Some(rest) => {
                self.is_cumulative = true;
                rest
            }
            None => arguments,
        }
    }

    fn append(&mut self, arguments: &str) {
        self.arguments.push_str(arguments);
        self.extent.push(arguments.as_bytes());
    }
}

fn is_empty_object(arguments: &str) -> bool {
    arguments.len() <= MAX_EMPTY_BYTES && arguments.trim() == "{}"
}

impl Calls {
    /// Gives calls without an id one that begins with `prefix`.
    pub(super) fn with_prefix(prefix: &'static str) -> Self {
        Self { calls: Vec::new(), prefix }
    }

    /// Returns true without any call.
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Adds a fragment. `None` if it repeats a call.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] for too many calls.
    pub(super) fn add(&mut self, fragment: Fragment<'_>) -> Result<Option<Delta>> {
        self.fragment(fragment, false)
    }

    /// Adds the start of a call. Its arguments, if they are complete, are a placeholder for those of the
    /// fragments after it.
    ///
    /// # Errors
    /// Like [`add`](Self::add).
    pub(super) fn start(&mut self, fragment: Fragment<'_>) -> Result<Option<Delta>> {
        self.fragment(fragment, true)
    }

    fn fragment(&mut self, fragment: Fragment<'_>, is_start: bool) -> Result<Option<Delta>> {
        let Fragment { index, id, mut name, mut arguments } = fragment;
        let renamed;
        let same_index = |call: &Call| index.is_none() || index == call.index;
        let by_id = || self.calls.iter().rposition(|call| same_index(call) && call.has_id(id));
        let last = || self.calls.iter().rposition(same_index);
        let continued = || last().filter(|at| self.calls[*at].continues(id, name));
        let mut found = if id.is_empty() { None } else { by_id() }.or_else(continued);
        if let Some(at) = found
            && arguments.trim_start().starts_with('{')
            && self.calls[at].extent.is_closed_object()
        {
            let call = &mut self.calls[at];
            let is_near = call.arguments.len() <= arguments.len() + MAX_EMPTY_BYTES;
            if !id.is_empty() && call.has_id(id) && is_near && call.arguments.trim() == arguments.trim() {
                return Ok(None);
            }
            if std::mem::take(&mut call.is_renamed) && name.is_empty() && !call.is_held {
                renamed = call.name.clone();
                name = &renamed;
            }
            let keeps_name = name.is_empty() || name == call.name;
            if call.is_held && keeps_name {
                call.arguments.clear();
                call.extent = Extent::default();
                call.is_held = false;
            } else if !name.is_empty() && !call.is_cumulative {
                found = None;
            }
        }
        if let Some(at) = found
            && !name.is_empty()
            && arguments.is_empty()
            && !self.calls[at].name.is_empty()
            && self.calls[at].name != name
            && self.calls[at].extent.is_closed_object()
        {
            // Another function, although the id and the index are those of a complete call.
            found = None;
        }
        let at = match found {
            Some(at) => at,
            None => self.push(index)?,
        };
        if self.calls[at].arguments.is_empty() && matches!(arguments.trim(), "" | "null") {
            arguments = "";
        }
        if !name.is_empty() && id.is_empty() && arguments.is_empty() {
            self.calls[at].is_renamed = self.calls[at].extent.is_closed_object();
        }
        let has_id = !id.is_empty();
        let id = self.named(at, id);
        let call = &mut self.calls[at];
        let whole_name;
        if !name.is_empty() && call.name != name {
            let is_piece = !has_id && call.arguments.is_empty() && !name.starts_with(&*call.name);
            if is_piece {
                call.name.push_str(name);
                whole_name = call.name.clone();
                name = &whole_name;
            } else {
                name.clone_into(&mut call.name);
            }
        }
        arguments = call.unsaid(arguments);
        call.append(arguments);
        let is_placeholder = is_empty_object(&call.arguments) && arguments.contains('{');
        let stays_held = call.is_held && arguments.trim().is_empty();
        // Arguments that have been emitted cannot be replaced any more.
        let is_replaceable = call.is_held || call.arguments.len() == arguments.len();
        let is_complete = is_placeholder || (is_start && call.extent.is_closed_object());
        let arguments = if stays_held || (is_complete && is_replaceable) {
            call.is_held = true;
            String::new()
        } else if std::mem::take(&mut call.is_held) {
            // Something else follows the object that was held.
            call.arguments.clone()
        } else {
            arguments.to_owned()
        };
        Ok(Some(delta(at, id, name, arguments)))
    }

    /// Adds a call that is sent whole. `None` if it repeats a call with its id.
    ///
    /// # Errors
    /// Like [`add`](Self::add).
    pub(super) fn whole(&mut self, call: Fragment<'_>) -> Result<Option<Delta>> {
        let Fragment { index, id, name, arguments } = call;
        let repeats = |call: &Call| call.id == id && call.name == name && call.arguments == arguments;
        if !id.is_empty() && self.calls.iter().any(repeats) {
            return Ok(None);
        }
        let at = self.push(index)?;
        let id = self.named(at, id);
        let call = &mut self.calls[at];
        call.name.push_str(name);
        call.append(arguments);
        Ok(Some(delta(at, id, name, arguments.to_owned())))
    }

    /// Adds what an event at the end states of a call, if fragments have not said it. `None` if they have.
    ///
    /// # Errors
    /// Like [`add`](Self::add).
    pub(super) fn restated(&mut self, call: Fragment<'_>) -> Result<Option<Delta>> {
        let Fragment { index, id, name, arguments } = call;
        let by_id = || self.calls.iter().rposition(|call| call.has_id(id));
        let by_index = || {
            let fits = |call: &Call| call.index == index && (id.is_empty() || call.is_generated);
            self.calls.iter().rposition(fits).or_else(|| {
                let nth = index.and_then(|index| usize::try_from(index).ok())?;
                self.calls.get(nth).filter(|call| call.index.is_none() && call.name == name).map(|_| nth)
            })
        };
        let Some(at) = if id.is_empty() { None } else { by_id() }.or_else(by_index) else {
            return self.whole(call);
        };
        let id = self.named(at, id);
        let call = &mut self.calls[at];
        let name = if call.name.is_empty() { name } else { "" };
        call.name.push_str(name);
        let is_unsaid = call.is_held || call.arguments.is_empty();
        let more = match arguments.strip_prefix(call.arguments.as_str()) {
            _ if is_empty_object(arguments) || arguments.is_empty() => {
                call.is_held |= call.arguments.is_empty() && !arguments.is_empty();
                if call.is_held {
                    call.arguments.clear();
                    call.extent = Extent::default();
                    call.append(arguments);
                }
                ""
            }
            _ if is_unsaid => {
                call.arguments.clear();
                call.extent = Extent::default();
                call.is_held = false;
                arguments
            }
            Some(rest) => rest,
            // A contradiction: what has been emitted stays.
            None => "",
        };
        if !more.is_empty() {
            call.append(more);
        }
        let says_nothing = id.is_none() && name.is_empty() && more.is_empty();
        Ok((!says_nothing).then(|| delta(at, id, name, more.to_owned())))
    }

    /// A call that is sent whole, as a part of an answer that is not streamed. `None` if it repeats a call.
    ///
    /// # Errors
    /// Like [`add`](Self::add).
    pub(super) fn part(&mut self, call: Fragment<'_>) -> Result<Option<Part>> {
        let is_new = self.whole(call)?.is_some();
        let id = self.calls.last().map(|call| call.id.clone()).unwrap_or_default();
        let (name, arguments) = (call.name.to_owned(), call.arguments.to_owned());
        Ok(is_new.then(|| Part::ToolCall(ToolCall { id, name, arguments })))
    }

    fn push(&mut self, index: Option<u32>) -> Result<usize> {
        if self.calls.len() == CALLS.max {
            return Err(CALLS.exceeded());
        }
        self.calls.push(Call { index, ..Call::default() });
        Ok(self.calls.len() - 1)
    }

    /// Sets the id of a call. Returns it if it is new.
    fn named(&mut self, at: usize, id: &str) -> Option<String> {
        let call = &self.calls[at];
        let is_open = call.id.is_empty() || (call.is_generated && !id.is_empty());
        if !is_open {
            return None;
        }
        let is_used =
            |id: &str| self.calls.iter().enumerate().any(|(other, call)| other != at && call.id == id);
        let (given, is_generated) = (id, id.is_empty() || is_used(id));
        let id = if is_generated {
            let ids = (at..).map(|n| format!("{}{n}", self.prefix));
            ids.into_iter().find(|id| !is_used(id)).expect("the numbers never end")
        } else {
            id.to_owned()
        };
        self.calls[at].is_generated = is_generated;
        if is_generated {
            given.clone_into(&mut self.calls[at].repeated_id);
        }
        self.calls[at].id.clone_from(&id);
        Some(id)
    }

    /// Emits the arguments that were held, once the answer is finished.
    pub(super) fn finish(&mut self) -> impl Iterator<Item = Delta> {
        let held = |(part, call): (u32, &mut Call)| {
            let arguments = std::mem::take(&mut call.is_held).then(|| call.arguments.clone())?;
            Some(Delta::ToolCall { part, id: None, name: None, arguments })
        };
        (0..).zip(&mut self.calls).filter_map(held)
    }
}

fn delta(at: usize, id: Option<String>, name: &str, arguments: String) -> Delta {
    let name = Some(name).filter(|name| !name.is_empty()).map(str::to_owned);
    Delta::ToolCall { part: at as u32, id, name, arguments }
}

/// Tool calls from fragments. Four bytes are one: how it comes, its index, its id and name, and the length of
/// its arguments, which follow.
///
/// # Panics
/// If the deltas do not say what was assembled, or if ids are missing or not unique.
#[cfg(any(test, feature = "fuzzing"))]
pub fn fuzz(bytes: &[u8]) {
    use fanweave_core::Fold;

    const IDS: [&str; 4] = ["", "a", "b", "call_0"];
    const NAMES: [&str; 4] = ["", "f", "g", "f"];
    let (mut calls, mut fold) = (Calls::default(), Fold::default());
    let mut rest = bytes;
    while let [how, index, names, length, after @ ..] = rest {
        let (arguments, after) = after.split_at(usize::from(length % 32).min(after.len()));
        rest = after;
        let arguments = String::from_utf8_lossy(arguments);
        let index = (index % 4 > 0).then(|| u32::from(index % 4) - 1);
        let (id, name) = (IDS[usize::from(names % 4)], NAMES[usize::from(names / 4 % 4)]);
        let fragment = Fragment { index, id, name, arguments: &arguments };
        let added = match how % 4 {
            0 => calls.add(fragment),
            1 => calls.start(fragment),
            2 => calls.whole(fragment),
            _ => calls.restated(fragment),
        };
        match added {
            Ok(delta) => delta.iter().for_each(|delta| fold.push(delta)),
            Err(_) => break,
        }
    }
    calls.finish().for_each(|delta| fold.push(&delta));
    let message = fold.into_message();
    let said: Vec<_> = message.tool_calls().map(|c| (&*c.id, &*c.name, &*c.arguments)).collect();
    let held: Vec<_> = calls.calls.iter().map(|c| (&*c.id, &*c.name, &*c.arguments)).collect();
    assert_eq!(said, held);
    for (at, (id, ..)) in said.iter().enumerate() {
        assert!(!id.is_empty() && said[..at].iter().all(|(other, ..)| other != id), "{said:?}");
    }
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
            calls.add(fragment).unwrap().iter().for_each(|delta| fold.push(delta));
        }
        calls.finish().for_each(|delta| fold.push(&delta));
        let message = fold.into_message();
        message.tool_calls().map(|c| (c.id.clone(), c.name.clone(), c.arguments.clone())).collect()
    }

    /// Id, name and arguments of each call, by the deltas of `add`.
    fn read(add: impl FnOnce(&mut Calls) -> Result<Vec<Option<Delta>>>) -> Vec<[String; 3]> {
        let (mut calls, mut fold) = (Calls::default(), Fold::default());
        add(&mut calls).unwrap().iter().flatten().for_each(|delta| fold.push(delta));
        calls.finish().for_each(|delta| fold.push(&delta));
        let message = fold.into_message();
        message.tool_calls().map(|c| [c.id.clone(), c.name.clone(), c.arguments.clone()]).collect()
    }

    fn piece<'a>(index: Option<u32>, id: &'a str, name: &'a str, arguments: &'a str) -> Fragment<'a> {
        Fragment { index, id, name, arguments }
    }

    #[test]
    fn a_start_after_pieces_of_its_call_repeats_nothing() {
        let said = read(|calls| {
            Ok(vec![
                calls.add(piece(Some(0), "a", "f", "{\"city\":\"Pa"))?,
                calls.start(piece(Some(0), "a", "", "ris\"}"))?,
                calls.add(piece(Some(0), "a", "", " "))?,
                calls.add(piece(Some(0), "a", "", "x"))?,
            ])
        });
        assert_eq!(said, [["a", "f", "{\"city\":\"Paris\"} x"]]);
    }

    #[test]
    fn an_event_at_the_end_adds_only_what_is_missing() {
        let x = r#"{"x":1}"#;
        type Pieces<'a> = &'a [Fragment<'a>];
        let start = piece(Some(0), "a", "f", "");
        let cases: &[(&str, Pieces<'_>, Fragment<'_>, &[[&str; 3]])] = &[
            ("all", &[start], piece(None, "a", "f", x), &[["a", "f", x]]),
            ("nothing", &[start, piece(Some(0), "", "", x)], piece(Some(0), "", "", x), &[["a", "f", x]]),
            ("an end", &[start, piece(Some(0), "", "", "{\"x\"")], piece(None, "a", "", x), &[["a", "f", x]]),
            (
                "other arguments",
                &[start, piece(Some(0), "", "", x)],
                piece(None, "a", "f", "{}"),
                &[["a", "f", x]],
            ),
            (
                "contradiction",
                &[start, piece(Some(0), "", "", x)],
                piece(None, "a", "f", "{\"y\":1}"),
                &[["a", "f", x]],
            ),
            (
                "instead of a placeholder",
                &[piece(Some(0), "a", "f", "{}")],
                piece(None, "a", "f", x),
                &[["a", "f", x]],
            ),
            ("no arguments", &[start], piece(None, "a", "f", "{}"), &[["a", "f", "{}"]]),
            (
                "no arguments twice",
                &[piece(Some(0), "a", "f", "{}")],
                piece(None, "a", "f", "{}"),
                &[["a", "f", "{}"]],
            ),
            ("an id and a name", &[piece(Some(0), "", "", x)], piece(Some(0), "a", "f", x), &[["a", "f", x]]),
            (
                "by its position",
                &[piece(None, "", "f", x)],
                piece(Some(0), "", "f", x),
                &[["call_0", "f", x]],
            ),
            ("another call", &[start], piece(Some(1), "b", "g", x), &[["a", "f", ""], ["b", "g", x]]),
        ];
        for (name, pieces, end, wanted) in cases {
            let seen = read(|calls| {
                let mut deltas = pieces.iter().map(|piece| calls.add(*piece)).collect::<Result<Vec<_>>>()?;
                deltas.push(calls.restated(*end)?);
                Ok(deltas)
            });
            assert_eq!(seen, wanted.iter().map(|call| call.map(str::to_owned)).collect::<Vec<_>>(), "{name}");
        }
    }

    #[test]
    fn whole_calls_are_one_each_unless_id_and_contents_are_equal() {
        let x = r#"{"x":1}"#;
        let pieces =
            [("", "f", "{}"), ("", "f", x), ("", "f", x), ("a", "f", x), ("a", "f", x), ("a", "f", "{}")];
        let seen = read(|calls| {
            pieces.map(|(id, name, x)| calls.whole(piece(None, id, name, x))).into_iter().collect()
        });
        let ids: Vec<_> = seen.iter().map(|[id, _, arguments]| (&**id, &**arguments)).collect();
        assert_eq!(ids, [("call_0", "{}"), ("call_1", x), ("call_2", x), ("a", x), ("call_4", "{}")]);
    }

    #[test]
    fn a_start_with_arguments_is_a_placeholder_for_its_fragments() {
        let x = r#"{"x":1}"#;
        for more in [&["{\"x\"", ":1}"][..], &[x], &[], &[""]] {
            let seen = read(|calls| {
                let mut deltas = vec![calls.start(piece(Some(0), "a", "f", x))?];
                for arguments in more {
                    deltas.push(calls.add(piece(Some(0), "", "", arguments))?);
                }
                Ok(deltas)
            });
            assert_eq!(seen, [["a", "f", x].map(str::to_owned)], "{more:?}");
        }
    }

    #[test]
    fn the_time_is_linear_in_the_fragments() {
        let blanks = " ".repeat(1 << 20);
        for (first, more) in
            [("{\"a\":\"", "{}"), (" ", " "), (&*blanks, "{}"), ("{}", " "), ("{", "{\"a\":1}")]
        {
            let start = std::time::Instant::now();
            let mut calls = Calls::default();
            calls.add(piece(Some(0), "a", "f", first)).unwrap();
            for _ in 0..30_000 {
                calls.add(piece(Some(0), "a", "", more)).unwrap();
            }
            assert!(
                start.elapsed() < std::time::Duration::from_secs(20),
                "{first:.9}{more}: {:?}",
                start.elapsed()
            );
        }
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
            (
                "one id and one index for two functions",
                &[(Some(0), "a", "v", paris), (Some(0), "a", "w", "{\"x\""), (Some(0), "a", "", ":1}")],
                &[("a", "v", paris), ("call_1", "w", x)],
            ),
            (
                "one id and one index for two functions, and arguments after their names",
                &[
                    (Some(0), "a", "v", ""),
                    (Some(0), "a", "", paris),
                    (Some(0), "a", "w", ""),
                    (Some(0), "a", "", x),
                ],
                &[("a", "v", paris), ("call_1", "w", x)],
            ),
            (
                "a name that is sent once more, complete",
                &[(Some(0), "a", "get", ""), (Some(0), "a", "get_weather", ""), (Some(0), "", "", x)],
                &[("a", "get_weather", x)],
            ),
            ("a placeholder", &[(Some(0), "a", "w", "{}"), (Some(0), "", "", x)], &[("a", "w", x)]),
            ("a placeholder, named", &[(Some(0), "a", "w", "{}"), (Some(0), "", "w", x)], &[("a", "w", x)]),
            (
                "no arguments, and another call",
                &[(Some(0), "", "v", "{}"), (Some(0), "", "w", x)],
                &[("call_0", "v", "{}"), ("call_1", "w", x)],
            ),
            (
                "no index, no ids, and arguments after their name",
                &[
                    (None, "", "w", ""),
                    (None, "", "", paris),
                    (None, "", "w", ""),
                    (None, "", "", rome),
                    (None, "", "w", ""),
                ],
                &[("call_0", "w", paris), ("call_1", "w", rome)],
            ),
            (
                "no index, no ids, and the name of an earlier call",
                &[(None, "", "w", paris), (None, "", "v", x), (None, "", "w", ""), (None, "", "", rome)],
                &[("call_0", "w", paris), ("call_1", "v", x), ("call_2", "w", rome)],
            ),
            ("no arguments", &[(Some(0), "a", "w", "{}")], &[("a", "w", "{}")]),
            (
                "a placeholder and an empty fragment",
                &[(Some(0), "a", "w", "{}"), (Some(0), "", "", ""), (Some(0), "", "", x)],
                &[("a", "w", x)],
            ),
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

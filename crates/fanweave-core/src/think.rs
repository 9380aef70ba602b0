//! Tells thinking that a model writes into its text, such as `<think>..</think>`, from its answer.

use std::borrow::Cow;

use crate::Message;

/// The tags that begin and end thinking.
const TAGS: [(&str, &str); 6] = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
];

/// Maximum bytes of white space held back before the first word. 256: more than any known template writes.
const MAX_WHITE_SPACE: usize = 256;

/// Splits text that arrives in chunks into thinking and answer. Any split of the same text gives the same
/// thinking and the same answer.
///
/// Thinking stands between `<think>` and `</think>`, or `thinking`, `thought` or `reasoning` in place of
/// `think`, between `[THINK]` and `[/THINK]`, or between `◁think▷` and `◁/think▷`, at the beginning of the
/// text. White space around it is dropped. Without a closing tag the whole text is thinking. Later tags are
/// text, because answers may be about them.
///
/// Holds back what may become a tag: at most 256 bytes, and nothing once the answer has begun.
///
/// ```
/// use fanweave::parsers::ThinkSplitter;
///
/// let mut splitter = ThinkSplitter::default();
/// assert_eq!(splitter.push("<thi").text, "");
/// assert_eq!(splitter.push("nk>2 + 2?").reasoning, "2 + 2?");
/// assert_eq!(splitter.push("</think>\n\n4").text, "4");
/// assert_eq!(splitter.finish().text, "");
/// ```
#[derive(Debug, Clone, Default)]
pub struct ThinkSplitter {
    state: State,
    held: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum State {
    #[default]
    Start,
    /// Thinking until this closing tag.
    Thinking(&'static str),
    /// After thinking: white space is dropped, and more thinking may follow.
    After,
    Answer,
}

/// The thinking and the answer in one chunk of text: each continues that of the previous chunk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Split<'a> {
    /// Thinking to append.
    pub reasoning: Cow<'a, str>,
    /// Answer to append.
    pub text: Cow<'a, str>,
}

impl ThinkSplitter {
    /// Reads a chunk. Once the answer has begun this costs a comparison.
    pub fn push<'a>(&mut self, chunk: &'a str) -> Split<'a> {
        if self.state == State::Answer {
            return Split { text: Cow::Borrowed(chunk), reasoning: Cow::Borrowed("") };
        }
        self.held.push_str(chunk);
        let mut split = Split::default();
        let mut from = 0;
        loop {
            let rest = &self.held[from..];
            match self.state {
                State::Start | State::After => {
                    let trimmed = rest.trim_start();
                    if let Some((open, close)) = opening(trimmed) {
                        from = self.held.len() - trimmed.len() + open.len();
                        self.state = State::Thinking(close);
                        continue;
                    }
                    let may_open = TAGS.iter().any(|(open, _)| open.starts_with(trimmed));
                    if may_open && (self.state == State::After || rest.len() <= MAX_WHITE_SPACE) {
                        if self.state == State::After {
                            from = self.held.len() - trimmed.len();
                        }
                        break;
                    }
                    let answer = if self.state == State::After { trimmed } else { rest };
                    split.text.to_mut().push_str(answer);
                    self.state = State::Answer;
                    from = self.held.len();
                    break;
                }
                State::Thinking(close) => {
                    if let Some(at) = rest.find(close) {
                        split.reasoning.to_mut().push_str(&rest[..at]);
                        from += at + close.len();
                        self.state = State::After;
                        continue;
                    }
                    let kept = begun(rest, close);
                    split.reasoning.to_mut().push_str(&rest[..rest.len() - kept]);
                    from = self.held.len() - kept;
                    break;
                }
                State::Answer => break,
            }
        }
        self.held.drain(..from);
        split
    }

    /// Returns true once the answer has begun: the rest of the text is part of it.
    pub fn is_answer(&self) -> bool {
        self.state == State::Answer
    }

    /// Returns what was held back. The text has ended.
    pub fn finish(&mut self) -> Split<'static> {
        let held = Cow::Owned(std::mem::take(&mut self.held));
        let split = match self.state {
            State::Thinking(_) => Split { reasoning: held, ..Split::default() },
            _ => Split { text: held, ..Split::default() },
        };
        self.state = State::Answer;
        split
    }
}

/// The tags whose opening begins `text`.
fn opening(text: &str) -> Option<(&'static str, &'static str)> {
    TAGS.into_iter().find(|(open, _)| text.starts_with(open))
}

/// Length of the longest end of `text` that is a beginning of `tag`, but not all of it.
fn begun(text: &str, tag: &str) -> usize {
    let lens = (1..tag.len()).rev().filter(|len| tag.is_char_boundary(*len));
    lens.into_iter().find(|len| text.ends_with(&tag[..*len])).unwrap_or_default()
}

/// The thinking and the answer in a whole text without an opening tag: the template of the model had already
/// written that into the prompt. A closing tag at the end or the beginning of a line ends the thinking.
/// `None` for any other text, also if nothing follows the tag.
///
/// ```
/// use fanweave::parsers::split_unopened;
///
/// assert_eq!(split_unopened("2 + 2 is 4.\n</think>\n\n4"), Some(("2 + 2 is 4.", "4")));
/// assert_eq!(split_unopened("The tag </think> ends it."), None);
/// ```
pub fn split_unopened(text: &str) -> Option<(&str, &str)> {
    // Nearly all answers end here.
    if !text.contains('/') {
        return None;
    }
    TAGS.into_iter().find_map(|(open, close)| {
        let (before, after) = text.split_once(close)?;
        let is_tag = (before.ends_with('\n') || after.starts_with('\n')) && !before.contains(open);
        (is_tag && !after.trim().is_empty()).then(|| (before.trim(), after.trim_start()))
    })
}

/// The part of a whole answer that follows its thinking, with or without an opening tag.
pub(crate) fn answer(text: &str) -> &str {
    let mut rest = text;
    while let Some((open, close)) = opening(rest.trim_start()) {
        let inside = &rest.trim_start()[open.len()..];
        rest = match inside.find(close) {
            Some(at) => inside[at + close.len()..].trim_start(),
            None => "",
        };
    }
    if rest.len() < text.len() {
        return rest;
    }
    split_unopened(text).map_or(text, |(_, answer)| answer)
}

/// The text of an answer without its thinking.
pub(crate) fn answer_of(message: Message) -> String {
    let text = message.into_text();
    let answer = answer(&text);
    if answer.len() == text.len() { text } else { answer.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(chunks: &[&str]) -> (String, String) {
        let mut splitter = ThinkSplitter::default();
        let (mut reasoning, mut text) = (String::new(), String::new());
        for chunk in chunks {
            let split = splitter.push(chunk);
            reasoning += &split.reasoning;
            text += &split.text;
        }
        let split = splitter.finish();
        (reasoning + &split.reasoning, text + &split.text)
    }

    #[test]
    fn only_tags_at_the_beginning_are_thinking() {
        let cases = [
            ("<think>a</think>\n\nb", "a", "b"),
            ("\n <thinking>a</thinking><think>c</think> b", "ac", "b"),
            ("[THINK]a[/THINK]b", "a", "b"),
            ("b <think>a</think>", "", "b <think>a</think>"),
            ("<think>a</thinking>b", "a</thinking>b", ""),
            (" <th", "", " <th"),
            ("  b", "", "  b"),
            ("", "", ""),
        ];
        for (whole, reasoning, text) in cases {
            assert_eq!(split(&[whole]), (reasoning.to_owned(), text.to_owned()), "{whole}");
        }
    }

    #[test]
    fn a_closing_tag_on_its_own_line_ends_thinking_without_an_opening_tag() {
        assert_eq!(answer("so it is\n</think>\n\n4"), "4");
        assert_eq!(answer("The tag </think> ends it."), "The tag </think> ends it.");
        assert_eq!(answer("<think>a</think>\n</think>\nb"), "</think>\nb");
    }

    #[test]
    fn little_is_held_back() {
        let mut splitter = ThinkSplitter::default();
        assert_eq!(splitter.push(&" ".repeat(1000)).text.len(), 1000);
        let mut splitter = ThinkSplitter::default();
        splitter.push("<think>");
        assert_eq!(splitter.push(&"</thin".repeat(1000)).reasoning.len(), 5994);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_parts(text in "( |\n|<think>|</think>|<thi|\\[THINK\\]|◁think▷|◁/think▷|a|é){0,12}", width in 1usize..9) {
            let chars: Vec<char> = text.chars().collect();
            let chunks: Vec<String> = chars.chunks(width).map(|chunk| chunk.iter().collect()).collect();
            let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
            let (reasoning, answer_text) = split(&chunks);
            prop_assert_eq!(&(reasoning.clone(), answer_text.clone()), &split(&[&text]));
            if !reasoning.is_empty() {
                prop_assert_eq!(answer_text.trim_end(), answer(&text).trim_end());
            }
        }
    }
}

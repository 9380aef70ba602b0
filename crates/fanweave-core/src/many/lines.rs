//! Yields the lines of an answer, each as soon as it is complete.

use std::collections::VecDeque;

use futures::stream;

use crate::chain::Chain;
use crate::many::Many;
use crate::run::Run;
use crate::think::ThinkSplitter;
use crate::{Delta, Error, Message, Node, Result, Runnable};

/// The lines of an answer that are items.
///
/// A label is a number (`1.`, `2)`, `3:`, `(4)`, `**5.**`, `①`, `一、`), a letter (`a)`), a bullet (`-`, `*`,
/// `•`) or the mark of a heading (`#`). Labels are removed from the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum LineFilter {
    /// [`Labelled`](Self::Labelled) if the first or the second line has a label, otherwise
    /// [`All`](Self::All). The default: prose around a list, such as "Sure! Here are three:", is dropped.
    ///
    /// A first line without a label is held back until the second one has begun.
    #[default]
    Auto,
    /// Only lines with a label.
    Labelled,
    /// All lines, except empty ones.
    All,
}

/// Reads an answer line by line.
pub(super) fn lines<I: Send + 'static>(chain: Chain<I, Message>, filter: LineFilter) -> Many<I, String> {
    let node = Node::sequence([chain.describe(), Node::step("lines")]);
    Many::new(node, move |input, cx| {
        let state = Reader {
            run: Run::new(chain.clone(), input, cx),
            thinking: ThinkSplitter::default(),
            part: 0,
            splitter: Splitter::new(filter),
            ended: false,
            failed: None,
        };
        stream::unfold(state, |mut reader| async move {
            let line = reader.next().await?;
            Some((line, reader))
        })
    })
}

struct Reader {
    run: Run<Message>,
    thinking: ThinkSplitter,
    /// The part of the last text.
    part: u32,
    splitter: Splitter,
    ended: bool,
    /// The error of the run, which follows the lines before it.
    failed: Option<Error>,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<String>> {
        loop {
            if let Some(line) = self.splitter.complete.pop_front() {
                return Some(Ok(line));
            }
            if self.ended {
                return self.failed.take().map(Err);
            }
            match self.run.next().await {
                Some(Ok(Delta::Text { part, text })) => {
                    if std::mem::replace(&mut self.part, part) != part {
                        let held = std::mem::take(&mut self.thinking).finish().text;
                        self.splitter.push(&held);
                    }
                    self.splitter.push(&self.thinking.push(&text).text);
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    self.ended = true;
                    self.failed = Some(error);
                    self.splitter.push(&self.thinking.finish().text);
                    self.splitter.release();
                }
                None => {
                    self.ended = true;
                    self.splitter.push(&self.thinking.finish().text);
                    self.splitter.finish();
                }
            }
        }
    }
}

/// The lines of a whole text.
pub(crate) fn lines_of(text: &str, filter: LineFilter) -> Vec<String> {
    let mut splitter = Splitter::new(filter);
    splitter.push(text);
    splitter.finish();
    splitter.complete.into()
}

/// Splits text that arrives in chunks into lines, in linear time.
struct Splitter {
    filter: LineFilter,
    partial: String,
    /// The first line, while the filter is undecided.
    held: Option<String>,
    complete: VecDeque<String>,
}

impl Splitter {
    fn new(filter: LineFilter) -> Self {
        Self { filter, partial: String::new(), held: None, complete: VecDeque::new() }
    }

    fn push(&mut self, mut text: &str) {
        while let Some(at) = text.find('\n') {
            self.partial.push_str(&text[..at]);
            self.end();
            text = &text[at + 1..];
        }
        self.partial.push_str(text);
        if self.held.is_some()
            && let Some(is_labelled) = begins_with_label(&self.partial)
        {
            self.decide(is_labelled);
        }
    }

    /// The rest of the text is a line.
    fn end(&mut self) {
        let line = self.partial.trim();
        let (is_labelled, text) = label(line).map_or((false, line), |rest| (true, rest));
        if !text.is_empty() {
            let text = text.to_owned();
            if self.filter == LineFilter::Auto && (is_labelled || self.held.is_some()) {
                self.decide(is_labelled);
            }
            match self.filter {
                LineFilter::Auto => self.held = Some(text),
                LineFilter::Labelled if !is_labelled => {}
                LineFilter::Labelled | LineFilter::All => self.complete.push_back(text),
            }
        }
        self.partial.clear();
    }

    /// Decides the filter by the first line with a label, or by the second line.
    fn decide(&mut self, is_labelled: bool) {
        let held = self.held.take();
        if is_labelled {
            self.filter = LineFilter::Labelled;
        } else {
            self.filter = LineFilter::All;
            self.complete.extend(held);
        }
    }

    /// The text has ended.
    fn finish(&mut self) {
        self.end();
        self.release();
    }

    /// The only line is an item.
    fn release(&mut self) {
        self.complete.extend(self.held.take());
    }
}

/// Maximum digits of a number that is a label. 6: longer ones are codes.
const MAX_DIGITS: usize = 6;

/// Maximum bytes of a label with its white space. 24: bold, brackets, a number and some spaces.
const MAX_LABEL_BYTES: usize = 24;

/// A line without its label and the white space after it. `None` without a label, and for a label alone.
///
/// A number is a label only if a `.`, `)` or `:` and white space follow: `3.5 km` and `2026 was warm` are
/// not.
fn label(line: &str) -> Option<&str> {
    let spaced = |rest: &'_ str| rest.starts_with(char::is_whitespace);
    let line = line.trim();
    let (bold, inner) = match line.strip_prefix("**") {
        Some(inner) => (true, inner),
        None => (false, line),
    };
    let opened = inner.strip_prefix('(');
    let numbered = opened.unwrap_or(inner);
    let after = numbered.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = numbered.len() - after.len();
    let letter = numbered.starts_with(|c: char| c.is_ascii_alphabetic()) && digits == 0;
    let rest = if let Some(rest) = opened {
        let closed = if letter { rest[1..].strip_prefix(')') } else { after.strip_prefix(')') };
        closed.filter(|_| letter || (1..=MAX_DIGITS).contains(&digits))
    } else if (1..=MAX_DIGITS).contains(&digits) {
        after.strip_prefix(['.', ')', ':']).or_else(|| after.strip_prefix('、').map(str::trim_start))
    } else if letter {
        inner[1..].strip_prefix(')')
    } else {
        None
    };
    let is_cjk = after.starts_with('、') && digits > 0;
    if let Some(rest) = rest {
        let (closed, rest) = match rest.strip_prefix("**").filter(|_| bold) {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let rest = (spaced(rest) || is_cjk).then(|| rest.trim_start()).filter(|rest| !rest.is_empty())?;
        let rest = if bold && !closed { rest.strip_suffix("**").unwrap_or(rest) } else { rest };
        return Some(rest).filter(|rest| !rest.is_empty());
    }
    if bold {
        return None;
    }
    let rest = if let Some(rest) = line.strip_prefix(['-', '*', '•', '–', '·', '▪']) {
        Some(rest).filter(|rest| spaced(rest))
    } else if let Some(rest) = line.strip_prefix(|c| ('①'..='⑳').contains(&c)) {
        Some(rest)
    } else if line.starts_with('#') {
        let rest = line.trim_start_matches('#');
        Some(rest).filter(|rest| spaced(rest) && line.len() - rest.len() <= 6)
    } else {
        let rest = line.trim_start_matches(|c: char| "一二三四五六七八九十".contains(c));
        rest.strip_prefix('、').filter(|_| (1..=3 * 3).contains(&(line.len() - rest.len())))
    };
    rest.map(str::trim_start).filter(|rest| !rest.is_empty())
}

/// Returns whether a line that begins with `partial` has a label, as soon as that is certain.
fn begins_with_label(partial: &str) -> Option<bool> {
    let partial = partial.trim_start();
    // Asterisks may be the end of a bold label alone.
    if label(partial).is_some_and(|rest| !rest.trim_start_matches('*').is_empty()) {
        return Some(true);
    }
    let endings = ["x", " x", ". x", ") x", "、x", "1. x", "* x", "** x", "*1. x", ".** x", "1) x"];
    let may_have = partial.len() <= MAX_LABEL_BYTES
        && endings.iter().any(|ending| label(&format!("{partial}{ending}")).is_some());
    if may_have { None } else { Some(false) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(chunks: &[&str], filter: LineFilter) -> Vec<String> {
        let mut splitter = Splitter::new(filter);
        chunks.iter().for_each(|chunk| splitter.push(chunk));
        splitter.finish();
        splitter.complete.into()
    }

    #[test]
    fn numbering_and_bullets_are_stripped_and_numbers_are_not() {
        let text =
            "1. Tides\r\n 2) Turbines\n\n- Costs\n* 3.5 km of dam\n2026 was warm\n3.5 million\n10: Outlook";
        assert_eq!(
            split(&[text], LineFilter::All),
            ["Tides", "Turbines", "Costs", "3.5 km of dam", "2026 was warm", "3.5 million", "Outlook"]
        );
    }

    #[test]
    fn labels_of_all_kinds_are_removed() {
        for line in [
            "1. Tides",
            "2) Tides",
            "10: Tides",
            "(3) Tides",
            "(b) Tides",
            "a) Tides",
            "- Tides",
            "* Tides",
            "• Tides",
            "– Tides",
            "## Tides",
            "**1. Tides**",
            "**1.** Tides",
            "**1)** Tides",
            "一、Tides",
            "十二、 Tides",
            "1、Tides",
            "① Tides",
            "③Tides",
        ] {
            assert_eq!(label(line), Some("Tides"), "{line}");
        }
        for line in [
            "Tides",
            "3.5 km",
            "2026 was warm",
            "1.",
            "- ",
            "**Tides**",
            "#tides",
            "-5 degrees",
            "**",
            "一",
            "(see below)",
            "I) ",
            "1234567. x",
            "",
            "①",
        ] {
            assert_eq!(label(line), None, "{line}");
        }
    }

    #[test]
    fn prose_before_and_after_a_list_is_dropped() {
        let text = "Sure! Here are three:\n\n1. Tides\n2. Turbines\n   at night\n3. Costs\n\nAnything else?";
        assert_eq!(lines_of(text, LineFilter::Auto), ["Tides", "Turbines", "Costs"]);
        assert_eq!(lines_of(text, LineFilter::All).len(), 6);
        assert_eq!(lines_of("Tides\nTurbines\n1. Costs", LineFilter::Auto), ["Tides", "Turbines", "Costs"]);
        assert_eq!(lines_of("Tides\nTurbines\n1. Costs", LineFilter::Labelled), ["Costs"]);
        assert_eq!(lines_of("Only one", LineFilter::Auto), ["Only one"]);
        assert_eq!(lines_of("Only one", LineFilter::Labelled), [""; 0]);
    }

    #[test]
    fn a_first_line_is_held_back_until_the_second_one_has_begun() {
        let mut splitter = Splitter::new(LineFilter::Auto);
        splitter.push("Tides\n");
        assert!(splitter.complete.is_empty());
        splitter.push("Tu");
        assert_eq!(splitter.complete, ["Tides"]);
        let mut splitter = Splitter::new(LineFilter::Auto);
        for chunk in ["Sure:\n", "1", ".", " "] {
            splitter.push(chunk);
            assert!(splitter.complete.is_empty());
        }
        splitter.push("T");
        assert_eq!((splitter.filter, &splitter.held), (LineFilter::Labelled, &None));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_lines(
            lines in prop::collection::vec("(\\*\\*)?[(]?[1a一①#*x-]{0,2}[.)、:]?(\\*\\*)? ?[a-c ]{0,3}(\\*\\*)?", 0..5),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
            filter in prop::sample::select(vec![LineFilter::Auto, LineFilter::Labelled, LineFilter::All]),
        ) {
            let text = lines.join("\n");
            let mut cuts: Vec<_> =
                cuts.iter().map(|cut| text.floor_char_boundary(cut.index(text.len() + 1))).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let chunks: Vec<_> = cuts.windows(2).map(|w| &text[w[0]..w[1]]).collect();
            prop_assert_eq!(split(&[&text], filter), split(&chunks, filter));
            let bytes: Vec<_> = text.char_indices().map(|(i, c)| &text[i..i + c.len_utf8()]).collect();
            prop_assert_eq!(split(&[&text], filter), split(&bytes, filter));
        }
    }
}

//! Yields the lines of an answer, each as soon as it is complete.

use std::collections::VecDeque;

use futures::stream;

use crate::chain::Chain;
use crate::many::Many;
use crate::run::Run;
use crate::think::ThinkSplitter;
use crate::{Delta, Message, Node, Result, Runnable};

/// Reads an answer line by line.
pub(super) fn lines<I: Send + 'static>(chain: Chain<I, Message>) -> Many<I, String> {
    let node = Node::sequence([chain.describe(), Node::step("lines")]);
    Many::new(node, move |input, cx| {
        let state = Reader {
            run: Run::new(chain.clone(), input, cx),
            thinking: ThinkSplitter::default(),
            part: 0,
            splitter: Splitter::default(),
            ended: false,
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
}

impl Reader {
    async fn next(&mut self) -> Option<Result<String>> {
        loop {
            if let Some(line) = self.splitter.complete.pop_front() {
                return Some(Ok(line));
            }
            if self.ended {
                return None;
            }
            match self.run.next().await {
                Some(Ok(Delta::Text { part, text })) => {
                    if std::mem::replace(&mut self.part, part) != part {
                        self.thinking = ThinkSplitter::default();
                    }
                    self.splitter.push(&self.thinking.push(&text).text);
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    self.ended = true;
                    return Some(Err(error));
                }
                None => {
                    self.ended = true;
                    self.splitter.push(&self.thinking.finish().text);
                    self.splitter.end();
                }
            }
        }
    }
}

/// Splits text that arrives in chunks into lines, in linear time.
#[derive(Default)]
struct Splitter {
    partial: String,
    complete: VecDeque<String>,
}

impl Splitter {
    fn push(&mut self, mut text: &str) {
        while let Some(at) = text.find('\n') {
            self.partial.push_str(&text[..at]);
            self.end();
            text = &text[at + 1..];
        }
        self.partial.push_str(text);
    }

    /// The rest of the text is a line.
    fn end(&mut self) {
        let line = strip(&self.partial);
        if !line.is_empty() {
            self.complete.push_back(line.to_owned());
        }
        self.partial.clear();
    }
}

/// A line without surrounding white space and without its bullet or number: `2) Tides` is `Tides`.
///
/// A number is a label only if a `.`, `)` or `:` and white space follow: `3.5 km` and `2026 was warm` stay.
pub(crate) fn strip(line: &str) -> &str {
    let line = line.trim();
    for bullet in ["- ", "* ", "• ", "– "] {
        if let Some(rest) = line.strip_prefix(bullet) {
            return rest.trim_start();
        }
    }
    let after = line.trim_start_matches(|c: char| c.is_ascii_digit());
    if after.len() < line.len()
        && let Some(rest) = after.strip_prefix(['.', ')', ':'])
        && rest.starts_with(char::is_whitespace)
    {
        return rest.trim_start();
    }
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(chunks: &[&str]) -> Vec<String> {
        let mut splitter = Splitter::default();
        chunks.iter().for_each(|chunk| splitter.push(chunk));
        splitter.end();
        splitter.complete.into()
    }

    #[test]
    fn numbering_and_bullets_are_stripped_and_numbers_are_not() {
        let text =
            "1. Tides\r\n 2) Turbines\n\n- Costs\n* 3.5 km of dam\n2026 was warm\n3.5 million\n10: Outlook";
        assert_eq!(
            split(&[text]),
            ["Tides", "Turbines", "Costs", "3.5 km of dam", "2026 was warm", "3.5 million", "Outlook"]
        );
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_lines(text in "[a-z1.\n -]{0,60}", at in 0usize..60, to in 0usize..60) {
            let (at, to) = (at.min(text.len()), to.min(text.len()));
            let (at, to) = (at.min(to), at.max(to));
            prop_assert_eq!(split(&[&text]), split(&[&text[..at], &text[at..to], &text[to..]]));
        }
    }
}

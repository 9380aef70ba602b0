//! Splits Markdown by sections.

use super::Splitter;
use crate::retrieve::TextSplitter;

/// Splits Markdown at its headings, and splits sections that are too long.
///
/// Every chunk of a section begins with its headings, so that it can be found and understood by itself. A `#`
/// inside a fenced block is not a heading.
///
/// ```
/// use fanweave::retrieval::TextSplitter;
/// use fanweave::splitters::Markdown;
///
/// let chunks = Markdown::new(60).split("# Tides\n\nThey turn.\n\n## Power\n\nIt is old.");
/// assert_eq!(chunks, ["# Tides\n\nThey turn.", "# Tides\n## Power\n\nIt is old."]);
/// ```
#[derive(Debug, Clone)]
pub struct Markdown {
    length: usize,
    overlap: usize,
}

impl Markdown {
    /// Chunks of at most `length` characters, including headings.
    pub fn new(length: usize) -> Self {
        Self { length: length.max(1), overlap: 0 }
    }

    /// Maximum characters of the end of the previous chunk that a chunk repeats, within a section. Default:
    /// 0.
    #[must_use]
    pub fn overlap(self, overlap: usize) -> Self {
        Self { overlap, ..self }
    }
}

/// The text under one heading.
struct Section<'a> {
    /// The enclosing headings, outermost first.
    headings: Vec<&'a str>,
    text: &'a str,
}

impl TextSplitter for Markdown {
    fn split(&self, text: &str) -> Vec<String> {
        let chunks = |section: Section<'_>| {
            let mut head = section.headings.join("\n");
            if !head.is_empty() {
                head.push_str("\n\n");
            }
            // Omit headings that would fill more than half of a chunk.
            let used = head.chars().count();
            let (head, room) = if used * 2 <= self.length {
                (head, self.length - used)
            } else {
                (String::new(), self.length)
            };
            let splitter = Splitter::recursive(room).overlap(self.overlap);
            splitter.split(section.text).into_iter().map(move |chunk| format!("{head}{chunk}"))
        };
        sections(text).into_iter().flat_map(chunks).collect()
    }
}

fn sections(text: &str) -> Vec<Section<'_>> {
    let mut sections = Vec::new();
    let mut headings: Vec<(usize, &str)> = Vec::new();
    let (mut start, mut at) = (0, 0);
    let mut fence: Option<&str> = None;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim_start();
        let mark = ["```", "~~~"].into_iter().find(|mark| trimmed.starts_with(mark));
        match (fence, mark) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            _ => {}
        }
        if fence.is_none()
            && let Some(level) = level(line)
        {
            sections.push(Section { headings: names(&headings), text: &text[start..at] });
            headings.retain(|(above, _)| *above < level);
            headings.push((level, line.trim()));
            start = at + line.len();
        }
        at += line.len();
    }
    sections.push(Section { headings: names(&headings), text: &text[start..] });
    sections
}

fn names<'a>(headings: &[(usize, &'a str)]) -> Vec<&'a str> {
    headings.iter().map(|(_, heading)| *heading).collect()
}

/// The level of a heading, from 1 to 6.
fn level(line: &str) -> Option<usize> {
    let marks = line.bytes().take_while(|b| *b == b'#').count();
    ((1..=6).contains(&marks) && line[marks..].starts_with([' ', '\t'])).then_some(marks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sections_are_split_under_their_headings() {
        let text = "# A\n\nOne two three four five six seven.\n\n# B\n\n```\n# no heading\n```\n";
        let chunks = Markdown::new(24).split(text);
        assert_eq!(
            chunks,
            ["# A\n\nOne two three four", "# A\n\nfive six seven.", "# B\n\n```\n# no heading", "# B\n\n```"]
        );
    }
}

//! Sentences about a topic, composed from the stock.

use super::{stock, words};
use crate::draw::Rng;

/// A topic, ready for insertion into phrases.
#[derive(Clone, Debug)]
pub(super) struct Topic {
    phrase: String,
    title: String,
}

impl Topic {
    pub(super) fn new(phrase: Option<String>) -> Self {
        let phrase = phrase.unwrap_or_else(|| "the matter at hand".to_owned());
        Self { title: words::title_case(&phrase), phrase }
    }

    pub(super) fn phrase(&self) -> &str {
        &self.phrase
    }

    /// Inserts the topic into a phrase of the stock.
    pub(super) fn fill(&self, template: &str) -> String {
        template.replace("{t}", &self.phrase).replace("{T}", &self.title)
    }

    /// Like `fill`, with a capital letter at the start.
    pub(super) fn fill_sentence(&self, template: &str) -> String {
        words::capitalised(&self.fill(template))
    }
}

/// `count` sentences: an opening, middles, and a closing if there are more than two.
pub(super) fn sentences(count: usize, topic: &Topic, rng: &mut Rng) -> Vec<String> {
    let opening = rng.pick(stock::OPENINGS);
    let closing = rng.pick(stock::CLOSINGS);
    let middles = rng.cycle(stock::MIDDLES);
    let ends = usize::from(count > 2);
    std::iter::once(opening)
        .chain(middles.take(count.saturating_sub(1 + ends)))
        .chain((ends == 1).then_some(closing))
        .take(count)
        .map(|template| topic.fill_sentence(template))
        .collect()
}

/// A paragraph of four or five sentences.
pub(super) fn paragraph(topic: &Topic, rng: &mut Rng) -> String {
    let count = 4 + rng.below(2);
    sentences(count, topic, rng).join(" ")
}

/// `count` paragraphs with different openings.
pub(super) fn paragraphs(count: usize, topic: &Topic, rng: &mut Rng) -> Vec<String> {
    let openings: Vec<_> = rng.cycle(stock::OPENINGS).take(count).collect();
    let mut middles = rng.cycle(stock::MIDDLES);
    let paragraph = |(index, opening)| {
        let middle = middles.by_ref().take(3 + index % 2);
        let closing = (index + 1 == count).then(|| rng.pick(stock::CLOSINGS));
        let templates = std::iter::once(opening).chain(middle).chain(closing);
        templates.map(|template| topic.fill_sentence(template)).collect::<Vec<_>>().join(" ")
    };
    openings.into_iter().enumerate().map(paragraph).collect()
}

/// Prose of exactly `count` words that ends with a full stop.
pub(super) fn exactly_words(count: usize, topic: &Topic, rng: &mut Rng) -> String {
    let length = |text: &str| text.split_whitespace().count();
    let mut left = count;
    let mut text = String::new();
    // Use every middle before any is repeated, so that the text is long before it repeats itself.
    let passes = count / stock::MIDDLES.len() + 1;
    let middles = rng.cycle(stock::MIDDLES).take(passes * stock::MIDDLES.len());
    for template in std::iter::once(rng.pick(stock::OPENINGS)).chain(middles) {
        let sentence = topic.fill_sentence(template);
        if length(&sentence) <= left {
            left -= length(&sentence);
            text.push_str(if text.is_empty() { "" } else { " " });
            text.push_str(&sentence);
        }
    }
    if text.is_empty() {
        let start: Vec<&str> = topic.phrase().split_whitespace().collect();
        let start = &start[start.len().saturating_sub(left)..];
        left -= start.len();
        text = words::capitalised(&start.join(" "));
    }
    text.truncate(text.trim_end_matches('.').len());
    while left > 0 {
        let tail = stock::TAILS[left.min(stock::TAILS.len()) - 1];
        left -= length(tail);
        text = text + ", " + tail;
    }
    text + "."
}

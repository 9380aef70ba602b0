//! The topic of a prompt.

use super::words;

/// Labels whose line names the topic, the most specific first: `Section title: The Tides`.
const LABELS: [&str; 6] = ["section title:", "section:", "title:", "subject:", "article topic:", "topic:"];

/// Words before a topic, the most specific first.
const MARKERS: [&str; 17] = [
    "about",
    "regarding",
    "that makes",
    "that sells",
    "the topic of",
    "the history of",
    "what is",
    "what are",
    "who is",
    "who was",
    "explain",
    "describe",
    "define",
    "introduce",
    "on",
    "for",
    "of",
];

/// Openings of questions whose subject is the next meaningful word.
const QUESTIONS: [&str; 22] = [
    "why is",
    "why are",
    "why do",
    "why does",
    "why did",
    "why was",
    "why can",
    "why should",
    "how is",
    "how are",
    "how do",
    "how does",
    "how did",
    "how was",
    "how far away is",
    "how long should",
    "what makes",
    "what causes",
    "what gives",
    "what keeps",
    "what happens to",
    "where does",
];

/// Words that end the topic, unless it starts with them.
const ENDS: [&str; 14] = [
    "using",
    "in exactly",
    "with exactly",
    "in a",
    "in an",
    "in one",
    "as a",
    "as an",
    "and then",
    "for a",
    "for an",
    "so that",
    "as json",
    "work",
];

/// Maximum words of a topic after a marker.
const MAX_TOPIC_WORDS: usize = 6;

/// The topic of `text` as a phrase that fits into a sentence: `tidal power`. `None` if no topic is found.
pub(super) fn topic(text: &str) -> Option<String> {
    labelled(text)
        .or_else(|| quoted(text))
        .or_else(|| subject(text))
        .or_else(|| after_marker(text))
        .or_else(|| telling_phrase(text))
}

/// The topic in a labelled line.
fn labelled(text: &str) -> Option<String> {
    LABELS.iter().find_map(|label| {
        text.lines().find_map(|line| phrase(strip_prefix_ignoring_case(line.trim(), label)?))
    })
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    text.get(..prefix.len()).filter(|start| start.eq_ignore_ascii_case(prefix)).map(|_| &text[prefix.len()..])
}

/// The first short phrase in quotation marks.
fn quoted(text: &str) -> Option<String> {
    let opening = |(at, mark): (usize, char)| {
        let closing = match mark {
            '"' | '\'' if !text[..at].ends_with(char::is_alphanumeric) => mark,
            '“' => '”',
            '‘' => '’',
            _ => return None,
        };
        let inside = &text[at + mark.len_utf8()..];
        inside.find(closing).map(|end| &inside[..end])
    };
    let inside = text.char_indices().filter_map(opening).find(|inside| inside.len() <= 80)?;
    phrase(inside)
}

/// The words after the first marker, up to the end of the clause.
fn after_marker(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    MARKERS.iter().find_map(|marker| {
        let after = lower.match_indices(marker).map(|(at, _)| at).find_map(|at| {
            let end = at + marker.len();
            let is_whole =
                !lower[..at].ends_with(char::is_alphanumeric) && lower[end..].starts_with([' ', ':']);
            is_whole.then_some(end)
        })?;
        let clause = text[after..]
            .trim_start_matches(':')
            .split(['.', ',', ';', ':', '?', '!', '\n', '(', ')', '"'])
            .next()?;
        let words: Vec<&str> = clause.split_whitespace().collect();
        let length =
            (1..words.len()).find(|&at| ends_topic(&words[at..])).unwrap_or(words.len()).min(MAX_TOPIC_WORDS);
        let topic = phrase(&words[..length].join(" "))?;
        let tells_something = words::telling_words(&topic).next().is_some();
        tells_something.then_some(topic)
    })
}

/// The subject of a question: `the sky` in `Why is the sky blue?`.
fn subject(text: &str) -> Option<String> {
    let text = text.trim();
    let rest = QUESTIONS.iter().find_map(|question| {
        strip_prefix_ignoring_case(text, question).filter(|rest| rest.starts_with(char::is_whitespace))
    })?;
    let words: Vec<&str> =
        rest.split_whitespace().map(|word| word.trim_end_matches(['?', ',', '.'])).collect();
    let telling = words.iter().position(|word| words::telling_words(word).next().is_some())?;
    // A possessive is not the topic yet: `a comet's tail`.
    let owned = words[telling].ends_with("'s") && telling + 1 < words.len();
    phrase(&words[..=telling + usize::from(owned)].join(" "))
}

/// Returns true if the words that follow belong to another clause: `in five lines`, `using simple words`.
fn ends_topic(rest: &[&str]) -> bool {
    let starts_with = |end: &&str| end.split(' ').eq(rest.iter().copied().take(end.split(' ').count()));
    ENDS.iter().any(starts_with)
        || matches!(rest, ["in" | "into" | "with", next, ..] if words::number(&next.to_lowercase()).is_some())
        || matches!(rest, ["in" | "into", next] if LANGUAGES.contains(next))
}

/// Languages that a prompt may ask for.
pub(super) const LANGUAGES: [&str; 8] =
    ["French", "German", "Spanish", "Italian", "Portuguese", "Dutch", "English", "Latin"];

/// The first few adjacent words that carry meaning.
fn telling_phrase(text: &str) -> Option<String> {
    let is_telling = |word: &&str| words::telling_words(word).next().is_some();
    let mut words = words::words(text).skip_while(|word| !is_telling(word));
    let first = words.next()?;
    let phrase =
        words.take_while(is_telling).take(2).fold(first.to_owned(), |phrase, word| phrase + " " + word);
    // A capital letter at the start of the sentence has no meaning.
    Some(if text.trim_start().starts_with(first) && !first.chars().skip(1).any(char::is_uppercase) {
        phrase.to_lowercase()
    } else {
        phrase
    })
}

/// `text` without a leading `a`, punctuation and numbering; `None` if nothing remains.
fn phrase(text: &str) -> Option<String> {
    let is_edge =
        |c: char| c.is_whitespace() || matches!(c, '.' | ',' | ';' | ':' | '"' | '*' | '#' | '?' | '!');
    let text = text.trim_matches(is_edge);
    let text =
        text.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start_matches([')', '.']).trim_start();
    let text = ["a ", "an ", "A ", "An "].iter().find_map(|word| text.strip_prefix(word)).unwrap_or(text);
    let text = text.strip_prefix("The ").map_or_else(|| text.to_owned(), |rest| format!("the {rest}"));
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::topic;

    #[test]
    fn the_topic_is_found_wherever_a_prompt_names_it() {
        for (prompt, expected) in [
            ("Tell a joke about bears.", "bears"),
            ("Name a company that makes toothpaste", "toothpaste"),
            ("What is a good name for a company that makes colorful socks?", "colorful socks"),
            ("List five section titles for an article about tidal power.", "tidal power"),
            ("Write section 2, 'The First Mills', of an article about tidal power.", "the First Mills"),
            (
                "Article topic: engines\nSection title: 2. Why heat matters\nWrite the section content.",
                "Why heat matters",
            ),
            ("Write about async programming in Python in five lines", "async programming in Python"),
            ("Recommend a fantasy book", "fantasy book"),
            ("How do tides work?", "tides"),
            ("Why is the sky blue?", "the sky"),
            ("Why does the Moon always show the same face to the Earth?", "the Moon"),
            ("What makes a comet's tail point away from the Sun?", "comet's tail"),
            ("How far away is the nearest star after the Sun?", "the nearest"),
            ("Create an outline for a short article about: tidal power", "tidal power"),
            ("Explain the water cycle in one sentence.", "the water cycle"),
        ] {
            assert_eq!(topic(prompt).as_deref(), Some(expected), "{prompt}");
        }
        assert_eq!(topic("Hello, how are you?").as_deref(), Some("hello"));
        assert_eq!(topic("??"), None);
    }
}

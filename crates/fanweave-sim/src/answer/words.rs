//! English words: splitting, counting, capital letters, sentences.

/// Words too common to identify a topic, and words that only express a request.
#[rustfmt::skip]
const COMMON: &[&str] = &[
    "a", "about", "after", "all", "also", "am", "an", "and", "answer", "any", "are", "as", "ask", "at",
    "be", "because", "been", "before", "best", "between", "both", "briefly", "but", "by", "call", "can",
    "come", "could", "create", "current", "currently", "define", "describe", "detailed", "did", "do",
    "does", "draft", "each", "every", "exactly", "explain", "few", "find", "following", "for", "from",
    "generate", "get", "give", "given", "go", "good", "great", "had", "has", "have", "help", "her",
    "here", "his", "how", "i", "if", "in", "into", "is", "it", "its", "just", "know", "like", "list",
    "look", "made", "make", "makes", "many", "may", "me", "might", "more", "most", "much", "must", "my",
    "name", "need", "new", "no", "not", "now", "of", "on", "one", "only", "or", "our", "out", "please",
    "provide", "question", "recommend", "reply", "respond", "return", "right", "say", "sentence",
    "sentences", "she", "should", "show", "simple", "so", "some", "suggest", "summarise", "summarize",
    "tell", "than", "that", "the", "their", "them", "then", "there", "these", "they", "thing", "things",
    "think", "this", "those", "three", "to", "today", "two", "up", "us", "use", "used", "uses", "using",
    "very", "want", "was", "we", "were", "what", "when", "where", "which", "who", "whom", "why", "will",
    "with", "word", "words", "work", "works", "would", "write", "you", "your",
];

/// The words of `text`, without punctuation.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '\'' && c != '’')
        .map(|word| word.trim_matches(['\'', '’']))
        .filter(|word| !word.is_empty())
}

/// Returns true if a lower-case word is too common to carry meaning.
pub(super) fn is_common(word: &str) -> bool {
    COMMON.binary_search(&word).is_ok()
}

/// The words of `text` that carry meaning, in lower case.
pub(super) fn telling_words(text: &str) -> impl Iterator<Item = String> {
    words(text).map(str::to_lowercase).filter(|word| !is_common(word) && number(word).is_none())
}

/// A small number, as digits or as a lower-case word.
pub(super) fn number(word: &str) -> Option<usize> {
    const NAMES: [&str; 21] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
        "twenty",
    ];
    match word {
        "a" | "an" | "single" => Some(1),
        "dozen" => Some(12),
        "thirty" => Some(30),
        "fifty" => Some(50),
        "hundred" => Some(100),
        _ => NAMES.iter().position(|name| *name == word).or_else(|| word.parse().ok()),
    }
}

/// `word` with a capital first letter.
pub(super) fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// `phrase` in title case. A leading article stays in lower case, because the phrase may be used in the
/// middle of a title.
pub(super) fn title_case(phrase: &str) -> String {
    let small = ["a", "an", "and", "at", "for", "from", "in", "of", "on", "or", "the", "to", "with"];
    let mut title = String::with_capacity(phrase.len());
    for (index, word) in phrase.split_whitespace().enumerate() {
        if index > 0 {
            title.push(' ');
        }
        if small.contains(&word) { title.push_str(word) } else { title.push_str(&capitalised(word)) }
    }
    title
}

/// The sentences of `text`. A sentence ends with the line, or with a full stop, question mark or exclamation
/// mark before white space.
pub(super) fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| {
        let mut rest = line.trim();
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let end = rest
                .char_indices()
                .find(|(at, c)| {
                    matches!(c, '.' | '?' | '!') && rest[at + 1..].starts_with(char::is_whitespace)
                })
                .map_or(rest.len(), |(at, _)| at + 1);
            let (sentence, after) = rest.split_at(end);
            rest = after.trim_start();
            Some(sentence)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_words_are_in_order_for_the_binary_search() {
        assert!(COMMON.is_sorted());
    }

    #[test]
    fn numbers_are_read_as_words_and_as_digits() {
        assert_eq!(
            ["five", "12", "dozen", "a", "tides"].map(number),
            [Some(5), Some(12), Some(12), Some(1), None]
        );
    }

    #[test]
    fn a_full_stop_inside_a_number_ends_no_sentence() {
        let text = "Tides rise 1.5 m. Do they fall? Yes!\nAlways";
        assert_eq!(
            sentences(text).collect::<Vec<_>>(),
            ["Tides rise 1.5 m.", "Do they fall?", "Yes!", "Always"]
        );
    }

    #[test]
    fn titles_keep_small_words_small() {
        assert_eq!(title_case("the art of tidal power"), "the Art of Tidal Power");
    }
}

//! Detects API keys where none belongs, before a message could show them: in configuration files and in
//! arguments.

use std::ffi::OsString;

use fanweave::__private::REDACTED;
use fanweave::models::vendors;

/// Beginnings of API keys and tokens.
const BEGINNINGS: [&str; 18] = [
    "sk-",
    "sk_",
    "gsk_",
    "xai-",
    "pplx-",
    "nvapi-",
    "csk-",
    "fw_",
    "hf_",
    "r8_",
    "AIza",
    "AKIA",
    "ASIA",
    "ghp_",
    "github_pat_",
    "glpat-",
    "eyJ",
    "Bearer ",
];

/// Minimum length of a text that is taken for a key by its beginning. Shorter ones are names.
const MIN_KEY: usize = 10;

/// Minimum length of a text without a known beginning that is taken for a key. 28: the shortest keys of
/// providers without a prefix have 32 characters, and the longest names of variables are words.
const MIN_PLAIN_KEY: usize = 28;

/// Flags whose value is a name or an address.
const SERVER_FLAGS: [&str; 7] =
    ["--model", "--base-url", "--key-env", "--fallback-model", "--embeddings", "--embeddings-url", "-e"];

/// Hint for a message that contained a key.
pub(crate) const ADVICE: &str = "an argument looks like an API key: pass it in the environment, or store it with `fanweave keys set PROVIDER`";

/// Keys in the arguments of the program, and in the variables that it reads arguments from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slips(Vec<String>);

impl Slips {
    /// Finds the keys in `args`. Texts are searched word by word.
    pub(crate) fn find(args: &[OsString]) -> Self {
        let variables = ["FANWEAVE_MODEL", "FANWEAVE_BASE_URL", "FANWEAVE_EMBEDDINGS"];
        let mut texts: Vec<_> =
            variables.iter().filter_map(|name| Some((std::env::var(name).ok()?, true))).collect();
        let is_keys = args.first().is_some_and(|command| command == "keys");
        let mut is_value = false;
        for arg in args {
            let arg = arg.to_string_lossy().into_owned();
            let flag = arg.split_once('=').map_or(&*arg, |(flag, _)| flag);
            let names_server = SERVER_FLAGS.contains(&flag) || arg.starts_with("-m");
            let has_value = names_server && !arg.contains('=');
            texts.push((arg, is_keys || names_server || is_value));
            is_value = has_value;
        }
        let mut found = Vec::new();
        for (text, names_server) in texts {
            let words = text.split(|c: char| c.is_whitespace() || "=,:/@?&\"'".contains(c));
            let is_key = |word: &&str| is_key_like(word) || (names_server && is_plain_key(word));
            found.extend(words.map(|word| word.trim_start_matches('-')).filter(is_key).map(str::to_owned));
        }
        found.sort_unstable_by_key(|slip| std::cmp::Reverse(slip.len()));
        found.dedup();
        Self(found)
    }

    /// Hides the keys in a message. `None` if it contains none.
    pub(crate) fn hide(&self, text: &str) -> Option<String> {
        let hidden = self.0.iter().fold(text.to_owned(), |text, slip| text.replace(slip.as_str(), REDACTED));
        (hidden != text).then_some(hidden)
    }
}

/// Returns true for a word that begins like an API key.
fn is_key_like(word: &str) -> bool {
    word.len() >= MIN_KEY && BEGINNINGS.iter().any(|beginning| word.starts_with(beginning))
}

/// Returns true for a word that may be an API key without a known beginning, where a name is expected. A file
/// may have such a name.
fn is_plain_key(word: &str) -> bool {
    let is_plain = word.len() >= MIN_PLAIN_KEY && word.chars().all(|c| c.is_ascii_alphanumeric());
    // Words have few digits.
    is_plain && word.chars().filter(char::is_ascii_digit).count() * 8 >= word.len()
}

/// Number of the first line that sets a key, 1-based.
pub(crate) fn line_with_key(text: &str) -> Option<usize> {
    let mut in_aliases = false;
    for (n, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.starts_with('[') {
            in_aliases = line.starts_with("[aliases");
        }
        // No setting has "key" in its name. Aliases may have any name.
        let names: fn(&str) -> bool = match in_aliases || line.starts_with("aliases") {
            true => names_key,
            false => |name| name.to_ascii_lowercase().contains("key"),
        };
        if has_key(line, names) {
            return Some(n + 1);
        }
    }
    None
}

/// Returns true if a line sets a key, judging by its name or its value.
fn has_key(line: &str, names_key: fn(&str) -> bool) -> bool {
    let is_around = |c: char| c.is_whitespace() || "\"',:{}[]".contains(c);
    let is_key_like = |word: &str| word.starts_with("sk-") || is_key_like(word);
    let parts: Vec<_> = line.split('=').collect();
    if let [part] = parts[..] {
        // The name of a table, or an invalid line, which an error message would show.
        return part.split(is_around).any(|word| names_key(word) || is_key_like(word));
    }
    parts.windows(2).any(|pair| {
        // The name is the last word before `=`: inline tables have several on one line.
        let name = pair[0].trim_matches(is_around).rsplit(is_around).next().unwrap_or_default();
        let value = pair[1].trim_start_matches(is_around).split(is_around).next().unwrap_or_default();
        is_key_like(value) || (names_key(name) && !names_model(value))
    })
}

/// Returns true if a word of a name means a key: `api_key`, `apiKey` and `OPENAIKEY`, but not `hockey`.
fn names_key(name: &str) -> bool {
    let mut words = String::new();
    let mut was_lower = false;
    for c in name.chars() {
        if was_lower && c.is_uppercase() {
            words.push('_');
        }
        was_lower = c.is_lowercase();
        words.push(c.to_ascii_lowercase());
    }
    let is_key = |word: &str| {
        let word = word.trim_end_matches(|c: char| c.is_ascii_digit());
        let prefix = word.strip_suffix("keys").or(word.strip_suffix("key"));
        prefix.is_some_and(|prefix| {
            matches!(prefix, "" | "api" | "access" | "auth" | "private" | "secret")
                || vendors().any(|vendor| vendor == prefix)
        })
    };
    words.split(|c: char| !c.is_alphanumeric()).any(is_key)
}

/// Returns true if a value is a model of a known provider: an alias may have any name.
fn names_model(value: &str) -> bool {
    value.split_once('/').is_some_and(|(vendor, _)| vendor == "sim" || vendors().any(|known| known == vendor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_arguments_are_hidden_and_other_words_are_not() {
        let args = |words: &[&str]| Slips::find(&words.iter().map(OsString::from).collect::<Vec<_>>());
        for key in [
            "sk-canary-123456",
            "gsk_canary12345",
            "AIzaCanary12345678",
            "0123456789abcdef0123456789abcdef",
            "eyJhbGciOiJIUzI1NiJ9.canary",
        ] {
            for arg in [key.to_owned(), format!("--base-url={key}"), format!("http://me:{key}@host/{key}")] {
                let hidden =
                    args(&["ask", "--base-url", &arg]).hide(&format!("invalid value '{arg}'")).unwrap();
                assert!(!hidden.contains(key) && hidden.contains(REDACTED), "{hidden}");
            }
        }
        for word in [
            "sk-1",
            "openai/gpt-5-mini",
            "OPENAI_API_KEY",
            "task-12345678901",
            "out/sha256/answers.jsonl",
            "https://api.example.com/v1",
            "0123456789abcdef0123456789abcdef.jsonl",
            "anthropic/claude-sonnet-4-5-20250929",
            "donaudampfschifffahrtsgesellschaft",
        ] {
            assert!(args(&[word]).hide(word).is_none(), "{word}");
        }
    }
}

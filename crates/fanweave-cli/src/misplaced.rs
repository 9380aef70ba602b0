//! Detects API keys in configuration files, before an error message could show them.

use fanweave::models::vendors;

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
    let is_key_like = |word: &str| word.starts_with("sk-");
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

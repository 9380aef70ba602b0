//! Keys in files of settings, where they do not belong: found before anything shows the line.

use fanweave::models::vendors;

/// The first line that sets a key, from 1.
pub(crate) fn line_with_key(text: &str) -> Option<usize> {
    let mut in_aliases = false;
    for (n, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.starts_with('[') {
            in_aliases = line.starts_with("[aliases");
        }
        // No setting has a name with such letters in it. Those of aliases are anybody's choice.
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

/// Whether a line sets a key: by what it is called, or by how it looks.
fn has_key(line: &str, names_key: fn(&str) -> bool) -> bool {
    let is_around = |c: char| c.is_whitespace() || "\"',:{}[]".contains(c);
    let looks_so = |word: &str| word.starts_with("sk-");
    let parts: Vec<_> = line.split('=').collect();
    if let [part] = parts[..] {
        // The name of a table, or what is no setting at all and is shown as it stands.
        return part.split(is_around).any(|word| names_key(word) || looks_so(word));
    }
    parts.windows(2).any(|pair| {
        // What stands before the sign ends with the name, also where others stand on the same line.
        let name = pair[0].trim_matches(is_around).rsplit(is_around).next().unwrap_or_default();
        let value = pair[1].trim_start_matches(is_around).split(is_around).next().unwrap_or_default();
        looks_so(value) || (names_key(name) && !names_model(value))
    })
}

/// Whether one of the words in a name is a key: `api_key`, `apiKey` and `OPENAIKEY`, and not `hockey`.
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
        let whose = word.strip_suffix("keys").or(word.strip_suffix("key"));
        whose.is_some_and(|whose| {
            matches!(whose, "" | "api" | "access" | "auth" | "private" | "secret")
                || vendors().any(|vendor| vendor == whose)
        })
    };
    words.split(|c: char| !c.is_alphanumeric()).any(is_key)
}

/// Whether a value is a model of a provider that is known: an alias may be called as it likes.
fn names_model(value: &str) -> bool {
    value.split_once('/').is_some_and(|(vendor, _)| vendor == "sim" || vendors().any(|known| known == vendor))
}

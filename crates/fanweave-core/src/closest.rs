//! Suggestions for mistyped names.

/// The nearest of `names` to `name`, if at most a third of `name` is wrong. Case does not count.
///
/// ```
/// assert_eq!(fanweave::errors::closest("opnai", ["anthropic", "openai"]), Some("openai"));
/// assert_eq!(fanweave::errors::closest("mistral", ["anthropic", "openai"]), None);
/// ```
pub fn closest<T: AsRef<str>>(name: &str, names: impl IntoIterator<Item = T>) -> Option<T> {
    // Two errors in a name of six letters still match; two in a name of three do not.
    const NEAR: f64 = 0.66;
    let name = name.to_lowercase();
    let alike = |other: &T| strsim::normalized_damerau_levenshtein(&name, &other.as_ref().to_lowercase());
    names
        .into_iter()
        .map(|other| (alike(&other), other))
        .filter(|(score, _)| *score >= NEAR)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, other)| other)
}

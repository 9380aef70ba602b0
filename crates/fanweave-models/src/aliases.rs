//! Names of a small and of a good model of each large vendor.

/// The names, and the models that they stand for. Of the models of 2026-07-02, see `data/models.tsv`: the
/// small one is cheap and fast, the good one the vendor's model for most work.
const ALIASES: [(&str, &str); 12] = [
    ("anthropic/good", "anthropic/claude-sonnet-5"),
    ("anthropic/small", "anthropic/claude-haiku-4-5"),
    ("deepseek/good", "deepseek/deepseek-v4-pro"),
    ("deepseek/small", "deepseek/deepseek-v4-flash"),
    ("gemini/good", "gemini/gemini-3.1-pro-preview"),
    ("gemini/small", "gemini/gemini-3.1-flash-lite"),
    ("mistral/good", "mistral/mistral-medium-2604"),
    ("mistral/small", "mistral/mistral-small-latest"),
    ("openai/good", "openai/gpt-5.5"),
    ("openai/small", "openai/gpt-5.4-mini"),
    ("openai-responses/good", "openai-responses/gpt-5.5"),
    ("openai-responses/small", "openai-responses/gpt-5.4-mini"),
];

/// The model that a name such as `openai/small` stands for: `small` is a cheap and fast model of the vendor,
/// `good` its model for most work. `None` for any other name.
///
/// A model without a base URL of its own may be named so. The names stand for other models in later versions
/// of this crate: name a model in full where answers have to stay comparable.
///
/// ```
/// use fanweave::models::alias;
///
/// assert_eq!(alias("anthropic/small"), Some("anthropic/claude-haiku-4-5"));
/// assert_eq!(alias("openai/gpt-5.5"), None);
/// ```
pub fn alias(name: &str) -> Option<&'static str> {
    ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, model)| *model)
}

/// All names of [`alias`], with their models.
///
/// ```
/// assert!(fanweave::models::aliases().any(|(name, _)| name == "openai/good"));
/// ```
pub fn aliases() -> impl Iterator<Item = (&'static str, &'static str)> {
    ALIASES.into_iter()
}

#[cfg(all(test, feature = "prices"))]
mod tests {
    use super::*;
    use crate::Prices;

    #[test]
    fn every_alias_is_a_model_with_a_price_and_the_small_one_costs_less() {
        let cost = |name: &str| {
            let model = alias(name).unwrap_or_else(|| panic!("{name} is an alias"));
            let price = Prices::builtin().of(model).cloned().unwrap_or_else(|| panic!("{model} has a price"));
            price.input + price.output
        };
        for (name, _) in aliases() {
            let vendor = name.split_once('/').expect("a vendor").0;
            assert!(cost(&format!("{vendor}/small")) < cost(&format!("{vendor}/good")), "{vendor}");
        }
    }
}

//! Variables of the environment.

/// The value of a variable. An empty value counts as unset.
pub(crate) fn set(env: &dyn Fn(&str) -> Option<String>, variable: &str) -> Option<String> {
    env(variable).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

//! Everything that changes the answers to rows.

use std::collections::BTreeMap;

/// Identity of the work of a run: everything that changes the answers to rows, by name. A journal with
/// another fingerprint is refused, with the differences. Never add an API key: the values are stored in the
/// journal.
///
/// ```
/// use fanweave::batch::Fingerprint;
///
/// let fingerprint = Fingerprint::new().set("model", "openai/gpt-5-mini").set("prompt", "Sum up {{ text }}");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// Version of the way in which the values are computed.
    pub(crate) version: u32,
    pub(crate) values: BTreeMap<String, String>,
    /// The values as the previous version computed them.
    pub(crate) previous: Option<BTreeMap<String, String>>,
}

impl Default for Fingerprint {
    fn default() -> Self {
        Self { version: 1, values: BTreeMap::new(), previous: None }
    }
}

impl Fingerprint {
    /// A fingerprint without values.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a value, in the previous version as well.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        if let Some(previous) = &mut self.previous {
            previous.insert(name.clone(), value.clone());
        }
        self.values.insert(name, value);
        self
    }

    /// Sets the values as `version` computed them: these values are then those of the next version. A journal
    /// of an earlier version is compared with `values`; if they are equal, its rows keep their answers.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    /// use fanweave::batch::Fingerprint;
    ///
    /// // The first version was the text of the prompt; the second ignores white space around it.
    /// let text = " Sum up {{ text }} ";
    /// let fingerprint = Fingerprint::new()
    ///     .set("prompt", text.trim())
    ///     .formerly(1, BTreeMap::from([("prompt".to_owned(), text.to_owned())]));
    /// ```
    #[must_use]
    pub fn formerly(self, version: u32, values: BTreeMap<String, String>) -> Self {
        Self { version: version.saturating_add(1), previous: Some(values), ..self }
    }

    /// The values, by name.
    pub fn values(&self) -> &BTreeMap<String, String> {
        &self.values
    }

    /// The values for a comparison with those of a version.
    pub(crate) fn for_version(&self, version: u32) -> &BTreeMap<String, String> {
        match &self.previous {
            Some(previous) if version < self.version => previous,
            _ => &self.values,
        }
    }
}

impl From<BTreeMap<String, String>> for Fingerprint {
    fn from(values: BTreeMap<String, String>) -> Self {
        Self { values, ..Self::default() }
    }
}

impl<const N: usize> From<[(String, String); N]> for Fingerprint {
    fn from(values: [(String, String); N]) -> Self {
        BTreeMap::from(values).into()
    }
}

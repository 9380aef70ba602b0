//! Manifest of a run: its work, and the number of its rows.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Rates, VERSION, check_version};
use crate::error::{Error, Result};

/// Work of a run, and the number of its rows. Has no key, URL or path of a machine.
///
/// ```
/// use fanweave::crates::serde_json::json;
/// use fanweave::workers::{Manifest, RunState};
///
/// let manifest = Manifest::new("cities-1", json!({ "prompts": { "model": "sim/echo" } }));
/// assert_eq!(manifest.state, RunState::Open);
/// assert_eq!(Manifest::decode(&manifest.encode())?, manifest);
/// # Ok::<_, fanweave::workers::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Manifest {
    /// Version of the messages of the run.
    pub v: u32,
    /// Name of the run.
    pub run: String,
    /// Time at which it was submitted, in seconds of Unix time.
    pub created: u64,
    /// Prompts or chain of its rows, for the program that makes a chain of it.
    pub work: Value,
    /// Everything that changes the answers, by name.
    pub fingerprint: BTreeMap<String, String>,
    /// The input.
    pub input: InputInfo,
    /// Pool of workers that may take it.
    pub pool: String,
    /// Options of its rows.
    pub settings: RowSettings,
    /// Limits of the requests of all workers together, beside those of each worker.
    #[serde(default)]
    pub limits: Rates,
    /// Maximum cost of the run in US dollars. Default: no limit.
    #[serde(default)]
    pub budget_usd: Option<f64>,
    /// Expected maximum cost of a row in US dollars, for a run with a budget.
    #[serde(default)]
    pub row_usd: f64,
    /// State of the run.
    pub state: RunState,
    /// Generation. Failed rows of earlier ones are retried. 0 at first.
    #[serde(rename = "gen")]
    pub generation: u64,
    /// Set once all rows were submitted: only then are `rows` and `shards` final.
    pub sealed: bool,
    /// Maximum number of rows of a shard, so that a repeated submission cuts the same shards.
    pub shard_rows: u64,
    /// Number of rows.
    pub rows: u64,
    /// Number of shards.
    pub shards: u64,
}

/// The input of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct InputInfo {
    /// Name in messages: the name of the file without its folder.
    pub name: String,
    /// Its format, if it is a file.
    pub format: Option<String>,
    /// Its columns, if it is a table. They are columns of a table of results as well.
    pub columns: Option<Vec<String>>,
    /// Set if the rows are a sample, so that their indices have gaps, or if there are several of each.
    pub is_sampled: bool,
}

/// Options of the rows of a run.
///
/// ```
/// use fanweave::workers::RowSettings;
///
/// let settings = RowSettings::new();
/// assert!(settings.hedge && !settings.keep_going);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RowSettings {
    /// Keep raw response bodies, for outputs in the provider's format. Default: false.
    pub keep_raw: bool,
    /// Send hedged requests. Default: true.
    pub hedge: bool,
    /// Continue even if the first rows are all rejected for the same reason. Default: false.
    pub keep_going: bool,
    /// Number of results for each row of the input. Default: 1.
    pub samples: NonZeroU32,
}

impl Default for RowSettings {
    fn default() -> Self {
        Self { keep_raw: false, hedge: true, keep_going: false, samples: NonZeroU32::MIN }
    }
}

impl RowSettings {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }
}

/// State of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Workers run its rows.
    Open,
    /// Workers start no more of its rows.
    Cancelled,
}

impl Manifest {
    /// The manifest of a run that is being submitted.
    pub fn new(run: impl Into<String>, work: Value) -> Self {
        Self {
            v: VERSION,
            run: run.into(),
            created: 0,
            work,
            fingerprint: BTreeMap::new(),
            input: InputInfo::default(),
            pool: "default".to_owned(),
            settings: RowSettings::default(),
            limits: Rates::default(),
            budget_usd: None,
            row_usd: 0.0,
            state: RunState::Open,
            generation: 0,
            sealed: false,
            shard_rows: 0,
            rows: 0,
            shards: 0,
        }
    }

    /// Takes the settings of `other` that may change while the run lasts: limits, the budget and the options
    /// of rows. Returns true if one differs.
    pub(crate) fn adopt(&mut self, other: &Self) -> bool {
        let changes = |run: &Self| (run.limits, run.budget_usd, run.row_usd, run.settings);
        let differs = changes(self) != changes(other);
        (self.limits, self.budget_usd, self.row_usd, self.settings) = changes(other);
        differs
    }

    /// The manifest as JSON.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a manifest has string keys")
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// [`Newer`](crate::ErrorKind::Newer) if a later version wrote it, also if its fields have changed;
    /// [`Invalid`](crate::ErrorKind::Invalid) if it is not a manifest.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let invalid = |e| Error::invalid(format!("not the manifest of a run: {e}"));
        let value: Value = serde_json::from_slice(bytes).map_err(invalid)?;
        check_version(value["v"].as_u64().unwrap_or_default())?;
        serde_json::from_value(value).map_err(invalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn a_manifest_of_a_later_version_is_recognised_whatever_its_fields_are() {
        let manifest = Manifest::new("questions-1", serde_json::json!({"prompts": {"model": "sim/echo"}}));
        assert_eq!(Manifest::decode(&manifest.encode()).unwrap(), manifest);
        let later = Manifest::decode(br#"{"v": 2, "name": "x"}"#).unwrap_err();
        assert_eq!(later.kind(), ErrorKind::Newer);
        assert!(later.message().contains("(wire 2)"), "{later}");
        assert_eq!(Manifest::decode(b"{}").unwrap_err().kind(), ErrorKind::Invalid);
    }
}

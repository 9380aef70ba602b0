//! Manifests of runs at a broker: read, and changed by compare-and-set.

use std::time::Duration;

use tokio::time::sleep;

use crate::broker::Broker;
use crate::error::{Error, ErrorKind, Result};
use crate::patience::patiently;
use crate::wire::Manifest;

/// Pause before a change that another one preceded is repeated.
const PAUSE: Duration = Duration::from_millis(50);

/// Reads the manifest of a run.
///
/// # Errors
/// The broker did not answer, or the manifest cannot be read.
pub async fn manifest_of(broker: &dyn Broker, run: &str) -> Result<Option<(Manifest, u64)>> {
    match broker.value(key(run)).await? {
        Some((value, revision)) => Ok(Some((Manifest::decode(&value)?, revision))),
        None => Ok(None),
    }
}

/// Key of the manifest of a run.
pub(crate) fn key(run: &str) -> String {
    format!("run.{run}")
}

/// The manifest of a run that must exist, and its revision.
pub(crate) async fn existing(broker: &dyn Broker, run: &str) -> Result<(Manifest, u64)> {
    let found = manifest_of(broker, run).await?;
    found.ok_or_else(|| Error::new(ErrorKind::Usage, format!("{run}: there is no such run")))
}

/// Changes the manifest of a run. Returns it and what `with` returned.
pub(crate) async fn change<T>(
    broker: &dyn Broker,
    run: &str,
    mut with: impl FnMut(&mut Manifest) -> T,
) -> Result<(Manifest, T)> {
    loop {
        let (mut manifest, revision) = patiently(|| existing(broker, run)).await?;
        let before = manifest.clone();
        let done = with(&mut manifest);
        if manifest == before {
            return Ok((manifest, done));
        }
        let set = broker.value_cas(key(run), manifest.encode().into(), revision).await;
        match set {
            Ok(Some(_)) => return Ok((manifest, done)),
            // Another change came first, or this one, if only its answer was lost: look again.
            Ok(None) => sleep(PAUSE).await,
            Err(error) if error.kind() == ErrorKind::Broker => sleep(PAUSE).await,
            Err(error) => return Err(error),
        }
    }
}

//! Submits the rows of a run: a manifest, shards and tickets. May run any number of times for a run.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fanweave_batch::__private::KeyedRows;
use fanweave_batch::{RowKey, Source};
use fanweave_core::__private::park_until_done;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::broker::Broker;
use crate::error::{Error, ErrorKind, Result};
use crate::jobs::complete_shards;
use crate::manifests::{change, key, manifest_of};
use crate::patience::patiently;
use crate::pause::open;
use crate::status::forget_workers;
use crate::wire::{MAX_SHARD_BYTES, Manifest, Message, Row, RunState, ShardId, encode_row, rows_per_shard};

/// Shards that are published at the same time.
const PIPELINE: usize = 64;

/// Shards that are read ahead of them.
const AHEAD: usize = 8;

/// Pause before an operation that failed is repeated.
const PAUSE: Duration = Duration::from_millis(200);

/// Time for which a broker may refuse a manifest and show no other one.
const REFUSED_WAIT: Duration = Duration::from_secs(30);

/// A run that was submitted.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Submitted {
    /// The manifest, with its numbers of rows and shards.
    pub manifest: Manifest,
    /// Time at which the run was submitted first, in seconds of Unix time, if it was there before.
    pub since: Option<u64>,
    /// Number of shards that were there before.
    pub known_shards: u64,
}

/// Name of a run: the name of its input, and a hash of all that its answers depend on. Equal runs have equal
/// names.
pub fn run_name(input: &str, identity: RowKey) -> String {
    let stem = input.rsplit('/').next().unwrap_or_default().split('.').next().unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let stem: String = stem.chars().map(plain).take(32).collect();
    let stem = stem.trim_matches('-');
    let hash: String = identity.to_string().chars().take(10).collect();
    if stem.is_empty() { format!("run-{hash}") } else { format!("{stem}-{hash}") }
}

/// Submits the rows of a run in shards of `shard_rows`: see [`rows_per_shard`](crate::rows_per_shard). Shards
/// that exist are kept, and those of them that are not complete get a ticket. If the run exists, its shards
/// have as many rows as when it was submitted first.
///
/// # Errors
/// The source of the rows failed, or the run was cancelled. An outage of the broker is waited for.
///
/// # Cancellation
/// Shards that were published are run. The same call continues.
pub async fn submit(
    broker: &Arc<dyn Broker>,
    mut manifest: Manifest,
    rows: KeyedRows,
    shard_rows: u64,
) -> Result<Submitted> {
    manifest.shard_rows = shard_rows;
    manifest.created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let given = manifest.clone();
    let (mut manifest, since) = create(&**broker, manifest).await?;
    // The command that was run last decides.
    let adopt = |stored: &mut Manifest| stored.adopt(&given);
    if adopt(&mut manifest) {
        manifest = change(&**broker, &manifest.run, adopt).await?.0;
        forget_workers(&**broker, &manifest.run).await?;
    }
    // The user may have removed the reason of a pause.
    open(&**broker, &manifest.run).await;
    // Shards that are complete need neither rows nor a ticket.
    let known = if since.is_some() { complete_shards(&**broker, &manifest).await? } else { HashSet::new() };
    let mut shards = cut(rows, manifest.shard_rows)?;
    let mut publishing = FuturesUnordered::new();
    let (mut count, mut known_shards, mut number_of_rows) = (0, 0_u64, 0);
    loop {
        tokio::select! {
            biased;
            Some(published) = publishing.next() => {
                let is_new: bool = published?;
                known_shards += u64::from(!is_new);
            }
            shard = shards.recv(), if publishing.len() < PIPELINE => {
                let Some(shard) = shard else { break };
                let (rows, message) = shard?;
                let shard = ShardId { run: manifest.run.clone(), number: count };
                (count, number_of_rows) = (count + 1, number_of_rows + rows);
                match known.contains(&shard.number) {
                    true => known_shards += 1,
                    false => publishing.push(publish(broker, &manifest.pool, shard, message)),
                }
            }
        }
    }
    while let Some(published) = publishing.next().await {
        known_shards += u64::from(!published?);
    }
    drop(publishing);
    let seal = |manifest: &mut Manifest| {
        if !manifest.sealed {
            (manifest.sealed, manifest.rows, manifest.shards) = (true, number_of_rows, count);
        }
    };
    let (manifest, ()) = change(&**broker, &manifest.run, seal).await?;
    Ok(Submitted { manifest, since, known_shards })
}

/// Submits the first `limit` rows of a source, of which there are about `rows`, as many times as the manifest
/// says: see [`submit`].
///
/// # Errors
/// As [`submit`].
///
/// # Cancellation
/// As [`submit`].
pub async fn submit_rows(
    broker: Arc<dyn Broker>,
    manifest: Manifest,
    source: Source,
    limit: Option<u64>,
    rows: u64,
) -> Result<Submitted> {
    let samples = manifest.settings.samples;
    let shard_rows = rows_per_shard(Some(rows.saturating_mul(u64::from(samples.get()))));
    submit(&broker, manifest, KeyedRows::new(source, limit).with_samples(samples), shard_rows).await
}

/// Creates the manifest, or reads that of the run of this name. Waits for a broker that does not answer, but
/// not for one that refuses the manifest.
async fn create(broker: &dyn Broker, manifest: Manifest) -> Result<(Manifest, Option<u64>)> {
    let run = manifest.run.clone();
    let mut refused_since = None;
    loop {
        if let Some((stored, _)) = patiently(|| manifest_of(broker, &run)).await? {
            if stored.state == RunState::Cancelled {
                let message =
                    format!("{run}: the run was cancelled; continue it with `fanweave jobs retry {run}`");
                return Err(Error::new(ErrorKind::Usage, message));
            }
            // Its own manifest, if only the answer was lost.
            let since = (stored.created != manifest.created).then_some(stored.created);
            return Ok((stored, since));
        }
        match broker.value_cas(key(&run), manifest.encode().into(), 0).await {
            Ok(Some(_)) => return Ok((manifest, None)),
            // Another command was first, and a replica may lag.
            Ok(None) if refused_since.get_or_insert_with(Instant::now).elapsed() >= REFUSED_WAIT => {
                let message = format!("{run}: the broker stores no run of this name, and shows none either");
                return Err(Error::new(ErrorKind::Broker, message));
            }
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::Broker => refused_since = None,
            Err(error) => return Err(error),
        }
        sleep(PAUSE).await;
    }
}

/// Publishes a shard and a ticket for it. Returns false if the shard existed.
async fn publish(broker: &Arc<dyn Broker>, pool: &str, shard: ShardId, message: Message) -> Result<bool> {
    let is_new = patiently(|| broker.put_once(shard.clone(), message.clone())).await?;
    patiently(|| broker.ticket_once(pool.to_owned(), shard.clone())).await?;
    Ok(is_new)
}

/// A shard that was read: its number of rows, and its message.
type Cut = Result<(u64, Message)>;

/// Reads rows on a thread, and cuts them into shards.
fn cut(mut rows: KeyedRows, max_rows: u64) -> Result<mpsc::Receiver<Cut>> {
    let (sender, shards) = mpsc::channel(AHEAD);
    let failed = |e: &dyn std::fmt::Display| Error::new(ErrorKind::Rows, e.to_string());
    let work = move || {
        let (mut body, mut held) = (Vec::new(), 0);
        let mut line = Vec::new();
        while let Some(row) = park_until_done(rows.next()) {
            line.clear();
            match row {
                Ok((key, row)) => encode_row(Row { key, row }, &mut line),
                Err(error) => {
                    let _ = sender.blocking_send(Err(failed(&error)));
                    return;
                }
            }
            if held == max_rows || (held > 0 && body.len() + line.len() > MAX_SHARD_BYTES) {
                let full = message(held, std::mem::take(&mut body));
                if sender.blocking_send(Ok((held, full))).is_err() {
                    return;
                }
                held = 0;
            }
            body.extend_from_slice(&line);
            held += 1;
        }
        if held > 0 {
            let _ = sender.blocking_send(Ok((held, message(held, body))));
        }
    };
    std::thread::Builder::new()
        .name("fanweave-submit".into())
        .spawn(work)
        .map_err(|e| Error::new(ErrorKind::Rows, format!("cannot start a thread: {e}")))?;
    Ok(shards)
}

fn message(rows: u64, body: Vec<u8>) -> Message {
    Message::new(body).with("Fw-N", &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_run_says_what_its_input_was() {
        let key = RowKey::of(&1).unwrap();
        let name = run_name("a/My Questions.v2.jsonl", key);
        assert!(name.starts_with("my-questions-") && name.len() == 23, "{name}");
        assert!(run_name("", key).starts_with("run-"));
        assert_ne!(name, run_name("a/My Questions.v2.jsonl", RowKey::of(&2).unwrap()));
    }
}

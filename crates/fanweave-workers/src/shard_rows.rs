//! The rows of a run at a broker as a source: a run is collected where its input is not.

use std::sync::Arc;

use fanweave_batch::{InputRow, RowSource};

use crate::broker::Broker;
use crate::error::{Error, ErrorKind, Result};
use crate::patience::patiently;
use crate::wire::{Manifest, ShardId, decode_rows};

/// The rows of a run, in the order of its input. Make it a source with
/// [`Source::new`](fanweave_batch::Source::new).
///
/// ```
/// use std::sync::Arc;
///
/// use fanweave::crates::serde_json::json;
/// use fanweave::workers::{Manifest, Memory, ShardRows};
///
/// let manifest = Manifest::new("cities-1", json!({}));
/// let refused = ShardRows::new(Arc::new(Memory::default()), manifest).err().unwrap();
/// assert!(refused.message().contains("not all rows were submitted"));
/// ```
pub struct ShardRows {
    broker: Arc<dyn Broker>,
    manifest: Manifest,
    next: u64,
    ready: std::vec::IntoIter<InputRow>,
}

impl ShardRows {
    /// The rows of the run with this manifest.
    ///
    /// # Errors
    /// [`Usage`](ErrorKind::Usage) if not all rows were submitted, or if they are a sample of their input,
    /// whose indices only the input has.
    pub fn new(broker: Arc<dyn Broker>, manifest: Manifest) -> Result<Self> {
        let run = &manifest.run;
        let refused = |why: &str| Err(Error::new(ErrorKind::Usage, format!("{run}: {why}")));
        if !manifest.sealed {
            return refused("not all rows were submitted; repeat the command that submitted it");
        }
        if manifest.input.is_sampled {
            return refused("the rows are samples; collect it with the command that submitted it");
        }
        Ok(Self { broker, manifest, next: 0, ready: Vec::new().into_iter() })
    }

    async fn shard(&mut self) -> Result<Vec<InputRow>> {
        let shard = ShardId { run: self.manifest.run.clone(), number: self.next };
        let found = patiently(|| self.broker.get(shard.clone())).await?;
        let gone = || {
            let message = format!("{}: the rows of shard {} are gone", shard.run, shard.number);
            Error::new(ErrorKind::Invalid, message)
        };
        let message = found.ok_or_else(gone)?;
        message.check_version()?;
        let rows = decode_rows(&message.body)?;
        // Its key is that of the run: equal rows are distinguished by now.
        Ok(rows.into_iter().map(|row| row.row.with_key(row.key)).collect())
    }
}

impl RowSource for ShardRows {
    fn name(&self) -> &str {
        &self.manifest.run
    }

    async fn next(&mut self) -> fanweave_batch::Result<Option<InputRow>> {
        loop {
            if let Some(row) = self.ready.next() {
                return Ok(Some(row));
            }
            if self.next == self.manifest.shards {
                return Ok(None);
            }
            self.ready = self.shard().await?.into_iter();
            self.next += 1;
        }
    }

    async fn total(&mut self) -> fanweave_batch::Result<Option<u64>> {
        Ok(Some(self.manifest.rows))
    }
}

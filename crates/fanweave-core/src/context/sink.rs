//! Sinks of deltas: the reader of a stream, and the maps on the way to it.

use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::work::Work;
use crate::Delta;
use crate::delta::DeltaMap;

/// The destination of the deltas of an answer, and the transformations on the way.
#[derive(Clone)]
pub(crate) enum DeltaSink {
    Reader(Reader),
    Map { map: Arc<Mutex<Box<dyn DeltaMap>>>, next: Arc<DeltaSink> },
}

#[derive(Clone)]
pub(crate) enum Reader {
    Run(mpsc::Sender<Delta>),
    /// The buffer of a call in a separate task. The call's owner forwards its deltas.
    Work(Arc<Work>),
}

impl DeltaSink {
    pub(crate) fn through(self, map: Box<dyn DeltaMap>) -> Self {
        DeltaSink::Map { map: Arc::new(Mutex::new(map)), next: Arc::new(self) }
    }

    /// Sends a delta. Nearly always there is room, and no future to create.
    #[inline]
    pub(crate) fn send(&self, mut delta: Delta) -> Sent<'_> {
        let mut sink = self;
        loop {
            match sink {
                DeltaSink::Map { map, next } => {
                    let mapped = map.lock().unwrap_or_else(PoisonError::into_inner).map(delta);
                    let Some(mapped) = mapped else { return Sent::Dropped };
                    delta = mapped;
                    sink = next;
                }
                DeltaSink::Reader(Reader::Work(work)) => {
                    return work.push_delta(delta).map_or(Sent::Dropped, Sent::Full);
                }
                DeltaSink::Reader(Reader::Run(run)) => {
                    // Reserved first: the delta is then moved into the channel alone, not into a result too.
                    match run.try_reserve() {
                        Ok(permit) => permit.send(delta),
                        // A dropped reader has dropped the run, and this future with it.
                        Err(TrySendError::Full(())) => {
                            return Sent::Full(Box::pin(async move { run.send(delta).await.is_ok() }));
                        }
                        Err(TrySendError::Closed(())) => {}
                    }
                    return Sent::Delivered;
                }
            }
        }
    }
}

/// Result of sending a delta.
pub(crate) enum Sent<'a> {
    /// It has reached the reader.
    Delivered,
    /// It has not reached the reader, or not yet.
    Dropped,
    /// The channel is full: this future waits for room, and resolves to true if the delta has reached the
    /// reader.
    Full(BoxFuture<'a, bool>),
}

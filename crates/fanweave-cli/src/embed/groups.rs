//! Texts of several rows in one request.

use std::time::Duration;

use fanweave::{Embedder, Error, ErrorKind, Result, Usage};
use tokio::sync::{mpsc, oneshot};

/// Maximum time that a text waits for others. Much shorter than a request.
const GATHER: Duration = Duration::from_millis(5);

/// The vector of a text, and its part of the tokens.
type Vector = (Vec<f32>, Usage);

struct Waiting {
    text: String,
    vector: oneshot::Sender<Result<Vector>>,
}

/// Sends the texts of rows that wait at the same time in one request. Cheap to clone; ends with the last
/// clone.
#[derive(Clone)]
pub(super) struct Groups(mpsc::Sender<Waiting>);

impl Groups {
    /// Starts the task that forms groups of at most `max` texts.
    pub(super) fn start(embedder: Embedder, max: usize) -> Self {
        let (sender, mut inbox) = mpsc::channel::<Waiting>(max);
        tokio::spawn(async move {
            while let Some(first) = inbox.recv().await {
                let mut group = vec![first];
                let _ = tokio::time::timeout(GATHER, async {
                    while group.len() < max
                        && let Some(next) = inbox.recv().await
                    {
                        group.push(next);
                    }
                })
                .await;
                tokio::spawn(send(embedder.clone(), group));
            }
        });
        Self(sender)
    }

    /// The vector of a text.
    pub(super) async fn embed(&self, text: String) -> Result<Vector> {
        let ended = || Error::new(ErrorKind::Cancelled, "the run has ended");
        let (vector, answer) = oneshot::channel();
        self.0.send(Waiting { text, vector }).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}

/// Embeds a group. If the provider refuses it, each text is sent alone, so that only those that are invalid
/// fail.
async fn send(embedder: Embedder, group: Vec<Waiting>) {
    let texts: Vec<_> = group.iter().map(|waiting| waiting.text.clone()).collect();
    match vectors(&embedder, texts).await {
        Ok(vectors) => {
            for (waiting, vector) in group.into_iter().zip(vectors) {
                let _ = waiting.vector.send(Ok(vector));
            }
        }
        Err(error) if group.len() > 1 && error.kind() == ErrorKind::BadRequest => {
            for waiting in group {
                let alone = vectors(&embedder, vec![waiting.text]).await;
                let _ = waiting.vector.send(alone.map(|mut vectors| vectors.remove(0)));
            }
        }
        Err(error) => {
            for waiting in group {
                let _ = waiting.vector.send(Err(error.clone()));
            }
        }
    }
}

/// The vectors of texts, one for each.
async fn vectors(embedder: &Embedder, texts: Vec<String>) -> Result<Vec<Vector>> {
    let wanted = texts.len();
    let embedded = embedder.embed(texts).await?;
    if embedded.vectors.len() != wanted {
        let message = format!("expected {wanted} vectors, got {}", embedded.vectors.len());
        return Err(Error::new(ErrorKind::Decode, message));
    }
    // The rest of the division goes to the first text, so that the sum is right.
    let (each, rest) =
        (embedded.usage.input_tokens / wanted as u64, embedded.usage.input_tokens % wanted as u64);
    let tokens = |at: usize| if at == 0 { each + rest } else { each };
    Ok(embedded
        .vectors
        .into_iter()
        .enumerate()
        .map(|(at, vector)| (vector, Usage::new(tokens(at), 0)))
        .collect())
}
